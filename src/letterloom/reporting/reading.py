"""What a report reads of a run: its small files, each checked on the way in, so that a damaged one is named."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from letterloom import accounting
from letterloom.config import RunConfig
from letterloom.errors import DataMismatchError, RunError
from letterloom.reporting.curves import Curves, read_curves
from letterloom.reporting.finetuned import Finetuned, read_finetuned
from letterloom.runs.directory import RunDirectory, damage
from letterloom.runs.finding import is_run
from letterloom.text.tokenizers import Tokenizer

SPLITS = {"validation": "held out", "training": "training"}


@dataclass(frozen=True)
class Score:
    """One final number: what a character of a split costs the finished model."""

    split: str  # "held out" or "training"
    protocol: str
    nats: float
    interval: tuple[float, float] | None  # 95 %, bits per character
    characters: int
    context_length: int
    seconds: float
    limit: float | None = None  # nats per character of the process that drew the same text, where that is known
    parts: tuple[tuple[float, int], ...] = ()  # nats and characters of consecutive stretches, where they were kept

    @property
    def bits(self) -> float:
        """Bits per character."""
        return self.nats / math.log(2)


class Baseline(NamedTuple):
    """What a character of the held-out text costs another method."""

    name: str
    nats: float
    note: str

    @property
    def bits(self) -> float:
        """Bits per character."""
        return self.nats / math.log(2)


@dataclass(frozen=True)
class Progress:
    """How far training has come."""

    step: int
    characters: int
    seconds: float


@dataclass(frozen=True)
class Sample:
    """A text that the model wrote after a step, its prompt included."""

    step: int
    prompt: str
    text: str

    @property
    def written(self) -> str:
        """What the model wrote itself, without the prompt."""
        return self.text.removeprefix(self.prompt)


@dataclass(frozen=True)
class RunRecord:
    """A run as its files tell it, finished or not."""

    directory: RunDirectory
    config: RunConfig
    tokenizer: Tokenizer
    blind_nats: float  # per character, of drawing every id with equal chance
    corpus: dict[str, Any]
    text_sha256: str
    environment: dict[str, Any]
    curves: Curves
    progress: Progress | None  # None before the first step
    scores: tuple[Score, ...]  # none while the run is not finished
    samples: dict[int, list[Sample]]  # by step, in the order of the prompts
    baselines: tuple[Baseline, ...]  # none where they were not measured
    remarks: tuple[str, ...]  # on them
    copying: dict[str, Any] | None  # as `evaluation.copying.Copying.to_json` has it
    held_out: str | None  # None where the run has lost it
    finetuned: Finetuned | None  # None of a run from scratch

    @property
    def name(self) -> str:
        """The run directory's own name."""
        return self.directory.path.resolve().name

    @property
    def vocab_size(self) -> int:
        """Ids of the tokenizer."""
        return self.tokenizer.vocab_size

    def score(self, split: str) -> Score | None:
        """The number to show for a split: by protocol `blocks` where there is one."""
        scores = [score for score in self.scores if score.split == split]
        return next((score for score in scores if score.protocol == "blocks"), scores[0] if scores else None)

    @property
    def finished_step(self) -> int | None:
        """The step of the model that people use, the best checkpoint's; None while the run is not finished."""
        return self.directory.linked_step("best") if self.scores else None

    @property
    def final_step(self) -> int | None:
        """The step whose samples come first: that of the finished model where there are any, else the newest."""
        return self.finished_step if self.finished_step in self.samples else max(self.samples, default=None)

    @property
    def final_samples(self) -> list[Sample]:
        """The samples of that step, one a prompt."""
        return self.samples[self.final_step] if self.final_step is not None else []

    @property
    def parameters(self) -> int:
        """Parameters of the model."""
        return sum(accounting.parameters(self.config.model, self.vocab_size).values())

    def memory(self) -> dict[str, int]:
        """Bytes of each thing that training holds in memory, computed."""
        return accounting.training_memory(self.config, self.vocab_size)

    def checkpoint_bytes(self) -> dict[str, int]:
        """Bytes on disk of the best checkpoint's files that are there."""
        best = self.directory.linked("best")
        files = ("model.safetensors", "optimizer.safetensors") if best is not None else ()
        return {name: (best / name).stat().st_size for name in files if best and (best / name).exists()}


