import itertools
import json
import math
import pickle
import random
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from letterloom.config import ModelConfig
from letterloom.errors import ConfigError, CorpusError, DataMismatchError, NonFiniteError
from letterloom.evaluation.loss import evaluate, surprisal
from letterloom.model.transformer import Transformer
from letterloom.model.window import PROTOCOLS
from letterloom.text.tokenizers import ByteTokenizer, CharacterTokenizer

protocols = pytest.mark.parametrize("protocol", PROTOCOLS)
LETTERS = CharacterTokenizer("abcdefg")


def random_model(context_length: int, vocab_size: int = 7, **settings: Any) -> Transformer:
    """Weights far from zero, so that every character and its place matter."""
    config = ModelConfig(context_length=context_length, d_model=8, n_layers=1, n_heads=2, token_smear=True, **settings)
    model = Transformer(config, vocab_size)
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.7, generator=generator)
    return model.eval()


def random_ids(n: int, vocab_size: int = 7) -> NDArray[np.uint8]:
    return np.random.default_rng(n).integers(0, vocab_size, n).astype(np.uint8)


def what_is_seen(protocol: str, n: int, context: int) -> list[int]:
    """Where the window begins for each position from 1 on, told step by step."""
    starts, start = [], 0
    for position in range(1, n):
        if position - start > context:
            start += context if protocol == "blocks" else max(1, context // 4)
        starts.append(start)
    return starts


@torch.no_grad()
def one_at_a_time(model: Transformer, ids: NDArray[np.integer[Any]], protocol: str) -> NDArray[np.float64]:
    """The judge: one forward a character, on exactly what it may see."""
    nats = [math.log(model.vocab_size)]
    for position, start in enumerate(what_is_seen(protocol, len(ids), model.config.context_length), start=1):
        seen = torch.from_numpy(ids[start:position].astype(np.int64))[None]
        nats.append(-float(model(seen)[0, -1].double().log_softmax(-1)[ids[position]]))
    return np.array(nats)


@protocols
@given(context=st.integers(1, 9), n=st.integers(2, 40))
@example(context=8, n=8)
@example(context=8, n=9)
@example(context=8, n=10)
@example(context=8, n=16)
@example(context=8, n=17)
@example(context=8, n=18)
@example(context=4, n=33)
@settings(max_examples=60, deadline=None)
def test_agrees_with_one_forward_a_character(protocol: str, context: int, n: int) -> None:
    model, ids = random_model(context), random_ids(n)
    nats, positions = surprisal(model, ids, protocol)
    assert positions.tolist() == list(range(n))  # each once, the tail too
    assert nats.dtype == np.float64
    np.testing.assert_allclose(nats, one_at_a_time(model, ids, protocol), rtol=1e-4, atol=1e-5)


@protocols
@pytest.mark.parametrize("positions", ["none", "learned", "sinusoidal", "rotary"])
def test_agrees_over_several_batches(protocol: str, positions: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model, ids = random_model(12, positions=positions), random_ids(150)
    expected = one_at_a_time(model, ids, protocol)
    for size in (1, 40, 4096):
        monkeypatch.setattr("letterloom.evaluation.loss.POSITIONS_PER_BATCH", size)
        np.testing.assert_allclose(surprisal(model, ids, protocol)[0], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("protocol", "least"), [("blocks", 1), ("sliding", 48)])
def test_how_much_lies_before_each_character(protocol: str, least: int) -> None:
    """The judge's own windows keep the promise of the protocol."""
    starts = what_is_seen(protocol, 1000, 64)
    seen = [position - start for position, start in enumerate(starts, start=1)]
    assert max(seen) == 64
    assert min(seen[64:]) >= least


@protocols
def test_a_model_of_zeros_costs_the_logarithm_of_the_vocabulary(protocol: str) -> None:
    model = random_model(8)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    result = evaluate(model, LETTERS, random_ids(3000), protocol)
    assert result.nats_per_character == pytest.approx(math.log(7), rel=1e-6)
    assert result.bits_per_character == pytest.approx(math.log2(7), rel=1e-6)
    assert result.interval == pytest.approx((math.log(7), math.log(7)), rel=1e-6)


@protocols
@given(n=st.integers(2, 120), max_windows=st.integers(1, 40))
@settings(max_examples=40, deadline=None)
def test_fewer_windows_are_some_of_all(protocol: str, n: int, max_windows: int) -> None:
    model, ids = random_model(8), random_ids(n)
    full, _ = surprisal(model, ids, protocol)
    nats, positions = surprisal(model, ids, protocol, max_windows)
    assert (np.diff(positions) > 0).all()
    np.testing.assert_allclose(nats, full[positions], rtol=1e-4, atol=1e-5)
    stride = 8 if protocol == "blocks" else 2
    assert len(nats) <= max(9, 9 + (max_windows - 1) * stride)
    gaps = np.diff(np.append(positions, n))
    assert gaps.max() <= stride * (n / stride / max_windows + 2)  # spread: no large part is left out


@protocols
def test_max_characters_is_about_what_is_scored(protocol: str) -> None:
    model, ids = random_model(16), random_ids(10_000)
    result = evaluate(model, LETTERS, ids, protocol, max_characters=2_000)
    assert 1_900 <= result.characters <= 2_100
    assert evaluate(model, LETTERS, ids, protocol, max_characters=10**9).characters == 10_000
    assert evaluate(model, LETTERS, ids, protocol, max_characters=1).characters == 17


@protocols
def test_characters_of_several_bytes_are_counted_once(protocol: str) -> None:
    text = "naïve 日本 🚀!\n" * 20
    tokenizer = ByteTokenizer()
    ids = tokenizer.encode(text)
    model = random_model(8, vocab_size=256)
    result = evaluate(model, tokenizer, ids, protocol)
    assert result.characters == len(text) < len(ids)
    assert result.nats_per_character == pytest.approx(one_at_a_time(model, ids, protocol).sum() / len(text), rel=1e-5)


def test_end_of_text_counts_as_a_character() -> None:
    for tokenizer in (CharacterTokenizer("ab", end_of_text=True), ByteTokenizer(end_of_text=True)):
        ids = np.append(tokenizer.encode("ab"), [tokenizer.vocab_size - 1])
        assert evaluate(random_model(8, tokenizer.vocab_size), tokenizer, ids).characters == 3


def test_the_object_that_scripts_read() -> None:
    result = evaluate(random_model(8), LETTERS, random_ids(2_000), "sliding")
    printed = json.loads(json.dumps(result.to_json()))
    assert set(printed) == {
        "nats_per_character", "bits_per_character", "interval", "characters", "protocol", "context_length", "seconds",
    }  # fmt: skip
    assert printed["interval"]["low"] < printed["nats_per_character"] < printed["interval"]["high"]
    assert printed["bits_per_character"] == pytest.approx(printed["nats_per_character"] / math.log(2))
    assert (printed["characters"], printed["protocol"], printed["context_length"]) == (2_000, "sliding", 8)
    assert printed["seconds"] > 0
    assert evaluate(random_model(8), LETTERS, random_ids(20)).to_json()["interval"] is None


@protocols
def test_training_is_not_disturbed(protocol: str) -> None:
    model, ids = random_model(8, dropout=0.5), random_ids(100)
    quiet = evaluate(model, LETTERS, ids, protocol).nats_per_character
    model.train()
    states = torch.get_rng_state(), pickle.dumps(np.random.get_state()), random.getstate()
    assert evaluate(model, LETTERS, ids, protocol).nats_per_character == quiet  # no dropout
    assert torch.equal(states[0], torch.get_rng_state())
    assert states[1] == pickle.dumps(np.random.get_state())
    assert states[2] == random.getstate()
    assert all(module.training for module in model.modules())
    model(torch.zeros(1, 8, dtype=torch.int64)).sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


@protocols
def test_narrow_ids_on_disk_are_read_as_they_are(protocol: str, tmp_path: Any) -> None:
    ids = random_ids(100)
    ids.tofile(tmp_path / "ids")
    on_disk = np.memmap(tmp_path / "ids", dtype=np.uint8, mode="r")
    model = random_model(8)
    np.testing.assert_array_equal(surprisal(model, on_disk, protocol)[0], surprisal(model, ids, protocol)[0])


@pytest.mark.parametrize("n", [0, 1])
def test_a_text_too_short_is_refused(n: int) -> None:
    with pytest.raises(CorpusError, match=f"a text of {n} ids .* at least 2 characters"):
        evaluate(random_model(8), LETTERS, random_ids(n))


def test_bytes_that_begin_no_character_are_refused() -> None:
    with pytest.raises(CorpusError, match="no character begins"):
        evaluate(random_model(8, 256), ByteTokenizer(), np.full(5, 0x80, dtype=np.uint8))


def test_an_unknown_protocol_is_refused() -> None:
    with pytest.raises(ConfigError, match="unknown protocol 'slide'; the protocols are blocks, sliding"):
        evaluate(random_model(8), LETTERS, random_ids(20), "slide")


@pytest.mark.parametrize("limit", [0, -1])
def test_no_windows_are_refused(limit: int) -> None:
    with pytest.raises(ConfigError, match="at least 1"):
        surprisal(random_model(8), random_ids(20), "blocks", limit)
    with pytest.raises(ConfigError, match="at least 1"):
        evaluate(random_model(8), LETTERS, random_ids(20), max_characters=limit)


def test_a_foreign_tokenizer_is_refused() -> None:
    with pytest.raises(DataMismatchError, match="the tokenizer has 256 ids, the model 7"):
        evaluate(random_model(8), ByteTokenizer(), random_ids(20))


def test_damaged_weights_are_told() -> None:
    for value, protocol in itertools.product((math.nan, math.inf), PROTOCOLS):
        model = random_model(8)
        with torch.no_grad():
            model.embedding.weight[0] = value
        with pytest.raises(NonFiniteError, match="not finite"):
            evaluate(model, LETTERS, random_ids(50), protocol)
