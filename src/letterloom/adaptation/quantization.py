"""Quantize a trained model, and measure what that costs and gains beside the model it was made from."""

import logging
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from letterloom import accounting, storage
from letterloom.errors import LetterloomError, RunError
from letterloom.evaluation.comparison import Difference, Scored, score_characters
from letterloom.generation.compiled.engine import CompiledEngine
from letterloom.generation.sampler import Sampler
from letterloom.runs.checkpoint import Checkpoint, load_checkpoint, read_checkpoint, save_quantized
from letterloom.runs.finding import find_run, run_around
from letterloom.runs.quantized import Quantization, choose
from letterloom.text.encoding import open_corpus
from letterloom.training.hardware import resolve_scoring
from letterloom.training.kernels import quicken
from letterloom.training.rounding import METHOD

PROTOCOL = "blocks"
ROUNDS = 15
LEAST_SECONDS = 0.1  # of drawing, for each model in each round
Watch = Callable[[int, int], None]  # is told how much is done, and of how much
log = logging.getLogger("letterloom")


@dataclass(frozen=True)
class Measured:
    """A checkpoint of a model, in the precision that it is stored in."""

    path: Path
    precision: str  # fp32, bf16, int8, int4
    method: str | None
    file_bytes: int  # of model.safetensors
    bits_per_weight: float  # of that file
    memory_bytes: int  # of the weights while text is drawn on a CPU
    characters_per_second: float  # one text within its context, by one thread of the CPU: the median of `ROUNDS`
    scored: Scored | None  # on the run's own validation split; None where the text is not there any more

    def to_json(self) -> dict[str, Any]:
        """Everything, and of the scores the mean."""
        nats = None if self.scored is None else self.scored.nats_per_character
        others = {name: value for name, value in vars(self).items() if name not in ("path", "scored")}
        return {"path": str(self.path), **others, "nats_per_character": nats}


def quantize(
    run: str | Path,
    out: Path | None = None,
    bits: int | None = None,
    method: str | None = None,
    watch: Watch | None = None,
) -> dict[str, Any]:
    """Write the best checkpoint of a run with narrower weights, as a checkpoint of its own, and measure both.

    Args:
        run: A run directory, a checkpoint folder or `latest`; it is left as it is.
        out: The new folder; by default `quantized/int8` (int4, bf16) in the run, or beside a checkpoint without one.
        bits: 8, 4 or 16; by default those that the run was trained through, else see `runs.quantized.choose`.
        method: search, round (see `runs.quantized.quantize_matrix`) or bf16; by default as the run was trained
            through, else search.
        watch: Is told how far the measuring is.

    Returns:
        What `quantize --json` prints; scripts rely on its keys.

    Raises:
        RunError: there is no such run, it is quantized already, or `out` is in the way.
        ConfigError: bits or method are unknown, or contradict each other.
        LockedError: it would lie in a run that another process is training.
        DataMismatchError, NonFiniteError: the checkpoint is damaged.
        ResourceError: the disk is full; nothing is left behind.
    """
    checkpoint = load_checkpoint(find_run(run))
    trained_through = checkpoint.config.training.weight_bits
    if bits is None and method != "bf16":
        bits = trained_through
    if bits and bits == trained_through:
        method = method or METHOD  # the weights are what it makes of them, and it is told
    how = choose(bits, method)
    if checkpoint.quantization:
        raise RunError(
            f"{checkpoint.path} is quantized already ({checkpoint.quantization.bits} bits); quantize the run it was "
            "made from"
        )
    place = _default_place(checkpoint, how) if out is None else out
    run_there = run_around(place)
    with run_there.locked() if run_there else nullcontext():  # which clears away what a killed one left, too
        if place.exists():
            raise RunError(f"{place} is there already; choose another --out, or remove it")
        try:
            save_quantized(place, checkpoint, how)
            before, after = measure([checkpoint, read_checkpoint(place)], watch)
        except BaseException:  # interrupted, too: what nobody has seen the cost of is not left behind
            if place.exists():
                storage.remove_folder(place)
            raise
    cost = difference(before, after)
    return {
        "out": str(place),
        **asdict(how),
        "before": before.to_json(),
        "after": after.to_json(),
        "ratio": before.file_bytes / after.file_bytes,
        "speed": after.characters_per_second / before.characters_per_second,
        "difference": cost and cost.to_json()["difference"],
        "protocol": PROTOCOL,
    }


