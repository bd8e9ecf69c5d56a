import json
import tomllib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from letterloom.config import ModelConfig, RunConfig, build_config, to_toml
from letterloom.recipes import read_recipe
from letterloom.training import loop

RECIPE = ("--recipe", "nanogpt-cpu")
FIELDS = [(section, name) for section, model in RunConfig() for name in type(model).model_fields]
REPLAY = ("text", "replay")  # goes with its share alone
FREE_TEXT = {("text", "corpus"), REPLAY, ("training", "sample_prompts")}


def flag(section: str, name: str) -> str:
    return f"--{section}.{name.replace('_', '-')}"


@pytest.fixture
def planned(tiny_run: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[RunConfig, Path, Any]]:
    """The configuration, the place and what a plan has to keep of each training asked for; nothing is trained."""
    calls = []

    def train(config: RunConfig, out: Path, kept: Any, began: float) -> SimpleNamespace:
        calls.append((config, out, kept))
        return SimpleNamespace(path=tiny_run)

    monkeypatch.setattr(loop, "train", train)
    return calls


class TestLayers:
    def test_a_recipe_alone(self, call: Any, planned: Any) -> None:
        assert call("train", *RECIPE).exit_code == 0
        assert planned[0][0] == build_config(read_recipe("nanogpt-cpu"))

    def test_the_recipe_is_small_where_none_is_named(self, call: Any, planned: Any) -> None:
        call("train")
        assert planned[0][0] == build_config(read_recipe("small"))

    def test_two_minutes_are_planned_where_nothing_is_said(self, call: Any, planned: Any) -> None:
        call("train")
        assert planned[0][0].training.max_minutes == 2
        assert planned[0][2] == {}

    def test_a_plan_keeps_what_the_flags_say(self, call: Any, planned: Any) -> None:
        call("train", "--minutes", "0.5", "--model.n-layers", "3", "--training.max-steps", "9")
        assert planned[0][2] == {"model": {"n_layers": "3"}, "training": {"max_minutes": "0.5", "max_steps": "9"}}

    @pytest.mark.parametrize(
        "flags",
        [
            ["--recipe", "small"],
            ["--recipe", "nanogpt-cpu", "--minutes", "3"],
            ["--training.max-steps", "7"],
            ["--training.max-epochs", "7", "--minutes", "none"],
        ],
        ids=" ".join,
    )
    def test_a_recipe_or_another_limit_is_not_planned(self, call: Any, planned: Any, flags: list[str]) -> None:
        call("train", *flags)
        assert planned[0][2] is None

    def test_flags_over_file_over_recipe(self, call: Any, planned: Any, tmp_path: Path) -> None:
        (tmp_path / "file.toml").write_text("[model]\nn_layers = 3\nd_model = 48\n")
        call("train", *RECIPE, "--config", tmp_path / "file.toml", "--model.n-layers", "5")
        expected = build_config(read_recipe("nanogpt-cpu"), {"model": {"n_layers": 5, "d_model": 48}})
        assert planned[0][0] == expected

    def test_a_file_without_a_recipe_stands_alone(self, call: Any, planned: Any, tmp_path: Path) -> None:
        (tmp_path / "file.toml").write_text("[training]\nmax_epochs = 2\n")
        call("train", "--config", tmp_path / "file.toml")
        assert planned[0][0] == RunConfig(training={"max_epochs": 2})

    def test_the_run_toml_of_a_run_repeats_it(self, call: Any, planned: Any, tiny_run: Path) -> None:
        call("train", "--config", tiny_run / "run.toml")
        assert to_toml(planned[0][0]) == (tiny_run / "run.toml").read_text()

    def test_texts_in_order_with_standard_input_among_them(self, call: Any, planned: Any) -> None:
        call("train", "b.txt", "-", "a", *RECIPE)
        assert planned[0][0].text.corpus == ("b.txt", "-", "a")

    @pytest.mark.parametrize("name", ["--minutes", "--training.max-minutes"])
    def test_minutes_take_the_place_of_other_limits_below(self, call: Any, planned: Any, name: str) -> None:
        call("train", *RECIPE, name, "1.5")
        training = planned[0][0].training
        assert (training.max_minutes, training.max_steps, training.max_epochs) == (1.5, None, None)

    def test_steps_take_the_place_of_minutes_below(self, call: Any, planned: Any) -> None:
        call("train", "--recipe", "small", "--training.max-steps", "5000")
        training = planned[0][0].training
        assert (training.max_minutes, training.max_steps, training.max_epochs) == (None, 5000, None)

    def test_a_limit_taken_away_takes_no_other_with_it(self, call: Any, planned: Any) -> None:
        call("train", "--recipe", "small", "--training.max-steps", "none")
        assert planned[0][0].training == build_config(read_recipe("small")).training

    def test_minutes_and_steps_given_together_both_hold(self, call: Any, planned: Any) -> None:
        call("train", *RECIPE, "--minutes", "1", "--training.max-steps", "7")
        assert (planned[0][0].training.max_minutes, planned[0][0].training.max_steps) == (1.0, 7)

    def test_short_names(self, call: Any, planned: Any) -> None:
        call("train", *RECIPE, "--seed", "4", "--tokenizer", "bytes", "--records", "lines")
        config = planned[0][0]
        assert (config.training.seed, config.text.tokenizer, config.text.records) == (4, "bytes", "lines")

    @pytest.mark.parametrize("flags", [["--lora", "4"], ["--lora", "4", *RECIPE], ["--lora", "900", *RECIPE]])
    def test_factors_are_for_finetuning_whatever_else_is_wrong_with_them(
        self, call: Any, planned: Any, flags: list[str]
    ) -> None:
        assert f"use `letterloom finetune RUN CORPUS --lora {flags[1]}`" in call("train", "x", *flags).error
        assert not planned


