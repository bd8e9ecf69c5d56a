"""The Python face: train on a text, load what was learned, write with it and measure it.

    run = letterloom.train("hamlet.txt", training={"max_minutes": 4})
    model = letterloom.load("runs/latest")
    print(model.generate("HAMLET:", max_new_tokens=300, temperature=0.8, seed=1))
    print(model.evaluate().bits_per_character)

Rooms that compute are imported when they are needed: torch takes seconds, and a mistyped setting is told at once.
"""

import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from letterloom.config import RunConfig, build_config, read_toml
from letterloom.errors import ConfigError, RunError
from letterloom.recipes import read_recipe

if TYPE_CHECKING:
    from letterloom.evaluation.loss import Evaluation
    from letterloom.evaluation.verification import Comparison
    from letterloom.model.transformer import Transformer
    from letterloom.runs.checkpoint import Checkpoint
    from letterloom.runs.directory import RunDirectory
    from letterloom.text.tokenizers import Ids

DEFAULT_RECIPE = "small"
_LIMITS = ("max_steps", "max_epochs", "max_minutes")
Texts = str | Path | Sequence[str | Path]
Protocol = Literal["blocks", "sliding"]
Split = Literal["validation", "training"]
Unknown = Literal["error", "skip", "replace"]
log = logging.getLogger("letterloom")


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

    def load(self) -> "Model":
        """The model of the best checkpoint."""
        return load(self.path)

    def _directory(self) -> "RunDirectory":
        from letterloom.runs.directory import RunDirectory

        return RunDirectory(self.path)


@dataclass(frozen=True)
class Model:
    """A trained model, made by `load`."""

    checkpoint: "Checkpoint"
    network: "Transformer"

    def generate(self, prompt: str = "", max_new_tokens: int = 500, **options: Any) -> str:
        """The prompt and the text after it; the options are those of `stream`."""
        return prompt + "".join(self.stream(prompt, max_new_tokens, **options))

    def stream(
        self,
        prompt: str = "",
        max_new_tokens: int = 500,
        *,
        temperature: float = 0.8,
        top_k: int | None = None,
        top_p: float = 1.0,
        min_p: float = 0.0,
        repetition_penalty: float = 1.0,
        seed: int = 0,
        sample: int = 0,
        stop: str | Sequence[str] = (),
        unknown: Unknown = "error",
    ) -> Iterator[str]:
        """The text after the prompt, piece by piece as it becomes certain.

        Args:
            prompt: What to continue; may be empty.
            max_new_tokens: Characters (of a byte model: bytes) at most; an end-of-text ends the text earlier.
            temperature: 0 takes the likeliest each time.
            top_k: Draw from the k likeliest.
            top_p: Draw from the fewest likeliest that hold this share of the probability.
            min_p: Draw from those at least this times as likely as the likeliest.
            repetition_penalty: Above 1: discourage what the context holds already.
            seed: Equal seeds give equal texts.
            sample: Another text of the same seed.
            stop: A string or several; the text ends before the first to appear.
            unknown: What to do with characters of the prompt that the model does not know.

        Raises:
            ConfigError: an option is out of range.
            UnknownCharacterError: the prompt has a character the model does not know, and `unknown` is "error".
        """
        from letterloom.generation.generate import generate
        from letterloom.generation.sampler import Sampler

        return generate(
            self.network,
            self.checkpoint.tokenizer,
            prompt,
            max_new_tokens=max_new_tokens,
            sampler=Sampler(temperature, top_k, top_p, min_p, repetition_penalty),
            seed=seed,
            sample=sample,
            stop=stop,
            unknown=unknown,
        )

    def evaluate(
        self,
        corpus: Texts | None = None,
        protocol: Protocol = "blocks",
        unknown: Unknown = "error",
        split: Split = "validation",
    ) -> "Evaluation":
        """Nats and bits per character of a text, with a 95 % interval.

        Args:
            corpus: Names, files or folders, scored whole; None: a split of the run's own text.
            protocol: How much the model sees of what comes before; see `letterloom.evaluation.loss.surprisal`.
            unknown: What to do with characters of `corpus` that the model does not know.
            split: Which part of the run's own text, where no other is named.

        Raises:
            ConfigError: a split is asked for, and another text named.
            CorpusError: the text cannot be read.
            DataMismatchError: the text of the run is no longer what it was.
            UnknownCharacterError: the text has a character the model does not know, and `unknown` is "error".
        """
        from letterloom.evaluation.loss import evaluate
        from letterloom.text.encoding import encode_text_of

        tokenizer = self.checkpoint.tokenizer
        if corpus is None:
            return evaluate(self.network, tokenizer, self._split(split), protocol)
        if split != "validation":
            raise ConfigError(
                f"the {split} split is of the run's own text, and another text is named; drop one of them"
            )
        ids, description = encode_text_of(_names(corpus), tokenizer, unknown, self.checkpoint.config.text.records)
        for note in description["notes"]:
            log.warning("%s", note)
        run = self._run()
        if run is not None and run.corpus()["sha256"] == description["sha256"]:
            log.warning("this is the text the model was trained on; without a CORPUS it is scored on what it never saw")
        return evaluate(self.network, tokenizer, ids, protocol)

    def verify(self) -> "Comparison":
        """Hold the model against the NumPy reference, in float64, on characters drawn by a fixed seed.

        Raises:
            NonFiniteError: a weight is NaN or infinite.
        """
        import numpy as np

        from letterloom.evaluation.verification import MAX_CHARACTERS, verify_against_reference

        ids = np.random.default_rng(0).integers(self.checkpoint.tokenizer.vocab_size, size=MAX_CHARACTERS)
        return verify_against_reference(self.network, self.checkpoint.config.model, ids)

    def _split(self, name: Split) -> "Ids":
        from letterloom.text.encoding import open_corpus

        run = self._run()
        if run is None:
            outside = f"{self.checkpoint.path} lies outside its run, which knows its splits"
            raise RunError(f"{outside}; name a text to evaluate on")
        corpus = open_corpus(self.checkpoint.config.text, self.checkpoint.tokenizer, expected=run.corpus())
        return corpus.train if name == "training" else corpus.validation

    def _run(self) -> "RunDirectory | None":
        """The run that the checkpoint lies in, unless it was copied out of it."""
        from letterloom.runs.directory import RunDirectory, is_run

        run = self.checkpoint.path.resolve().parent.parent
        return RunDirectory(run) if is_run(run) else None


