"""What a model expects next, id by id, as whole numbers: the one computation that both sides of a coder share.

It is done by the compiled kernels, which take every sum in one order, by one thread and a step at a time, though the
side that compresses has the whole text: equal steps give equal numbers on the same machine and build.
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from letterloom.compression.quantization import Counts, quantized
from letterloom.config import ModelConfig
from letterloom.generation.compiled.engine import CompiledEngine
from letterloom.model.window import stride_of, windows_of

if TYPE_CHECKING:
    from letterloom.evaluation.dynamic import DynamicModel

Parameters = Mapping[str, NDArray[np.floating]]


def walk(
    ids: NDArray[np.int64],
    parameters: Parameters,
    config: ModelConfig,
    vocab_size: int,
    *,
    protocol: str,
    escape: int,
    code: Callable[[Counts], int],
    dynamic: "DynamicModel | None" = None,
    watch: Callable[[int], None] | None = None,
) -> None:
    """Fill `ids` (n,), n at least 1, with what `code` makes of the numbers before each.

    Args:
        ids: what is written to.
        parameters: the model's, by name.
        config: its architecture.
        vocab_size: ids it knows.
        protocol: "blocks" or "sliding": the model sees what it sees when it is evaluated in that way.
        escape: see `quantized`.
        code: is given the numbers of the ids and of the escape, and tells which id comes next.
        dynamic: these parameters in a model that learns, which it does from each window once it is whole.
        watch: is told how many ids are done, after each window.

    Raises:
        NonFiniteError: the model gives NaN or infinity.
    """
    engine = CompiledEngine(parameters, config, vocab_size, threads=1)
    context = config.context_length
    ids[0] = code(quantized(np.zeros(vocab_size), escape))
    for start, end, new in windows_of(len(ids), context, stride_of(protocol, context)):
        streams = engine.begin(ids[start:new])
        for place in range(new, end):
            ids[place] = code(quantized(streams.logits()[0], escape))
            streams.append(int(ids[place]))
        if dynamic and end < len(ids):
            dynamic.learn(ids[start:end], new - start)
            engine = CompiledEngine(dynamic.arrays(), config, vocab_size, threads=1)
        if watch:
            watch(end)
