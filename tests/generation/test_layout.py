"""Where the kernels' arrays lie."""

import itertools
from typing import Any

import numpy as np
from numpy.typing import NDArray

from letterloom.config import ModelConfig
from letterloom.generation.compiled.engine import CompiledEngine
from letterloom.generation.compiled.weights import parameter_shapes

VECTORS = 64 * 4  # bytes: the longest vector there is, and how many of them LLVM takes in a turn of a loop at most


def arrays_of(config: ModelConfig) -> dict[str, NDArray[Any]]:
    shapes = parameter_shapes(config, 7)
    engine = CompiledEngine({name: np.ones(shape, np.float32) for name, shape in shapes.items()}, config, 7, threads=1)
    (part,) = engine.begin(np.array([0]))._parts
    groups = (engine.weights, part.state, part.buffers[0])
    return {name: array for group in groups for name, array in group._asdict().items() if array.dtype != np.int64}


def test_no_array_lies_close_behind_another() -> None:
    """A compiled loop asks whether it writes that close behind what it reads, and if so takes sums in another order."""
    config = ModelConfig(context_length=4, d_model=8, n_heads=2, n_layers=1, activation="swiglu", token_smear=True)
    kept = [arrays_of(config) for _ in range(10)]
    for arrays in kept:
        for (one, before), (other, behind) in itertools.permutations(arrays.items(), 2):
            if before.size and behind.size and before.ctypes.data < behind.ctypes.data:
                assert behind.ctypes.data - (before.ctypes.data + before.nbytes) >= VECTORS, (one, other)