def train(
    corpus: Texts | None = None,
    recipe: str | None = None,
    out: str | Path | None = None,
    config: str | Path | None = None,
    **settings: Mapping[str, Any],
) -> Run:
    """Train a model. Settings come from the recipe, then the file `config`, then `settings`; the later ones win.

    Args:
        corpus: Names, files or folders; None: what the settings say.
        recipe: Complete settings by name; by default `small`, or none where `config` is given.
        out: The new run directory; by default `runs/CORPUS-RECIPE-TIME`.
        config: A TOML file, such as the run.toml of another run.
        **settings: By section, as in `model={"n_layers": 6}, training={"max_minutes": 4}`. Limits (in steps,
            epochs or minutes) given here take the place of those given below.

    Raises:
        ConfigError: a setting is unknown, out of range or given twice.
        And what `letterloom.training.loop.train` raises.
    """
    layers: list[Mapping[str, Any]] = []
    if recipe is not None or config is None:
        layers.append(read_recipe(recipe or DEFAULT_RECIPE))
    if config is not None:
        layers.append(read_toml(Path(config)))
    if any(_section(settings, "training").get(limit) not in (None, "none") for limit in _LIMITS):
        layers.append({"training": dict.fromkeys(_LIMITS)})
    layers.append(settings)
    if corpus is not None:
        if "corpus" in _section(settings, "text"):
            raise ConfigError("the text is given twice, as CORPUS and as text.corpus; keep one of them")
        layers.append({"text": {"corpus": _names(corpus)}})
    run_config = build_config(*layers)
    path = Path(out) if out is not None else _default_path(run_config, str(config or recipe or DEFAULT_RECIPE))

    from letterloom.training import loop

    return Run(loop.train(run_config, path).path)


def resume(run: str | Path) -> Run:
    """Continue a run that was stopped, as if it never had been; a finished one is measured again.

    Raises:
        RunError: there is no such run.
        And what `letterloom.training.loop.resume` raises.
    """
    from letterloom.training import loop

    return Run(loop.resume(open_run(run).path).path)


def open_run(path: str | Path) -> Run:
    """The run in a run directory; `latest` is the newest.

    Raises:
        RunError: there is none, or it is a checkpoint.
    """
    from letterloom.runs.directory import find_run, is_run

    found = find_run(path)
    if not is_run(found):
        raise RunError(f"{found} is a checkpoint; name the run directory it belongs to")
    return Run(found)


def load(path: str | Path, device: str = "auto") -> Model:
    """The model of a checkpoint folder, or of a run's best checkpoint; `latest` is the newest run.

    Args:
        path: The run or checkpoint.
        device: cpu, mps, cuda, cuda:N; auto takes the fastest there is.

    Raises:
        RunError: there is no such run or checkpoint.
        DataMismatchError: it is damaged.
        ResourceError: the device is not here, or the model does not fit the memory.
    """
    from letterloom.runs.checkpoint import load_checkpoint
    from letterloom.runs.directory import find_run
    from letterloom.training.hardware import resolve_device

    checkpoint = load_checkpoint(find_run(path))
    return Model(checkpoint, checkpoint.model().to(resolve_device(device)))


def _names(corpus: Texts) -> tuple[str, ...]:
    names = (str(corpus),) if isinstance(corpus, (str, Path)) else tuple(map(str, corpus))
    if not names:
        raise ConfigError("text.corpus = (): should name at least one text")
    return names


def _section(settings: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    section = settings.get(name)
    return section if isinstance(section, Mapping) else {}  # what is no section, `build_config` refuses


def _default_path(config: RunConfig, settings: str) -> Path:
    """`runs/CORPUS-RECIPE-TIME`, in characters that need no quotes in a shell."""
    words = [re.sub(r"[^\w-]+", "_", Path(name).stem)[:60].strip("_-") for name in (config.text.corpus[0], settings)]
    return Path("runs") / "-".join([*filter(None, words), datetime.now().strftime("%Y%m%d-%H%M%S")])
