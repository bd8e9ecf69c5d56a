"""`compress`, `decompress`, and `evaluate --protocol dynamic`."""

import json
import math
from pathlib import Path
from typing import Any

import pytest

from letterloom import api
from letterloom.compression.container import Header

PROTOCOLS = ("blocks", "sliding", "dynamic")


@pytest.fixture
def compressed(call: Any, tiny_run: Path, tiny_text: Path, tmp_path: Path) -> Path:
    assert call("compress", tiny_run, tiny_text, "-o", tmp_path / "loom.ltz").exit_code == 0
    return tmp_path / "loom.ltz"


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_text_comes_back_and_takes_what_evaluate_said(
    call: Any, tiny_run: Path, tiny_text: Path, tmp_path: Path, protocol: str
) -> None:
    file, back = tmp_path / "loom.ltz", tmp_path / "back.txt"
    value = json.loads(call("compress", tiny_run, tiny_text, "-o", file, "--protocol", protocol, "--json").out)
    assert json.loads(call("decompress", tiny_run, file, "-o", back, "--json").out)["bytes"] == value["bytes"]
    assert back.read_bytes() == tiny_text.read_bytes()
    assert file.stat().st_size == value["compressed_bytes"]
    assert value["bits_per_character"] == pytest.approx(8 * file.stat().st_size / value["characters"])
    said = json.loads(call("evaluate", tiny_run, tiny_text, "--protocol", protocol, "--json").out)
    payload = 8 * (file.stat().st_size - Header.size)
    assert payload / value["characters"] == pytest.approx(said["bits_per_character"], rel=0.005)
    assert value["characters"] == said["characters"]
    assert value.get("learning_rate") == said.get("learning_rate")
    assert (value["protocol"], said["protocol"]) == (protocol, protocol)


def test_the_figures(call: Any, tiny_run: Path, tiny_text: Path, tmp_path: Path) -> None:
    arguments = ("compress", tiny_run, tiny_text, "-o", tmp_path / "loom.ltz")
    value = json.loads(call(*arguments, "--json").out)
    checkpoint = (tiny_run / "checkpoints" / "best").resolve()
    files = ("model.safetensors", "run.toml", "tokenizer.json")
    assert value["model_bytes"] == sum((checkpoint / name).stat().st_size for name in files)
    assert value["ratio"] == pytest.approx(value["bytes"] / value["compressed_bytes"])
    both = value["compressed_bytes"] + value["model_bytes"]
    assert value["ratio_with_model"] == pytest.approx(value["bytes"] / both)
    assert value["characters"] == len(tiny_text.read_text(encoding="utf-8")) < value["bytes"]
    out = call(*arguments).out
    for told in (f"{value['bytes']:,} bytes", f"{value['compressed_bytes']:,} bytes", f"{both:,} bytes"):
        assert told in out
    assert f"{value['bits_per_character']:.4f} bits per character" in out


@pytest.mark.parametrize("data", [b"", b"a", bytes(range(256)), "the loom \N{FISH} weaves\r\n".encode(), b"\xff" * 500])
def test_any_file_comes_back(call: Any, tiny_run: Path, tmp_path: Path, data: bytes) -> None:
    (tmp_path / "any").write_bytes(data)
    assert call("compress", tiny_run, tmp_path / "any", "-o", tmp_path / "any.ltz").exit_code == 0
    assert call("decompress", tiny_run, tmp_path / "any.ltz", "-o", tmp_path / "back").exit_code == 0
    assert (tmp_path / "back").read_bytes() == data
    model = api.load(tiny_run)
    assert model.decompress(model.compress(data)) == data


