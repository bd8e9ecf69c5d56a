"""Optimizers, and which parameter goes to which."""

from collections.abc import Iterable, Mapping

from torch import Tensor, nn

from letterloom.config import OptimizerConfig
from letterloom.errors import DataMismatchError
from letterloom.training.descent import SGD, AdamW, Optimizer
from letterloom.training.lowrank import FACTORS
from letterloom.training.muon import Muon

Named = tuple[str, nn.Parameter]


def build_optimizers(config: OptimizerConfig, model: nn.Module) -> list[Optimizer]:
    """The optimizers that together own every parameter of `model` once, but for those that are frozen.

    Parameters are routed by name, since an embedding is a matrix to Muon, too. Matrices are
    decayed, vectors (biases, norms, smear) and factors never. Factors have a rate of their own.
    The peak learning rate is kept in each group as `peak`.
    """
    matrices: list[Named] = []
    vectors: list[Named] = []
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            (matrices if is_matrix(name, parameter) else vectors).append((name, parameter))
    if config.name == "sgd":
        return [_with_peak(SGD(_groups(config, matrices, vectors), lr=config.learning_rate, momentum=config.momentum))]
    hidden = [item for item in matrices if config.name == "muon" and item[0].startswith("blocks.")]
    others = [item for item in matrices if not (config.name == "muon" and item[0].startswith("blocks."))]
    adamw = AdamW(
        _groups(config, others, vectors),
        lr=config.learning_rate,
        beta1=config.beta1,
        beta2=config.beta2,
        eps=config.eps,
    )
    if not hidden:
        return [_with_peak(adamw)]
    fused = [p for name, p in hidden if name.endswith("qkv.weight")]  # queries, keys and values, one below the other
    single = [p for name, p in hidden if not name.endswith("qkv.weight")]
    muon = Muon(
        [{"params": fused, "parts": 3}, {"params": single}],
        lr=config.muon_learning_rate,
        momentum=config.muon_momentum,
        weight_decay=config.weight_decay,
    )
    return [_with_peak(muon), _with_peak(adamw)]


def is_matrix(name: str, parameter: Tensor) -> bool:
    """Whether a parameter mixes channels; the smear's two rows are vectors, one a distance."""
    return parameter.ndim == 2 and not name.startswith("smear")


def set_learning_rate(optimizers: Iterable[Optimizer], factor: float) -> None:
    """Set every group to its peak learning rate times `factor`."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = group["peak"] * factor


def optimizer_tensors(optimizers: Iterable[Optimizer], model: nn.Module) -> dict[str, Tensor]:
    """The optimizers' state as tensors named `PARAMETER/KEY`."""
    names: dict[Tensor, str] = {parameter: name for name, parameter in model.named_parameters()}
    return {
        f"{names[parameter]}/{key}": value
        for optimizer in optimizers
        for parameter, state in optimizer.state.items()
        for key, value in state.items()
    }


def load_optimizer_tensors(optimizers: Iterable[Optimizer], model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Put back what `optimizer_tensors` gave.

    Raises:
        DataMismatchError: a tensor belongs to no parameter of these optimizers.
    """
    owner = {p: o for o in optimizers for group in o.param_groups for p in group["params"]}
    parameters = dict(model.named_parameters())
    for full_name, value in tensors.items():
        name, key = full_name.rsplit("/", 1)
        if name not in parameters:
            raise DataMismatchError(f"optimizer.safetensors holds {full_name}, which this model does not have")
        parameter = parameters[name]

        owner[parameter].state[parameter][key] = value.to(parameter.device)


def _groups(config: OptimizerConfig, matrices: list[Named], vectors: list[Named]) -> list[dict[str, object]]:
    decayed = [p for name, p in matrices if not name.endswith(FACTORS)]
    factors = [p for name, p in matrices if name.endswith(FACTORS)]
    groups: list[dict[str, object]] = [
        {"params": decayed, "weight_decay": config.weight_decay},
        {"params": [p for _, p in vectors], "weight_decay": 0.0},
        {"params": factors, "weight_decay": 0.0, "lr": config.lora_learning_rate},
    ]
    return [group for group in groups if group["params"]]


def _with_peak(optimizer: Optimizer) -> Optimizer:
    for group in optimizer.param_groups:
        group["peak"] = group["lr"]
    return optimizer
