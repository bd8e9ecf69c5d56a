"""What a model sees of a text that is longer than its context."""

from letterloom.accounting import window_jump


def window_start(position: int, context_length: int) -> int:
    """Where the window begins from which the id at `position` is predicted: the model sees ids[start:position].

    A function of the position alone: 0 until the context is full, then a multiple of `window_jump`, so the window
    holds at most `context_length` ids and, once it has jumped, at least half of that. Between jumps its start stays
    put, which is what lets a cache be reused.
    """
    jump = window_jump(context_length)
    return max(0, -(-(position - context_length) // jump) * jump)
