"""What went wrong in a run, found in the run itself: each failure mode with its evidence and what to do about it."""

import lzma
import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from letterloom.config import RunConfig
from letterloom.reporting.curves import Curves, running_mean
from letterloom.reporting.diagnosis.copied import copied_text
from letterloom.reporting.diagnosis.finding import Evidence, Finding, calmer, judged, longer, not_measured, resumed
from letterloom.reporting.diagnosis.repetition import STRETCH, measure_repetition
from letterloom.reporting.diagnosis.spikes import BEFORE, find_spikes
from letterloom.reporting.diagnosis.trend import (
    DRIVEN_AWAY,
    batch_noise,
    fall_per_doubling,
    fall_since_best,
    final_level,
    finite,
    rise,
    turned,
)
from letterloom.reporting.reading import RunRecord, Score

FEWEST_STEPS = 50  # to speak of a level; the last twentieth of fewer is one or two batches
LOST = 0.5  # nats above the lowest level reached; where batches are noisy, rather what follows
SURE = 6.0  # standard deviations; the lowest of thousands of noisy levels is four below the mean by chance
MEDIAN = 1.25  # times as noisy as a mean
WIDE_GAP = 0.25  # of the held-out bits; the losses of a lecture's models, 1.67/1.83 and 1.52/1.71 nats, are at 0.1
STILL_FALLING = 0.1  # of the loss, a doubling of the steps: then steps are the cheapest way to a better model
OCCURRENCES = 10  # of each character or pair, on average; then counting says 0.05 nats too little (Miller 1955)
NO_TEXT = "the run's held-out.txt, which has the text to hold it against, is missing or damaged"
MEMORISED = 0.5  # of the held-out bits: a text that is simple for the model is simple in both splits
NOTICED = 0.1  # of a passage; less than that a reader takes for style


def diagnose(run: RunRecord) -> tuple[Finding, ...]:
    """Look for every failure mode; what was found comes first, and of a run that diverged nothing else is told."""
    trained, held_out = run.score("training"), run.score("held out")
    stopped = None if run.scores else run.directory.path
    diverged = divergence(run.curves, run.blind_nats, run.config)
    others: tuple[Finding, ...] = (
        loss_spikes(run.curves, run.config),
        undertraining(run.curves, trained, run.held_out, run.blind_nats, run.config, stopped),
        overfitting(run.curves, trained, held_out),
        memorised_text(run.curves, trained, held_out, run.held_out),
        repetition([sample.written for sample in run.final_samples], run.held_out),
        copied_text(run.copying),
    )
    if diverged.verdict == "found":
        others = tuple(not_measured(other.failure, "the training diverged, which comes first") for other in others)
    return tuple(
        sorted((diverged, *others), key=lambda finding: ("found", "not found", "not measured").index(finding.verdict))
    )