class TestRefusals:
    @pytest.mark.parametrize("command", ["compress", "decompress"])
    def test_places(self, call: Any, tiny_run: Path, compressed: Path, tmp_path: Path, command: str) -> None:
        cases: dict[str, tuple[Path, Path]] = {
            "is a folder": (compressed, tmp_path),
            "is the file that is read": (compressed, tmp_path / "." / compressed.name),
            "No such file": (tmp_path / "missing.txt", tmp_path / "out"),
            "Is a directory": (tmp_path, tmp_path / "out"),
        }
        before = sorted(tmp_path.iterdir())
        for told, (file, out) in cases.items():
            result = call(command, tiny_run, file, "-o", out)
            assert (result.exit_code, told in result.error) == (2, True)
        assert sorted(tmp_path.iterdir()) == before

    def test_a_damaged_file(self, call: Any, tiny_run: Path, compressed: Path, tmp_path: Path) -> None:
        data = bytearray(compressed.read_bytes())
        data[len(data) // 2] ^= 1
        compressed.write_bytes(data)
        result = call("decompress", tiny_run, compressed, "-o", tmp_path / "back.txt")
        assert (result.exit_code, "damaged" in result.error) == (4, True)
        assert not (tmp_path / "back.txt").exists()

    def test_a_file_of_another_kind(self, call: Any, tiny_run: Path, tiny_text: Path, tmp_path: Path) -> None:
        result = call("decompress", tiny_run, tiny_text, "-o", tmp_path / "back.txt")
        assert (result.exit_code, "letterloom compress" in result.error) == (4, True)

    def test_another_checkpoint(self, call: Any, tiny_run: Path, compressed: Path, tmp_path: Path) -> None:
        checkpoints = sorted(path for path in (tiny_run / "checkpoints").iterdir() if not path.is_symlink())
        best = (tiny_run / "checkpoints" / "best").resolve()
        other = next(path for path in checkpoints if path.resolve() != best)
        result = call("decompress", other, compressed, "-o", tmp_path / "back.txt")
        assert (result.exit_code, "another model" in result.error) == (4, True)

    def test_the_coder_is_missing(
        self, call: Any, tiny_run: Path, tiny_text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(__import__("sys").modules, "constriction", None)
        result = call("compress", tiny_run, tiny_text, "-o", tmp_path / "loom.ltz")
        assert (result.exit_code, "pip install 'letterloom[compress]'" in result.error) == (5, True)

    @pytest.mark.parametrize("command", ["compress", "decompress"])
    def test_ctrl_c_leaves_nothing(
        self, call: Any, tiny_run: Path, compressed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
    ) -> None:
        def interrupted(*_: Any) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr("letterloom.compression.codec.walk", lambda *_, **__: interrupted())
        before = sorted(tmp_path.iterdir())
        result = call(command, tiny_run, compressed, "-o", tmp_path / "out")
        assert (result.exit_code, result.error) == (130, "interrupted")
        assert sorted(tmp_path.iterdir()) == before


class TestDynamic:
    def test_the_rate_is_told(self, call: Any, tiny_run: Path) -> None:
        value = json.loads(call("evaluate", tiny_run, "--protocol", "dynamic", "--json").out)
        assert value["protocol"] == "dynamic"
        assert value["nats_per_character"] == pytest.approx(value["bits_per_character"] * math.log(2))
        out = call("evaluate", tiny_run, "--protocol", "dynamic").out
        assert f"learning rate       {value['learning_rate']:.1e}, by training text" in out

    def test_it_is_not_compared(self, call: Any, tiny_run: Path) -> None:
        result = call("compare", tiny_run, tiny_run, "--protocol", "dynamic")
        assert (result.exit_code, "dynamic" in result.error) == (2, True)

    @pytest.mark.parametrize("command", ["evaluate", "compress"])
    def test_a_checkpoint_away_from_its_run_has_no_training_text(
        self, call: Any, run_copy: Path, tiny_text: Path, tmp_path: Path, command: str
    ) -> None:
        moved = (run_copy / "checkpoints" / "best").resolve().rename(tmp_path / "alone")
        out = ["-o", tmp_path / "loom.ltz"] if command == "compress" else []
        result = call(command, moved, tiny_text, "--protocol", "dynamic", *out)
        assert (result.exit_code, "outside its run" in result.error) == (2, True)


def test_the_rate_lies_in_the_file(
    call: Any, tiny_run: Path, tiny_text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Decompressing asks for no training text."""
    call("compress", tiny_run, tiny_text, "-o", tmp_path / "loom.ltz", "--protocol", "dynamic")
    monkeypatch.setattr("letterloom.trained.own_split", lambda *_: pytest.fail("the text was asked for"))
    assert call("decompress", tiny_run, tmp_path / "loom.ltz", "-o", tmp_path / "back.txt").exit_code == 0
    assert (tmp_path / "back.txt").read_bytes() == tiny_text.read_bytes()
