"""What a model will reach, before it is trained: how far bzip2 comes on the text, times what models made of that."""

import bz2
import math
from collections.abc import Sequence

import numpy as np
from scipy.stats import entropy

from letterloom.text.encoding import Corpus
from letterloom.text.tokenizers import Ids

COMPRESSED = 1_000_000  # ids at most, which takes some hundredths of a second
WORST = 1.5  # times the bits of guessing blindly: what is left where a text was learned by heart
READ_ANEW = 8.0  # readings of a text after which another one teaches next to nothing

# Ids trained on; least and most bits of a model of a million parameters for one of bzip2 (docs/experiments.md).
RATIOS = (
    (1e4, 0.90, 2.00),
    (1e5, 0.90, 1.50),
    (3e5, 0.86, 1.25),
    (1e6, 0.83, 1.08),
    (3e6, 0.80, 1.01),
    (1e7, 0.78, 0.97),
    (1e8, 0.74, 0.95),
)
IN_RECORDS = 0.9  # bzip2 cannot know that short lines have nothing to do with one another
SIZES = ((1e4, 1.30), (1e5, 1.10), (1e6, 1.00), (1e7, 0.98))  # parameters; times as many bits as with a million


def expected_bits(corpus: Corpus, parameters: int, seen: float) -> tuple[float, float]:
    """Between which bits an id a model will predict the held-out text, most likely.

    Args:
        corpus: Of its training split a part is compressed.
        parameters: Of the model.
        seen: Ids that it will be trained on, repetitions included.
    """
    bits = compressed_bits(corpus.train[:COMPRESSED]) * _between(parameters, SIZES, 1)
    if "records" in corpus.description:
        bits *= IN_RECORDS
    taught, blind = min(seen, READ_ANEW * len(corpus.train)), math.log2(corpus.tokenizer.vocab_size)
    return min(bits * _between(taught, RATIOS, 1), blind), min(bits * _between(taught, RATIOS, 2), WORST * blind)


def compressed_bits(ids: Ids) -> float:
    """Bits an id that bzip2 needs for some ids, or their frequencies alone, where these few are fewer.

    An id is a byte of it, or two where there are more than 256.
    """
    counts = np.unique(ids, return_counts=True)[1]
    return min(8 * len(bz2.compress(ids.tobytes())) / len(ids), float(entropy(counts, base=2)))


def _between(number: float, rows: Sequence[tuple[float, ...]], column: int) -> float:
    """The value of a column at a number between those of the first column, on a logarithmic scale."""
    numbers = np.log([row[0] for row in rows])
    return float(np.interp(np.log(number), numbers, [row[column] for row in rows]))
