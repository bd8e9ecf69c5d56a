"""A trained model: written with, measured, and held against the reference."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from letterloom.errors import ConfigError, RunError
from letterloom.generation.defaults import MAX_NEW_TOKENS, TEMPERATURE

if TYPE_CHECKING:
    from letterloom.evaluation.loss import Evaluation
    from letterloom.evaluation.verification import Comparison
    from letterloom.model.transformer import Transformer
    from letterloom.runs.checkpoint import Checkpoint
    from letterloom.runs.directory import RunDirectory
    from letterloom.text.tokenizers import Ids

Texts = str | Path | Sequence[str | Path]
Protocol = Literal["blocks", "sliding"]
Split = Literal["validation", "training"]
Unknown = Literal["error", "skip", "replace"]
log = logging.getLogger("letterloom")


@dataclass(frozen=True)
class Model:
    """A trained model, made by `load`."""

    checkpoint: "Checkpoint"
    network: "Transformer"

    def __repr__(self) -> str:
        count = sum(parameter.numel() for parameter in self.network.parameters())
        return f"Model({str(self.checkpoint.path)!r}, {count:,} parameters)"

    def generate(self, prompt: str = "", max_new_tokens: int = MAX_NEW_TOKENS, **options: Any) -> str:
        """The prompt and the text after it; the options are those of `stream`."""
        return prompt + "".join(self.stream(prompt, max_new_tokens, **options))

    def stream(
        self,
        prompt: str = "",
        max_new_tokens: int = MAX_NEW_TOKENS,
        *,
        temperature: float = TEMPERATURE,
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
        split: Split | None = None,
    ) -> "Evaluation":
        """Nats and bits per character of a text, with a 95 % interval.

        Args:
            corpus: Names, files or folders, scored whole; None: a split of the run's own text.
            protocol: How much the model sees of what comes before; see `letterloom.evaluation.loss.surprisal`.
            unknown: What to do with characters of `corpus` that the model does not know.
            split: Which part of the run's own text, in place of another text; by default "validation".

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
            return evaluate(self.network, tokenizer, self._split(split or "validation"), protocol)
        if split is not None:
            raise ConfigError(
                f"the {split} split is of the run's own text, and another text is named; drop one of them"
            )
        ids, description = encode_text_of(corpus_names(corpus), tokenizer, unknown, self.checkpoint.config.text.records)
        for note in description["notes"]:
            log.warning("%s", note)
        run = self._run()
        if run is not None and run.corpus().get("sha256") == description["sha256"]:
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


def corpus_names(corpus: Texts) -> tuple[str, ...]:
    """One text or several, as a configuration names them.

    Raises:
        ConfigError: there is none.
    """
    found = (str(corpus),) if isinstance(corpus, (str, Path)) else tuple(map(str, corpus))
    if not found:
        raise ConfigError("text.corpus = (): should name at least one text")
    return found
