"""Drawing with compiled kernels: on the CPU, every variant of the model, without torch."""

import logging
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

import numpy as np
from numba.core import event
from numpy.typing import NDArray

from letterloom import accounting
from letterloom.config import ModelConfig
from letterloom.errors import NonFiniteError
from letterloom.generation.compiled.drawing import draw
from letterloom.generation.compiled.intrinsics import PAD
from letterloom.generation.compiled.reading import ABANDONED, FAILED, LENGTH, TILE, Buffers, State
from letterloom.generation.compiled.weights import aligned, lay_out, options_of, padded
from letterloom.generation.sampler import NOT_FINITE, Sampler
from letterloom.model.window import window_start
from letterloom.runs.quantized import Parameter

log = logging.getLogger("letterloom")
BYTES_PER_THREAD = 1 << 19  # of weights, read for each id; below, waiting for the other threads costs more


class CompiledEngine:
    """An engine (see `generation.engine`) around parameters, which are copied into the kernels' layout.

    Matrices of 8 and 4 bits are read as int8, and give bit for bit what the float32 weights they mean would. On one
    core, one text is 1.15 times as fast so at 0.2 M parameters, 3.6 times at 10.7 M; 16 texts are 0.9 to 1.3 times.

    A single text is computed by as many threads as its model is large enough for, several texts are shared out among
    the threads. What is drawn does not depend on their number.

    Args:
        parameters: those of a `Transformer`, by name, float32 or quantized; their shapes are taken to be right.
        config: its architecture.
        vocab_size: ids it knows.
        threads: at most; None: one a core.
    """

    def __init__(
        self,
        parameters: Mapping[str, Parameter],
        config: ModelConfig,
        vocab_size: int,
        threads: int | None = None,
    ) -> None:
        self.config, self.vocab_size = config, vocab_size
        self.options = options_of(config, accounting.window_jump(config.context_length))
        self.weights = lay_out(parameters, config, vocab_size)
        self._threads = threads or accounting.usable_cores()
        size = accounting.FLOAT32 * sum(accounting.parameters(config, vocab_size).values())
        self.threads_for_one = min(self._threads, max(1, size // BYTES_PER_THREAD))
        self._pool = ThreadPoolExecutor(self._threads, thread_name_prefix="letterloom-draw")
        self._turn = Lock()

    def begin(self, ids: NDArray[np.int64], streams: int = 1) -> "CompiledStreams":
        """That many texts, all of which begin with `ids`."""
        window = ids[window_start(len(ids), self.config.context_length) :]
        parts = min(self._threads, streams)
        world = self.threads_for_one if streams == 1 else 1
        sizes = [len(part) for part in np.array_split(np.arange(streams), parts)]
        parts_made = [_Part.made(self, window, size, world) for size in sizes]
        return CompiledStreams(self, self._pool, self._turn, parts_made)


class CompiledStreams:
    """Texts in the middle of being written, in parts that are drawn side by side."""

    def __init__(self, engine: CompiledEngine, pool: ThreadPoolExecutor, turn: Lock, parts: "list[_Part]") -> None:
        self._engine, self._pool, self._turn, self._parts = engine, pool, turn, parts

    def draw(self, sampler: Sampler, uniforms: NDArray[np.float64]) -> NDArray[np.int64]:
        """The next ids, (n, S); see `generation.engine`."""
        if any(part.turnstile[ABANDONED] for part in self._parts):
            raise RuntimeError("this text was interrupted while it was drawn, and nobody knows where; begin it anew")
        ends = np.cumsum([len(part.state.ids) for part in self._parts])
        shares = [np.ascontiguousarray(share) for share in np.split(uniforms, ends[:-1], axis=1)]
        new_ids = [np.empty(share.shape, dtype=np.int64) for share in shares]
        settings, engine = sampler.settings, self._engine

        def work(part: _Part, rank: int, share: NDArray[np.float64], new: NDArray[np.int64]) -> Callable[[], None]:
            buffers, world = part.buffers[rank], len(part.buffers)
            weights, options, size = engine.weights, engine.options, engine.vocab_size
            return lambda: draw(
                weights, options, part.state, buffers, settings, share, new, size, rank, world, part.turnstile
            )

        calls = [
            work(part, rank, share, new)
            for part, share, new in zip(self._parts, shares, new_ids, strict=True)
            for rank in range(len(part.buffers))
        ]
        with (
            _compilation_told(engine.weights.qkv.dtype),
            self._turn,
        ):  # threads that wait for one another must not wait for a free worker
            self._run(calls)
        if any(part.state.marks[FAILED] for part in self._parts):
            raise NonFiniteError(NOT_FINITE)
        return np.concatenate(new_ids, axis=1)

    def append(self, token: int) -> None:
        """Go on with a given id, the same in every text; there has to be room for it in the context."""
        for part in self._parts:
            part.state.ids[:, part.state.marks[LENGTH]] = token
            part.state.marks[LENGTH] += 1

    def logits(self) -> NDArray[np.floating]:
        """Logits (S, V) of the id that comes next."""
        streams = sum(len(part.state.ids) for part in self._parts)
        self.draw(Sampler(), np.empty((0, streams)))
        return np.concatenate([part.state.logits[:, : self._engine.vocab_size] for part in self._parts]).copy()

    def _run(self, calls: list[Callable[[], None]]) -> None:
        """All calls at once, the first by this thread."""
        others = []
        try:
            others = [self._pool.submit(call) for call in calls[1:]]
            calls[0]()
            for other in others:
                other.result()
        except BaseException:  # Ctrl-C: nobody may wait for a thread that will not come
            for part in self._parts:
                part.turnstile[ABANDONED] = 1
            raise


@dataclass(frozen=True)
class _Part:
    """Some of the texts, and the threads that work on them."""

    state: State
    buffers: list[Buffers]  # of each thread
    turnstile: NDArray[np.int64] = field(default_factory=lambda: np.zeros(2, dtype=np.int64))

    @classmethod
    def made(cls, engine: CompiledEngine, window: NDArray[np.int64], streams: int, threads: int) -> "_Part":
        config = engine.config
        t, k = config.context_length, config.d_head
        ids = np.zeros((streams, config.context_length + 1), dtype=np.int64)
        ids[:, : len(window)] = window
        marks = np.zeros(3, dtype=np.int64)
        marks[LENGTH] = len(window)
        heads = (config.n_layers, streams, config.n_heads)
        state = State(
            ids,
            marks,
            keys=aligned((*heads, padded(t) // PAD, k, PAD)),
            values=aligned((*heads, padded(k) // PAD, t, PAD)),
            logits=aligned((streams, padded(engine.vocab_size))),
        )
        return cls(state, _buffers(config, threads))


def _buffers(config: ModelConfig, threads: int) -> list[Buffers]:
    d, f, k, t = map(padded, (config.d_model, config.d_hidden, config.d_head, config.context_length))
    shared = {
        "qkv": aligned((TILE, padded(3 * config.d_model))),
        "attended": aligned((TILE, config.d_model)),
        "hidden": aligned((TILE, f)),
        "gate": aligned((TILE, f)),
        "projected": aligned((TILE, d)),
    }
    return [
        Buffers(
            **shared,
            x=aligned((TILE, config.d_model)),
            normed=aligned((TILE, config.d_model)),
            turned=aligned((1, config.d_head)),
            scores=aligned((1, t)),
            mixed=aligned((1, k)),
            none=aligned((max(t, k),)),
            exponents=aligned((f,)),
        )
        for _ in range(threads)
    ]


_called: set[np.dtype[Any]] = set()  # kinds of weights that the kernels of this process have read


class _Teller(event.Listener):
    """Tells the first compilation that begins."""

    told = False

    def on_start(self, _: Any) -> None:
        if not self.told:
            log.warning("compiling the kernels for this processor, once, in about 20 seconds")
        self.told = True

    def on_end(self, _: Any) -> None:
        pass


@contextmanager
def _compilation_told(weights: np.dtype[Any]) -> Iterator[None]:
    """The kernels are compiled when they are first called on a machine, which takes a while, and then kept on disk.

    Those for quantized weights are others, which nobody pays for who has none.
    """
    if weights in _called:
        yield
        return
    with event.install_listener("numba:compile", _Teller()):
        yield
    _called.add(weights)
