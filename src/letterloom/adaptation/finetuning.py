"""Finetune a trained model on another text: an ordinary run that begins from weights, with what that gained and cost.

There is no second loop: `training.loop.train` begins from the adapted weights. What it cost is measured around it, and
stands in `finetuning.json`.
"""

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from letterloom import storage
from letterloom.accounting import parameters, trained
from letterloom.adaptation import settings as defaults
from letterloom.adaptation.adapters import write_adapter
from letterloom.adaptation.context import Positions, adapt_context
from letterloom.adaptation.forgetting import Figures, OldText, difference, scored
from letterloom.adaptation.vocabulary import SHOWN, Arrays, Characters, Vocabulary, adapt_vocabulary, told
from letterloom.config import ModelConfig, RunConfig
from letterloom.errors import ConfigError, DataMismatchError, LetterloomError, RunError
from letterloom.model.transformer import Transformer
from letterloom.reporting.profile.figures import planned_steps
from letterloom.reporting.report import write_report
from letterloom.runs.checkpoint import Checkpoint, load_checkpoint
from letterloom.runs.directory import RunDirectory
from letterloom.runs.finding import find_run, run_around
from letterloom.runs.tensors import load_parameters
from letterloom.text.corpora import open_source
from letterloom.text.encoding import Corpus, characters_of, open_corpus
from letterloom.training import loop
from letterloom.training.closing import scored_at_most
from letterloom.training.hardware import resolve_hardware, take_share
from letterloom.training.launch import rank_of_environment
from letterloom.training.planning.probe import measured_step
from letterloom.training.ranks import ALONE
from letterloom.training.requirements import require_texts
from letterloom.training.start import Start

_OF_AFTER = ("after", "difference", "skipped")  # what an earlier measurement left
log = logging.getLogger("letterloom")


@dataclass(frozen=True)
class Adaptation:
    """How a trained model is made to fit another text."""

    characters: Characters = "grow"
    positions: Positions = "interpolate"
    replay: float = 0.0  # share of the training ids that is the old text


def finetune(
    base: str | Path,
    corpus: Sequence[str],
    out: Path,
    settings: Mapping[str, Any],
    adaptation: Adaptation = Adaptation(),
    began: float | None = None,
) -> RunDirectory:
    """Train a model further on another text, in the new run directory `out`, and measure what that gained and cost.

    Args:
        base: The run or checkpoint that is finetuned; it is only read.
        corpus: Names, files or folders.
        out: The run directory.
        settings: By section, over those of `adaptation.settings`.
        adaptation: What becomes of vocabulary, positions, and the old text.
        began: When the command began, by `time.perf_counter`: its minutes count from there; by default now.

    Raises:
        RunError: there is no such run, or it is a quantized one; or `out` is in use.
        ConfigError: a setting does not fit the trained model.
        And what `training.loop.train`, `adapt_vocabulary` and `adapt_context` raise.
    """
    began = time.perf_counter() if began is None else began
    if rank_of_environment() is not None:
        raise ConfigError("finetuning is begun by one process; `letterloom resume` goes on with several")
    checkpoint = _base(base)
    run = RunDirectory(out)
    run.require_free()
    again = bool(checkpoint.state.get("position", {}).get("finetuned"))
    layer = defaults.first_layer(checkpoint.config, again, open_source(corpus).corpus, adaptation.replay, settings)
    config = defaults.merged(layer, settings, checkpoint.config)
    _require_replay(config, checkpoint)
    vocabulary = _vocabulary(config, checkpoint, adaptation.characters)
    arrays, positions = adapt_context(
        vocabulary.adapt(checkpoint.arrays()),
        checkpoint.config.model,
        config.model.context_length,
        adaptation.positions,
    )
    _require_learned_positions(config, checkpoint.config.model)
    text = open_corpus(config.text, vocabulary.tokenizer)
    require_texts(text, config, config.model.context_length)
    config = _with_length(config, layer, settings, text, checkpoint.config)
    take_share(resolve_hardware(config), ALONE)
    most = scored_at_most(config.training, len(text.validation))
    model = _model(config.model, vocabulary.tokenizer.vocab_size, arrays, out)
    new = {"before": scored(model, vocabulary.tokenizer, text.validation, config, most)}
    old = _old_before(checkpoint, vocabulary, config)
    how = _trained_told(config, vocabulary.tokenizer.vocab_size)
    about = {
        "base": _about(checkpoint),
        "characters": vocabulary.to_json(),
        "context": {"before": checkpoint.config.model.context_length, "positions": positions},
        "trained": how,
        "new": new,
        "old": old,
    }
    lines = [f"from {checkpoint.path}, step {checkpoint.step:,}", *told(vocabulary)]
    lines += filter(None, [_records_told(checkpoint.config, settings), positions, how and f"trained: {how}"])
    seconds = old["before"]["seconds"] if "before" in old else 0.0
    start = Start(vocabulary.tokenizer, arrays, about, "\n".join(lines), closing=seconds)
    loop.train(config, out, None, began, start)
    complete(run)
    return run


