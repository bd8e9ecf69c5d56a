"""The closed forms against the model itself and PyTorch's counters."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode

from letterloom import accounting
from letterloom.config import ModelConfig, OptimizerConfig, RunConfig, TrainingConfig, build_config
from letterloom.errors import ResourceError
from letterloom.memory import physical_memory, require_memory
from letterloom.model.cache import Cache
from letterloom.model.transformer import Transformer
from letterloom.training.hardware import autocast
from letterloom.training.kernels import quicken
from letterloom.training.learner import Learner
from letterloom.training.lowrank import add_factors, factors
from letterloom.training.optimizers import build_optimizers, optimizer_tensors

LECTURE_BIASES = dict.fromkeys(["bias_attention_out", "bias_mlp", "bias_norm", "bias_head"], True)


@st.composite
def model_configs(draw: st.DrawFn) -> ModelConfig:
    norm = draw(st.sampled_from(["layernorm", "rmsnorm"]))
    n_heads = draw(st.integers(1, 4))
    return ModelConfig(
        context_length=draw(st.integers(1, 40)),
        d_model=n_heads * 2 * draw(st.integers(1, 12)),
        n_layers=draw(st.integers(1, 3)),
        n_heads=n_heads,
        d_ff=draw(st.none() | st.integers(1, 99)),
        positions=draw(st.sampled_from(["none", "learned", "sinusoidal", "rotary"])),
        norm=norm,
        norm_placement=draw(st.sampled_from(["before", "before_and_after"])),
        activation=draw(st.sampled_from(["relu", "gelu", "gelu_tanh", "relu_squared", "swiglu"])),
        bias_qkv=draw(st.booleans()),
        bias_attention_out=draw(st.booleans()),
        bias_mlp=draw(st.booleans()),
        bias_norm=norm == "layernorm" and draw(st.booleans()),
        bias_head=draw(st.booleans()),
        tied_head=draw(st.booleans()),
        qk_norm=draw(st.booleans()),
        logit_soft_cap=draw(st.none() | st.just(15.0)),
        token_smear=draw(st.booleans()),
        dropout=draw(st.sampled_from([0.0, 0.1])),
        attention_dropout=draw(st.sampled_from([0.0, 0.1])),
        mlp_dropout=draw(st.sampled_from([0.0, 0.1])),
    )


def ranks(config: ModelConfig) -> st.SearchStrategy[int | None]:
    """None, for full training, or a rank that factors beside the matrices of such a model can have."""
    return st.none() | st.integers(1, min(config.d_model, config.d_hidden))


def built(config: ModelConfig, vocab_size: int, rank: int | None = None) -> Transformer:
    model = Transformer(config, vocab_size)
    if rank:
        add_factors(model, rank)
    return model


def on_meta(config: ModelConfig, vocab_size: int, rank: int | None = None) -> Transformer:
    with torch.device("meta"):
        return built(config, vocab_size, rank)


def component_of(parameter: str) -> str:
    """The component a parameter of the model belongs to, by its name in the checkpoint."""
    part = re.sub(r"^blocks\.\d+\.", "block.", parameter)
    places = {
        "embedding": "token embedding",
        "position": "position embedding",
        "smear": "smear",
        "norm": "final norm",
        "head": "head",
        "block.attention_norm": "attention norm",
        "block.attention.qkv": "attention",
        "block.attention.out": "attention",
        "block.attention_post_norm": "attention post norm",
        "block.mlp_norm": "MLP norm",
        "block.mlp.gate": "MLP",
        "block.mlp.up": "MLP",
        "block.mlp.down": "MLP",
        "block.mlp_post_norm": "MLP post norm",
    }
    return places[part.rsplit(".", 1)[0]]


@settings(deadline=None)
@given(model_configs(), st.integers(1, 300))
def test_parameters_equal_the_models_component_by_component(config: ModelConfig, vocab_size: int) -> None:
    counted: dict[str, int] = {}
    for name, parameter in on_meta(config, vocab_size).named_parameters():
        component = component_of(name)
        counted[component] = counted.get(component, 0) + parameter.numel()
    stated = accounting.parameters(config, vocab_size)
    assert stated == counted
    assert list(stated) == list(counted)  # in the order of the model


@settings(deadline=None)
@given(model_configs(), st.integers(1, 300), st.data())
def test_what_is_trained_is_what_takes_gradients(config: ModelConfig, vocab_size: int, data: st.DataObject) -> None:
    rank = data.draw(ranks(config))
    stated = accounting.trained(config, vocab_size, rank)
    found = [p.shape.numel() for p in on_meta(config, vocab_size, rank).parameters() if p.requires_grad]
    assert sum(part.count for part in stated) == sum(found)
    assert sum(part.copies * len(part.shapes) for part in stated) == len(found)


@given(model_configs(), st.integers(1, 300))
def test_the_calculation_written_out_gives_the_count(config: ModelConfig, vocab_size: int) -> None:
    for component in accounting.components(config, vocab_size):
        terms = component.calculation.split(" + ")
        total = 0
        for term in terms:
            product = 1
            for factor in term.split(" x "):
                product *= int(factor)
            total += product
        assert total == component.each
        assert component.count == component.each * component.copies


@settings(deadline=None)
@given(model_configs(), st.integers(1, 300), st.data())
def test_forward_flops_equal_pytorchs_count(config: ModelConfig, vocab_size: int, data: st.DataObject) -> None:
    context = data.draw(st.integers(1, config.context_length))
    model, ids = on_meta(config, vocab_size), torch.zeros(1, context, dtype=torch.long, device="meta")
    with FlopCounterMode(display=False) as counter:
        model(ids)
    assert accounting.forward_flops(config, vocab_size, context) == counter.get_total_flops()


@pytest.mark.parametrize("rank", [None, 5])
@pytest.mark.parametrize("activation", ["gelu", "swiglu"])
def test_training_flops_equal_pytorchs_count(activation: Any, rank: int | None) -> None:
    config = ModelConfig(d_model=48, n_heads=3, n_layers=2, context_length=20, activation=activation)
    model, ids = on_meta(config, 65, rank), torch.zeros(1, 20, dtype=torch.long, device="meta")
    with FlopCounterMode(display=False) as counter:
        model(ids).sum().backward()
    assert accounting.training_flops(config, 65, 20, rank) == counter.get_total_flops()


@settings(deadline=None, max_examples=20)
@given(
    model_configs(),
    st.sampled_from(
        [
            OptimizerConfig(name="sgd"),
            OptimizerConfig(name="sgd", momentum=0.9),
            OptimizerConfig(name="adamw"),
            OptimizerConfig(name="muon"),
        ]
    ),
    st.data(),
)
def test_state_bytes_equal_the_tensors_of_a_step(
    config: ModelConfig, optimizer: OptimizerConfig, data: st.DataObject
) -> None:
    rank = None if optimizer.name == "muon" else data.draw(ranks(config))
    model = built(config, 10, rank)
    optimizers = build_optimizers(optimizer, model)
    model(torch.zeros(1, 1, dtype=torch.long)).sum().backward()
    tensors: list[torch.Tensor] = []
    for parameter in model.parameters():
        tensors.append(parameter)
        if parameter.requires_grad:
            parameter.grad = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
            tensors.append(parameter.grad)
    for o in optimizers:
        o.step()
    tensors += optimizer_tensors(optimizers, model).values()
    assert accounting.state_bytes(config, 10, optimizer, rank) == sum(t.nbytes for t in tensors)


@pytest.mark.parametrize("training", [{"lora_rank": 3}, {"ema_decay": 0.9}, {"weight_bits": 4}], ids=str)
def test_a_checkpoint_with_two_kinds_of_weights_takes_the_state_but_for_merged_factors(
    training: dict[str, Any],
) -> None:
    model = {"context_length": 8, "d_model": 32, "n_layers": 2, "n_heads": 2}
    config = build_config(
        {"model": model, "training": {"max_steps": 1, "device": "cpu", "precision": "fp32", **training}}
    )
    learner, ids = Learner(config, 10), np.zeros((2, 8), np.int64)
    learner.update(ids, ids, 0, 1.0)
    saved = sum(tensor.nbytes for tensors in learner.tensors() for tensor in tensors.values())
    merged = sum(factor.nbytes for factor in factors(learner.model).values())
    state = accounting.state_bytes(config.model, 10, config.optimizer, config.training.lora_rank)
    assert saved == state - merged


def test_training_memory_counts_the_largest_part_of_a_batch_and_averaged_weights_where_there_are_any() -> None:
    training = {"batch_size": 7, "micro_batches": 3, "max_steps": 1}
    plain = build_config({"training": training})
    averaged = build_config({"training": training | {"ema_decay": 0.9}})
    memory, model = accounting.training_memory(plain, 65), plain.model
    weights = memory["weights"]
    assert memory["gradients"] == weights == 4 * sum(accounting.parameters(model, 65).values())
    assert memory["activations"] == sum(accounting.activations(model, 65, sequences=3).values())
    state = accounting.state_bytes(model, 65, plain.optimizer)
    assert sum(memory.values()) - memory["activations"] == state
    assert accounting.training_memory(averaged, 65) == memory | {"averaged weights": weights}


def test_training_memory_counts_bf16_where_a_cpu_trains_in_it() -> None:
    def kept(**training: str) -> dict[str, int]:
        return accounting.training_activations(build_config({"training": {"max_steps": 1, **training}}), 65)

    short, full = (accounting.activations(ModelConfig(), 65, sequences=12, bf16=bf16) for bf16 in (True, False))
    assert kept(device="cpu", precision="bf16") == short
    assert kept(device="cpu", precision="fp32") == kept(device="cuda", precision="bf16") == full


@given(st.integers(1, 100), st.integers(1, 20), st.integers(1, 8))
def test_a_micro_batch_is_the_largest_part(batch_size: int, micro_batches: int, processes: int) -> None:
    config = TrainingConfig(batch_size=batch_size * processes, micro_batches=micro_batches, max_steps=1)
    parts = np.array_split(np.empty(batch_size), min(micro_batches, batch_size))  # as a learner does, in each process
    assert config.micro_batch(processes) == max(map(len, parts))


def kept_for_backward(config: RunConfig, vocab_size: int, sequences: int) -> int:
    """Bytes of the storages that autograd keeps of a forward pass and its loss, the model's own left out."""
    model = Transformer(config.model, vocab_size).train()
    quicken(model, config.training)
    if config.training.lora_rank:
        add_factors(model, config.training.lora_rank)
    own = {tensor.untyped_storage().data_ptr() for tensor in (*model.parameters(), *model.buffers())}
    kept: dict[int, torch.UntypedStorage] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage
        return tensor

    ids, targets = torch.randint(vocab_size, (2, sequences, config.model.context_length)).unbind()
    ids, targets = ids.clone(), targets.clone()  # two storages, as in training
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor), autocast(config):
        F.cross_entropy(model(ids).flatten(0, 1).float(), targets.flatten())
    return sum(storage.nbytes() for storage in kept.values())