def measure(checkpoints: Sequence[Checkpoint], watch: Watch | None = None) -> list[Measured]:
    """Checkpoints of one model, side by side in this process; the first lies in its run, whose text they are scored on.

    Raises:
        DataMismatchError: a checkpoint is damaged.
        NonFiniteError: a model gives NaN or infinity.
    """
    config, vocab_size = checkpoints[0].config.model, checkpoints[0].tokenizer.vocab_size
    ids = _held_out(checkpoints[0])
    scores: list[Scored | None] = []
    for done, checkpoint in enumerate(checkpoints):
        if watch:
            watch(done, len(checkpoints) + 1)
        scores.append(None if ids is None else _scored(checkpoint, ids))
    if watch:
        watch(len(checkpoints), len(checkpoints) + 1)
    # One thread: on a busy machine several wait for one another, and what is measured is the waiting.
    engines = [CompiledEngine(checkpoint.parameters(), config, vocab_size, threads=1) for checkpoint in checkpoints]
    total = sum(accounting.parameters(config, vocab_size).values())
    measured = []
    for checkpoint, engine, speed, score in zip(checkpoints, engines, _speeds(engines), scores, strict=True):
        size, how = int(checkpoint.manifest["files"]["model.safetensors"]["bytes"]), checkpoint.quantization
        measured.append(
            Measured(
                path=checkpoint.path,
                precision=_precision(how),
                method=how.method if how else None,
                file_bytes=size,
                bits_per_weight=8 * size / total,
                memory_bytes=sum(array.nbytes for array in engine.weights),
                characters_per_second=speed,
                scored=score,
            )
        )
    return measured


def difference(before: Measured, after: Measured) -> Difference | None:
    """What a character costs the second more, paired; None where they were not scored."""
    if before.scored is None or after.scored is None:
        return None
    return Difference((before.scored,), (after.scored,), PROTOCOL)


def _precision(how: Quantization | None) -> str:
    if how is None:
        return "fp32"
    return "bf16" if how.bits == 16 else f"int{how.bits}"


def _default_place(checkpoint: Checkpoint, how: Quantization) -> Path:
    """In the run, two folders deep as a checkpoint of its own: so the run's text is found from there."""
    run, name = run_around(checkpoint.path), _precision(how)
    return run.quantized_folder / name if run else checkpoint.path.with_name(f"{checkpoint.path.name}-{name}")


def _held_out(checkpoint: Checkpoint) -> NDArray[np.integer] | None:
    """The validation split of the run that a checkpoint lies in; None, and a line that says why, where it is lost."""
    run = run_around(checkpoint.path)
    try:
        if run is None:
            raise RunError(f"{checkpoint.path} lies outside its run, which knows its text")
        return open_corpus(checkpoint.config.text, checkpoint.tokenizer, expected=run.corpus()).validation
    except LetterloomError as error:
        log.warning("%s; so what quantizing costs in loss is not measured", error)
        return None


def _scored(checkpoint: Checkpoint, ids: NDArray[np.integer]) -> Scored:
    training = resolve_scoring(checkpoint.config, "auto")
    network = checkpoint.model().to(training.device)
    quicken(network, training)
    name = str(checkpoint.path)
    return Scored(name, checkpoint.config, score_characters(name, network, checkpoint.tokenizer, ids, PROTOCOL))


def _speeds(engines: Sequence[CompiledEngine]) -> list[float]:
    """Characters a second; the engines draw in turn, so that what disturbs the machine disturbs all of them."""
    uniforms = np.random.default_rng(0).random((max(1, engines[0].config.context_length - 1), 1))

    def draw(engine: CompiledEngine) -> None:
        engine.begin(np.zeros(1, np.int64)).draw(Sampler(), uniforms)

    def speed(engine: CompiledEngine) -> float:
        began, times = time.perf_counter(), 0
        while not times or time.perf_counter() - began < LEAST_SECONDS:
            draw(engine)
            times += 1
        return times * len(uniforms) / (time.perf_counter() - began)

    for engine in engines:
        draw(engine)  # compiled, and in the caches
    return [
        float(np.median(values)) for values in zip(*([speed(e) for e in engines] for _ in range(ROUNDS)), strict=True)
    ]
