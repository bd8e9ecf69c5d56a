"""`profile` and `recipes`."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from letterloom.accounting import Measured
from letterloom.config import build_config
from letterloom.recipes import recipe_names
from letterloom.training import estimates


class TestProfile:
    def test_json_of_a_recipe(self, call: Any) -> None:
        told = json.loads(call("profile", "lecture-small", "--no-measure", "--json").out)
        assert told["parameters"]["total"] == 209_729
        assert set(told["parameters"]["components"][0]) == {"name", "calculation", "each", "copies", "count"}
        assert told["memory"]["masked_model_bytes"] == 904_452
        assert told["computation"]["training_flops_per_step"] == 667_090_944
        assert told["measured"] is None

    def test_lines_show_the_same_figures(self, call: Any) -> None:
        out = call("profile", "profiling-report", "--no-measure").out
        for words in (
            "210,497",
            "64 x 192 + 192 + 64 x 64 + 64",
            "4 heads of width 16",
            "sgd",
            "0.0003",
            "1,000 steps",
        ):
            assert words in out
        assert "vocabulary of Tiny Shakespeare, 65 characters" in out

    def test_the_vocabulary_is_a_texts_or_given(self, call: Any, tiny_text: Path) -> None:
        characters = len(set(tiny_text.read_text(encoding="utf-8")))
        told = json.loads(call("profile", "lecture-small", tiny_text, "--no-measure", "--json").out)
        assert told["dimensions"]["vocab_size"] == characters
        told = json.loads(call("profile", "lecture-small", "--vocab-size", "100", "--no-measure", "--json").out)
        assert told["parameters"]["components"][0]["count"] == 100 * 64

    def test_a_recipe_is_measured(self, call: Any) -> None:
        result = call("profile", "lecture-small", "--json")
        told = json.loads(result.out)
        assert told["measured"]["steps"] >= 2
        assert all(row["note"] or abs(row["difference"]) <= 0.02 for row in told["comparison"])
        assert "measuring a few steps of lecture-small" in result.err

    def test_a_run_is_read_and_measured_on_demand(self, call: Any, tiny_run: Path) -> None:
        read = json.loads(call("profile", tiny_run, "--json").out)
        assert read["measured"]["source"].startswith("the steps of metrics.jsonl")
        here = json.loads(call("profile", tiny_run, "--measure", "--json").out)
        assert here["measured"]["memory"]["weights_bytes"] == here["memory"]["weights_bytes"]
        assert "Measured" in call("profile", tiny_run).out

    def test_files_are_written_on_demand(self, call: Any, tiny_run: Path, tmp_path: Path) -> None:
        result = call("profile", tiny_run, "--out", tmp_path / "profile")
        assert sorted(file.name for file in (tmp_path / "profile").iterdir()) == ["profile.html", "profile.md"]
        assert str(tmp_path / "profile" / "profile.html") in result.out

    def test_a_place_that_cannot_be_written_is_told_before_anything_is_measured(
        self, call: Any, tmp_path: Path
    ) -> None:
        (tmp_path / "file").touch()
        (tmp_path / "taken" / "profile.html").mkdir(parents=True)
        for place, told in (("file", "cannot write"), ("taken", "profile.html is a folder")):
            result = call("profile", "lecture-small", "--out", tmp_path / place)
            assert (result.exit_code, "measuring" in result.err) == (2, False)
            assert told in result.error
        assert [file.name for file in (tmp_path / "taken").iterdir()] == ["profile.html"]

    @pytest.mark.parametrize("options", [[], ["--json"]])
    def test_a_damaged_run_is_told_as_far_as_it_goes(self, call: Any, run_copy: Path, options: list[str]) -> None:
        (run_copy / "metrics.jsonl").write_text("[]\n")
        (run_copy / "tokenizer.json").unlink()
        result = call("profile", run_copy, *options)
        assert result.exit_code == 4
        assert "d_model" in result.out
        assert result.err.count("\n") == 1
        assert "tokenizer.json" in result.out

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            (["lecture-smal"], ["'lecture-smal'", "did you mean 'lecture-small'"]),
            (["nowhere"], ["no run or checkpoint, and no recipe", "execution-flow"]),
            (["small", "--vocab-size", "0"], ["vocab-size = 0"]),
            (["small", "--vocab-size", "2000000"], ["1,114,112"]),
            (["small", "python-docs", "--vocab-size", "65"], ["given twice"]),
            (["small", "nowhere.txt"], ["nowhere.txt"]),
            (["latest"], ["there is no run"]),
        ],
        ids=lambda value: " ".join(value),
    )
    def test_wrong_input(
        self, call: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], words: list[str]
    ) -> None:
        monkeypatch.chdir(tmp_path)
        result = call("profile", *arguments, "--no-measure")
        assert result.exit_code == 2
        assert all(word in result.error for word in words), result.error

    def test_a_run_knows_its_vocabulary(self, call: Any, tiny_run: Path) -> None:
        result = call("profile", tiny_run, "--vocab-size", "65")
        assert (result.exit_code, "vocabulary of its own" in result.error) == (2, True)

    def test_a_folder_that_is_no_run(self, call: Any, tmp_path: Path) -> None:
        result = call("profile", tmp_path)
        assert (result.exit_code, "neither a run directory nor a checkpoint" in result.error) == (2, True)


class TestRecipes:
    @pytest.fixture(autouse=True)
    def _quick(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setenv("LETTERLOOM_CACHE", str(tmp_path))
        monkeypatch.setattr(estimates, "_measure", lambda config, vocab_size: Measured(0.25, 1, "a test", {}))

    def test_each_is_listed_with_its_figures(self, call: Any) -> None:
        listed = {recipe["name"]: recipe for recipe in json.loads(call("recipes", "--json").out)["recipes"]}
        assert list(listed) == recipe_names()
        for recipe in listed.values():
            assert recipe["description"]
            build_config(recipe["settings"])
            assert recipe["seconds"] == pytest.approx(recipe["steps"] * 0.25, rel=0.01)
        assert listed["lecture-large"]["parameters"] == 2_697_281
        assert listed["execution-flow"]["steps"] == -(-50 * 7843 // 64)
        assert listed["small"]["seconds"] == 120

    def test_lines_show_the_same(self, call: Any) -> None:
        out = call("recipes").out
        assert all(name in out for name in recipe_names())
        assert "10,714,752" in out
        assert "20 min 50 s" in out  # 5,000 steps of a quarter of a second

    def test_numbers_end_under_one_another(self, call: Any) -> None:
        head, *rows = call("recipes").out.splitlines()[: 1 + len(recipe_names())]
        end = head.index("parameters") + len("parameters")
        assert all(row[:end].split()[1].replace(",", "").isdecimal() for row in rows)
        assert all(row[end] == " " for row in rows)

    @pytest.mark.parametrize("columns", [80, 30])
    def test_on_a_terminal_names_and_numbers_are_never_broken(
        self, call: Any, monkeypatch: pytest.MonkeyPatch, columns: int
    ) -> None:
        monkeypatch.setenv("FORCE_COLOR", "1")
        monkeypatch.setenv("TERM", "xterm")
        monkeypatch.setenv("COLUMNS", str(columns))
        out = re.sub(r"\x1b\[[\d;]*m", "", call("recipes").out)
        lines = out.splitlines()[: 1 + len(recipe_names())]
        assert [line.split()[0] for line in lines] == ["recipe", *recipe_names()]
        assert all(line.endswith(("in all", " s", " min")) for line in lines)
        assert max(map(len, lines)) <= 80
        assert all(f"\n{name} " in out.partition("\n\n")[2] for name in recipe_names())

    def test_what_cannot_be_measured_is_unknown(self, call: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("letterloom.cli.recipes.step_seconds", lambda *_, **__: {})
        assert "unknown" in call("recipes").out
        listed = json.loads(call("recipes", "--json").out)["recipes"]
        assert {recipe["seconds"] for recipe in listed} == {None}

    def test_what_is_known_needs_no_torch(self, call: Any, tmp_path: Path) -> None:
        call("recipes")  # measures, or does as if
        code = "import sys; from letterloom.cli import main; main(['recipes']); assert 'torch' not in sys.modules"
        done = subprocess.run([sys.executable, "-c", code], env=os.environ, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")