@given(
    model_configs(),
    st.integers(2, 300),
    st.integers(1, 4),
    st.sampled_from(["matmul", "convolution"]),
    st.sampled_from(["fp32", "bf16"]),
    st.data(),
)
def test_activations_are_what_autograd_keeps(
    config: ModelConfig, vocab_size: int, sequences: int, products: Any, precision: Any, data: st.DataObject
) -> None:
    rank = data.draw(ranks(config))
    training = TrainingConfig(max_steps=1, device="cpu", products=products, precision=precision, lora_rank=rank)
    computed = sum(accounting.activations(config, vocab_size, sequences, precision == "bf16", rank).values())
    assert computed == kept_for_backward(RunConfig(model=config, training=training), vocab_size, sequences)


@given(model_configs(), st.integers(2, 300), st.integers(1, 4))
def test_what_fits_is_never_refused(config: ModelConfig, vocab_size: int, sequences: int) -> None:
    optimizer = OptimizerConfig()
    state = accounting.state_bytes(config, vocab_size, optimizer)
    halved = sum(accounting.activations(config, vocab_size, sequences).values()) // 2
    in_bf16 = sum(accounting.activations(config, vocab_size, sequences, bf16=True).values())
    require_memory(config, vocab_size, optimizer, sequences, available=state + min(halved, in_bf16))


