import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from letterloom.adaptation import quantization


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quantization, "LEAST_SECONDS", 0.0)
    monkeypatch.setattr(quantization, "ROUNDS", 1)


def test_one_object(call: Any, run_copy: Path) -> None:
    value = json.loads(call("quantize", run_copy, "--bits", "4", "--method", "round", "--json").out)
    assert (value["bits"], value["group"], value["method"]) == (4, 32, "round")
    assert value["out"] == str(run_copy / "quantized" / "int4")
    assert value["before"].keys() == value["after"].keys()
    evaluated = json.loads(call("evaluate", value["out"], "--json").out)
    assert evaluated["nats_per_character"] == pytest.approx(value["after"]["nats_per_character"], abs=1e-9)
    cost = value["after"]["nats_per_character"] - value["before"]["nats_per_character"]
    assert value["difference"]["nats_per_character"] == pytest.approx(cost)


def test_a_table(call: Any, run_copy: Path, tmp_path: Path) -> None:
    result = call("quantize", run_copy, "-o", tmp_path / "out")
    assert result.exit_code == 0
    head, *lines = result.out.splitlines()
    assert head.split() == ["fp32", "int8"]
    rows = dict(line.split("  ", 1) for line in lines if line)
    sizes = [f"{value:,}" for value in (_size(run_copy / "checkpoints" / "best"), _size(tmp_path / "out"))]
    assert rows["model.safetensors, bytes"].split() == sizes
    assert "nats per character" in rows["cost"]
    assert rows["folder"].strip() == str(tmp_path / "out")


def _size(folder: Path) -> int:
    return (folder / "model.safetensors").stat().st_size


def test_without_its_text_the_loss_is_left_out(call: Any, run_copy: Path) -> None:
    (run_copy / "corpus.json").unlink()
    result = call("quantize", run_copy, "--method", "bf16")
    assert result.exit_code == 0
    assert "corpus.json" in result.err
    assert result.err.count("\n") == 1
    assert "nats" not in result.out


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--bits", "3"], "bits = 3: should be 8, 4 or 16"),
        (["--method", "other"], "should be search, round or bf16"),
        (["--bits", "8", "--method", "bf16"], "bf16 goes with 16"),
    ],
)
def test_what_there_is_not(call: Any, run_copy: Path, arguments: list[str], told: str) -> None:
    result = call("quantize", run_copy, *arguments)
    assert (result.exit_code, told in result.error) == (2, True)
    assert not (run_copy / "quantized").exists()


def test_what_a_quantized_checkpoint_is_not_for(call: Any, run_copy: Path) -> None:
    assert call("quantize", run_copy).exit_code == 0
    narrow = run_copy / "quantized" / "int8"
    cases = {
        "quantize": "quantized already",
        "resume": "cannot be trained on; resume or finetune the run it was made from",
    }
    for command, told in cases.items():
        result = call(command, narrow)
        assert (result.exit_code, told in result.error) == (2, True)
    assert call("verify", narrow).exit_code == 0


@pytest.mark.parametrize("bits", [4, 16])
def test_text_is_drawn_from_it_without_torch(call: Any, run_copy: Path, bits: int) -> None:
    out = json.loads(call("quantize", run_copy, "--bits", bits, "--json").out)["out"]
    script = (
        "import sys; sys.modules['torch'] = None; from letterloom.cli import main; "
        f"sys.exit(main(['generate', {out!r}, '--prompt', 'the', '-n', '20', '--seed', '1', '--no-stream']))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True, env={**os.environ})
    assert done.stdout.decode().startswith("the")
    assert done.stdout.decode() == call("generate", out, "--prompt", "the", "-n", 20, "--seed", 1, "--no-stream").out
