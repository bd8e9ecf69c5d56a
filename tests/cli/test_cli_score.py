"""`score`: texts, records, copying, and what they are written into."""

import csv
import io
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from letterloom import api


@pytest.fixture(scope="module")
def name_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on records: four-letter names of two syllables."""
    draw = np.random.default_rng(0)
    names = {"".join(draw.choice(["an", "el", "io", "ma", "ru", "te"], 2 + i % 2)) for i in range(400)}
    text = tmp_path_factory.mktemp("names") / "names.txt"
    text.write_text("\n".join(sorted(names)) + "\n")
    return api.train(
        text,
        recipe="nanogpt-cpu",
        out=tmp_path_factory.mktemp("runs") / "names",
        model={"context_length": 8, "d_model": 16, "n_layers": 1, "n_heads": 2},
        text={"records": "lines"},
        optimizer={"learning_rate": 0.01, "warmup_steps": 5},
        training={"batch_size": 16, "max_steps": 150, "eval_interval": 150, "device": "cpu", "threads": 1},
    ).path


class TestText:
    @pytest.mark.parametrize("protocol", ["blocks", "sliding"])
    def test_the_figures_are_those_of_evaluate(self, call: Any, tiny_run: Path, tiny_text: Path, protocol: str) -> None:
        expected = json.loads(call("evaluate", tiny_run, tiny_text, "--protocol", protocol, "--json").out)
        value = json.loads(call("score", tiny_run, tiny_text, "--protocol", protocol, "--json").out)
        assert value["nats_per_character"] == pytest.approx(expected["nats_per_character"], abs=1e-9)
        assert value["interval"] == expected["interval"]
        assert sum(line["nats"] for line in value["lines"]) == pytest.approx(value["nats"], abs=1e-9)
        text = tiny_text.read_text(encoding="utf-8")
        assert "".join(line["text"] for line in value["lines"]) == text
        assert sum(len(line["nats_by_character"]) for line in value["lines"]) == value["characters"] == len(text)
        assert value["text"] == f"file {tiny_text}"

    def test_what_is_no_file_is_the_text(self, call: Any, tiny_run: Path) -> None:
        value = json.loads(call("score", tiny_run, "the loom weaves", "--json").out)
        assert (value["characters"], value["text"]) == (15, "as typed: the loom weaves")
        assert "as typed: the loom weaves" in call("score", tiny_run, "the loom weaves").out

    def test_a_text_of_two_megabytes_may_be_typed_in_all_but_a_path(self, call: Any, tiny_run: Path) -> None:
        assert json.loads(call("score", tiny_run, "the loom " * 600, "--json").out)["characters"] == 5400

    def test_standard_input(self, call: Any, tiny_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO("the naïve loom".encode())))
        value = json.loads(call("score", tiny_run, "-", "--json").out)
        assert (value["characters"], value["text"]) == (14, "standard input")

    def test_without_colour_a_table_of_places(self, call: Any, tiny_run: Path) -> None:
        out = call("score", tiny_run, "the loom of loom\nletters", "--unknown", "skip").out
        assert "most surprising" in out
        assert "»t«he loom of loom⏎" in out
        assert "\x1b" not in out

    def test_csv_and_page(self, call: Any, tiny_run: Path, tmp_path: Path) -> None:
        files = tmp_path / "a.csv", tmp_path / "a.html"
        out = call("score", tiny_run, "the\nloom", "--csv", files[0], "--html", files[1]).out
        with files[0].open(newline="") as file:
            assert "".join(row["character"] for row in csv.DictReader(file)) == "the\nloom"
        assert 'data-told="' in files[1].read_text(encoding="utf-8")
        assert str(files[0]) in out
        assert str(files[1]) in out

    def test_unknown_characters(self, call: Any, tiny_run: Path) -> None:
        refused = call("score", tiny_run, "the loom\nof \N{FISH}")
        assert (refused.exit_code, "U+1F41F" in refused.error, "line 2, column 4" in refused.error) == (2, True, True)
        skipped = call("score", tiny_run, "the \N{FISH}loom", "--unknown", "skip", "--json")
        assert json.loads(skipped.out)["characters"] == 8
        assert "\N{FISH}" in skipped.err
        nothing = call("score", tiny_run, "\N{FISH}\N{FISH}", "--unknown", "skip")
        assert nothing.exit_code == 2
        assert "nothing is left of the text" in nothing.err

    def test_copying(self, call: Any, tiny_run: Path, tiny_text: Path) -> None:
        text = tiny_text.read_text(encoding="utf-8")
        value = json.loads(call("score", tiny_run, text[100:200], "--copying", "--json").out)["copying"]
        assert set(value["texts"]["shares"].values()) == {1.0}
        assert (value["texts"]["longest"]["text"], value["texts"]["longest"]["place"]) == (text[100:200], 100)
        assert value["human"]["highest_shares"]["100"] < 1.0
        assert value["training_characters"] == int(0.9 * len(text))
        assert "100.0 %" in call("score", tiny_run, text[100:200], "--copying").out

    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("", ["the text is empty"]),
            ("t", ["at least 2 characters"]),
            ("nowhere.txt", ["there is no file nowhere.txt", "pipe it in"]),
            ("./nowhere", ["there is no file ./nowhere"]),
            ("/nowhere/at/all", ["there is no file"]),
            ("--protokol", ["--protokol"]),
        ],
    )
    def test_wrong_text(self, call: Any, tiny_run: Path, text: str, words: list[str]) -> None:
        result = call("score", tiny_run, text)
        assert result.exit_code == 2
        assert all(word in result.error for word in words), result.error

    @pytest.mark.parametrize("text", ["C/C=C/Cl", "Hello.", "The end. Or not.", "a/b"])
    def test_a_text_that_is_no_path(self, call: Any, tiny_run: Path, text: str) -> None:
        result = call("score", tiny_run, text, "--unknown", "replace", "--json")
        assert json.loads(result.out)["text"] == f"as typed: {text}"

    def test_wrong_files(self, call: Any, tiny_run: Path, tmp_path: Path) -> None:
        (tmp_path / "empty").write_bytes(b"")
        (tmp_path / "binary").write_bytes(b"\0\xff")
        assert "the text is empty" in call("score", tiny_run, tmp_path / "empty").error
        assert "binary" in call("score", tiny_run, tmp_path / "binary").error
        assert "is a folder" in call("score", tiny_run, tmp_path).error
        assert "is a folder" in call("score", tiny_run, "the loom", "--html", tmp_path).error


class TestRecords:
    def test_an_outlier_comes_first(self, call: Any, name_run: Path, tmp_path: Path) -> None:
        (tmp_path / "names.txt").write_text("anel\n\niiiiii\nruma\n")
        value = json.loads(call("score", name_run, tmp_path / "names.txt", "--records", "--json").out)
        assert (value["records"][0]["line"], value["records"][0]["text"]) == (3, "iiiiii")
        first, *_, last = value["records"]
        assert (first["as_surprising"], first["held_out_share"] < last["held_out_share"]) == (0, True)
        corpus = json.loads((name_run / "corpus.json").read_text())
        assert value["held_out"]["records"] == corpus["split"]["validation"]["records"]
        assert value["characters"] == 5 + 7 + 5

    def test_the_same_in_a_table_in_csv_and_on_a_page(self, call: Any, name_run: Path, tmp_path: Path) -> None:
        (tmp_path / "names.txt").write_text("anel\niiiiii\n" + "ruma\n" * 30)
        files = tmp_path / "a.csv", tmp_path / "a.html"
        options = "--records", "--copying", "--csv", files[0], "--html", files[1]
        out = call("score", name_run, tmp_path / "names.txt", *options).out
        assert "held out" in out
        assert "and 12 records more" in out
        with files[0].open(newline="") as file:
            rows = list(csv.DictReader(file))
        assert (len(rows), rows[0]["text"]) == (32, "iiiiii")
        page = files[1].read_text(encoding="utf-8")
        assert page.index(">i</i>") < page.index(">r</i>")
        assert "Copying" in page

    def test_a_model_of_records_reads_a_text_line_by_line(self, call: Any, name_run: Path, tmp_path: Path) -> None:
        (tmp_path / "names.txt").write_text("anel\nruma\n")
        value = json.loads(call("score", name_run, tmp_path / "names.txt", "--json").out)
        assert [line["text"] for line in value["lines"]] == ["anel\x03", "ruma\x03"]

    def test_lines_of_a_model_of_text(self, call: Any, tiny_run: Path, tmp_path: Path) -> None:
        (tmp_path / "log").write_text("the loom weaves\n" + "aaaa" * 4_000 + "\n")
        value = json.loads(call("score", tiny_run, tmp_path / "log", "--records", "--json").out)
        assert {record["line"]: record["characters"] for record in value["records"]} == {1: 16, 2: 16_001}
        assert all(0 <= record["held_out_share"] <= 1 for record in value["records"])
        assert 10 <= value["held_out"]["records"] <= 15  # the lines of the validation split

    def test_a_checkpoint_away_from_its_run_has_no_held_out_records(
        self, call: Any, run_copy: Path, tmp_path: Path
    ) -> None:
        (run_copy / "checkpoints" / "last").resolve().rename(tmp_path / "alone")
        result = call("score", tmp_path / "alone", "the loom", "--records", "--json")
        assert json.loads(result.out)["records"][0]["held_out_share"] is None
        assert "no held-out records" in result.err

    def test_only_empty_lines(self, call: Any, name_run: Path, tmp_path: Path) -> None:
        (tmp_path / "lines").write_text("\n\n")
        assert "only empty lines" in call("score", name_run, tmp_path / "lines", "--records").error


def test_nothing_is_written_over_the_text_or_twice(call: Any, tiny_run: Path, tmp_path: Path) -> None:
    text = tmp_path / "t.txt"
    text.write_text("the loom", encoding="utf-8")
    over = call("score", tiny_run, text, "--csv", text)
    assert (over.exit_code, text.read_text(encoding="utf-8")) == (2, "the loom")
    assert "is the text that is read" in over.error
    twice = call("score", tiny_run, text, "--csv", tmp_path / "x", "--html", tmp_path / "x")
    assert twice.exit_code == 2
    assert "a file of its own" in twice.error
    assert not (tmp_path / "x").exists()
