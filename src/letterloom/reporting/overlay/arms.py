"""Several runs on one axis: whether they may share it, which of them belong together, and how they differ."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

from letterloom.errors import ConfigError, DataMismatchError
from letterloom.reporting.markup import plain
from letterloom.reporting.reading import RunRecord, read_run

PLACES = {"text.corpus"}  # the text itself is compared, and may lie in two places
SEED = "training.seed"


@dataclass(frozen=True)
class Arm:
    """Runs that differ in the seed alone."""

    name: str  # of the first
    runs: tuple[RunRecord, ...]

    @property
    def label(self) -> str:
        """The name, and how many runs stand behind it."""
        if len(self.runs) == 1:
            return self.name
        return f"{self.name}, {self.seeds} seeds" if self.seeds > 1 else f"{self.name}, {len(self.runs)} of one seed"

    @property
    def seeds(self) -> int:
        """Different ones; a copy of a run has none of its own."""
        return len({run.config.training.seed for run in self.runs})

    def bits(self, split: str) -> list[float]:
        """The final bits per character of the finished runs, of each seed the first."""
        found: dict[int, float] = {}
        for run in self.runs:
            if (score := run.score(split)) is not None:
                found.setdefault(run.config.training.seed, score.bits)
        return list(found.values())


def read_runs(paths: Sequence[Path]) -> dict[str, RunRecord]:
    """Runs that may share one axis, each under a name of its own.

    Raises:
        ConfigError: a run is named twice.
        DataMismatchError: two runs differ in text, split, tokenizer, vocabulary or protocol; or a file is damaged.
        RunError: a path is no run directory, or a file in it is missing or damaged.
    """
    places = [path.resolve() for path in paths]
    for i, place in enumerate(places):
        if place in places[:i]:
            raise ConfigError(f"{paths[i]} is the same run as {paths[places.index(place)]}; name each run once")
    runs = [read_run(path) for path in paths]
    for one, other in combinations(runs, 2):
        _require_comparable(one, other)
    distinct = len({run.name for run in runs}) == len(runs)
    return {run.name if distinct else str(path): run for run, path in zip(runs, paths, strict=True)}


def group(runs: dict[str, RunRecord]) -> list[Arm]:
    """The runs as arms, in the order in which they were named."""
    found: dict[str, list[str]] = {}
    for name, run in runs.items():
        settings = {key: value for key, value in _settings(run).items() if key != SEED}
        found.setdefault(repr(settings), []).append(name)
    return [Arm(names[0], tuple(runs[name] for name in names)) for names in found.values()]


def differing_settings(runs: Sequence[RunRecord]) -> list[str]:
    """The names of the settings in which the runs differ."""
    settings = [_settings(run) for run in runs]
    return [name for name in settings[0] if any(other[name] != settings[0][name] for other in settings[1:])]


def setting(run: RunRecord, name: str) -> Any:
    """A setting by its name, such as model.n_layers."""
    return _settings(run)[name]


def notes(runs: dict[str, RunRecord]) -> list[str]:
    """What to know before the numbers are held against one another."""
    records = list(runs.values())
    found = [f"{name} has not finished: it has no final number." for name, run in runs.items() if not run.scores]
    if len({run.config.model.context_length for run in records}) > 1:
        found.append("The contexts differ: a model that looks further back starts fewer windows cold.")
    if len({run.config.training.eval_characters for run in records}) > 1:
        found.append("The validations during training were on parts of different length; the final numbers were not.")
    if not same_batches(records):
        found.append("The batches differ, so the curves are drawn against characters read, not steps.")
    found += [
        f"{arm.label}: some have the same seed too; of each seed the first counts."
        for arm in group(runs)
        if arm.seeds < len(arm.runs)
    ]
    return found


def same_batches(runs: Sequence[RunRecord]) -> bool:
    """Whether a step means as many characters in all runs."""
    return len({run.config.training.batch_size * run.config.model.context_length for run in runs}) == 1


def _settings(run: RunRecord) -> dict[str, Any]:
    return {name: value for name, value in run.config.settings().items() if name not in PLACES}


def _require_comparable(one: RunRecord, other: RunRecord) -> None:
    """Refuse two runs whose bits per character do not measure the same thing."""
    a, b = one.config.text, other.config.text
    records = [(text.records, text.records_seed, text.end_of_text) for text in (a, b)]
    protocols = one.curves.protocol, other.curves.protocol  # None before the first validation
    facts = [
        (one.text_sha256 == other.text_sha256, "the text", f"SHA-256 {one.text_sha256[:8]}", other.text_sha256[:8]),
        (a.train_fraction == b.train_fraction, "the share that trains", a.train_fraction, b.train_fraction),
        (records[0] == records[1], "the records", *records),
        (a.tokenizer == b.tokenizer, "the tokenizer", a.tokenizer, b.tokenizer),
        (
            one.tokenizer.to_json() == other.tokenizer.to_json(),
            "the vocabulary",
            f"{one.vocab_size} ids",
            f"{other.vocab_size} ids",
        ),
        (None in protocols or protocols[0] == protocols[1], "the protocol", *protocols),
    ]
    differing = [f"{fact} ({plain(x)} against {plain(y)})" for equal, fact, x, y in facts if not equal]
    if differing:
        raise DataMismatchError(
            f"{one.directory.path} and {other.directory.path} cannot share one axis: they differ in "
            f"{' and '.join(differing)}; report each by itself, as in `letterloom report {other.directory.path}`"
        )