@pytest.mark.parametrize("activation", ["gelu", "swiglu"])
def test_what_is_required_is_at_least_a_third_of_the_activations(activation: Any) -> None:
    config, optimizer = ModelConfig(activation=activation), OptimizerConfig()
    state = accounting.state_bytes(config, 65, optimizer)
    third = sum(accounting.activations(config, 65, 100).values()) // 3
    with pytest.raises(ResourceError):
        require_memory(config, 65, optimizer, 100, available=state + third)


def test_a_model_with_masks_as_lectures_count_it() -> None:
    # the small model of a lecture: "Model size: 0.86 MB"; the large one: 10.43 MB; both are 2^20 bytes
    small = ModelConfig(context_length=32, d_model=64, activation="relu", tied_head=False, **LECTURE_BIASES)
    large = small.model_copy(update={"d_model": 192, "n_layers": 6, "n_heads": 6})
    assert accounting.masked_model_bytes(small, 65) == 904_452
    assert round(accounting.masked_model_bytes(small, 65) / 2**20, 2) == 0.86
    assert round(accounting.masked_model_bytes(large, 65) / 2**20, 2) == 10.43


@given(model_configs(), st.integers(1, 3), st.sampled_from([torch.float32, torch.bfloat16]))
def test_cache_bytes_equal_the_caches_tensors(config: ModelConfig, batch_size: int, dtype: torch.dtype) -> None:
    cache = Cache(config, batch_size, dtype, device="meta")
    tensors = [value for holder in [cache, *cache.layers] for value in vars(holder).values() if torch.is_tensor(value)]
    assert accounting.cache_bytes(config, batch_size, dtype.itemsize) == sum(t.nbytes for t in tensors)


