import math
from typing import Any

import numpy as np
import pytest
import torch

from letterloom.config import ModelConfig
from letterloom.errors import CorpusError, NonFiniteError, UnknownCharacterError
from letterloom.evaluation import records
from letterloom.evaluation.loss import surprisal
from letterloom.evaluation.records import rank_records, record_ids
from letterloom.model.transformer import Transformer
from letterloom.model.window import PROTOCOLS
from letterloom.text.tokenizers import ByteTokenizer, CharacterTokenizer, Tokenizer

WITH_END = CharacterTokenizer("abcdef", end_of_text=True)
TOKENIZERS = [WITH_END, CharacterTokenizer("\nabcdef"), CharacterTokenizer("abcdef"), ByteTokenizer(end_of_text=True)]
tokenizers = pytest.mark.parametrize("tokenizer", TOKENIZERS, ids=["end", "newline", "unmarked", "bytes"])


def random_model(tokenizer: Tokenizer, context_length: int = 12) -> Transformer:
    config = ModelConfig(context_length=context_length, d_model=8, n_layers=1, n_heads=2, token_smear=True)
    model = Transformer(config, tokenizer.vocab_size)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.7, generator=generator)
    return model.eval()


def random_records(n: int, longest: int = 11, seed: int = 0) -> list[str]:
    draw = np.random.default_rng(seed)
    return ["".join(draw.choice(list("abcdef"), draw.integers(1, longest + 1))) for _ in range(n)]


@torch.no_grad()
def one_at_a_time(model: Transformer, tokenizer: Tokenizer, record: str) -> float:
    """The judge: one forward an id, of one record alone; nats."""
    ids, given = record_ids(record, tokenizer)
    nats = 0.0 if given else math.log(model.vocab_size)
    for place in range(1, len(ids)):
        seen = torch.from_numpy(ids[:place].astype(np.int64))[None]
        nats -= float(model(seen)[0, -1].double().log_softmax(-1)[int(ids[place])])
    return nats


@tokenizers
@pytest.mark.parametrize("size", [1, 40, 4096])
def test_agrees_with_one_forward_an_id(tokenizer: Tokenizer, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "POSITIONS_PER_BATCH", size)
    model, lines = random_model(tokenizer), random_records(40)
    ranking = rank_records(model, tokenizer, lines, [], "blocks")
    assert sorted(record.line for record in ranking.records) == list(range(1, 41))
    for record in ranking.records:
        assert record.text == lines[record.line - 1]
        assert record.nats == pytest.approx(one_at_a_time(model, tokenizer, record.text), rel=1e-4)
        end = 0 if tokenizer is TOKENIZERS[2] else 1
        assert record.characters == len(record.text) + end
        assert record.bits_per_character == pytest.approx(record.nats / math.log(2) / record.characters)


def test_the_most_surprising_come_first() -> None:
    ranking = rank_records(random_model(WITH_END), WITH_END, random_records(50), [], "blocks")
    bits = [record.bits_per_character for record in ranking.records]
    assert bits == sorted(bits, reverse=True)


def test_the_share_of_held_out_records_is_counted() -> None:
    model, lines, held_out = random_model(WITH_END), random_records(30), random_records(70, seed=1)
    ranking = rank_records(model, WITH_END, lines, held_out, "blocks")
    expected = [one_at_a_time(model, WITH_END, record) / math.log(2) / (len(record) + 1) for record in held_out]
    np.testing.assert_allclose(ranking.held_out, sorted(expected), rtol=1e-4)
    assert ranking.quantiles()["0.9"] == pytest.approx(np.quantile(expected, 0.9), rel=1e-4)
    for record in ranking.records:
        assert record.as_surprising == np.sum(ranking.held_out >= record.bits_per_character - 1e-6)


def test_of_records_like_the_held_out_ones_few_are_rare() -> None:
    """The share is a p-value: uniform where nothing is odd."""
    ranking = rank_records(
        random_model(WITH_END), WITH_END, random_records(1000), random_records(1000, seed=1), "blocks"
    )
    shares = np.array([record.held_out_share for record in ranking.records])
    for level in (0.01, 0.1, 0.5):
        assert abs((shares <= level).mean() - level) < 0.05


