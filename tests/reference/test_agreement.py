"""The model and its optimizers against the NumPy reference, over every pair of options, in float64."""

import itertools
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from letterloom.config import ModelConfig, OptimizerConfig
from letterloom.model.transformer import Transformer
from letterloom.reference import optimizers
from letterloom.reference.model import forward, loss_and_gradients
from letterloom.reference.options import Options, parameter_shapes
from letterloom.training.optimizers import build_optimizers

TOLERANCE = 1e-9
VOCAB_SIZE, BATCH, TIME = 11, 2, 6
STEPS, CLIP = 10, 0.3

# Dropout is off in the reference, and the initialisation is not part of the function: both have tests of their own.
CHOICES: dict[str, tuple[Any, ...]] = {
    "positions": ("none", "learned", "sinusoidal", "rotary"),
    "activation": ("relu", "gelu", "gelu_tanh", "relu_squared", "swiglu"),
    "norm": ("layernorm", "rmsnorm"),
    "norm_placement": ("before", "before_and_after"),
    "bias_qkv": (False, True),
    "bias_attention_out": (False, True),
    "bias_mlp": (False, True),
    "bias_norm": (False, True),
    "bias_head": (False, True),
    "tied_head": (False, True),
    "qk_norm": (False, True),
    "logit_soft_cap": (None, 1.5),
    "token_smear": (False, True),
    "d_ff": (None, 10),
    "n_heads": (1, 2, 3),
    "context_length": (TIME, TIME + 2),
}
FORBIDDEN = frozenset({("norm", "rmsnorm"), ("bias_norm", True)})  # an RMSNorm has no bias

Choice = tuple[str, Any]


def covering_set() -> list[dict[str, Any]]:
    """Configurations in which every allowed pair of option values occurs; greedy, and the same every time."""
    missing = dict.fromkeys(  # a dict for its order
        frozenset(pair)
        for one, other in itertools.combinations(CHOICES, 2)
        for pair in itertools.product([(one, value) for value in CHOICES[one]], [(other, v) for v in CHOICES[other]])
        if frozenset(pair) != FORBIDDEN
    )
    configurations = []
    while missing:
        chosen: dict[str, Any] = dict(sorted(next(iter(missing))))
        for option, values in CHOICES.items():
            if option in chosen:
                continue

            def gain(value: Any, option: str = option, chosen: dict[str, Any] = chosen) -> int:
                pairs = [frozenset({(option, value), other}) for other in chosen.items()]
                return -1 if FORBIDDEN in pairs else sum(pair in missing for pair in pairs)

            chosen[option] = max(values, key=gain)
        for pair in itertools.combinations(chosen.items(), 2):
            missing.pop(frozenset(pair), None)
        configurations.append(chosen)
    return configurations


CONFIGURATIONS = covering_set()


def build(chosen: dict[str, Any], seed: int = 0) -> tuple[Transformer, dict[str, np.ndarray], Options]:
    """A float64 model, its weights as arrays, and the options; all weights are drawn, so that all of them matter."""
    config = ModelConfig(d_model=12, n_layers=2, **chosen)
    torch.set_default_dtype(torch.float64)
    try:
        model = Transformer(config, VOCAB_SIZE)
    finally:
        torch.set_default_dtype(torch.float32)
    random = np.random.default_rng(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.from_numpy(random.normal(scale=0.4, size=parameter.shape)))
    weights = {name: parameter.detach().numpy().copy() for name, parameter in model.named_parameters()}
    return model, weights, Options(vocab_size=VOCAB_SIZE, d_model=12, n_layers=2, **chosen)


def some_ids(seed: int) -> tuple[np.ndarray, np.ndarray]:
    text = np.random.default_rng(seed).integers(0, VOCAB_SIZE, size=(BATCH, TIME + 1))
    return text[:, :-1], text[:, 1:]


def torch_loss(model: Transformer, ids: np.ndarray, targets: np.ndarray) -> torch.Tensor:
    return F.cross_entropy(model(torch.from_numpy(ids)).flatten(0, 1), torch.from_numpy(targets).flatten())


