"""A trained model: written with, measured, and held against the reference."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from letterloom import accounting
from letterloom.generation.defaults import MAX_NEW_TOKENS, TEMPERATURE
from letterloom.memory import require_memory
from letterloom.texts import Split, Texts, Unknown, own_split, text_for

if TYPE_CHECKING:
    from letterloom.compression.codec import Codec, Watch
    from letterloom.evaluation.loss import Evaluation
    from letterloom.evaluation.verification import Comparison
    from letterloom.generation.engine import Engine
    from letterloom.model.transformer import Transformer
    from letterloom.runs.checkpoint import Checkpoint
    from letterloom.runs.quantized import Parameter
    from letterloom.text.tokenizers import Ids

Protocol = Literal["blocks", "sliding"]
AnyProtocol = Literal["blocks", "sliding", "dynamic"]  # the last by a model that learns from the text
TOGETHER = 64  # samples drawn at a time: with more of them the caches take memory and the speed stays
MOST_COMPILED = 50_000_000  # parameters that a CPU reads faster than a GPU is told of each character; a guess
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

    @property
    def stored_bytes(self) -> int:
        """What has to be kept of it for use: weights, settings and vocabulary, in the checkpoint."""
        files = self.checkpoint.manifest["files"]
        return sum(files[name]["bytes"] for name in ("model.safetensors", "run.toml", "tokenizer.json"))

    @cached_property
    def network(self) -> "Transformer":
        """The model as a torch module, on its device, in fp32 and evaluation mode; loaded when first asked for."""
        from letterloom.training.hardware import resolve_scoring
        from letterloom.training.kernels import quicken

        training = resolve_scoring(self.checkpoint.config, self.device)
        network = self.checkpoint.model().to(training.device)
        quicken(network, training)
        return network

    @cached_property
    def engine(self) -> "Engine":
        """What draws text, with the checkpoint's weights: compiled kernels on a CPU, torch elsewhere.

        Where the device is `auto`, a model of up to `MOST_COMPILED` parameters is left to the CPU, without torch.
        """
        if not (self.device == "cpu" or (self.device == "auto" and self.parameters <= MOST_COMPILED)):
            from letterloom.generation.eager import EagerEngine
            from letterloom.training.hardware import resolve_device

            device = resolve_device(self.device)
            if device.type != "cpu":
                log.info("text is drawn with torch, on %s", device)
                return EagerEngine(self.network)

        from letterloom.generation.compiled.engine import CompiledEngine

        engine = CompiledEngine(self._parameters(), self.checkpoint.config.model, self.checkpoint.tokenizer.vocab_size)
        log.info("text is drawn by compiled kernels on the CPU, threads for one text: %d", engine.threads_for_one)
        return engine

    def _parameters(self) -> "dict[str, Parameter]":
        """The parameters by name as they are stored, without torch, as its configuration says."""
        from letterloom.generation.compiled.weights import parameter_shapes
        from letterloom.runs.checkpoint import require_same

        parameters, config = self.checkpoint.parameters(), self.checkpoint.config.model
        found = {name: parameter.shape for name, parameter in parameters.items()}
        expected = parameter_shapes(config, self.checkpoint.tokenizer.vocab_size)
        require_same(found, expected, self.checkpoint.path / "model.safetensors")
        return parameters

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
        groups = [range(first, min(count, first + TOGETHER)) for first in range(0, count, TOGETHER)]
        begun = self._draw(groups[0], prompt, max_new_tokens, **options) if groups else ()  # options are checked now
        others = (text for group in groups[1:] for text in self._draw(group, prompt, max_new_tokens, **options))
        return chain(begun, others)

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
        protocol: AnyProtocol = "blocks",
        unknown: Unknown = "error",
        split: Split | None = None,
    ) -> "Evaluation":
        """Nats and bits per character of a text, with a 95 % interval.

        Args:
            corpus: Names, files or folders, scored whole; None: a split of the run's own text.
            protocol: How much the model sees of what comes before; see `letterloom.evaluation.loss.surprisal`, and for
                `dynamic`, where it also learns from it, `letterloom.evaluation.dynamic`.
            unknown: What to do with characters of `corpus` that the model does not know.
            split: Which part of the run's own text, in place of another text; by default "validation".

        Raises:
            NonFiniteError: the model gives NaN or infinity.
            And what `text` raises.
        """
        from letterloom.evaluation.loss import evaluate

        ids, limit = self.text(corpus, unknown, split)
        network, tokenizer = self.network, self.checkpoint.tokenizer
        if protocol == "dynamic":
            from letterloom.evaluation.dynamic import evaluate_dynamic

            training, _ = own_split(self.checkpoint, "training")
            return replace(evaluate_dynamic(network, tokenizer, ids, training), limit=limit)
        return replace(evaluate(network, tokenizer, ids, protocol), limit=limit)

    def text(
        self, corpus: Texts | None = None, unknown: Unknown = "error", split: Split | None = None
    ) -> "tuple[Ids, float | None]":
        """A text as ids, and its limit in nats per character where that is known; see `texts.text_for`."""
        return text_for(self.checkpoint, corpus, unknown, split)

    def compress(self, data: bytes, protocol: AnyProtocol = "blocks", watch: "Watch | None" = None) -> bytes:
        """Any bytes in fewer, by what the model expects; always computed on the CPU.

        Args:
            data: Best a text like the one that the model was trained on.
            protocol: As for `evaluate`, which tells the size beforehand; `decompress` finds it in the file.
            watch: Is told, now and then, how many symbols are done, and of how many.

        Raises:
            NonFiniteError: the model gives NaN or infinity.
            ResourceError: the range coder is not installed.
            RunError: "dynamic" is asked for, and the checkpoint lies outside its run, whose text gives the rate.
        """
        rate = 0.0
        if protocol == "dynamic":
            from letterloom.evaluation.dynamic import choose_rate

            rate = choose_rate(self.network, own_split(self.checkpoint, "training")[0])
        return self._codec.compress(data, protocol, rate, watch)

    def decompress(self, file: bytes, watch: "Watch | None" = None) -> bytes:
        """What `compress` was given, proved by its SHA-256.

        Raises:
            DataMismatchError: the file is damaged, something else, or was compressed by another model or build.
            ResourceError: the range coder is not installed.
        """
        return self._codec.decompress(file, watch)

    @cached_property
    def _codec(self) -> "Codec":
        from letterloom.compression.codec import Codec
        from letterloom.runs.quantized import widened

        arrays, config = widened(self._parameters()), self.checkpoint.config.model
        return Codec(arrays, config, self.checkpoint.tokenizer, lambda: replace(self, device="cpu").network)

    def verify(self) -> "Comparison":
        """Hold the model, and the engine that draws text, against the NumPy reference, which reads the file by itself.

        Raises:
            NonFiniteError: a weight is NaN or infinite.
        """
        from letterloom.evaluation.verification import random_ids, verify_against_reference
        from letterloom.generation.engine import logits_on_the_way

        ids = random_ids(self.checkpoint.tokenizer.vocab_size)
        stored, engine_logits = self.checkpoint.stored(), partial(logits_on_the_way, self.engine)
        return verify_against_reference(self.network, self.checkpoint.config.model, ids, stored, engine_logits)


def load(path: str | Path, device: str = "auto") -> Model:
    """The model of a checkpoint folder, or of a run's best checkpoint; `latest` is the newest run.

    Args:
        path: The run or checkpoint.
        device: cpu, mps, cuda, cuda:N; auto takes the fastest there is, and the CPU to draw from small models.

    Raises:
        RunError: there is no such run or checkpoint.
        DataMismatchError: it is damaged.
        ResourceError: the device is not here, or the model does not fit the memory.
    """
    from letterloom.runs.checkpoint import load_checkpoint
    from letterloom.runs.finding import find_run

    checkpoint = load_checkpoint(find_run(path))
    require_memory(checkpoint.config.model, checkpoint.tokenizer.vocab_size)
    if device not in ("auto", "cpu"):  # only torch knows what else there is
        from letterloom.training.hardware import resolve_device

        device = str(resolve_device(device))
    return Model(checkpoint, device)
