"""Every engine against the others and against the float64 reference, over all variants of the model."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from letterloom.config import ModelConfig
from letterloom.errors import NonFiniteError
from letterloom.generation.compiled.engine import CompiledEngine
from letterloom.generation.compiled.weights import parameter_shapes
from letterloom.generation.eager import EagerEngine
from letterloom.generation.engine import logits_on_the_way
from letterloom.generation.sampler import Sampler, uniforms
from letterloom.model.transformer import Transformer
from letterloom.model.window import window_start
from letterloom.reference.model import forward
from letterloom.reference.options import Options
from letterloom.reference.weights import read_weights
from letterloom.runs.quantized import QuantizedMatrix, choose, quantize, read_quantized, widened

VOCAB = 19
configs = st.builds(
    lambda heads, width, **rest: ModelConfig(d_model=heads * width, n_heads=heads, **rest),
    heads=st.integers(1, 3),
    width=st.sampled_from([2, 4, 6, 16, 18]),
    context_length=st.integers(1, 40),
    n_layers=st.integers(1, 3),
    d_ff=st.none() | st.integers(1, 40),
    positions=st.sampled_from(["none", "learned", "sinusoidal", "rotary"]),
    activation=st.sampled_from(["relu", "gelu", "gelu_tanh", "relu_squared", "swiglu"]),
    norm=st.just("layernorm"),
    norm_placement=st.sampled_from(["before", "before_and_after"]),
    logit_soft_cap=st.none() | st.floats(1, 30),
    dropout=st.sampled_from([0.0, 0.5]),
    **{name: st.booleans() for name in ("bias_qkv", "bias_attention_out", "bias_mlp", "bias_norm", "bias_head")},
    **{name: st.booleans() for name in ("tied_head", "qk_norm", "token_smear")},
) | st.builds(
    ModelConfig,
    norm=st.just("rmsnorm"),
    positions=st.sampled_from(["learned", "rotary"]),
    context_length=st.just(9),
    d_model=st.just(24),
    n_heads=st.just(2),
)


def random_model(config: ModelConfig, seed: int = 3) -> Transformer:
    """Weights so large that attention is sharp and every part of the model matters."""
    model = Transformer(config, VOCAB).eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.3, generator=generator)
    return model


def compiled(model: Transformer, threads: int = 1) -> CompiledEngine:
    parameters = {name: parameter.detach().numpy() for name, parameter in model.named_parameters()}
    return CompiledEngine(parameters, model.config, model.vocab_size, threads)


def narrowed(model: Transformer, bits: int) -> dict[str, NDArray[Any]]:
    """The arrays of a quantized file."""
    parameters = {name: parameter.detach().numpy() for name, parameter in model.named_parameters()}
    return quantize(parameters, choose(bits, None))


def quantized(model: Transformer, bits: int) -> dict[str, Any]:
    return read_quantized(narrowed(model, bits), model.config, Path("model.safetensors"))


def numbers(n: int, *samples: int) -> NDArray[np.float64]:
    return np.stack([uniforms(1, sample).random(n) for sample in samples], axis=1)


def options_of(config: ModelConfig) -> Options:
    shared = {field.name: getattr(config, field.name) for field in fields(Options) if field.name != "vocab_size"}
    return Options(vocab_size=VOCAB, **shared)


def reference_logits(model: Transformer, ids: NDArray[np.int64]) -> NDArray[np.float64]:
    weights = {name: weight.detach().double().numpy() for name, weight in model.named_parameters()}
    logits: NDArray[np.float64] = forward(weights, ids[None], options_of(model.config))
    return np.asarray(logits[0, -1])


@given(config=configs, length=st.integers(1, 60), seed=st.integers(0, 100))
@settings(max_examples=150)
def test_logits_are_those_of_the_reference(config: ModelConfig, length: int, seed: int) -> None:
    model = random_model(config, seed)
    ids = np.random.default_rng(seed).integers(VOCAB, size=length)
    expected = reference_logits(model, ids[window_start(length, config.context_length) :])
    scale = max(1.0, float(np.abs(expected).max()))
    for engine in (compiled(model), EagerEngine(model), EagerEngine(model, cached=False)):
        np.testing.assert_allclose(engine.begin(ids).logits()[0], expected, rtol=0, atol=1e-4 * scale)


@given(config=configs, length=st.integers(1, 60), seed=st.integers(0, 100))
@settings(max_examples=60)
def test_logits_on_the_way_are_those_of_the_reference(config: ModelConfig, length: int, seed: int) -> None:
    model = random_model(config, seed)
    text = np.random.default_rng(seed).integers(VOCAB, size=length)
    streams = compiled(model).begin(text)
    for _ in range(8):
        text = np.append(text, streams.draw(Sampler(), numbers(7, seed))[:, 0])
        expected = reference_logits(model, text[window_start(len(text), config.context_length) :])
        scale = max(1.0, float(np.abs(expected).max()))
        np.testing.assert_allclose(streams.logits()[0], expected, rtol=0, atol=1e-4 * scale)


@given(config=configs, seed=st.integers(0, 100))
@settings(max_examples=20)
def test_logits_of_given_texts_are_those_of_the_reference(config: ModelConfig, seed: int) -> None:
    model = random_model(config, seed)
    length = 1 + seed % config.context_length
    texts = np.random.default_rng(seed).integers(VOCAB, size=(2, length))
    for engine in (compiled(model), EagerEngine(model)):
        found = logits_on_the_way(engine, texts)
        assert found.shape == (2, length // 2 + 1, VOCAB)
        for i in range(found.shape[1]):
            for text, logits in zip(texts, found, strict=True):
                expected = reference_logits(model, text[: length - length // 2 + i])
                scale = max(1.0, float(np.abs(expected).max()))
                np.testing.assert_allclose(logits[i], expected, rtol=0, atol=1e-4 * scale)


@given(config=configs, seed=st.integers(0, 100))
@settings(max_examples=40)
def test_texts_are_the_same(config: ModelConfig, seed: int) -> None:
    model = random_model(config, seed)
    prompt = np.random.default_rng(seed).integers(VOCAB, size=1 + seed % 30)
    for sampler in (Sampler(temperature=0), Sampler(0.8), Sampler(top_k=5, top_p=0.9, repetition_penalty=1.3)):
        expected = EagerEngine(model).begin(prompt).draw(sampler, numbers(70, 0))
        assert np.array_equal(compiled(model).begin(prompt).draw(sampler, numbers(70, 0)), expected)


MODEL = random_model(ModelConfig(context_length=24, d_model=48, n_heads=3, positions="rotary", activation="swiglu"))
PROMPT = np.arange(5)


def engines() -> list[Any]:
    return [compiled(MODEL), EagerEngine(MODEL)]


@pytest.mark.parametrize("engine", engines(), ids=lambda engine: type(engine).__name__)
def test_a_text_drawn_in_pieces_is_the_text_drawn_at_once(engine: Any) -> None:
    draws = numbers(100, 0)
    whole = engine.begin(PROMPT).draw(Sampler(), draws)
    streams = engine.begin(PROMPT)
    pieces = [streams.draw(Sampler(), np.ascontiguousarray(part)) for part in np.split(draws, [1, 3, 30, 31, 90])]
    assert np.array_equal(np.concatenate(pieces), whole)
    assert len(set(whole[:, 0])) > 5


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("streams", [2, 5, 40])  # 40: more rows than are read at a time
def test_texts_drawn_together_are_those_drawn_alone_to_the_last_bit(streams: int, threads: int) -> None:
    together = compiled(MODEL, threads).begin(PROMPT, streams)
    ids = together.draw(Sampler(), numbers(60, *range(streams)))
    for stream in {0, 1, streams - 1}:
        alone = compiled(MODEL).begin(PROMPT)
        assert np.array_equal(alone.draw(Sampler(), numbers(60, stream)), ids[:, [stream]])
        assert np.array_equal(alone.logits()[0], together.logits()[stream])


@given(config=configs, threads=st.sampled_from([2, 3, 7]))
@settings(max_examples=40)
def test_threads_change_nothing(config: ModelConfig, threads: int) -> None:
    model = random_model(config)
    engine = compiled(model, threads)
    engine.threads_for_one = threads  # however small the model
    alone, shared = compiled(model).begin(PROMPT), engine.begin(PROMPT)
    for _ in range(3):
        draws = numbers(40, 0)
        assert np.array_equal(alone.draw(Sampler(), draws), shared.draw(Sampler(), draws))
    assert np.array_equal(alone.logits(), shared.logits())


@given(config=configs, bits=st.sampled_from([8, 4]), streams=st.sampled_from([1, 2, 5]), seed=st.integers(0, 100))
@settings(max_examples=30)
def test_quantized_weights_give_what_they_mean(config: ModelConfig, bits: int, streams: int, seed: int) -> None:
    parameters = quantized(random_model(config, seed), bits)
    floats = CompiledEngine(widened(parameters), config, VOCAB, threads=1)
    narrow = CompiledEngine(parameters, config, VOCAB, threads=3)
    narrow.threads_for_one = 3
    assert {array.dtype for array in (narrow.weights.qkv, narrow.weights.gate, narrow.weights.head)} == {np.dtype("i1")}
    text = np.random.default_rng(seed).integers(VOCAB, size=1 + seed % 50)
    ours, expected = (engine.begin(text, streams) for engine in (narrow, floats))
    for _ in range(2):
        draws = numbers(30, *range(streams))
        assert np.array_equal(ours.draw(Sampler(), draws), expected.draw(Sampler(), draws))
        assert np.array_equal(ours.logits(), expected.logits())  # bit for bit


@given(config=configs, bits=st.sampled_from([8, 4]), seed=st.integers(0, 100))
@settings(max_examples=20)
def test_logits_of_quantized_weights_are_those_of_the_reference(config: ModelConfig, bits: int, seed: int) -> None:
    stored = narrowed(random_model(config, seed), bits)
    ids = np.random.default_rng(seed).integers(VOCAB, size=1 + seed % config.context_length)
    expected = forward(read_weights(stored, options_of(config)), ids[None], options_of(config))[0, -1]
    parameters = read_quantized(stored, config, Path("model.safetensors"))
    found = CompiledEngine(parameters, config, VOCAB).begin(ids).logits()[0]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4 * max(1.0, float(np.abs(expected).max())))


def test_quantized_weights_take_a_third_of_the_memory() -> None:
    config = ModelConfig(d_model=128, n_heads=4, n_layers=2)
    model = random_model(config)
    floats, narrow = compiled(model), CompiledEngine(quantized(model, 4), config, VOCAB)
    assert 3 * sum(array.nbytes for array in narrow.weights) < sum(array.nbytes for array in floats.weights)


def test_scales_that_are_not_finite_are_told() -> None:
    parameters = quantized(MODEL, 8)
    matrix = parameters["blocks.0.mlp.up.weight"]
    parameters["blocks.0.mlp.up.weight"] = QuantizedMatrix(matrix.codes, np.full_like(matrix.scales, np.nan))
    with pytest.raises(NonFiniteError, match="not finite"):
        CompiledEngine(parameters, MODEL.config, VOCAB).begin(PROMPT).draw(Sampler(), numbers(3, 0))


def test_texts_drawn_by_several_threads_of_the_caller_do_not_wait_for_one_another() -> None:
    engine = compiled(MODEL, threads=4)
    engine.threads_for_one = 4
    draws = numbers(200, 0)
    expected = compiled(MODEL).begin(PROMPT).draw(Sampler(), draws)
    with ThreadPoolExecutor(4) as callers:
        texts = callers.map(lambda _: engine.begin(PROMPT).draw(Sampler(), draws), range(12))
        assert all(np.array_equal(text, expected) for text in texts)


def test_an_interrupted_text_is_not_continued() -> None:
    engine = compiled(MODEL, threads=2)
    engine.threads_for_one = 2
    streams = engine.begin(PROMPT)

    def interrupt() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        streams._run([interrupt])
    with pytest.raises(RuntimeError, match="begin it anew"):
        streams.draw(Sampler(), numbers(1, 0))


@pytest.mark.parametrize("kind", ["embedding", "qkv", "up", "norm"])
@pytest.mark.parametrize("activation", ["relu", "gelu", "gelu_tanh", "relu_squared", "swiglu"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_damaged_weights_are_told(kind: str, activation: Any, value: float) -> None:
    model = random_model(ModelConfig(context_length=8, d_model=16, n_heads=2, n_layers=1, activation=activation))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if kind in name:
                parameter.fill_(value)
    for engine in (compiled(model), EagerEngine(model)):
        with pytest.raises(NonFiniteError, match="not finite"):
            engine.begin(PROMPT).draw(Sampler(), numbers(3, 0))


def test_memory_does_not_grow_with_the_text() -> None:
    streams = compiled(MODEL).begin(PROMPT)
    streams.draw(Sampler(), numbers(1, 0))
    (part,) = streams._parts
    before = [array.nbytes for array in part.state]
    streams.draw(Sampler(), numbers(500, 0))
    assert [array.nbytes for array in part.state] == before


@given(config=configs)
def test_the_parameters_expected_are_those_of_the_model(config: ModelConfig) -> None:
    expected = {name: tuple(p.shape) for name, p in Transformer(config, VOCAB).named_parameters()}
    assert parameter_shapes(config, VOCAB) == expected