class TestSettings:
    @pytest.mark.parametrize(("section", "name"), [field for field in FIELDS if field != REPLAY])
    def test_every_setting_is_a_flag(self, call: Any, planned: Any, section: str, name: str) -> None:
        written = tomllib.loads(to_toml(RunConfig()))[section][name]
        value = (
            written[0] if isinstance(written, list) else str(written).lower() if isinstance(written, bool) else written
        )
        assert call("train", *RECIPE, flag(section, name), value).exit_code == 0
        expected = build_config(read_recipe("nanogpt-cpu"), {section: {name: written}})
        assert planned[0][0] == expected

    def test_what_is_replayed_goes_with_its_share(self, call: Any, planned: Any) -> None:
        call("train", *RECIPE, "--text.replay", "names", "--text.replay-share", "0.3")
        assert (planned[0][0].text.replay, planned[0][0].text.replay_share) == (("names",), 0.3)
        assert "give both, or neither" in call("train", *RECIPE, "--text.replay", "names").error

    @pytest.mark.parametrize(("section", "name"), [field for field in FIELDS if field not in FREE_TEXT])
    def test_every_setting_refuses_what_it_cannot_be(self, call: Any, planned: Any, section: str, name: str) -> None:
        result = call("train", *RECIPE, flag(section, name), "wrong")
        assert result.exit_code == 2
        assert flag(section, name) in result.error or f"{section}.{name} = 'wrong'" in result.error
        assert not planned

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            (["--model.n-layers", "3.4"], ["model.n_layers", "3.4", "integer"]),
            (["--model.n-layers", "-3"], ["model.n_layers", "-3"]),
            (["--model.n-layers", "nan"], ["model.n_layers", "nan"]),
            (["--model.dropout", "nan"], ["model.dropout", "nan"]),
            (["--model.dropout", "1e400"], ["model.dropout", "1e400"]),
            (["--model.n-heads", "3"], ["d_model 128", "n_heads 3"]),
            (["--model.n-layers", "9" * 5000], ["model.n_layers"]),
            (["--model.bias-head", "flase"], ["--model.bias-head", "false"]),
            (["--model.bias-head"], ["--model.bias-head"]),
            (["--model.norm", "rmsnrm"], ["rmsnorm"]),
            (["--optimizer.gradient-clip", "0"], ["optimizer.gradient_clip"]),
            (["--training.device", "gpu"], ["training.device", "gpu"]),
            (["--minutes", "0"], ["training.max_minutes"]),
            (["--seed", "-1"], ["training.seed", "-1"]),
            (["--seed", "1", "--training.seed", "2"], ["seed", "multiple"]),
            (["--training.max-steps", "none"], ["no limit is set"]),
            (["a", "--text.corpus", "b"], ["twice"]),
            (["--recipe", "nanogpt-gpu"], ["nanogpt-gpu", "nanogpt-cpu"]),
            (["--out"], ["--out"]),
        ],
        ids=lambda value: " ".join(value)[:40],
    )
    def test_wrong_input(self, call: Any, planned: Any, arguments: list[str], words: list[str]) -> None:
        recipe = () if "--recipe" in arguments else RECIPE
        result = call("train", *recipe, *arguments)
        assert result.exit_code == 2
        assert all(word in result.error for word in words), result.error
        assert not planned

    def test_false_is_no_text_and_none_is_absent(self, call: Any, planned: Any) -> None:
        call("train", *RECIPE, "--model.tied-head", "false", "--optimizer.gradient-clip", "none")
        config = planned[0][0]
        assert (config.model.tied_head, config.optimizer.gradient_clip) == (False, None)
        assert config.text.corpus == RunConfig().text.corpus

    def test_help_describes_every_setting(self, call: Any) -> None:
        text = call("train", "--help").out.replace("\n", " ")
        assert all(flag(*field).rpartition(".")[2] in text for field in FIELDS)
        assert ModelConfig.model_fields["d_model"].description in text


