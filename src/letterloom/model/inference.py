"""Asking a trained model for its answer, for generation and evaluation alike."""

import torch
from torch import Tensor

from letterloom.model.cache import Cache
from letterloom.model.transformer import Transformer


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