def complete(run: RunDirectory) -> None:
    """Measure what a finished run forgot of the old text and gained on the new one; then its report tells.

    Where factors were trained, they are kept as an adapter, too.

    Raises:
        DataMismatchError: a file of the run is damaged.
        LockedError: another process is at the run.
    """
    about, config = run.finetuning(), run.config()
    if about is None:
        return
    with run.locked():
        evaluation = run.evaluation()
        if evaluation:
            about["new"]["after"] = evaluation["validation"]["blocks"]
        if "before" in about["old"]:
            kept = {name: value for name, value in about["old"].items() if name not in _OF_AFTER}
            about["old"] = kept | _old_after(run, about, config)
        for text in (about["new"], about["old"]):
            if "after" in text:
                text["difference"] = difference(text["before"], text["after"])
        storage.write_json(run.finetuning_file, about)
        write_adapter(run)
        write_report(run.path)


def _base(name: str | Path) -> Checkpoint:
    """The checkpoint that is finetuned."""
    checkpoint = load_checkpoint(find_run(name))
    checkpoint.require_trainable()
    return checkpoint


def _require_replay(config: RunConfig, base: Checkpoint) -> None:
    """Check that what is replayed is what was trained on, so that the rest can tell what was forgotten."""
    old, new = base.config.text, config.text
    if not new.replay:
        return
    if new.replay == old.corpus and old.train_share < 1.0:
        told = f"of {', '.join(old.corpus)} only the share text.train_share {old.train_share:g} was trained on"
        raise ConfigError(f"{told}, and all of it would be replayed; finetune without --replay")
    run = run_around(base.path)
    if run is None:
        raise RunError(f"{base.path} lies outside its run, which knows the text to replay; finetune the run itself")
    for name in ("train_fraction", "records_seed"):
        if new.replay == old.corpus and getattr(new, name) != getattr(old, name):
            was = getattr(old, name)
            raise ConfigError(f"text.{name} {getattr(new, name)}: what is replayed was split by {was}; keep that")
    if new.replay == old.corpus:
        open_corpus(old, base.tokenizer, expected=run.corpus())


def _require_learned_positions(config: RunConfig, base: ModelConfig) -> None:
    """Refuse to leave interpolated positions as they are, as factors would."""
    longer = config.model.context_length > base.context_length
    if config.training.lora_rank and longer and base.positions == "learned":
        raise ConfigError(
            f"model.context_length {config.model.context_length:,}: a longer context has to learn its positions, which "
            f"--lora leaves as they are; finetune without it, or keep {base.context_length:,}"
        )


