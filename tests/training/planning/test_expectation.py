"""What is promised, against texts whose entropy is known, and against runs that were really made."""

import bz2
import math
import os
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from letterloom.config import TextConfig
from letterloom.text.encoding import Corpus, open_corpus
from letterloom.text.tokenizers import CharacterTokenizer
from letterloom.training.planning.expectation import compressed_bits, expected_bits

CORPORA = Path(os.environ.get("LETTERLOOM_CORPORA", Path(__file__).parents[3].parent / "shared" / "corpora"))


def corpus(name: str, **settings: object) -> Corpus:
    if name != "python-docs" and not CORPORA.is_dir():
        pytest.skip("the corpora are not here")
    place = name if name == "python-docs" else str(CORPORA / name)
    return open_corpus(TextConfig.model_validate({"corpus": (place,), **settings}))


def test_bytes_are_compressed_as_bzip2_does_it() -> None:
    text = b"the loom weaves the thread " * 50
    assert compressed_bits(np.frombuffer(text, np.uint8)) == 8 * len(bz2.compress(text)) / len(text)


def test_ids_without_any_order_cost_their_entropy() -> None:
    for choices in (4, 64, 200):
        ids = np.random.default_rng(0).integers(choices, size=200_000, dtype=np.uint8)
        assert compressed_bits(ids) == pytest.approx(math.log2(choices), rel=0.1)


def made(ids: NDArray[np.uint8]) -> Corpus:
    """A corpus of some ids, in a vocabulary that begins with a space."""
    characters = "".join(chr(32 + i) for i in range(int(ids.max()) + 1))
    return Corpus(CharacterTokenizer(characters), ids, ids, {})


def test_what_is_learned_longer_or_with_more_parameters_is_promised_to_be_better() -> None:
    text = made(np.random.default_rng(0).choice(90, size=100_000, p=np.arange(1, 91) ** 2 / 247_065).astype(np.uint8))
    by_seen = [expected_bits(text, 10**6, seen) for seen in (1e3, 1e5, 4e5, 7e5, 1e9)]
    assert by_seen[-1] == expected_bits(text, 10**6, 1e12)  # it was read often enough
    by_size = [expected_bits(text, parameters, 1e6) for parameters in (10**4, 10**5, 10**6, 10**7)]
    for bounds in (by_seen, by_size):
        for side in zip(*bounds, strict=True):
            assert list(side) == sorted(side, reverse=True)
        assert all(low < high for low, high in bounds)


def test_no_promise_is_worse_than_guessing_can_be() -> None:
    low, high = expected_bits(made(np.arange(30, dtype=np.uint8)), 100_000, 1e6)
    assert low <= math.log2(30) < high <= 1.5 * math.log2(30)


@pytest.mark.parametrize(
    ("name", "settings", "parameters", "seen", "found"),
    [
        ("tinyshakespeare.txt", {}, 814_208, 307_200, 1.859 / math.log(2)),
        ("tinyshakespeare.txt", {}, 814_208, 819_200, 2.3991),
        ("tinyshakespeare.txt", {}, 107_072, 867_328, 2.5233),
        ("tinyshakespeare.txt", {}, 1_830_000, 2_650_112, 1.497 / math.log(2)),
        ("tinyshakespeare.txt", {}, 1_830_000, 8_167_424, 1.465 / math.log(2)),
        ("names.txt", {"records": "lines"}, 799_104, 204_800, 3.0874),
        ("names.txt", {"records": "lines"}, 799_104, 819_200, 2.9269),
        ("names.txt", {"records": "lines"}, 102_208, 614_400, 2.9726),
        ("python-docs", {}, 111_936, 614_400, 1.9351),
        ("python-docs", {}, 814_208, 204_800, 2.2162),
        ("python-docs", {}, 814_208, 819_200, 1.7440),
        ("python-docs", {}, 814_208, 1_462_272, 1.7014),
    ],
)
def test_runs_that_were_made_lie_between(
    name: str, settings: dict[str, object], parameters: int, seen: float, found: float
) -> None:
    text = corpus(name, **settings)
    low, high = expected_bits(text, parameters, seen)
    assert low < found < high
    assert high < 1.7 * low
