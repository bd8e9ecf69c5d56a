"""Asking a trained model: what it sees of a long text, and its answer, for generation and evaluation alike."""

import torch
from torch import Tensor

from letterloom.accounting import window_jump
from letterloom.model.cache import Cache
from letterloom.model.transformer import Transformer


def window_start(position: int, context_length: int) -> int:
    """Where the window begins from which the id at `position` is predicted: the model sees ids[start:position].

    A function of the position alone: 0 until the context is full, then a multiple of `window_jump`, so the window
    holds at most `context_length` ids and, once it has jumped, at least 3/4 of that. Between jumps its start stays
    put, which is what lets a cache be reused.
    """
    jump = window_jump(context_length)
    return max(0, -(-(position - context_length) // jump) * jump)


@torch.inference_mode()
def predict(model: Transformer, ids: Tensor, cache: Cache | None = None) -> Tensor:
    """Logits (B, T, V) after each of `ids` (B, T), without dropout or gradients; the model's mode is left as found."""
    training = model.training
    if training:
        model.eval()
    try:
        logits: Tensor = model(ids, cache)
    finally:
        if training:
            model.train()
    return logits