def _vocabulary(config: RunConfig, base: Checkpoint, mode: Characters) -> Vocabulary:
    """The vocabulary for the new text; told where it has nothing of the old one."""
    characters = characters_of(config.text)
    ends = config.text.end_of_text or config.text.records == "lines"
    vocabulary = adapt_vocabulary(base.tokenizer, characters, mode, ends)
    if characters and {one.name for one in vocabulary.grown} >= set(characters):
        log.warning(
            "no character of the text is in the vocabulary of %s; all are new: %r", base.path, characters[:SHOWN]
        )
    return vocabulary


def _with_length(
    config: RunConfig, layer: defaults.Layer, settings: Mapping[str, Any], text: Corpus, base: RunConfig
) -> RunConfig:
    """The settings with as many steps as suit the text, measured on this machine, and the intervals for them."""
    steps = planned_steps(config, len(text.train)) if defaults.given(settings, *defaults.LIMITS) else None
    if steps is None or config.training.max_minutes:
        seconds = measured_step(config, text.tokenizer.vocab_size, ALONE).seconds_per_step
        steps = defaults.suited_steps(config, len(text.train), seconds)
    length = defaults.length_layer(config, len(text.train), steps)
    both = {**layer, "training": layer["training"] | length["training"]}
    return defaults.merged(both, settings, base)


def _records_told(base: RunConfig, settings: Mapping[str, Any]) -> str | None:
    """That the text is cut into records, where only the trained run says so."""
    if base.text.records == "none" or "records" in defaults.section(settings, "text"):
        return None
    return f"read by {base.text.records}, as the first text was; `--records none` for plain text"


def _trained_told(config: RunConfig, vocab_size: int) -> str | None:
    """How much is trained, where that is not everything, or how."""
    rank, bits = config.training.lora_rank, config.training.weight_bits
    if bits:
        return f"weights as they are in {bits} bits; `letterloom quantize` stores them so"
    if rank is None:
        return None
    part = sum(one.count for one in trained(config.model, vocab_size, rank))
    total = sum(parameters(config.model, vocab_size).values())
    return f"factors of rank {rank}, embedding and head, {part:,} of {total:,} parameters ({part / total:.1%})"


def _model(config: ModelConfig, vocab_size: int, arrays: Arrays, source: Path) -> Transformer:
    model = Transformer(config, vocab_size)
    load_parameters(model, {name: torch.tensor(array) for name, array in arrays.items()}, source)
    return model.eval()


def _about(checkpoint: Checkpoint) -> dict[str, Any]:
    """Where the weights come from."""
    digest = checkpoint.manifest["files"]["model.safetensors"]["sha256"]
    return {"path": str(checkpoint.path.resolve()), "step": checkpoint.step, "sha256": digest}


def _old_before(base: Checkpoint, vocabulary: Vocabulary, config: RunConfig) -> Figures:
    """What the old text costs the trained model; where it is gone, why it cannot be told."""
    try:
        text = OldText(base, vocabulary.tokenizer)
        most = scored_at_most(config.training, len(text.before))
        before = scored(base.model(), base.tokenizer, text.before, config, most)
    except LetterloomError as error:
        log.warning("what is forgotten of the old text cannot be measured: %s", error)
        return {"skipped": str(error)}
    return {"corpus": list(text.names), "left_out": text.left_out, "before": before}


def _old_after(run: RunDirectory, about: Mapping[str, Any], config: RunConfig) -> Figures:
    """What the old text costs the finetuned model; where it is gone meanwhile, why it cannot be told."""
    new = load_checkpoint(run.path)
    try:
        base = load_checkpoint(Path(about["base"]["path"]))
        if _about(base)["sha256"] != about["base"]["sha256"]:
            raise DataMismatchError(f"{base.path} has other weights than those that were finetuned")
        text = OldText(base, new.tokenizer)
    except (LetterloomError, OSError) as error:
        log.warning("what was forgotten of the old text cannot be measured: %s", error)
        return {"skipped": str(error)}
    most = scored_at_most(config.training, len(text.after))
    return {"after": scored(new.model(), new.tokenizer, text.after, config, most)}
