"""The end of a run: its best weights scored, samples drawn, the report written; and what of the minutes that takes."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from letterloom import accounting, storage
from letterloom.config import RunConfig, TrainingConfig
from letterloom.errors import ConfigError
from letterloom.evaluation.baselines.of_run import baseline_seconds, write_baselines
from letterloom.evaluation.copying import copying, text_of
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
REPORT_SECONDS = 3.0  # report 0.7, quick baselines 0.7, copies 0.6, the interpreter's end 0.8, on an EPYC
MOST_COPIED = 20_000_000  # ids of a training text in which copies are looked for; they take 9 bytes each
LONG = 10.0  # seconds, which are mostly scores
SAVE_SECONDS, SAVED_BYTES_PER_SECOND = 0.05, 2e8  # reserved for a checkpoint; one of 0.8 M parameters took 49 ms there
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
    state = accounting.state_bytes(config.model, tokenizer.vocab_size, config.optimizer, training.lora_rank)
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
    scored = min(training.eval_characters, held_out) + 3 * (scored_at_most(training, held_out) or held_out)
    measured = 2 * costs.samples + 2 * costs.save + REPORT_SECONDS
    return scored * costs.scored_id + measured + baseline_seconds(corpus, 60 * training.max_minutes)


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
        less = ", or lower training.final_eval_characters" if closing > LONG else ""
        raise ConfigError(
            f"training.max_minutes {training.max_minutes:g} is too short: starting took {spent:.1f} s, and scoring, "
            f"samples and the report take about {closing:.1f} s; give at least {math.ceil(100 * least) / 100:g}{less}"
        )


def finish(run: RunDirectory, config: RunConfig, corpus: Corpus, seconds: float) -> None:
    """Score the best weights, hold them against baselines and their samples against the training text, then report.

    By `blocks` the whole validation split is scored, and as much of the training split, but of either no more than
    `final_eval_characters`, in windows spread over it; by `sliding` a quarter as many, which takes as long (of a text
    whose limit is known all, so that the two are of the same characters). `seconds` are those of training. Where
    measuring every baseline would take more than a twentieth of them, or of the minutes given, and it was not done
    before, the quick ones stand alone.
    """
    checkpoint = load_checkpoint(run.path)
    model = checkpoint.model().to(config.training.device)
    quicken(model, config.training)
    tokenizer, n = corpus.tokenizer, len(corpus.validation)
    most = scored_at_most(config.training, n)
    sliding = most if corpus.limit is not None else max(1, (most or n) // 4)
    held_out = [
        evaluate(model, tokenizer, corpus.validation, protocol, characters)
        for protocol, characters in (("blocks", most), ("sliding", sliding))
    ]
    seen = evaluate(model, tokenizer, corpus.train, max_characters=most or n)
    if most is None:  # a limit is known of the whole
        held_out = [replace(result, limit=corpus.limit) for result in held_out]
    scores = {
        split: {result.protocol: result.to_json() | {"parts": result.parts} for result in results}
        for split, results in (("validation", held_out), ("training", [seen]))
    }
    write_samples(run, model, tokenizer, config.training, checkpoint.step)
    minutes = config.training.max_minutes
    _hold_against_others(run, corpus, seconds if minutes is None else 60 * minutes)
    storage.write_json(run.evaluation_file, scores)  # from here on the run counts as finished
    write_report(run.path)


def _hold_against_others(run: RunDirectory, corpus: Corpus, seconds: float) -> None:
    """Measure baselines on the text, and copies of the training text in the last samples."""
    write_baselines(run, corpus, seconds)
    last = max(run.samples().items(), default=(0, []))[1]
    texts = [file.read_bytes().decode() for file in last]
    if any(texts) and len(corpus.train) <= MOST_COPIED:
        train, held_out = (text_of(ids, corpus.tokenizer) for ids in (corpus.train, corpus.validation))
        storage.write_json(run.copying_file, copying(texts, train, held_out).to_json())


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