def divergence(curves: Curves, blind_nats: float, config: RunConfig) -> Finding:
    """Losses that are not finite, that passed what blind guessing costs, or that ended above where they had been."""
    failure, losses = "divergence", finite(curves.losses)
    lost = len(curves.losses) - len(losses) + len(curves.validation_losses) - len(finite(curves.validation_losses))
    if lost:
        reason = f"{lost:,} of the logged losses are not finite"
        return judged(True, failure, reason, {"losses_not_finite": lost}, calmer(config))
    width, tail = max(FEWEST_STEPS // 10, len(losses) // 100), len(losses) // 20
    level = running_mean(losses, width)
    if len(losses) and level.max() > DRIVEN_AWAY * blind_nats:
        highest, step = float(losses.max()), int(curves.steps[np.isfinite(curves.losses)][losses.argmax()])
        reason = f"the training loss rose to {highest:,.2f} nats, at step {step:,}; guessing blindly costs"
        evidence: Evidence = {"highest_nats": highest, "highest_step": step, "blind_guessing_nats": blind_nats}
        return judged(True, failure, f"{reason} {blind_nats:.2f}", evidence, calmer(config))
    if len(losses) < FEWEST_STEPS:
        return not_measured(failure, _too_few(curves))
    before = max(FEWEST_STEPS, int(level.argmin()))  # any divergence, which is noisy itself
    noise = batch_noise(losses[:before])
    doubt = SURE * noise * math.hypot(width**-0.5, MEDIAN * tail**-0.5)  # about the lowest level and the last
    highest, lowest, last = float(level.max()), float(level.min()), final_level(curves)
    evidence = {
        "blind_guessing_nats": blind_nats,
        "highest_level_nats": highest,
        "lowest_level_nats": lowest,
        "final_level_nats": last,
        "batch_noise_nats": noise,
        "losses_not_finite": 0,
    }
    reason = (
        f"averaged over {width} batches, the training loss was {highest:.2f} nats at its highest, {lowest:.2f} at its "
        f"lowest, {last:.2f} at the end; guessing blindly costs {blind_nats:.2f}"
    )
    return judged(last - lowest > max(LOST, doubt), failure, reason, evidence, calmer(config))


def loss_spikes(curves: Curves, config: RunConfig) -> Finding:
    """Places where training was thrown back; see `spikes.find_spikes`."""
    failure, spikes = "loss spikes", find_spikes(curves)
    if isinstance(spikes, str):
        return not_measured(failure, spikes)
    if not spikes:
        reason = f"after the first {BEFORE} steps, no batches in a row lay far above those before"
        return judged(False, failure, reason, {"spikes": 0}, "")
    worst = max(spikes, key=lambda spike: spike.height)
    steps = ", ".join(f"{spike.step:,}" for spike in spikes[:5]) + (" ..." if len(spikes) > 5 else "")
    took = (
        f"took {worst.recovered_after:,} steps to recover" if worst.recovered_after else "had not recovered at the end"
    )
    reason = (
        f"after the first {BEFORE} steps, {len(spikes)} at step {steps}; the highest, at step {worst.step:,}, rose "
        f"{worst.height:.2f} nats above the usual {worst.level:.2f} and {took}"
    )
    if worst.gradient_norm is not None and worst.usual_gradient_norm is not None:
        reason += (
            f"; the norm of the gradient was {worst.gradient_norm:.3g} there, usually {worst.usual_gradient_norm:.3g}"
        )
    evidence: Evidence = {
        "spikes": len(spikes),
        "highest_step": worst.step,
        "highest_nats_above_level": worst.height,
        "highest_level_nats": worst.level,
        "highest_recovered_after_steps": worst.recovered_after,
        "highest_gradient_norm": worst.gradient_norm,
        "usual_gradient_norm": worst.usual_gradient_norm,
    }
    return judged(True, failure, reason, evidence, calmer(config))


def undertraining(
    curves: Curves,
    trained: Score | None,
    held_out: str | None,
    blind_nats: float,
    config: RunConfig,
    stopped: Path | None = None,
) -> Finding:
    """Training text that costs more than counting characters or pairs would, or a loss that still falls steeply.

    How it falls decides at a constant learning rate alone: a rate that decays makes it fall by itself, and faster than
    more steps would. `stopped` is the run itself where it has not reached its end.
    """
    failure = "undertraining"
    if len(finite(curves.losses)) < FEWEST_STEPS:
        return not_measured(failure, _too_few(curves))
    if not held_out:
        return not_measured(failure, NO_TEXT)
    single, both = _entropy(held_out, 1), _entropy(held_out, 2)
    if single is None:
        return not_measured(
            failure, f"{len(held_out):,} characters of held-out text are too few to know their frequencies"
        )
    pair, fall = None if both is None else both - single, fall_per_doubling(curves)
    loss = min(final_level(curves), trained.nats if trained else math.inf)
    way = (blind_nats - loss) / (blind_nats - single) if blind_nats > single else 1.0
    told = f"a character of training text costs {loss:.2f} nats, and guessing blindly {blind_nats:.2f}"
    remedy = resumed(stopped) if stopped else longer(config, int(curves.steps[-1]))
    if loss >= single:
        reason = f"{told}: {100 * max(0.0, way):.0f} % of the way to what its frequency alone would give, {single:.2f}"
        if config.optimizer.name == "sgd":
            remedy = f"Use `--optimizer.name adamw` and `--optimizer.learning-rate 1e-3`. {remedy}"
    elif pair is not None and loss >= pair:
        reason = f"{told}: more than knowing which character follows which would give, {pair:.2f}"
    else:
        reason = f"{told}, knowing its frequency {single:.2f}"
        reason += f", which follows which {pair:.2f}" if pair is not None else ""
    steady = config.optimizer.schedule == "constant"
    decay = "" if steady else ", part of it by the decay of the learning rate"
    reason += f"; the last doubling of the steps brought {fall:.2f}{decay}"
    falling = steady and fall >= STILL_FALLING * loss and not turned(curves)
    evidence: Evidence = {
        "training_nats": loss,
        "blind_guessing_nats": blind_nats,
        "character_frequencies_nats": single,
        "character_pairs_nats": pair,
        "share_of_way_to_frequencies": way,
        "fall_nats_per_doubling": fall,
    }
    return judged(loss >= (pair or single) or falling, failure, reason, evidence, remedy)


def overfitting(curves: Curves, trained: Score | None, held_out: Score | None) -> Finding:
    """Held-out text that became dearer while training text became cheaper, or that costs far more."""
    failure, reasons = "overfitting", list[str]()
    evidence: Evidence = {}
    found = turned(curves)
    if len(finite(curves.validation_losses)) >= 3 and curves.best is not None and len(curves.losses):
        step, worse, fell = curves.best[0], rise(curves), fall_since_best(curves)
        evidence |= {
            "best_validation_step": step,
            "held_out_rise_nats": worse,
            "training_fall_nats": fell,
        }
        reasons.append(
            f"the best validation was after step {step:,} of {int(curves.steps[-1]):,}; since then held-out text got "
            f"{worse:.3f} nats dearer and training text {fell:.3f} cheaper"
            if worse > 0
            else f"the last validation, after step {step:,}, was the best"
        )
    if trained and held_out:
        gap, wide = held_out.bits - trained.bits, WIDE_GAP * held_out.bits
        evidence |= {"held_out_bits": held_out.bits, "training_bits": trained.bits, "gap_bits": gap}
        told = (
            f"the finished model needs {held_out.bits:.3f} bits a held-out character, {abs(gap):.3f} "
            f"{'more' if gap >= 0 else 'less'} than one of training text"
        )
        if held_out.interval and trained.interval:
            least = gap - math.hypot(held_out.bits - held_out.interval[0], trained.interval[1] - trained.bits)
            evidence["gap_low_bits"] = least
            found |= least > wide
            told += f" ({least:.3f} at least, by the 95 % intervals; more than {wide:.3f} is wide)"
        reasons.append(told)
    if not {"best_validation_step", "gap_low_bits"} & evidence.keys():
        return not_measured(failure, "it takes three validations, or the numbers of a finished run, with intervals")
    remedy = (
        "Nothing is lost: the best checkpoint is the one that is used. To gain, train on more text, with "
        "`--model.dropout 0.2` or a smaller `--model.d-model`, and save time by `--training.patience 3`"
    )
    return judged(found, failure, "; ".join(reasons), evidence, remedy)


def memorised_text(curves: Curves, trained: Score | None, held_out: Score | None, text: str | None) -> Finding:
    """Training text far below held-out text, and below what a compressor needs that reads it for the first time.

    The compressor is given the held-out text that the run keeps, `text`.
    """
    failure, bits = "memorised text", dict[str, tuple[float, float]]()
    if trained and held_out:
        bits["finished model"] = trained.bits, held_out.bits
    if len(curves.losses) and len(curves.validation_losses):
        bits["last step"] = final_level(curves) / math.log(2), float(curves.validation_losses[-1]) / math.log(2)
    if not bits:
        return not_measured(failure, "it takes a validation")
    if not text:
        return not_measured(failure, NO_TEXT)
    compressed = _compressed_bits(text)
    recited = any(seen < compressed and seen < MEMORISED * unseen for seen, unseen in bits.values())
    reason = "; ".join(
        f"{model}: {seen:.3f} bits a character of training text, {unseen:.3f} held out"
        for model, (seen, unseen) in bits.items()
    )
    reason += f"; LZMA makes {compressed:.3f} bits of each held out{', so training text is recited' if recited else ''}"
    evidence: Evidence = {"lzma_bits": compressed}
    evidence |= {
        f"{model.replace(' ', '_')}_{split}_bits": value
        for model, both in bits.items()
        for split, value in zip(("training", "held_out"), both, strict=True)
    }
    remedy = (
        "Quote the held-out number alone. Train on more text, for fewer steps (`--training.patience 3`), with "
        "`--model.dropout 0.2` or a smaller `--model.d-model`"
    )
    return judged(recited, failure, reason, evidence, remedy)


def repetition(samples: Sequence[str], held_out: str | None) -> Finding:
    """Samples that say the same again more than 99 of 100 passages of people do; see `measure_repetition`."""
    failure, measured = "repetition", measure_repetition(samples, held_out) if held_out else NO_TEXT
    if isinstance(measured, str):
        return not_measured(failure, measured)
    reason = (
        f"in {measured.characters:,} characters of the samples, {100 * measured.samples:.1f} % lie in a stretch of "
        f"{STRETCH} or more that came before; of {measured.passages:,} passages of held-out text "
        f"{100 * measured.people:.1f} %, and in 99 of 100 of them at most {100 * measured.people_at_most:.1f} %"
    )
    evidence: Evidence = {
        "samples_repeated_share": measured.samples,
        "people_repeated_share": measured.people,
        "people_99_percent_quantile": measured.people_at_most,
        "passages": measured.passages,
        "passage_characters": measured.characters,
        "stretch_characters": STRETCH,
    }
    remedy = (
        "Generate with `--temperature 1` or `--repetition-penalty 1.1`; a model that repeats itself even then has to "
        "be trained longer, or on more text"
    )
    return judged(measured.samples > max(NOTICED, measured.people_at_most), failure, reason, evidence, remedy)


def _too_few(curves: Curves) -> str:
    return f"it takes {FEWEST_STEPS} logged steps; there are {len(finite(curves.losses))}"


def _entropy(text: str, length: int) -> float | None:
    """Nats of a stretch of that many characters, by how often each occurs; None where they occur too rarely to tell."""
    counts = np.array([*Counter(text[i : i + length] for i in range(len(text) - length + 1)).values()])
    if len(text) < OCCURRENCES * max(1, len(counts)):
        return None
    return float(np.log(counts.sum()) - (counts * np.log(counts)).sum() / counts.sum())


def _compressed_bits(text: str) -> float:
    """Bits a character of what LZMA makes of the text, without the container."""
    packed = lzma.compress(
        text.encode(), lzma.FORMAT_RAW, filters=[{"id": lzma.FILTER_LZMA2, "preset": 6, "dict_size": 2**20}]
    )
    return 8 * len(packed) / len(text)