def assert_close(found: Any, expected: np.ndarray | float, what: str) -> None:
    found, expected = np.asarray(found), np.asarray(expected)
    assert found.shape == expected.shape, what
    difference = np.abs(found - expected).max() / np.abs(expected).max()
    assert difference < TOLERANCE, f"{what}: relative difference {difference:.1e}"


every_configuration = pytest.mark.parametrize(
    "chosen", CONFIGURATIONS, ids=[str(i) for i in range(len(CONFIGURATIONS))]
)


def test_every_pair_of_option_values_occurs() -> None:
    covered = {frozenset(pair) for chosen in CONFIGURATIONS for pair in itertools.combinations(chosen.items(), 2)}
    for (one, values), (other, others) in itertools.combinations(CHOICES.items(), 2):
        for value, other_value in itertools.product(values, others):
            pair = frozenset({(one, value), (other, other_value)})
            assert (pair in covered) != (pair == FORBIDDEN), pair


def test_every_option_of_the_model_is_compared() -> None:
    assert set(ModelConfig.model_fields) == {
        *CHOICES,
        "d_model",
        "n_layers",
        "dropout",
        "mlp_dropout",
        "attention_dropout",
        "initialisation",
    }


@every_configuration
def test_parameters_have_the_names_and_shapes_of_the_specification(chosen: dict[str, Any]) -> None:
    _, weights, options = build(chosen)
    assert {name: weight.shape for name, weight in weights.items()} == parameter_shapes(options)


@every_configuration
def test_logits_loss_and_every_gradient(chosen: dict[str, Any]) -> None:
    model, weights, options = build(chosen)
    ids, targets = some_ids(seed=1)
    expected_loss, expected_gradients = loss_and_gradients(weights, ids, targets, options)

    loss = torch_loss(model, ids, targets)
    loss.backward()  # type: ignore[no-untyped-call]
    assert_close(model(torch.from_numpy(ids)).detach(), forward(weights, ids, options), "logits")
    assert_close(loss.item(), expected_loss, "loss")
    found = {name: parameter.grad for name, parameter in model.named_parameters()}
    assert found.keys() == expected_gradients.keys()
    for name, gradient in expected_gradients.items():
        assert_close(found[name], gradient, f"gradient of {name}")


@every_configuration
@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_ten_optimizer_steps(chosen: dict[str, Any], name: str) -> None:
    model, weights, options = build(chosen)
    config = OptimizerConfig(
        name=name, learning_rate=0.02, momentum=0.9, beta2=0.95, weight_decay=0.3, gradient_clip=CLIP
    )
    (optimizer,) = build_optimizers(config, model)
    velocities, state = optimizers.sgd_start(weights), optimizers.adamw_start(weights)
    rate, decay = config.learning_rate, config.weight_decay
    clipped = 0
    for step in range(STEPS):
        ids, targets = some_ids(seed=step)
        model.zero_grad()
        torch_loss(model, ids, targets).backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimizer.step()

        _, gradients = loss_and_gradients(weights, ids, targets, options)
        clipped += optimizers.gradient_norm(gradients) > CLIP
        gradients = optimizers.clip(gradients, CLIP)
        if name == "sgd":
            weights, velocities = optimizers.sgd_step(
                weights, gradients, velocities, learning_rate=rate, momentum=0.9, weight_decay=decay
            )
        else:
            weights, state = optimizers.adamw_step(
                weights, gradients, state, learning_rate=rate, beta1=0.9, beta2=0.95, eps=1e-8, weight_decay=decay
            )
    assert clipped  # otherwise the clipping was never compared
    for parameter_name, parameter in model.named_parameters():
        # the widest, at 1e-11: key biases, whose true gradient is 0, so that AdamW magnifies rounding up to eps
        assert_close(parameter.detach(), weights[parameter_name], f"{parameter_name} after {STEPS} steps")
