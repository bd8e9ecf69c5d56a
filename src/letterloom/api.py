"""The Python face: train on a text, load what was learned, write with it and measure it.

    run = letterloom.train("hamlet.txt", training={"max_minutes": 4})
    model = letterloom.load("runs/latest")
    print(model.generate("HAMLET:", max_new_tokens=300, temperature=0.8, seed=1))
    print(model.evaluate().bits_per_character)

Rooms that compute are imported when they are needed: torch takes seconds, and a mistyped setting is told at once.
"""

import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from letterloom.config import build_from_scratch
from letterloom.errors import ConfigError, RunError
from letterloom.recipes import read_recipe
from letterloom.sections import merge_layers, read_toml
from letterloom.texts import Split, Texts, corpus_names
from letterloom.trained import Model, Protocol, load
from letterloom.training.planning.ladder import first_shape

if TYPE_CHECKING:
    from letterloom.adaptation.context import Positions
    from letterloom.adaptation.vocabulary import Characters
    from letterloom.evaluation.comparison import Difference
    from letterloom.reporting.curves import CurvesFigure
    from letterloom.reporting.profile.figures import Profile
    from letterloom.runs.directory import RunDirectory

__all__ = ["Model", "Run", "compare", "finetune", "load", "open_run", "profile", "resume", "train"]

DEFAULT_RECIPE = "small"
_LIMITS = ("max_steps", "max_epochs", "max_minutes")


@dataclass(frozen=True)
class Run:
    """A run directory."""

    path: Path

    @property
    def metrics(self) -> list[dict[str, Any]]:
        """The lines of the metrics log, in order; `docs/architecture.md` lists their keys."""
        return self._directory().metrics()

    @property
    def evaluation(self) -> dict[str, Any] | None:
        """The final numbers by split and protocol; None while the run is not finished."""
        return self._directory().evaluation()

    @property
    def samples(self) -> list[Path]:
        """Files of text written during training, the newest last."""
        return [file for files in self._directory().samples().values() for file in files]

    @property
    def finetuning(self) -> dict[str, Any] | None:
        """What a finetuned run began from, gained and forgot; None of a run from scratch."""
        return self._directory().finetuning()

    @property
    def verdict(self) -> str | None:
        """Where the model stands among baselines, in words; None while the run is not finished."""
        from letterloom.reporting.diagnosis.diagnose import diagnose
        from letterloom.reporting.reading import read_run
        from letterloom.reporting.standing import verdict

        record = read_run(self.path)
        return verdict(record, diagnose(record))

    @property
    def beside(self) -> dict[str, Any]:
        """What the final numbers are held against: `baselines`, and how much of the samples is `copying`."""
        run = self._directory()
        return {"baselines": (run.baselines() or {}).get("baselines"), "copying": run.copying()}

    def load(self) -> Model:
        """The model of the best checkpoint."""
        return load(self.path)

    def curves(self) -> "CurvesFigure":
        """The learning curve, as a figure to change or to save."""
        from letterloom.reporting.curves import draw_curves, read_curves

        return draw_curves(read_curves(self.metrics))

    def _repr_html_(self) -> str:
        """What Jupyter shows of it."""
        from letterloom.reporting.notebook import render_run

        return render_run(self.path)

    def _directory(self) -> "RunDirectory":
        from letterloom.runs.directory import RunDirectory

        return RunDirectory(self.path)


def train(
    corpus: Texts | None = None,
    recipe: str | None = None,
    out: str | Path | None = None,
    config: str | Path | None = None,
    **settings: Mapping[str, Any],
) -> Run:
    """Train a model. Settings come from the recipe, then the file `config`, then `settings`; the later ones win.

    With neither recipe nor file the run is planned: `settings` keep what they say, and everything else is chosen for
    the text, the machine and the minutes, `training.max_minutes`, by default two. Where they limit steps or epochs
    alone there is nothing to plan for, and the rest is that of the recipe `small`.

    Args:
        corpus: Names, files or folders; None: what the settings say.
        recipe: Complete settings by name.
        out: The new run directory; by default `runs/CORPUS-RECIPE-TIME`, for a plan with its minutes as the recipe.
        config: A TOML file, such as the run.toml of another run.
        **settings: By section, as in `model={"n_layers": 6}, training={"max_minutes": 4}`. Limits (in steps,
            epochs or minutes) given here take the place of those given below.

    Raises:
        ConfigError: a setting is unknown, out of range or given twice.
        And what `letterloom.training.loop.train` raises.
    """
    began = time.perf_counter()
    open_to_plan = recipe is None and config is None
    recipe = DEFAULT_RECIPE if open_to_plan else recipe
    layers: list[Mapping[str, Any]] = [] if recipe is None else [read_recipe(recipe)]
    if open_to_plan:
        layers.append({"model": first_shape(_section(settings, "model"))})
    if config is not None:
        if (Path(config).parent / "finetuning.json").exists():
            raise ConfigError(f"{config} is of a finetuned run; `letterloom finetune RUN --config {config}` repeats it")
        layers.append(read_toml(Path(config)))
    run_config = build_from_scratch(*layers, *_given(settings, corpus))
    minutes = run_config.training.max_minutes if open_to_plan else None
    name = Path(str(config or recipe)).stem if minutes is None else f"{minutes:g}min"
    path = Path(out) if out is not None else _default_path(run_config.text.corpus, name)

    from letterloom.training import loop

    return Run(loop.train(run_config, path, None if minutes is None else settings, began).path)


