import logging
import math

import numpy as np
import pytest
import torch

from letterloom.config import ModelConfig
from letterloom.errors import CorpusError, NonFiniteError, UnknownCharacterError
from letterloom.evaluation.loss import Evaluation, evaluate, surprisal
from letterloom.evaluation.scoring import END, ScoredText, lines_of, require_known, score_text, text_ids
from letterloom.model.transformer import Transformer
from letterloom.model.window import PROTOCOLS
from letterloom.text.tokenizers import ByteTokenizer, CharacterTokenizer, Tokenizer

protocols = pytest.mark.parametrize("protocol", PROTOCOLS)
TEXT = "naïve 日本 🚀!\nab" * 9
TOKENIZERS = [
    CharacterTokenizer("".join(sorted(set(TEXT)))),
    CharacterTokenizer("".join(sorted(set(TEXT))), end_of_text=True),
    ByteTokenizer(),
    ByteTokenizer(end_of_text=True),
]
tokenizers = pytest.mark.parametrize("tokenizer", TOKENIZERS, ids=lambda t: f"{t.kind}-{t.end_of_text_id}")


def random_model(tokenizer: Tokenizer, context_length: int = 8) -> Transformer:
    config = ModelConfig(context_length=context_length, d_model=8, n_layers=1, n_heads=2)
    model = Transformer(config, tokenizer.vocab_size)
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.7, generator=generator)
    return model.eval()


@protocols
@tokenizers
def test_the_sums_are_those_of_evaluate(tokenizer: Tokenizer, protocol: str) -> None:
    model = random_model(tokenizer)
    ids, given = text_ids(TEXT, tokenizer, "error", in_records=False)
    figures = score_text(model, tokenizer, ids, protocol, given).to_json()
    expected = evaluate(model, tokenizer, ids, protocol).to_json()
    assert figures["nats_per_character"] == pytest.approx(expected["nats_per_character"], abs=1e-9)
    assert figures["nats"] == pytest.approx(expected["nats_per_character"] * expected["characters"], abs=1e-9)
    assert figures["bits"] == pytest.approx(figures["nats"] / math.log(2))
    assert figures["characters"] == len(TEXT) + (tokenizer.end_of_text_id is not None)


@tokenizers
def test_each_character_costs_its_ids(tokenizer: Tokenizer) -> None:
    model = random_model(tokenizer)
    ids, given = text_ids(TEXT, tokenizer, "error", in_records=False)
    scored = score_text(model, tokenizer, ids, "sliding", given)
    nats, _ = surprisal(model, ids, "sliding")
    place = 0
    for character, cost in zip(scored.text, scored.nats.tolist(), strict=True):
        size = 1 if character == END else len(tokenizer.encode(character))
        assert cost == pytest.approx(nats[place : place + size].sum())
        place += size
    assert place == len(ids)


@protocols
@tokenizers
def test_alternatives_are_the_likeliest_of_one_forward_a_character(tokenizer: Tokenizer, protocol: str) -> None:
    model = random_model(tokenizer, context_length=400)  # so that both protocols see all that came before
    ids, _ = text_ids(TEXT, tokenizer, "error", in_records=False)
    scored = score_text(model, tokenizer, ids, protocol)
    assert not scored.probabilities[0].any()
    for number, start in enumerate(np.flatnonzero(tokenizer.starts(ids))[1:40], start=1):
        with torch.no_grad():
            logits = model(torch.from_numpy(ids[:start].astype(np.int64))[None])[0, -1]
        shares = logits.double().softmax(-1)
        expected = torch.sort(shares, descending=True).values[:5].numpy()
        np.testing.assert_allclose(scored.probabilities[number], expected, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(shares[scored.choices[number]].numpy(), expected, rtol=1e-4, atol=1e-6)


def test_a_small_vocabulary_has_no_more_alternatives_than_ids() -> None:
    tokenizer = CharacterTokenizer("ab")
    scored = score_text(random_model(tokenizer), tokenizer, tokenizer.encode("abba").astype(np.uint8), "blocks")
    np.testing.assert_allclose(scored.probabilities[1:].sum(axis=1), 1.0, rtol=1e-5)


def test_a_model_of_records_reads_lines_as_records() -> None:
    tokenizer = CharacterTokenizer("abc", end_of_text=True)
    ids, given = text_ids("ab\r\nc\n", tokenizer, "error", in_records=True)
    assert (ids.tolist(), given) == ([3, 0, 1, 3, 2, 3], 1)
    model = random_model(tokenizer)
    scored = score_text(model, tokenizer, ids, "blocks", given)
    assert scored.text == f"ab{END}c{END}"
    assert scored.nats.sum() == pytest.approx(surprisal(model, ids, "blocks")[0][1:].sum(), abs=1e-9)


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("ab\n\nc", ["ab\n", "\n", "c"]),
        ("ab\n", ["ab\n"]),
        ("ab", ["ab"]),
        (f"ab{END}\n{END}", [f"ab{END}", "\n", END]),
    ],
)
def test_lines_end_with_what_ends_them(text: str, lines: list[str]) -> None:
    n, evaluation = len(text), Evaluation(1.0, None, len(text), "blocks", 8, 0.0)
    scored = ScoredText(text, np.ones(n), np.zeros((n, 1), np.int64), np.zeros((n, 1), np.float32), evaluation)
    assert [text[part] for part in scored.lines()] == lines


@pytest.mark.parametrize("text", ["", "x", "xyz"])
def test_a_text_of_nothing_known_is_refused(text: str) -> None:
    with pytest.raises(CorpusError, match=r"empty|nothing is left"):
        text_ids(text, CharacterTokenizer("ab", end_of_text=True), "skip", in_records=False)


def test_the_place_of_an_unknown_character_is_told(caplog: pytest.LogCaptureFixture) -> None:
    tokenizer = CharacterTokenizer("\nab")
    with pytest.raises(UnknownCharacterError, match=r"'x' \(U\+0078\) at line 2, column 2 "):
        require_known("ab\nax\nay", tokenizer, "error")
    with caplog.at_level(logging.WARNING):
        require_known("ab\nax\nayx", tokenizer, "replace")
    assert "3 in all: 'xy'" in caplog.text
    require_known("ab\r", tokenizer, "error", apart="\r\n")


def test_lines_of() -> None:
    assert lines_of("a\r\nb\n\nc") == ["a", "b", "", "c"]
    assert lines_of("a\n") == ["a"]


@protocols
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_damaged_weights_are_told(protocol: str, value: float) -> None:
    tokenizer = CharacterTokenizer("ab")
    model = random_model(tokenizer)
    with torch.no_grad():
        model.embedding.weight[0] = value
    with pytest.raises(NonFiniteError, match="not finite"):
        score_text(model, tokenizer, tokenizer.encode("abababab").astype(np.uint8), protocol)
