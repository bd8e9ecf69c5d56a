"""A trained model: written with, measured, and held against the reference."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from letterloom import accounting
from letterloom.errors import ConfigError, RunError
from letterloom.generation.defaults import MAX_NEW_TOKENS, TEMPERATURE

if TYPE_CHECKING:
    from letterloom.evaluation.loss import Evaluation
    from letterloom.evaluation.verification import Comparison
    from letterloom.generation.engine import Engine
    from letterloom.model.transformer import Transformer
    from letterloom.runs.checkpoint import Checkpoint
    from letterloom.runs.directory import RunDirectory
    from letterloom.text.tokenizers import Ids

Texts = str | Path | Sequence[str | Path]
Protocol = Literal["blocks", "sliding"]
Split = Literal["validation", "training"]
Unknown = Literal["error", "skip", "replace"]
TOGETHER = 64  # samples drawn at a time: with more of them the caches take memory and the speed stays
MOST_COMPILED = 50_000_000  # parameters that a CPU reads for each character faster than a GPU is told what to do
log = logging.getLogger("letterloom")


@dataclass(frozen=True)
class Model:
    """A trained model, made by `load`."""

    checkpoint: "Checkpoint"
    device: str = "auto"  # where `network` lies

    def __repr__(self) -> str:
        return f"Model({str(self.checkpoint.path)!r}, {self.parameters:,} parameters)"

    @property
    def parameters(self) -> int:
        """How many there are."""
        config, vocab_size = self.checkpoint.config.model, self.checkpoint.tokenizer.vocab_size
        return sum(accounting.parameters(config, vocab_size).values())

    @cached_property
    def network(self) -> "Transformer":
        """The model as a torch module, on its device, in evaluation mode; loaded when it is first asked for."""
        from letterloom.training.hardware import resolve_device

        return self.checkpoint.model().to(resolve_device(self.device))

    @cached_property
    def engine(self) -> "Engine":
        """What draws text, with the checkpoint's weights: compiled kernels on a CPU, torch elsewhere.

        Where the device is `auto`, a model of up to `MOST_COMPILED` parameters is left to the CPU, without torch.
        """
        on_cpu = self.device == "cpu" or (self.device == "auto" and self.parameters <= MOST_COMPILED)
        if not on_cpu and self.network.head.weight.device.type != "cpu":
            from letterloom.generation.eager import EagerEngine

            log.info("text is drawn with torch, on %s", self.network.head.weight.device)
            return EagerEngine(self.network)

        from letterloom.generation.compiled.engine import CompiledEngine
        from letterloom.generation.compiled.weights import parameter_shapes
        from letterloom.runs.checkpoint import require_same

        config, vocab_size = self.checkpoint.config.model, self.checkpoint.tokenizer.vocab_size
        arrays = self.checkpoint.arrays()
        found = {name: array.shape for name, array in arrays.items()}
        require_same(found, parameter_shapes(config, vocab_size), self.checkpoint.path / "model.safetensors")
        engine = CompiledEngine(arrays, config, vocab_size)
        log.info("text is drawn by compiled kernels on the CPU, threads for one text: %d", engine.threads_for_one)
        return engine

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
        (text,) = self._draw(
            (sample,),
            prompt,
            max_new_tokens,
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            min_p=min_p,
            repetition_penalty=repetition_penalty,
            seed=seed,
            stop=stop,
            unknown=unknown,
        )
        return text

    def samples(
        self, count: int, prompt: str = "", max_new_tokens: int = MAX_NEW_TOKENS, **options: Any
    ) -> Iterator[Iterator[str]]:
        """Sample 0 to `count` - 1 of a seed, each as `stream` gives it, but drawn together, which is faster.

        The options are those of `stream`.
        """
        for first in range(0, count, TOGETHER):
            samples = range(first, min(count, first + TOGETHER))
            yield from self._draw(samples, prompt, max_new_tokens, **options)

    def _draw(
        self,
        samples: Sequence[int],
        prompt: str,
        max_new_tokens: int,
        *,
        temperature: float = TEMPERATURE,
        seed: int = 0,
        stop: str | Sequence[str] = (),
        unknown: Unknown = "error",
        **filters: Any,
    ) -> tuple[Iterator[str], ...]:
        from letterloom.generation.generate import generate_samples
        from letterloom.generation.sampler import Sampler

        return generate_samples(
            self.engine,
            self.checkpoint.tokenizer,
            prompt,
            max_new_tokens=max_new_tokens,
            sampler=Sampler(temperature, **filters),
            seed=seed,
            samples=samples,
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

    checkpoint = load_checkpoint(find_run(path))
    accounting.require_memory(checkpoint.config.model, checkpoint.tokenizer.vocab_size)
    if device not in ("auto", "cpu"):  # only torch knows what else there is
        from letterloom.training.hardware import resolve_device

        device = str(resolve_device(device))
    return Model(checkpoint, device)


def corpus_names(corpus: Texts) -> tuple[str, ...]:
    """One text or several, as a configuration names them.

    Raises:
        ConfigError: there is none.
    """
    found = (str(corpus),) if isinstance(corpus, (str, Path)) else tuple(map(str, corpus))
    if not found:
        raise ConfigError("text.corpus = (): should name at least one text")
    return found