def test_a_trillion_parameters_are_refused() -> None:
    config = ModelConfig(d_model=100_000, n_heads=1000, n_layers=10)
    with pytest.raises(
        ResourceError, match=r"1,200,\d+,\d+,\d+ parameters takes at least 19,\d+\.\d GB.*reduce d_model"
    ):
        require_memory(config, 65, OptimizerConfig())
    assert ResourceError.exit_code == 5


def test_to_use_a_model_only_its_weights_have_to_fit() -> None:
    needed = 4 * sum(accounting.parameters(ModelConfig(), 65).values())
    require_memory(ModelConfig(), 65, available=needed)
    with pytest.raises(ResourceError, match="using a model of"):
        require_memory(ModelConfig(), 65, available=needed - 1)


def test_a_batch_that_cannot_fit_is_refused_with_its_own_remedy() -> None:
    with pytest.raises(ResourceError, match="reduce batch_size or context_length"):
        require_memory(ModelConfig(), 65, OptimizerConfig(), sequences=10**7)


def test_memory_is_refused_from_the_first_byte_too_few() -> None:
    config, optimizer = ModelConfig(context_length=64, d_model=128, n_layers=4), OptimizerConfig()
    activations = 2 * 64 * (4 * (6 * 128 + 2 * 512) + 128 + 65)
    needed = accounting.state_bytes(config, 65, optimizer) + activations
    require_memory(config, 65, optimizer, available=needed)
    with pytest.raises(ResourceError):
        require_memory(config, 65, optimizer, available=needed - 1)


def test_with_factors_a_model_too_large_for_full_training_fits() -> None:
    config, optimizer = ModelConfig(d_model=512, n_heads=8, n_layers=8), OptimizerConfig()
    available = accounting.state_bytes(config, 65, optimizer) // 2
    with pytest.raises(ResourceError, match="training a model of"):
        require_memory(config, 65, optimizer, available=available)
    require_memory(config, 65, optimizer, available=available, rank=8)


def test_physical_memory_is_what_the_kernel_says() -> None:
    meminfo = Path("/proc/meminfo")
    if not meminfo.exists():
        pytest.skip("no /proc/meminfo on this system")
    total = int(meminfo.read_text().split()[1])
    assert physical_memory() == total * 1024
