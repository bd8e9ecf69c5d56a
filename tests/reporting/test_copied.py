"""Reciting is told from the overlap that all text of a kind has, by measurements that were really made."""

import random

from letterloom.evaluation.copying import copying
from letterloom.reporting.diagnosis.copied import copied_text

WORDS = [
    first + second for first in ("lo", "wea", "thre", "na", "ti") for second in ("om", "ve", "ad", "me", "ng", "st")
]


def prose(seed: int, length: int) -> str:
    draw = random.Random(seed)
    return " ".join(draw.choice(WORDS) for _ in range(length // 3))[:length]


TRAINING, HELD_OUT = prose(1, 40_000), prose(2, 40_000)


def test_new_text_of_the_same_kind_is_not_copied() -> None:
    found = [copied_text(copying([prose(seed, 600)], TRAINING, HELD_OUT).to_json()).verdict for seed in range(3, 43)]
    assert set(found) <= {"found", "not found"}
    assert found.count("found") <= 6  # one in twenty by chance


def test_a_recited_passage_is_found_and_measured() -> None:
    sample = prose(3, 250) + TRAINING[5000:5200] + prose(4, 150)
    finding = copied_text(copying([sample], TRAINING, HELD_OUT).to_json())
    assert finding.verdict == "found"
    assert 200 <= (finding.evidence["longest_characters"] or 0) <= 220
    assert "Train on more text" in (finding.remedy or "")


def test_what_cannot_be_judged_is_said() -> None:
    assert copied_text(None).verdict == "not measured"
    assert copied_text(copying([prose(3, 600)], TRAINING, "").to_json()).verdict == "not measured"
    assert "19 sets" in copied_text(copying([prose(3, 600)], TRAINING, HELD_OUT[:5000]).to_json()).reason