def resume(run: str | Path) -> Run:
    """Continue a run that was stopped, as if it never had been; a finished one is measured again.

    Raises:
        RunError: there is no such run.
        And what `letterloom.training.loop.resume` raises.
    """
    from letterloom.adaptation.finetuning import complete
    from letterloom.runs.checkpoint import load_checkpoint
    from letterloom.runs.finding import find_run, is_checkpoint
    from letterloom.training import loop
    from letterloom.training.launch import rank_of_environment

    if is_checkpoint(found := find_run(run)):
        load_checkpoint(found).require_trainable()
    resumed = loop.resume(open_run(run).path)
    if not rank_of_environment():
        complete(resumed)
    return Run(resumed.path)


def finetune(
    run: str | Path,
    corpus: Texts | None = None,
    out: str | Path | None = None,
    config: str | Path | None = None,
    *,
    characters: "Characters" = "grow",
    positions: "Positions" = "interpolate",
    replay: float = 0.0,
    **settings: Mapping[str, Any],
) -> Run:
    """Train a model further on another text; the old text's loss is measured beside the new one's.

    Args:
        run: What to begin from: a run, a checkpoint, or `latest`; it is only read.
        corpus: Names, files or folders; None: what the settings say.
        out: The new run directory; by default `runs/CORPUS-from-RUN-TIME`.
        config: A TOML file, such as the run.toml of a finetuned run, which is then repeated; `settings` go over it.
        characters: "grow" adds those that the model lacks, "refuse" lets none be new, "text" keeps exactly the text's.
        positions: Whether learned positions may be interpolated for a longer context, or this is refused.
        replay: Share of the training ids that is the old text, so that less of it is forgotten.
        **settings: As for `train`, over those of the run and what suits finetuning.

    Raises:
        What `letterloom.adaptation.finetuning.finetune` raises.
    """
    began = time.perf_counter()
    layers = [] if config is None else [read_toml(Path(config))]
    given = merge_layers(*layers, *_given(settings, corpus))
    names = corpus_names(_section(given, "text").get("corpus") or ())

    from letterloom.runs.finding import find_run

    found = find_run(run)

    from letterloom.adaptation import finetuning

    path = Path(out) if out is not None else _default_path(names, f"from-{found.resolve().name}")
    adaptation = finetuning.Adaptation(characters, positions, replay)
    return Run(finetuning.finetune(found, names, path, given, adaptation, began).path)


def open_run(path: str | Path) -> Run:
    """The run in a run directory; `latest` is the newest.

    Raises:
        RunError: there is none, or it is a checkpoint.
    """
    from letterloom.runs.finding import find_run, is_run

    found = find_run(path)
    if not is_run(found):
        raise RunError(f"{found} is a checkpoint; name the run directory it belongs to")
    return Run(found)


def profile(
    name: str | Path, corpus: Texts | None = None, vocab_size: int | None = None, measured: bool | None = None
) -> "Profile":
    """What a recipe's or a run's model is made of and costs; see `letterloom.training.profiling.profile`."""
    from letterloom.training import profiling

    return profiling.profile(str(name), None if corpus is None else corpus_names(corpus), vocab_size, measured)


def compare(
    first: str | Path | Sequence[str | Path],
    second: str | Path | Sequence[str | Path],
    corpus: Texts | None = None,
    protocol: Protocol = "blocks",
    split: Split | None = None,
    device: str = "auto",
) -> "Difference":
    """What a character costs one model more than another, on the same text; or one configuration, by several seeds.

    Args:
        first: A run or checkpoint; or several, which differ in the seed.
        second: The same.
        corpus: Names, files or folders, scored whole; None: a split of the runs' own text, which is to be the same.
        protocol: As for `Model.evaluate`.
        split: Which part of the runs' own text, in place of another text; by default "validation".
        device: As for `load`.

    Raises:
        DataMismatchError: the runs would be scored on different texts.
        ConfigError: a side has one run and the other several, or a seed twice.
        And what `load` and `Model.text` raise.
    """
    from letterloom.evaluation.comparison import Difference, Scored, require_same_text, require_seeds, score_characters

    sides = [(str(side),) if isinstance(side, (str, Path)) else tuple(map(str, side)) for side in (first, second)]
    models = {run: load(run, device) for side in sides for run in side}
    require_seeds(*([(run, models[run].checkpoint.config) for run in side] for side in sides))
    texts = {run: (model.checkpoint.tokenizer, model.text(corpus, split=split)[0]) for run, model in models.items()}
    require_same_text(texts)
    scored = {
        run: Scored(run, model.checkpoint.config, score_characters(run, model.network, *texts[run], protocol))
        for run, model in models.items()
    }
    ours, theirs = (tuple(scored[run] for run in side) for side in sides)
    return Difference(ours, theirs, protocol)


def _given(settings: Mapping[str, Any], corpus: Texts | None) -> list[Mapping[str, Any]]:
    """What a user sets, as layers: its limits take the place of those below."""
    layers = [settings]
    if any(_section(settings, "training").get(limit) not in (None, "none") for limit in _LIMITS):
        layers.insert(0, {"training": dict.fromkeys(_LIMITS)})
    if corpus is not None:
        if "corpus" in _section(settings, "text"):
            raise ConfigError("the text is given twice, as CORPUS and as text.corpus; keep one of them")
        layers.append({"text": {"corpus": corpus_names(corpus)}})
    return layers


def _section(settings: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    section = settings.get(name)
    return section if isinstance(section, Mapping) else {}  # what is no section, `build_config` refuses


def _default_path(corpus: Sequence[str], settings: str) -> Path:
    """`runs/CORPUS-RECIPE-TIME`, in characters that need no quotes in a shell."""
    names = Path(corpus[0]).stem, settings
    words = [re.sub(r"[^\w-]+", "_", name)[:60].strip("_-") for name in names]
    return Path("runs") / "-".join([*filter(None, words), datetime.now().strftime("%Y%m%d-%H%M%S")])