def test_a_held_out_record_is_as_surprising_as_itself_in_any_company() -> None:
    model, held_out = random_model(WITH_END), random_records(9)
    for record in rank_records(model, WITH_END, held_out, held_out, "blocks").records:
        share = record.held_out_share
        assert share is not None and share >= 2 / 10


def test_of_few_held_out_records_no_share_is_smaller_than_they_can_tell() -> None:
    """P(share <= a) <= a, over draws of records and of 10 held-out ones of the same kind."""
    model, shares = random_model(WITH_END), list[float]()
    for seed in range(40):
        known, *others = np.split(np.array(random_records(15, seed=seed + 2), dtype=object), [10])
        ranking = rank_records(model, WITH_END, list(others[0]), list(known), "blocks")
        shares += [record.held_out_share or 0.0 for record in ranking.records]
    assert min(shares) == pytest.approx(1 / 11)
    for level in (0.05, 1 / 11, 0.2, 0.5):
        assert np.mean(np.array(shares) <= level) <= level + 3 * math.sqrt(level * (1 - level) / 40)


def test_of_many_held_out_records_some_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "HELD_OUT_AT_MOST", 10)
    ranking = rank_records(random_model(WITH_END), WITH_END, ["ab"], random_records(95), "blocks")
    assert len(ranking.held_out) == 10


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_record_longer_than_the_context(protocol: str) -> None:
    model, long = random_model(WITH_END), "abcdef" * 5_000
    found = {record.line: record for record in rank_records(model, WITH_END, ["ab", long], ["ba"], protocol).records}
    assert found[2].characters == 30_001
    assert found[1].nats == pytest.approx(one_at_a_time(model, WITH_END, "ab"), rel=1e-4)
    ids, _ = record_ids(long, WITH_END)
    assert found[2].nats == pytest.approx(surprisal(model, ids, protocol)[0].sum() - math.log(7), abs=1e-9)


def test_empty_lines_keep_their_numbers_and_are_no_records() -> None:
    ranking = rank_records(random_model(WITH_END), WITH_END, ["", "ab", "", "c"], [], "blocks")
    assert sorted((record.line, record.text) for record in ranking.records) == [(2, "ab"), (4, "c")]
    assert {record.held_out_share for record in ranking.records} == {None}
    assert ranking.quantiles() == {}


@pytest.mark.parametrize("lines", [[], [""], ["", ""]])
def test_no_record_is_refused(lines: list[str]) -> None:
    with pytest.raises(CorpusError, match="no record to score"):
        rank_records(random_model(WITH_END), WITH_END, lines, [], "blocks")


def test_unknown_characters() -> None:
    model = random_model(WITH_END)
    with pytest.raises(UnknownCharacterError):
        rank_records(model, WITH_END, ["axb"], [], "blocks")
    (record,) = rank_records(model, WITH_END, ["axb"], [], "blocks", "skip").records
    assert (record.text, record.characters) == ("axb", 3)
    unmarked = CharacterTokenizer("abcdef")
    with pytest.raises(CorpusError, match="nothing is left"):
        rank_records(random_model(unmarked), unmarked, ["xyz"], [], "blocks", "skip")


def test_damaged_weights_are_told() -> None:
    model = random_model(WITH_END)
    with torch.no_grad():
        model.embedding.weight[0] = math.nan
    with pytest.raises(NonFiniteError, match="not finite"):
        rank_records(model, WITH_END, ["bcd", "abc"], [], "blocks")


def test_the_object_that_scripts_read() -> None:
    value: dict[str, Any] = rank_records(
        random_model(WITH_END), WITH_END, random_records(5), random_records(6), "blocks"
    ).to_json()
    assert value["nats_per_character"] == pytest.approx(value["nats"] / value["characters"])
    assert value["held_out"]["records"] == 6
    assert list(value["held_out"]["quantiles"]) == ["0.5", "0.9", "0.99"]
