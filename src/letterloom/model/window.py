"""What a model sees of a text that is longer than its context."""

from collections.abc import Iterator

from letterloom.accounting import window_jump
from letterloom.errors import ConfigError

PROTOCOLS = ("blocks", "sliding")


def window_start(position: int, context_length: int) -> int:
    """Where the window begins from which the id at `position` is predicted: the model sees ids[start:position].

    A function of the position alone: 0 until the context is full, then a multiple of `window_jump`, so the window
    holds at most `context_length` ids and, once it has jumped, at least half of that. Between jumps its start stays
    put, which is what lets a cache be reused.
    """
    jump = window_jump(context_length)
    return max(0, -(-(position - context_length) // jump) * jump)


def stride_of(protocol: str, context_length: int) -> int:
    """Positions from one window to the next, where a text is scored; `docs/architecture.md` says what each is for.

    Raises:
        ConfigError: the protocol is unknown.
    """
    if protocol not in PROTOCOLS:
        raise ConfigError(f"unknown protocol {protocol!r}; the protocols are {', '.join(PROTOCOLS)}")
    return context_length if protocol == "blocks" else max(1, context_length // 4)


def windows_of(n: int, context_length: int, stride: int) -> Iterator[tuple[int, int, int]]:
    """The windows in which n ids are scored: (start, end, new) for each ids[start:end], of which ids[new:end] are new.

    The first id of the text is new in none, since nothing lies before it.
    """
    for start in range(0, max(1, n - 1 - context_length + stride), stride):
        yield start, min(n, start + context_length + 1), start + (context_length - stride if start else 0) + 1
