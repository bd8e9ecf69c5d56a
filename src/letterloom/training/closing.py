"""The end of a run: its best weights scored, samples drawn, the report written; and what of the minutes that takes."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

from letterloom import accounting, storage
from letterloom.config import RunConfig, TrainingConfig
from letterloom.errors import ConfigError
from letterloom.evaluation.loss import POSITIONS_PER_BATCH, evaluate
from letterloom.generation.defaults import TEMPERATURE
from letterloom.generation.eager import EagerEngine
from letterloom.generation.generate import generate
from letterloom.generation.sampler import Sampler
from letterloom.model.transformer import Transformer
from letterloom.reporting.report import write_report
from letterloom.runs.checkpoint import load_checkpoint
from letterloom.runs.directory import RunDirectory
from letterloom.text.encoding import Corpus
from letterloom.text.tokenizers import Tokenizer
from letterloom.training.kernels import quicken

LEAST_TRAINING = 0.2  # of the minutes: with less of them left to train in, a run is refused
REPORT_SECONDS = 1.5  # report 0.5, the interpreter's beginning 0.3 and its end 0.8, on an EPYC beside other work
SAVE_SECONDS, SAVED_BYTES_PER_SECOND = 0.05, 2e8  # of a checkpoint, verified; 49 ms for 0.8 M parameters there
DRAWN = 16  # ids of a sample that are timed


@dataclass(frozen=True)
class Costs:
    """Seconds of what a run does beside its steps, on this machine."""

    scored_id: float
    samples: float  # one from each prompt
    save: float


def measure_costs(config: RunConfig, corpus: Corpus) -> Costs:
    """Score a few windows and draw a few ids with new weights of that shape: how good they are makes no difference.

    Args:
        config: With device and threads decided, and torch told of them.
        corpus: Its validation split has at least two ids.
    """
    training, tokenizer = config.training, corpus.tokenizer
    model = Transformer(config.model, tokenizer.vocab_size).to(training.device)
    quicken(model, training)
    scored = min(len(corpus.validation), max(POSITIONS_PER_BATCH, config.model.context_length))
    drawn = min(DRAWN, training.sample_characters)
    drawing = training.model_copy(update={"sample_characters": drawn})
    score = _fastest(lambda: evaluate(model, tokenizer, corpus.validation, max_characters=scored))
    draw = _fastest(lambda: _samples(model, tokenizer, drawing))
    state = accounting.state_bytes(config.model, tokenizer.vocab_size, config.optimizer)
    return Costs(
        scored_id=score / scored,
        samples=draw * training.sample_characters / drawn,
        save=SAVE_SECONDS + state / SAVED_BYTES_PER_SECOND,
    )


def closing_seconds(config: RunConfig, corpus: Corpus, costs: Costs | None = None) -> float:
    """Seconds from the last step of a run to its end: validation, save, the score of both splits, samples, report.

    Without `max_minutes` nothing depends on it, and it is 0.

    Args:
        config: As for `measure_costs`.
        corpus: The same.
        costs: Where they are known; else they are measured.
    """
    training, held_out = config.training, len(corpus.validation)
    if training.max_minutes is None:
        return 0.0
    costs = costs or measure_costs(config, corpus)
    scored = min(training.eval_characters, held_out) + 2 * (scored_at_most(training, held_out) or held_out)
    return scored * costs.scored_id + 2 * costs.samples + 2 * costs.save + REPORT_SECONDS


def require_time(training: TrainingConfig, spent: float, closing: float) -> None:
    """Refuse a run whose minutes would nearly all go into its beginning and its end.

    Args:
        training: Its `max_minutes`, if it has any, are those of the whole command.
        spent: Seconds since it began.
        closing: Seconds that its end will take (`closing_seconds`).

    Raises:
        ConfigError: with the minutes that would do.
    """
    least = (spent + closing) / (1.0 - LEAST_TRAINING) / 60
    if training.max_minutes is not None and training.max_minutes < least:
        less = ", or lower training.final_eval_characters" if closing > 2 * REPORT_SECONDS else ""
        raise ConfigError(
            f"training.max_minutes {training.max_minutes:g} is too short: starting took {spent:.1f} s, and scoring, "
            f"samples and the report take about {closing:.1f} s; give at least {math.ceil(100 * least) / 100:g}{less}"
        )


def finish(run: RunDirectory, config: RunConfig, corpus: Corpus) -> None:
    """Score the best weights on the whole validation split and on as much of the training split, then report.

    Of either no more than `final_eval_characters` is scored, in windows spread over the split.
    """
    checkpoint = load_checkpoint(run.path)
    model = checkpoint.model().to(config.training.device)
    quicken(model, config.training)
    most = scored_at_most(config.training, len(corpus.validation))
    held_out = evaluate(model, corpus.tokenizer, corpus.validation, max_characters=most)
    seen = evaluate(model, corpus.tokenizer, corpus.train, max_characters=most or len(corpus.validation))
    results = {"validation": held_out, "training": seen}
    scores = {split: {result.protocol: result.to_json()} for split, result in results.items()}
    storage.write_json(run.evaluation_file, scores)
    write_samples(run, model, corpus.tokenizer, config.training, checkpoint.step)
    write_report(run.path)


def write_samples(
    run: RunDirectory, model: Transformer, tokenizer: Tokenizer, training: TrainingConfig, step: int
) -> None:
    """Continue each of the prompts, and keep the texts as those of a step."""
    for number, text in enumerate(_samples(model, tokenizer, training), start=1):
        storage.write_file(run.sample(step, number), text)


def _samples(model: Transformer, tokenizer: Tokenizer, training: TrainingConfig) -> list[str]:
    return [
        prompt
        + "".join(
            generate(
                EagerEngine(model),
                tokenizer,
                prompt,
                max_new_tokens=training.sample_characters,
                sampler=Sampler(TEMPERATURE),
                seed=training.seed,
                sample=number,
            )
        )
        for number, prompt in enumerate(training.sample_prompts, start=1)
    ]


def scored_at_most(training: TrainingConfig, validation_ids: int) -> int | None:
    """Characters of a split to score at the end; None for the whole validation split."""
    most = training.final_eval_characters
    return None if most is None or most >= validation_ids else most


def _fastest(work: Callable[[], object]) -> float:
    """Seconds, the better of two times: the first one takes memory and chooses kernels."""
    times = []
    for _ in range(2):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)
