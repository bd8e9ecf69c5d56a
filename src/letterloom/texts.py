"""The texts that a trained model is measured on: those that are named, and the splits of its own run."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from letterloom.errors import ConfigError, RunError

if TYPE_CHECKING:
    from letterloom.runs.checkpoint import Checkpoint
    from letterloom.runs.directory import RunDirectory
    from letterloom.text.tokenizers import Ids

Texts = str | Path | Sequence[str | Path]
Split = Literal["validation", "training"]
Unknown = Literal["error", "skip", "replace"]
log = logging.getLogger("letterloom")


def corpus_names(corpus: Texts) -> tuple[str, ...]:
    """One text or several, as a configuration names them.

    Raises:
        ConfigError: there is none.
    """
    found = (str(corpus),) if isinstance(corpus, (str, Path)) else tuple(map(str, corpus))
    if not found:
        raise ConfigError("no text is given (text.corpus); name at least one text")
    return found


def text_for(
    checkpoint: "Checkpoint", corpus: Texts | None = None, unknown: Unknown = "error", split: Split | None = None
) -> "tuple[Ids, float | None]":
    """A text, or a split of the run's own, as ids; and its limit in nats per character, where that is known.

    Args:
        checkpoint: Of the model.
        corpus: Names, files or folders, whole; None: a split of the run's own text.
        unknown: What to do with characters of `corpus` that the model does not know.
        split: Which part of the run's own text, in place of another text; by default "validation".

    Raises:
        ConfigError: a split is asked for, and another text named.
        CorpusError: the text cannot be read.
        DataMismatchError: the text of the run is no longer what it was.
        UnknownCharacterError: the text has a character the model does not know, and `unknown` is "error".
    """
    from letterloom.text.encoding import encode_text_of

    if corpus is None:
        return own_split(checkpoint, split or "validation")
    if split is not None:
        raise ConfigError(f"the {split} split is of the run's own text, and another text is named; drop one of them")
    records = checkpoint.config.text.records
    ids, description = encode_text_of(corpus_names(corpus), checkpoint.tokenizer, unknown, records)
    for note in description["notes"]:
        log.warning("%s", note)
    run = own_run(checkpoint)
    if run is not None and run.corpus().get("sha256") == description["sha256"]:
        log.warning("this is the text the model was trained on; without a CORPUS it is scored on what it never saw")
    return ids, None


def own_split(checkpoint: "Checkpoint", name: Split) -> "tuple[Ids, float | None]":
    """A part of the run's text, and of what is held out the limit, where it is known.

    Raises:
        RunError: the checkpoint was copied out of its run.
        And what `text.encoding.open_corpus` raises.
    """
    from letterloom.text.encoding import open_corpus

    run = own_run(checkpoint)
    if run is None:
        raise RunError(f"{checkpoint.path} lies outside its run, which knows its splits; name a text to evaluate on")
    corpus = open_corpus(checkpoint.config.text, checkpoint.tokenizer, expected=run.corpus())
    return (corpus.train, None) if name == "training" else (corpus.validation, corpus.limit)


def own_run(checkpoint: "Checkpoint") -> "RunDirectory | None":
    """The run that a checkpoint lies in, unless it was copied out of it."""
    from letterloom.runs.finding import run_around

    return run_around(checkpoint.path)
