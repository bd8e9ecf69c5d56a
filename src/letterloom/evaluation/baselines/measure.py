"""Every baseline of a text, measured once and kept in the cache under a hash of all that made it."""

import bz2
import hashlib
import json
import logging
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from letterloom import storage
from letterloom.errors import CorpusError, LetterloomError
from letterloom.evaluation.baselines.compressors import CHUNK, COMPRESSORS, PPMD, PPMD_ORDER, chunks, spelled
from letterloom.text.corpora import cache_folder
from letterloom.text.encoding import scored_characters
from letterloom.text.tokenizers import Ids, Tokenizer

LARGEST_TRAINING = 4_000_000  # ids; of a longer training text the end is given
QUICK = ("bz2", "PPMd")
LARGEST_VALIDATION = 500_000  # ids; of a longer validation text the beginning is measured
_FEW = 1_000  # characters, among which a byte more or less is to be seen
_VERSION = 1  # of the numbers kept; a change in how they come about needs a new one
_STARTING = 1.0  # seconds, for what is imported
_YARDSTICK = 100_000  # ids, compressed by bzip2 to see how fast this machine is just now
_TIMES_BZIP2 = 160.0  # as long as bzip2 takes for a text, all baselines take together; 110 to 190 were seen
log = logging.getLogger("letterloom")


@dataclass(frozen=True)
class Baseline:
    """What a validation text costs by one method, given the training text."""

    name: str
    nats_per_character: float
    characters: int  # it was measured on; an end-of-text is one
    seconds: float  # the measurement took, when it was made
    note: str  # settings, and what is particular

    @property
    def bits_per_character(self) -> float:
        """Nats per character / ln 2."""
        return self.nats_per_character / math.log(2)

    def to_json(self) -> dict[str, Any]:
        """What `baselines --json` prints of it; scripts rely on these keys."""
        return {
            "name": self.name,
            "bits_per_character": self.bits_per_character,
            "nats_per_character": self.nats_per_character,
            "characters": self.characters,
            "seconds": self.seconds,
            "note": self.note,
        }


def measure_baselines(train: Ids, validation: Ids, tokenizer: Tokenizer) -> tuple[Baseline, ...]:
    """All baselines that can be measured here, the best one first; from the cache where they were measured before.

    Nothing is chosen by looking at the validation text. A megabyte takes about 10 seconds of a core, the largest text
    about a minute, and 130 bytes of memory an id; what is left out of a larger one is in `remarks`.

    Args:
        train: Ids that every method has read before, (n,).
        validation: Ids that are measured, (n,).
        tokenizer: The one that made both.

    Raises:
        CorpusError: one of the two has no character.
    """
    kept = cached_baselines(train, validation, tokenizer)
    if kept is not None:
        return kept
    if not len(train) or not scored_characters(validation, tokenizer):
        sizes = f"{len(train):,} ids to learn from and {len(validation):,} to measure"
        raise CorpusError(f"baselines need a character in both splits, and there are {sizes}; give a longer text")
    measured = _measured(*_limited(train, validation, tokenizer), tokenizer)
    found = tuple(sorted(measured, key=lambda baseline: baseline.nats_per_character))
    try:
        storage.write_json(_place(train, validation, tokenizer), [asdict(baseline) for baseline in found])
    except LetterloomError as error:
        log.warning("%s; the baselines are not kept (LETTERLOOM_CACHE names another folder)", error)
    return found


def quick_baselines(train: Ids, validation: Ids, tokenizer: Tokenizer) -> tuple[Baseline, ...]:
    """Those that take a second at most, the best one first: guessing blindly, bzip2, and PPMd where it is installed."""
    train, validation = _limited(train, validation, tokenizer)
    found = [_uniform(validation, tokenizer), *_by_compressors(train, validation, tokenizer, QUICK)]
    return tuple(sorted(found, key=lambda baseline: baseline.nats_per_character))


def cached_baselines(train: Ids, validation: Ids, tokenizer: Tokenizer) -> tuple[Baseline, ...] | None:
    """What `measure_baselines` returns, where it was measured before; else None. A damaged file is as good as none."""
    try:
        kept = json.loads(_place(train, validation, tokenizer).read_text(encoding="utf-8"))
        return tuple(Baseline(**baseline) for baseline in kept)
    except (OSError, ValueError, TypeError):
        return None


def estimated_seconds(train: Ids, validation: Ids, tokenizer: Tokenizer) -> float:
    """About how long `measure_baselines` measures, on this machine, as busy as it is now; known in some hundredths."""
    train, validation = _limited(train, validation, tokenizer)
    sample = spelled(train[:_YARDSTICK], tokenizer)
    began = time.perf_counter()
    bz2.compress(sample)
    seconds = time.perf_counter() - began
    return _STARTING + _TIMES_BZIP2 * seconds * (len(train) + len(validation)) / min(len(train), _YARDSTICK)


