"""What the transformer remembers of the characters it has read: keys, values, and the last two embeddings."""

import torch
from torch import Tensor

from letterloom.config import ModelConfig


class LayerCache:
    """Keys and values of one attention layer, in memory taken once for the whole context."""

    def __init__(self, shape: tuple[int, int, int, int], dtype: torch.dtype, device: torch.device) -> None:
        self._keys = torch.empty(shape, dtype=dtype, device=device)  # (B, H, T, K)
        self._values = torch.empty(shape, dtype=dtype, device=device)  # (B, H, T, K)
        self.length = 0

    def extend(self, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Append (B, H, t, K) keys and values; return all so far, (B, H, length, K) each."""
        start, self.length = self.length, self.length + k.shape[2]
        self._keys[:, :, start : self.length] = k
        self._values[:, :, start : self.length] = v
        return self._keys[:, :, : self.length], self._values[:, :, : self.length]


class Cache:
    """The state of `batch_size` texts being read by a `Transformer`; passed to `forward`, which extends it.

    It holds `config.context_length` positions at most; to read on, start a new one.
    """

    def __init__(
        self,
        config: ModelConfig,
        batch_size: int,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> None:
        shape = (batch_size, config.n_heads, config.context_length, config.d_head)
        self.layers = [LayerCache(shape, dtype, torch.device(device)) for _ in range(config.n_layers)]
        self._embeddings = torch.zeros(batch_size, 2, config.d_model, dtype=dtype, device=device)  # the smear's past

    @property
    def length(self) -> int:
        """Positions held, 0 to `context_length`."""
        return self.layers[0].length

    def extend_embeddings(self, e: Tensor) -> Tensor:
        """Append (B, t, D) embeddings; return them with the two before, (B, 2 + t, D)."""
        with_past = torch.cat([self._embeddings, e], dim=1)
        self._embeddings = with_past[:, -2:]
        return with_past