class TestConfigFile:
    @pytest.mark.parametrize(
        ("content", "words"),
        [
            (None, ["file.toml", "No such file"]),
            (b"[model\n", ["file.toml", "not valid TOML"]),
            (b"\xff", ["file.toml"]),
            (b"[model]\nn_layer = 3\n", ["model.n_layer", "n_layers"]),
            (b"[modle]\n", ["modle", "model"]),
            (b"model = 3\n", ["model"]),
            (b"[training]\nmax_steps = nan\n", ["training.max_steps"]),
            (b"[training]\nbatch_size = 2\n", ["no limit is set"]),
        ],
        ids=lambda value: repr(value)[:30],
    )
    def test_wrong_files(
        self, call: Any, planned: Any, tmp_path: Path, content: bytes | None, words: list[str]
    ) -> None:
        if content is not None:
            (tmp_path / "file.toml").write_bytes(content)
        result = call("train", "--config", tmp_path / "file.toml", "--model.n-heads", "2")
        assert result.exit_code == 2
        assert all(word in result.error for word in words), result.error


class TestPlace:
    def test_the_default_tells_text_recipe_and_time(self, call: Any, planned: Any) -> None:
        call("train", "some folder/Ham let.txt", *RECIPE)
        out = planned[0][1]
        assert out.parent == Path("runs")
        assert out.name.startswith("Ham_let-nanogpt-cpu-20")

    def test_a_plan_has_its_minutes_for_a_recipe(self, call: Any, planned: Any) -> None:
        call("train", "Hamlet.txt", "--minutes", "0.5")
        assert planned[0][1].name.startswith("Hamlet-0_5min-20")

    @pytest.mark.parametrize("text", ["-", "..", "/", "☃" * 300, "a" * 300])
    def test_any_name_of_a_text_gives_a_usable_folder(self, call: Any, planned: Any, tmp_path: Path, text: str) -> None:
        call("train", text, *RECIPE)
        (tmp_path / planned[0][1]).mkdir(parents=True)
        assert planned[0][1].parts[0] == "runs"
        assert len(planned[0][1].parts) == 2

    def test_out_is_used_as_it_is(self, call: Any, planned: Any, tmp_path: Path) -> None:
        call("train", *RECIPE, "--out", tmp_path / "a b")
        assert planned[0][1] == tmp_path / "a b"

    def test_a_run_that_is_there_is_not_touched(self, call: Any, tiny_run: Path, tiny_text: Path) -> None:
        before = {path: path.stat().st_mtime_ns for path in tiny_run.rglob("*")}
        result = call("train", tiny_text, *RECIPE, "--out", tiny_run)
        assert result.exit_code == 2
        assert "resume" in result.error
        assert {path: path.stat().st_mtime_ns for path in tiny_run.rglob("*")} == before

    def test_a_text_that_is_missing_leaves_no_folder(self, call: Any, tmp_path: Path) -> None:
        result = call("train", tmp_path / "missing.txt", *RECIPE, "--out", tmp_path / "run")
        assert (result.exit_code, "missing.txt" in result.error) == (2, True)
        assert list(tmp_path.iterdir()) == []


class TestOutput:
    def test_lines_tell_figures_sample_and_places(self, call: Any, planned: Any, tiny_run: Path) -> None:
        out = call("train", *RECIPE).out
        evaluation = json.loads((tiny_run / "evaluation.json").read_text())["validation"]["blocks"]
        assert f"{evaluation['nats_per_character']:.4f}" in out
        assert f"{evaluation['bits_per_character']:.4f}" in out
        assert f"{evaluation['characters']:,} characters" in out
        seen = json.loads((tiny_run / "evaluation.json").read_text())["training"]["blocks"]
        assert f"on training text    {seen['bits_per_character']:.4f} bits" in out
        assert (tiny_run / "samples" / "step-000012-1.txt").read_text(encoding="utf-8").split("\n")[0] in out
        assert str(tiny_run / "report.html") in out

    def test_json_is_one_object(self, call: Any, planned: Any, tiny_run: Path) -> None:
        value = json.loads(call("train", *RECIPE, "--json").out)
        assert value["run"] == str(tiny_run)
        assert value["evaluation"] == json.loads((tiny_run / "evaluation.json").read_text())


def test_resume_of_a_finished_run_measures_it_again(call: Any, run_copy: Path) -> None:
    before = json.loads((run_copy / "evaluation.json").read_text())["validation"]["blocks"]
    (run_copy / "evaluation.json").unlink()
    result = call("resume", run_copy, "--json")
    assert result.exit_code == 0
    after = json.loads(result.out)["evaluation"]["validation"]["blocks"]
    assert after["nats_per_character"] == before["nats_per_character"]


def test_resume_refuses_a_checkpoint(call: Any, tiny_run: Path) -> None:
    result = call("resume", tiny_run / "checkpoints" / "last")
    assert (result.exit_code, "checkpoint" in result.error) == (2, True)