def remarks(train: Ids, validation: Ids, tokenizer: Tokenizer) -> tuple[str, ...]:
    """What has to be told with the baselines of a text: what of it was left out, and which methods could not run."""
    given, measured = _limited(train, validation, tokenizer)
    told = []
    if len(given) < len(train):
        told.append(f"baselines are given the last {len(given):,} of {len(train):,} training ids")
    if len(measured) < len(validation):
        told.append(f"baselines are measured on the first {len(measured):,} of {len(validation):,} validation ids")
    characters = scored_characters(measured, tokenizer)
    if characters < _FEW:
        byte = f"a byte is {8 / characters:.2f} bits per character"
        told.append(f"compressors write whole bytes, which makes their figures rough here: {byte}")
    if missing := [compressor.name for compressor in COMPRESSORS if not compressor.is_installed()]:
        told.append(f"{', '.join(missing)} left out; `pip install 'letterloom[compress]'` brings what they need")
    return tuple(told)


def _measured(train: Ids, validation: Ids, tokenizer: Tokenizer) -> Iterator[Baseline]:
    """The baselines, one after another."""
    yield _uniform(validation, tokenizer)
    yield from _by_counts(train, validation, tokenizer)
    yield from _by_compressors(train, validation, tokenizer, [compressor.name for compressor in COMPRESSORS])
    if PPMD.is_installed():
        pieces = chunks(validation, tokenizer)
        texts = [spelled(piece, tokenizer) for piece in pieces]
        part = sum(scored_characters(piece, tokenizer) for piece in pieces)
        note = f"order {PPMD_ORDER}; after each {CHUNK:,} characters it knows the training text alone again"
        if part < scored_characters(validation, tokenizer):
            note += f"; measured on {len(pieces)} times as many"
        yield _timed("PPMd, static", partial(PPMD.nats, spelled(train, tokenizer), texts), part, note)


def _uniform(validation: Ids, tokenizer: Tokenizer) -> Baseline:
    nats, characters = len(validation) * math.log(tokenizer.vocab_size), scored_characters(validation, tokenizer)
    return _timed("uniform", lambda: nats, characters, f"each of {tokenizer.vocab_size:,} ids as likely")


def _by_counts(train: Ids, validation: Ids, tokenizer: Tokenizer) -> Iterator[Baseline]:
    from letterloom.evaluation.baselines import ngram  # Numba takes a while to come, and what is kept does without

    vocab_size, characters = tokenizer.vocab_size, scored_characters(validation, tokenizer)

    def kneser_ney(adaptive: bool) -> float:
        models = ngram.kneser_ney(train, validation, vocab_size, adaptive)
        return float(next(islice(models, order - 1, None)).sum())

    unigram = partial(ngram.unigram, train, validation, vocab_size)
    yield _timed("unigram", lambda: unigram().sum(), characters, "how often each id occurred")
    next(ngram.kneser_ney(train[:1], validation[:1], vocab_size, adaptive=False))  # compiled before the clock runs
    began = time.perf_counter()
    order = ngram.best_order(train, vocab_size)
    learns = f"order {order}, found on training text in {time.perf_counter() - began:.1f} s; learns as it reads"
    yield _timed("Kneser-Ney", lambda: kneser_ney(adaptive=True), characters, learns)
    static = f"order {order}; counts of training text alone"
    yield _timed("Kneser-Ney, static", lambda: kneser_ney(adaptive=False), characters, static)


def _by_compressors(train: Ids, validation: Ids, tokenizer: Tokenizer, names: Sequence[str]) -> Iterator[Baseline]:
    given, text = spelled(train, tokenizer), spelled(validation, tokenizer)
    for compressor in COMPRESSORS:
        if compressor.name in names and compressor.is_installed():
            nats, characters = partial(compressor.nats, given, [text]), scored_characters(validation, tokenizer)
            yield _timed(compressor.name, nats, characters, compressor.settings)


def _timed(name: str, nats: Callable[[], float], characters: int, note: str) -> Baseline:
    began = time.perf_counter()
    return Baseline(name, float(nats()) / characters, characters, time.perf_counter() - began, note)


def _limited(train: Ids, validation: Ids, tokenizer: Tokenizer) -> tuple[Ids, Ids]:
    """What is given, and what is measured, which ends with a whole character."""
    if len(validation) > LARGEST_VALIDATION:
        starts = tokenizer.starts(validation[: LARGEST_VALIDATION + 1])
        validation = validation[: np.flatnonzero(starts)[-1]]
    return train[-LARGEST_TRAINING:], validation


def _place(train: Ids, validation: Ids, tokenizer: Tokenizer) -> Path:
    """Where the baselines of a text are kept: under a hash of all that their numbers depend on."""
    digest = hashlib.sha256()
    for ids in _limited(train, validation, tokenizer):
        digest.update(f"{len(ids)}\n".encode() + ids.astype("<u4").tobytes())
    versions = [compressor.version() for compressor in COMPRESSORS]
    key = [_VERSION, tokenizer.to_json(), digest.hexdigest(), versions]
    return cache_folder() / "baselines" / f"{hashlib.sha256(json.dumps(key).encode()).hexdigest()}.json"
