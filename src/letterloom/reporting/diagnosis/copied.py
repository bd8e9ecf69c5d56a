"""Samples that recite: a passage of the training text in them longer than in any passage of people as long."""

from typing import Any

from letterloom.evaluation.copying import SETS
from letterloom.reporting.diagnosis.finding import Evidence, Finding, judged, not_measured


def copied_text(copying: dict[str, Any] | None) -> Finding:
    """Judge what a run holds of `evaluation.copying.Copying.to_json`, by its longest match; at a level of 5 %."""
    failure = "copied text"
    if copying is None:
        return not_measured(failure, "the last samples were not held against the training text")
    human = copying["human"]
    if human is None or human["sets"] < SETS:
        return not_measured(failure, f"it takes {SETS} sets of held-out passages as long as the samples")
    longest = copying["texts"]["longest"]
    length, (least, *_, most) = len(longest["text"]) if longest else 0, sorted(human["longest"])
    reason = (
        f"the longest passage that the samples share with the training text has {length:,} characters; of {SETS} sets "
        f"of held-out passages of the same lengths the longest have {least:,} to {most:,}"
    )
    evidence: Evidence = {"longest_characters": length, "held_out_most_characters": most, "sets": human["sets"]}
    remedy = (
        "Samples are not the model's own words there. Train on more text, for fewer steps "
        "(`--training.patience 3`), or with `--model.dropout 0.2`"
    )
    return judged(length > most, failure, reason, evidence, remedy)
