"""`letterloom finetune`: what it prints, its flags, and its mistakes in one line."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from letterloom import api
from letterloom.cli.output import print_run
from letterloom.runs.directory import RunDirectory

Call = Callable[..., Any]
SHORT = (
    "--training.max-steps",
    3,
    "--training.sample-characters",
    20,
    "--training.threads",
    1,
    "--training.device",
    "cpu",
)


@pytest.fixture
def prose(tmp_path: Path) -> Path:
    path = tmp_path / "prose.txt"
    path.write_text("A café by the sea, où l'on boit du thé.\n" * 40, encoding="utf-8")
    return path


def test_it_tells_what_was_gained_and_forgotten(call: Call, tiny_run: Path, prose: Path, tmp_path: Path) -> None:
    done = call("finetune", tiny_run, prose, "--out", tmp_path / "run", *SHORT)
    assert done.exit_code == 0
    new, old = (next(line for line in done.out.splitlines() if line.startswith(side)) for side in ("new", "old"))
    about: Any = RunDirectory(tmp_path / "run").finetuning()
    for line, name in ((new, "new"), (old, "old")):
        assert line.startswith(f"{name} text ")
        for side in ("before", "after"):
            assert f"{about[name][side]['nats_per_character']:.4f} {side}" in line
        assert f"{about[name]['difference']['nats_per_character']:+.4f} nats per character" in line
    assert "new, from e: é" in done.err
    assert "step 0  validation" in done.err


def test_json_holds_all_of_it(call: Call, tiny_run: Path, prose: Path, tmp_path: Path) -> None:
    done = call("finetune", tiny_run, prose, "--out", tmp_path / "run", "--json", "--replay", 0.2, *SHORT)
    told = json.loads(done.out)
    assert told["finetuning"] == RunDirectory(tmp_path / "run").finetuning()
    assert told["evaluation"]["validation"]["blocks"] == told["finetuning"]["new"]["after"]
    assert RunDirectory(tmp_path / "run").corpus()["replay"]["share"] == pytest.approx(0.2, abs=1e-3)


def test_records_and_every_other_setting_are_flags(call: Call, tiny_run: Path, prose: Path, tmp_path: Path) -> None:
    names = tmp_path / "names.txt"
    names.write_text("".join(f"{a}{b}{c}\n" for a in "tlw" for b in "eao" for c in "nrmdsh"))
    flags = ("--records", "lines", "--optimizer.learning-rate", 1e-4, "--model.context-length", 12)
    assert call("finetune", tiny_run, names, "--out", tmp_path / "run", *flags, *SHORT).exit_code == 0
    config = RunDirectory(tmp_path / "run").config()
    assert (config.text.records, config.optimizer.learning_rate, config.model.context_length) == ("lines", 1e-4, 12)
    assert (config.training.max_steps, config.model.n_layers) == (3, 2)


@pytest.mark.parametrize(
    ("flags", "exit_code", "named"),
    [
        (("--characters", "refuse"), 2, "--characters grow"),
        (("--replay", -0.2), 2, "text.replay_share = -0.2"),
        (("--model.d-model", 32), 2, "model.d_model = 32: the trained model has 16"),
        (("--model.context-length", 64, "--positions", "refuse"), 2, "--positions interpolate"),
        (("--model.context-length", 9000), 2, "context_length 9,000"),
    ],
)
def test_a_mistake_is_one_line(
    call: Call, tiny_run: Path, prose: Path, tmp_path: Path, flags: tuple[Any, ...], exit_code: int, named: str
) -> None:
    done = call("finetune", tiny_run, prose, "--out", tmp_path / "run", *flags)
    assert done.exit_code == exit_code
    assert named in done.error
    assert not (tmp_path / "run").exists()


def test_a_process_that_is_not_the_first_does_not_wait_for_what_that_measures(
    tiny_run: Path, prose: Path, tmp_path: Path, call: Call, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    assert call("finetune", tiny_run, prose, "--out", tmp_path / "run", *SHORT).exit_code == 0
    run = api.open_run(tmp_path / "run")
    about: Any = run.finetuning
    del about["old"]["after"], about["new"]["after"]
    (run.path / "finetuning.json").write_text(json.dumps(about))
    for name, value in (("TORCHELASTIC_RUN_ID", "1"), ("WORLD_SIZE", "2"), ("RANK", "1")):
        monkeypatch.setenv(name, value)
    print_run(run, as_json=False)
    assert capsys.readouterr().out == ""


def test_without_a_text_it_says_so(call: Call, tiny_run: Path) -> None:
    assert "at least one text" in call("finetune", tiny_run).error


def test_a_replayed_text_that_is_gone_is_named(call: Call, tmp_path: Path, tiny_text: Path, prose: Path) -> None:
    text = shutil.copy(tiny_text, tmp_path / "old.txt")
    shape = ("--model.context-length", 8, "--model.d-model", 8, "--model.n-layers", 1, "--model.n-heads", 1)
    assert call("train", text, "--recipe", "small", "--out", tmp_path / "base", *shape, *SHORT).exit_code == 0
    Path(text).unlink()
    done = call("finetune", tmp_path / "base", prose, "--out", tmp_path / "run", "--replay", 0.2, *SHORT)
    assert done.exit_code == 2
    assert "old.txt" in done.error


def test_a_quantized_model_is_not_finetuned(call: Call, tiny_run: Path, prose: Path, tmp_path: Path) -> None:
    assert call("quantize", tiny_run, "--bits", 8, "--out", tmp_path / "small").exit_code == 0
    done = call("finetune", tmp_path / "small", prose, "--out", tmp_path / "run", *SHORT)
    assert done.exit_code == 2
    assert "quantize that again" in done.error
