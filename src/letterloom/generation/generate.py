"""Text from a model, piece by piece as it becomes certain."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from numbers import Integral
from typing import Literal

import torch

from letterloom.errors import ConfigError, DataMismatchError
from letterloom.generation.sampler import Sampler, draw, uniforms
from letterloom.model.cache import Cache
from letterloom.model.inference import predict, window_start
from letterloom.model.transformer import Transformer
from letterloom.text.tokenizers import StreamDecoder, Tokenizer

MOST_TOKENS = 10**12


def generate(
    model: Transformer,
    tokenizer: Tokenizer,
    prompt: str,
    *,
    max_new_tokens: int,
    sampler: Sampler,
    seed: int = 0,
    sample: int = 0,
    stop: str | Sequence[str] = (),
    unknown: Literal["error", "skip", "replace"] = "error",
    cached: bool = True,
) -> Iterator[str]:
    """Continue a prompt; what is yielded, joined, is the new text without the prompt.

    Everything is checked at the call. Text is held back while a character's bytes are incomplete, and while it may be
    the beginning of a stop string. Past the context the model sees the window of `model.inference`, with or without the
    cache. The text is a function of the arguments: no global random state is read or changed.

    Args:
        model: asked without dropout; between pieces, and after, it is in the mode it was found in.
        tokenizer: the model's own.
        prompt: any length. An empty one begins from end-of-text, else from a newline, else from id 0: the first of
            these that the vocabulary has (`first_id`).
        max_new_tokens: ids to draw at most; the text ends earlier at end-of-text or a stop string.
        sampler: how each id is chosen.
        seed: together with `sample`, of the draws; another sample of the same seed is another text.
        sample: see `seed`.
        stop: a string or several; the text ends before the first to appear.
        unknown: what to do with characters of the prompt that the vocabulary lacks.
        cached: compute each position once (the rule) rather than the whole window for each id (a check on the cache).

    Raises:
        ConfigError: a setting is out of range.
        DataMismatchError: the tokenizer is not the model's.
        UnknownCharacterError: the prompt has a character that the vocabulary lacks.
        NonFiniteError: (while drawing) the model gives NaN or infinity.
    """
    if not isinstance(max_new_tokens, Integral) or not 1 <= max_new_tokens <= MOST_TOKENS:
        raise ConfigError(f"max_new_tokens = {max_new_tokens!r}: should be a whole number from 1 to {MOST_TOKENS}")
    stops = (stop,) if isinstance(stop, str) else tuple(stop)
    if "" in stops:
        raise ConfigError("stop = '': a stop string needs at least one character")
    if tokenizer.vocab_size != model.vocab_size:
        raise DataMismatchError(
            f"the tokenizer has {tokenizer.vocab_size} ids, the model {model.vocab_size}; use the model's own tokenizer"
        )
    ids = tokenizer.encode(prompt, unknown).tolist() or [first_id(tokenizer)]
    new_ids = _draw(model, ids, sampler, islice(uniforms(seed, sample), max_new_tokens), cached)
    return _until_stop(_characters(new_ids, tokenizer), stops)


def first_id(tokenizer: Tokenizer) -> int:
    """What an empty prompt begins from: end-of-text where the vocabulary has it, else newline, else id 0."""
    if tokenizer.end_of_text_id is not None:
        return tokenizer.end_of_text_id
    newline = tokenizer.encode("\n", unknown="skip").tolist()
    return newline[0] if newline else 0


def _draw(model: Transformer, ids: list[int], sampler: Sampler, draws: Iterable[float], cached: bool) -> Iterator[int]:
    """One new id a draw; `ids` is the text so far, and grows."""
    weight = next(model.parameters())
    cache: Cache | None = None
    cache_start = -1  # the position in `ids` of the first one that the cache holds
    for uniform in draws:
        start = window_start(len(ids), model.config.context_length)
        if cached and start != cache_start:  # the window jumped: what is remembered had another beginning
            cache, cache_start = Cache(model.config, 1, dtype=weight.dtype, device=weight.device), start
        unread = ids[start if cache is None else start + cache.length :]
        logits = predict(model, torch.tensor([unread], device=weight.device), cache)[0, -1]  # (V,)
        ids.append(draw(sampler.probabilities(logits.cpu().double().numpy(), ids[start:]), uniform))
        yield ids[-1]


def _characters(ids: Iterable[int], tokenizer: Tokenizer) -> Iterator[str]:
    """Whole characters of the ids, up to end-of-text."""
    decoder = StreamDecoder(tokenizer)
    for i in ids:
        if i == tokenizer.end_of_text_id:
            break
        yield from decoder.feed(i)
    yield from decoder.finish()


def _until_stop(characters: Iterable[str], stops: Sequence[str]) -> Iterator[str]:
    """The characters before the first stop string to be complete; what may be the beginning of one is held back."""
    held = ""
    for character in characters:
        held += character
        found = max((len(stop) for stop in stops if held.endswith(stop)), default=0)
        if found:
            held = held[:-found]
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
