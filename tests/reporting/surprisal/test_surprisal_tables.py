import csv
import io
import math

import numpy as np
import pytest

from letterloom.evaluation.copying import copying
from letterloom.evaluation.loss import Evaluation
from letterloom.evaluation.records import Ranking, Record
from letterloom.reporting.surprisal.places import Row
from letterloom.reporting.surprisal.tables import (
    characters_csv,
    copying_rows,
    copying_told,
    held_out_told,
    lines_json,
    ranking_told,
    records_csv,
)

TEXTS = ['a,"\n', "\r\x1bé"]
ROWS = [
    Row(
        line,
        text,
        np.arange(1.0, 1.0 + len(text)),
        np.zeros((len(text), 1), np.int64),
        np.ones((len(text), 1), np.float32),
    )
    for line, text in enumerate(TEXTS, start=1)
]
RECORD = Record(4, 'x,"y"\r', 7, 7 * math.log(2), as_surprising=249, held_out=999)


def test_the_rows_of_a_text_can_be_read_back() -> None:
    found = list(csv.DictReader(io.StringIO(characters_csv(ROWS), newline="")))
    assert "".join(row["character"] for row in found) == "".join(TEXTS)
    assert [(row["line"], row["column"]) for row in found[3:5]] == [("1", "4"), ("2", "1")]
    assert [float(row["nats"]) for row in found] == [1, 2, 3, 4, 1, 2, 3]
    assert float(found[1]["bits"]) == pytest.approx(2 / math.log(2))


def test_the_rows_of_records_can_be_read_back() -> None:
    (found,) = csv.DictReader(io.StringIO(records_csv([RECORD]), newline=""))
    assert (found["text"], found["line"], found["characters"]) == (RECORD.text, "4", "7")
    assert float(found["bits_per_character"]) == pytest.approx(1.0)
    assert float(found["held_out_share"]) == 0.25


def test_lines_for_json() -> None:
    first, second = lines_json(ROWS)
    assert first == {
        "line": 1, "text": TEXTS[0], "characters": 4, "nats": 10.0, "nats_by_character": [1.0, 2.0, 3.0, 4.0],
        "bits_per_character": pytest.approx(2.5 / math.log(2)),
    }  # fmt: skip
    assert second["nats"] == 6.0


def test_what_records_are_held_against_is_told() -> None:
    evaluation = Evaluation(1.0, None, 7, "blocks", 8, 0.1)
    assert held_out_told(RECORD) == "249 of 999"
    (told,) = ranking_told(Ranking((RECORD,), np.arange(101.0), evaluation))
    assert "50 % up to 50.00, 90 % up to 90.00, 99 % up to 99.00" in told
    assert "no held-out records" in ranking_told(Ranking((RECORD,), np.array([]), evaluation))[0]
    assert held_out_told(Record(1, "a", 2, 1.0, 0, 0)) == ""


def test_the_curve_of_copying() -> None:
    found = copying(["the loom\n"], "at the loom\nwe weave", "we loom at there " * 3)
    rows = copying_rows(found)
    assert [row[0] for row in rows] == [
        "10 or more",
        "20 or more",
        "30 or more",
        "50 or more",
        "100 or more",
        "the longest",
    ]
    assert rows[0][1:] == ("0.0 %", "0.0 %", "0.0 %")
    assert rows[-1] == ("the longest", "9", "4", "6")  # of five sets: 3, 4, 4, 5, 6
    assert "from character 3 of the training text on (its line 1): the loom⏎" in copying_told(found)[-1]
    alone = copying(["the"], "zzz", "")
    assert copying_rows(alone)[-1] == ("the longest", "0", "none", "none")
    assert len(copying_told(alone)) == 2