def read_run(path: Path) -> RunRecord:
    """Read a run directory.

    Raises:
        RunError: `path` is no run directory.
        DataMismatchError: a file in it is missing or damaged; it is named.
    """
    if not is_run(path):
        raise RunError(
            f"{path} is not a run directory (it has no run.toml); give the folder that `letterloom train` made"
        )
    run = RunDirectory(path)
    with _damage_in(run.metrics_file):
        metrics = run.metrics()
        curves, progress = read_curves(metrics), _progress(metrics)
    _require_whole_log(run, progress)
    with _damage_in(run.config_file):
        config = run.config()
    with _damage_in(run.evaluation_file):
        scores = tuple(_scores(run.evaluation() or {}))
    with _damage_in(run.baselines_file):
        measured = run.baselines() or {"baselines": [], "notes": []}
        remarks = tuple(map(str, measured["notes"]))
        baselines = tuple(
            Baseline(str(b["name"]), float(b["nats_per_character"]), str(b["note"])) for b in measured["baselines"]
        )
    with _damage_in(run.copying_file):
        copying = _copying(run.copying())
    with _damage_in(run.finetuning_file):
        finetuned = read_finetuned(run.finetuning())
    tokenizer, corpus = run.tokenizer(), run.corpus()
    with _damage_in(run.path / "corpus.json"):
        blind_nats = math.log(tokenizer.vocab_size) * _ids_per_character(tokenizer, corpus)
        text_sha256 = str(corpus["sha256"])
    return RunRecord(
        directory=run,
        config=config,
        tokenizer=tokenizer,
        blind_nats=blind_nats,
        corpus=corpus,
        text_sha256=text_sha256,
        environment=run.environment(),
        curves=curves,
        progress=progress,
        scores=scores,
        samples=_samples(run, config.training.sample_prompts),
        baselines=baselines,
        remarks=remarks,
        copying=copying,
        held_out=run.held_out(),
        finetuned=finetuned,
    )


def _copying(copying: dict[str, Any] | None) -> dict[str, Any] | None:
    """What a run has of copies, if it is all there."""
    if copying is not None:
        texts, human = copying["texts"], copying["human"]
        for share in texts["shares"].values():
            float(share)
        str(texts["longest"] and texts["longest"]["text"])
        if human:
            int(human["sets"]), min(human["longest"])
            for n in texts["shares"]:
                float(human["shares"][n]), float(human["highest_shares"][n])
    return copying


def _require_whole_log(run: RunDirectory, progress: Progress | None) -> None:
    """Every step is logged before a checkpoint holds it."""
    saved = run.linked_step("last") or 0
    logged = progress.step if progress else 0
    if logged < saved:
        raise DataMismatchError(
            f"{run.metrics_file} ends at step {logged:,}, but there is a checkpoint of step {saved:,}: part of the log "
            "is lost; restore it from a copy"
        )


def _ids_per_character(tokenizer: Tokenizer, corpus: dict[str, Any]) -> float:
    """Ids of the text for each character that a loss counts; an end-of-text is one."""
    if tokenizer.kind == "characters":
        return 1.0
    ends = 0
    if tokenizer.end_of_text_id is not None:
        ends = corpus["records"]["kept"] + 1 if "records" in corpus else len(corpus["sources"])
    return float(corpus["ids"] / (corpus["characters"] + ends))


def _progress(metrics: list[dict[str, Any]]) -> Progress | None:
    last = next((line for line in reversed(metrics) if line["kind"] == "train"), None)
    return last and Progress(int(last["step"]), int(last["characters"]), float(last["seconds"]))


def _scores(evaluation: dict[str, Any]) -> Iterator[Score]:
    for split, by_protocol in evaluation.items():
        for protocol, score in by_protocol.items():
            interval = score["interval"]
            yield Score(
                split=SPLITS[split],
                protocol=protocol,
                nats=float(score["nats_per_character"]),
                interval=interval and (float(interval["low"]) / math.log(2), float(interval["high"]) / math.log(2)),
                characters=int(score["characters"]),
                context_length=int(score["context_length"]),
                seconds=float(score["seconds"]),
                limit=None if "limit" not in score else float(score["limit"]),
                parts=tuple((float(nats), int(size)) for nats, size in score.get("parts", ())),
            )


def _samples(run: RunDirectory, prompts: tuple[str, ...]) -> dict[int, list[Sample]]:
    """Every sample; a run whose prompts were changed may have more files than prompts, which then have none."""
    return {
        step: [Sample(step, prompts[i] if i < len(prompts) else "", _read_sample(file)) for i, file in enumerate(files)]
        for step, files in run.samples().items()
    }


def _read_sample(file: Path) -> str:
    try:
        return file.read_bytes().decode()  # not read_text: it would turn a carriage return into a newline
    except (OSError, UnicodeDecodeError) as error:
        raise DataMismatchError(f"cannot read the sample {file}: {error}; remove it or restore it") from None


@contextmanager
def _damage_in(file: Path) -> Iterator[None]:
    """Tell which file it is that does not hold what a run writes."""
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        raise damage(file, error) from None
