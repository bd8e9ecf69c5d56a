"""Text from a model, piece by piece as it becomes certain."""

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from numbers import Integral
from typing import Literal

import numpy as np

from letterloom.errors import ConfigError, DataMismatchError
from letterloom.generation.engine import Engine, Streams
from letterloom.generation.sampler import Sampler, uniforms
from letterloom.text.tokenizers import StreamDecoder, Tokenizer

MOST_TOKENS = 10**12
LONGEST_PIECE = 0.01  # seconds that may pass between two pieces of a text, where a single id takes less
GROWTH = 8  # times as many ids as in the piece before, at most


def generate(
    engine: Engine,
    tokenizer: Tokenizer,
    prompt: str,
    *,
    max_new_tokens: int,
    sampler: Sampler,
    seed: int = 0,
    sample: int = 0,
    stop: str | Sequence[str] = (),
    unknown: Literal["error", "skip", "replace"] = "error",
) -> Iterator[str]:
    """Continue a prompt; what is yielded, joined, is the new text without the prompt.

    Everything is checked at the call. Text is held back while a character's bytes are incomplete, and while it may be
    the beginning of a stop string. Past the context the model sees the window of `model.window`. The text is a function
    of the arguments, how it falls into pieces is not. No global random state is read or changed.

    Args:
        engine: what holds the model.
        tokenizer: the model's own.
        prompt: any length. An empty one begins from end-of-text, else from a newline, else from id 0: the first of
            these that the vocabulary has (`first_id`).
        max_new_tokens: ids to draw at most; the text ends earlier at end-of-text or a stop string.
        sampler: how each id is chosen.
        seed: together with `sample`, of the draws; another sample of the same seed is another text.
        sample: see `seed`.
        stop: a string or several; the text ends before the first to appear.
        unknown: what to do with characters of the prompt that the vocabulary lacks.

    Raises:
        ConfigError: a setting is out of range.
        DataMismatchError: the tokenizer is not the model's.
        UnknownCharacterError: the prompt has a character that the vocabulary lacks.
        NonFiniteError: (while drawing) the model gives NaN or infinity.
    """
    (text,) = generate_samples(
        engine,
        tokenizer,
        prompt,
        max_new_tokens=max_new_tokens,
        sampler=sampler,
        seed=seed,
        samples=(sample,),
        stop=stop,
        unknown=unknown,
    )
    return text


def generate_samples(
    engine: Engine,
    tokenizer: Tokenizer,
    prompt: str,
    *,
    max_new_tokens: int,
    sampler: Sampler,
    seed: int = 0,
    samples: Sequence[int],
    stop: str | Sequence[str] = (),
    unknown: Literal["error", "skip", "replace"] = "error",
) -> tuple[Iterator[str], ...]:
    """Several texts drawn together, which is faster; each is what `generate` gives for that sample alone.

    They may be read in any order: what one needs is drawn for all, and kept until it is read.
    """
    if not isinstance(max_new_tokens, Integral) or not 1 <= max_new_tokens <= MOST_TOKENS:
        raise ConfigError(f"max_new_tokens = {max_new_tokens!r}: should be a whole number from 1 to {MOST_TOKENS}")
    stops = (stop,) if isinstance(stop, str) else tuple(stop)
    if "" in stops:
        raise ConfigError("stop = '': a stop string needs at least one character")
    if tokenizer.vocab_size != engine.vocab_size:
        sizes = f"the tokenizer has {tokenizer.vocab_size} ids, the model {engine.vocab_size}"
        raise DataMismatchError(f"{sizes}; use the model's own tokenizer")
    ids = tokenizer.encode(prompt, unknown)
    if not len(ids):
        ids = np.array([first_id(tokenizer)])
    numbers = [uniforms(seed, sample) for sample in samples]
    drawn = _Drawn(lambda: engine.begin(ids, len(samples)), sampler, numbers, max_new_tokens)
    return tuple(_until_stop(_decoded(drawn.of(place), tokenizer), stops) for place in range(len(samples)))


def first_id(tokenizer: Tokenizer) -> int:
    """What an empty prompt begins from: end-of-text where the vocabulary has it, else newline, else id 0."""
    if tokenizer.end_of_text_id is not None:
        return tokenizer.end_of_text_id
    newline = tokenizer.encode("\n", unknown="skip").tolist()
    return newline[0] if newline else 0


class _Drawn:
    """The ids of several texts, drawn together in chunks as soon as one of them needs more."""

    def __init__(
        self, begin: Callable[[], Streams], sampler: Sampler, numbers: Sequence[np.random.Generator], length: int
    ) -> None:
        self._begin, self._sampler, self._numbers, self._left = begin, sampler, numbers, length
        self._streams: Streams | None = None
        self._unread: list[deque[list[int]]] = [deque() for _ in numbers]
        self._size = 1

    def of(self, place: int) -> Iterator[list[int]]:
        """Chunks of the ids of one text."""
        unread = self._unread[place]
        while unread or self._draw():
            yield unread.popleft()

    def _draw(self) -> bool:
        """A chunk for each text: first a single id, then as many as `LONGEST_PIECE` has time for; False at the end."""
        size = min(self._size, self._left)
        if size == 0:
            return False
        self._left -= size
        began = time.perf_counter()
        if self._streams is None:
            self._streams = self._begin()
        new_ids = self._streams.draw(self._sampler, np.stack([numbers.random(size) for numbers in self._numbers], 1))
        took = max(time.perf_counter() - began, 1e-6)  # a clock may be coarse
        fitting = int(size * LONGEST_PIECE / took)
        self._size = max(1, min(fitting, GROWTH * self._size))
        for unread, ids in zip(self._unread, new_ids.T.tolist(), strict=True):
            unread.append(ids)
        return True


def _decoded(chunks: Iterable[list[int]], tokenizer: Tokenizer) -> Iterator[str]:
    """Whole characters of the ids, up to end-of-text."""
    decoder, end = StreamDecoder(tokenizer), tokenizer.end_of_text_id
    for ids in chunks:
        until = None if end is None or end not in ids else ids.index(end)
        yield decoder.feed(ids[:until])
        if until is not None:
            break
    yield decoder.finish()


def _until_stop(pieces: Iterable[str], stops: Sequence[str]) -> Iterator[str]:
    """The text before the first stop string to be complete; what may be the beginning of one is held back."""
    held = ""
    for new in pieces:
        held += new
        ends = [(held.index(stop) + len(stop), -len(stop)) for stop in stops if stop in held]
        if ends:
            end, length = min(ends)  # complete together: the longer
            held = held[: end + length]
            break
        beginning = max((_overlap(held, stop) for stop in stops), default=0)
        piece, held = held[: len(held) - beginning], held[len(held) - beginning :]
        if piece:
            yield piece
    if held:
        yield held


def _overlap(text: str, stop: str) -> int:
    """Length of the longest end of the text with which the stop string begins."""
    return next(n for n in range(min(len(text), len(stop)), -1, -1) if text.endswith(stop[:n]))
