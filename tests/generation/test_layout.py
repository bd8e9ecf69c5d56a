"""Where the kernels' arrays lie."""

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from letterloom.config import ModelConfig
from letterloom.generation.compiled.engine import CompiledEngine
from letterloom.generation.compiled.weights import parameter_shapes
from letterloom.runs.quantized import choose, quantize, read_quantized

VECTORS = 64 * 4  # bytes: the longest vector there is, and how many of them LLVM takes in a turn of a loop at most


def arrays_of(config: ModelConfig, bits: int) -> dict[str, NDArray[Any]]:
    shapes = parameter_shapes(config, 7)
    parameters: dict[str, Any] = {name: np.ones(shape, np.float32) for name, shape in shapes.items()}
    if bits < 32:
        parameters = read_quantized(quantize(parameters, choose(bits, None)), config, Path("model.safetensors"))
    engine = CompiledEngine(parameters, config, 7, threads=1)
    (part,) = engine.begin(np.array([0]))._parts
    groups = (engine.weights, part.state, part.buffers[0])
    return {name: array for group in groups for name, array in group._asdict().items() if array.dtype != np.int64}


@pytest.mark.parametrize("bits", [32, 8])
def test_no_array_lies_close_behind_another(bits: int) -> None:
    """A compiled loop asks whether it writes that close behind what it reads, and if so takes sums in another order."""
    config = ModelConfig(context_length=4, d_model=8, n_heads=2, n_layers=1, activation="swiglu", token_smear=True)
    kept = [arrays_of(config, bits) for _ in range(10)]
    for arrays in kept:
        for (one, before), (other, behind) in itertools.permutations(arrays.items(), 2):
            if before.size and behind.size and before.ctypes.data < behind.ctypes.data:
                assert behind.ctypes.data - (before.ctypes.data + before.nbytes) >= VECTORS, (one, other)
