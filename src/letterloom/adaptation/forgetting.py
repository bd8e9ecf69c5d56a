"""What finetuning gained and what it cost: the new text's loss and the old text's, before and after."""

from dataclasses import replace
from typing import Any

import numpy as np

from letterloom.adaptation.vocabulary import ids_in
from letterloom.config import RunConfig
from letterloom.errors import LetterloomError
from letterloom.evaluation.interval import parts_interval
from letterloom.evaluation.loss import Evaluation, evaluate
from letterloom.model.transformer import Transformer
from letterloom.runs.checkpoint import Checkpoint
from letterloom.runs.finding import run_around
from letterloom.text.encoding import open_corpus
from letterloom.text.tokenizers import Ids, Tokenizer
from letterloom.training.hardware import resolve_scoring
from letterloom.training.kernels import quicken

MOST_LEFT_OUT = 0.01  # of a text; with more characters cut out, what follows one another is no text any more
Figures = dict[str, Any]


class OldText:
    """The held-out text of the run that was finetuned, without the characters that finetuning dropped.

    Raises:
        LetterloomError: it is gone, no longer what it was, or too many of its characters were dropped.
    """

    def __init__(self, base: Checkpoint, tokenizer: Tokenizer) -> None:
        run = run_around(base.path)
        if run is None:
            raise LetterloomError(f"{base.path} lies outside its run, which knows its text")
        corpus = open_corpus(base.config.text, base.tokenizer, expected=run.corpus())
        mapped = ids_in(base.tokenizer, tokenizer)[corpus.validation]
        kept = mapped >= 0
        self.names = tuple(corpus.description["corpus"])
        self.before: Ids = corpus.validation if kept.all() else corpus.validation[kept]  # in the old vocabulary
        self.after: Ids = mapped[kept].astype(np.uint32)  # the same text in the new one
        self.left_out = int(len(kept) - kept.sum())
        if self.left_out > MOST_LEFT_OUT * len(kept):
            told = f"of its {len(kept):,} characters {self.left_out:,} were dropped ({self.left_out / len(kept):.1%})"
            raise LetterloomError(f"{told}, and the rest is no text; --characters grow keeps all")


def scored(model: Transformer, tokenizer: Tokenizer, ids: Ids, config: RunConfig, most: int | None) -> Figures:
    """What a text costs a model by `blocks`, with the stretches that its interval comes from.

    The model is scored in fp32, where `config` says, as `letterloom evaluate` does; at most `most` characters of it.
    """
    training = resolve_scoring(config, config.training.device)
    model = model.to(training.device)
    quicken(model, training)
    return figures(evaluate(model, tokenizer, ids, max_characters=most))


def figures(result: Evaluation) -> Figures:
    """An evaluation as JSON has it, with its stretches."""
    return replace(result, limit=None).to_json() | {"parts": result.parts}


def difference(before: Figures, after: Figures) -> Figures:
    """What a character costs more after than before, in nats, and the 95 % interval of that.

    The interval is paired: of the differences between the same stretches of text. It is None where the text is too
    short for stretches, or where they may not be the same: other contexts cut the text into other windows.
    """
    interval = None
    (first, sizes), (second, others) = (_stretches(side) for side in (before, after))
    same = before["context_length"] == after["context_length"] and np.array_equal(sizes, others)
    if len(sizes) and same:
        interval = parts_interval(second - first, sizes)
    change = after["nats_per_character"] - before["nats_per_character"]
    return {
        "nats_per_character": change,
        "interval": interval and dict(zip(("low", "high"), interval, strict=True)),
    }


def _stretches(side: Figures) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    nats, sizes = np.array(side["parts"], dtype=np.float64).reshape(-1, 2).T
    return nats, sizes
