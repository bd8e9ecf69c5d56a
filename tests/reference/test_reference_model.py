"""The reference judged without PyTorch: by finite differences, by what causality demands, by its own imports."""

import ast
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import letterloom.reference
from letterloom.reference.layers import cross_entropy
from letterloom.reference.model import forward, loss_and_gradients, residual_stream
from letterloom.reference.options import Options, parameter_shapes

VOCAB_SIZE, BATCH, TIME = 7, 2, 5

# Five models in which every value of every option occurs.
MODELS: dict[str, dict[str, Any]] = {
    "gpt2": {"bias_qkv": True, "bias_attention_out": True, "bias_mlp": True, "bias_norm": True},
    "modern": {
        "positions": "rotary",
        "norm": "rmsnorm",
        "activation": "relu_squared",
        "qk_norm": True,
        "logit_soft_cap": 1.5,
        "token_smear": True,
        "tied_head": False,
    },
    "llama": {"positions": "rotary", "norm": "rmsnorm", "activation": "swiglu", "bias_mlp": True, "d_ff": 6},
    "two norms": {
        "positions": "sinusoidal",
        "norm_placement": "before_and_after",
        "activation": "gelu_tanh",
        "bias_norm": True,
        "bias_head": True,
        "token_smear": True,
    },
    "plain": {
        "positions": "none",
        "norm": "rmsnorm",
        "norm_placement": "before_and_after",
        "activation": "relu",
        "bias_head": True,
        "tied_head": False,
        "n_heads": 1,
        "qk_norm": True,
    },
}


def build(name: str) -> tuple[dict[str, np.ndarray], Options]:
    settings = {"context_length": TIME + 1, "d_model": 4, "n_layers": 2, "n_heads": 2, **MODELS[name]}
    options = Options(vocab_size=VOCAB_SIZE, **settings)
    random = np.random.default_rng(3)
    return {name: random.normal(scale=0.5, size=shape) for name, shape in parameter_shapes(options).items()}, options


def some_ids() -> tuple[np.ndarray, np.ndarray]:
    text = np.random.default_rng(4).integers(0, VOCAB_SIZE, size=(BATCH, TIME + 1))
    return text[:, :-1], text[:, 1:]


@pytest.mark.parametrize("name", MODELS)
def test_gradients_are_the_slopes_of_the_loss(name: str) -> None:
    weights, options = build(name)
    ids, targets = some_ids()
    loss, gradients = loss_and_gradients(weights, ids, targets, options)
    assert loss == pytest.approx(cross_entropy(forward(weights, ids, options), targets), rel=1e-14)
    assert gradients.keys() == weights.keys()

    nudge = 1e-5
    for parameter_name, weight in weights.items():
        slopes = np.zeros_like(weight)
        for place in np.ndindex(weight.shape):
            here = weight[place]
            losses = []
            for weight[place] in (here - nudge, here + nudge):
                losses.append(cross_entropy(forward(weights, ids, options), targets))
            weight[place] = here
            slopes[place] = (losses[1] - losses[0]) / (2 * nudge)
        np.testing.assert_allclose(gradients[parameter_name], slopes, rtol=1e-5, atol=1e-8, err_msg=parameter_name)


@pytest.mark.parametrize("name", MODELS)
def test_the_future_changes_nothing_and_the_present_something(name: str) -> None:
    weights, options = build(name)
    ids, _ = some_ids()
    logits = forward(weights, ids, options)
    for time in range(TIME):
        changed = ids.copy()
        changed[:, time] = (changed[:, time] + 1) % VOCAB_SIZE
        new = forward(weights, changed, options)
        np.testing.assert_array_equal(new[:, :time], logits[:, :time])
        assert (new[:, time] != logits[:, time]).any(axis=-1).all()


def test_texts_of_a_batch_do_not_meet() -> None:
    weights, options = build("modern")
    ids, _ = some_ids()
    together, alone = forward(weights, ids, options), forward(weights, ids[1:], options)
    np.testing.assert_allclose(together[1:], alone, rtol=1e-12)


def test_one_block_without_positions_sees_the_past_as_a_set() -> None:
    weights, options = build("plain")
    options = replace(options, n_layers=1)
    weights = {name: weights[name] for name in parameter_shapes(options)}
    ids = np.array([[0, 1, 2, 3, 4]])
    shuffled = np.array([[2, 0, 3, 1, 4]])
    np.testing.assert_allclose(
        forward(weights, ids, options)[:, -1], forward(weights, shuffled, options)[:, -1], rtol=1e-12
    )


def test_sublayers_that_add_nothing_leave_the_embedding_in_the_stream() -> None:
    weights, options = build("gpt2")
    for name in weights:
        if ".out." in name or ".down." in name:
            weights[name] = 0 * weights[name]
    ids, _ = some_ids()
    embedded = weights["embedding.weight"][ids] + weights["position.weight"][:TIME]
    for x in residual_stream(weights, ids, options):
        np.testing.assert_array_equal(x, embedded)


def test_parameters_that_do_not_fit_the_options_are_named() -> None:
    weights, options = build("gpt2")
    ids, _ = some_ids()
    for wrong, message in [
        ({name: weights[name] for name in weights if name != "norm.bias"}, "norm.bias: shape None, not (4,)"),
        (weights | {"norm.weight": np.ones(5)}, "norm.weight: shape (5,), not (4,)"),
        (weights | {"head.bias": np.ones(7)}, "head.bias: shape (7,), not None"),
    ]:
        with pytest.raises(ValueError) as error:
            forward(wrong, ids, options)
        assert str(error.value) == message


def test_a_text_longer_than_the_context_is_refused() -> None:
    weights, options = build("plain")
    with pytest.raises(ValueError, match="7 characters do not fit a context of 6"):
        forward(weights, np.zeros((1, TIME + 2), dtype=np.int64), options)


def test_the_mlp_width_is_four_or_eight_thirds() -> None:
    def width(**settings: Any) -> int:
        return Options(vocab_size=2, context_length=1, n_layers=1, n_heads=1, **settings).d_hidden

    assert width(d_model=12) == 48
    assert width(d_model=12, activation="swiglu") == 32  # 8/3 of 12 is 32, a multiple of 8
    assert width(d_model=128, activation="swiglu") == 344  # 341.3 rounded up
    assert width(d_model=128, activation="swiglu", d_ff=7) == 7


def test_the_reference_needs_numpy_and_nothing_of_the_package() -> None:
    for file in Path(letterloom.reference.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or "."] if isinstance(node, ast.ImportFrom) else []
            for name in names:
                assert name.startswith("letterloom.reference") or name.split(".")[0] in {
                    "numpy",
                    "math",
                    "collections",
                    "dataclasses",
                }, f"{file.name} imports {name}"
