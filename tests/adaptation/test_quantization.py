import logging
import shutil
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from letterloom import api, storage
from letterloom.adaptation import quantization
from letterloom.adaptation.quantization import quantize
from letterloom.errors import ConfigError, DataMismatchError, DiskFullError, LockedError, NonFiniteError, RunError
from letterloom.runs.checkpoint import load_checkpoint, read_checkpoint
from letterloom.runs.directory import RunDirectory
from letterloom.runs.finding import find_run
from letterloom.runs.quantized import quantize_matrix

WAYS = [(8, "search"), (8, "round"), (4, "search"), (4, "round"), (16, "bf16")]


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quantization, "LEAST_SECONDS", 0.0)
    monkeypatch.setattr(quantization, "ROUNDS", 1)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(f.relative_to(folder)): f.read_bytes() for f in sorted(folder.rglob("*")) if f.is_file()}


class TestResult:
    @pytest.mark.parametrize(("bits", "method"), WAYS)
    def test_it_is_a_checkpoint_like_any_other(self, run_copy: Path, bits: int, method: str, tiny_text: Path) -> None:
        result = quantize(run_copy, bits=bits, method=method)
        model, before = api.load(result["out"], "cpu"), load_checkpoint(run_copy)
        assert model.checkpoint.step == before.step
        assert (model.checkpoint.config, model.checkpoint.tokenizer) == (before.config, before.tokenizer)
        assert model.verify().agrees
        after = model.evaluate()
        assert after.nats_per_character == pytest.approx(result["after"]["nats_per_character"], abs=1e-9)
        paired = api.compare(run_copy, result["out"], device="cpu").nats_per_character
        assert paired == pytest.approx(result["difference"]["nats_per_character"], abs=1e-9)
        text = tiny_text.read_bytes()
        assert model.decompress(model.compress(text)) == text
        assert model.generate("the", 30, seed=1) == api.load(result["out"], "cpu").generate("the", 30, seed=1)

    def test_the_weights_are_those_of_the_best_checkpoint(self, run_copy: Path) -> None:
        before = load_checkpoint(run_copy).arrays()
        after = read_checkpoint(Path(quantize(run_copy, bits=4, method="round")["out"])).arrays()
        assert after.keys() == before.keys()
        for name, weights in before.items():
            expected = quantize_matrix(weights, 4, "round").widened() if weights.ndim == 2 else weights
            assert np.array_equal(after[name], expected)

    @pytest.mark.parametrize("tied", [True, False])
    def test_a_tied_head_is_stored_once_and_stays_tied(self, tiny_text: Path, tmp_path: Path, tied: bool) -> None:
        shape = {"context_length": 8, "d_model": 10, "n_layers": 1, "n_heads": 1, "d_ff": 7, "tied_head": tied}
        training = {"max_steps": 1, "batch_size": 2, "sample_characters": 1, "device": "cpu", "threads": 1}
        run = api.train(tiny_text, recipe="nanogpt-cpu", out=tmp_path / "run", model=shape, training=training).path
        checkpoint = read_checkpoint(Path(quantize(run, bits=4)["out"]))
        assert ("head.weight" in checkpoint.parameters()) is not tied
        network = checkpoint.model()
        assert (network.head.weight is network.embedding.weight) is tied
        assert len(api.load(checkpoint.path).generate("the", 20)) == 23

    def test_a_run_trained_through_rounding_is_stored_as_it_is(
        self, tiny_run: Path, tiny_text: Path, tmp_path: Path
    ) -> None:
        training = {"max_steps": 6, "eval_interval": 3, "weight_bits": 4, "threads": 1}
        run = api.finetune(tiny_run, tiny_text, tmp_path / "run", training=training)
        result = quantize(run.path)
        assert (result["bits"], result["difference"]["nats_per_character"]) == (4, 0.0)
        before = load_checkpoint(run.path).arrays()
        assert all(
            np.array_equal(array, before[n]) for n, array in read_checkpoint(Path(result["out"])).arrays().items()
        )
        assert (result["method"], result["after"]["method"]) == ("round", "round")  # by which it was trained
        assert quantize(run.path, bits=8)["method"] == "search"
        assert quantize(run.path, method="bf16")["bits"] == 16

    def test_figures(self, run_copy: Path) -> None:
        result = quantize(run_copy, bits=8)
        model = api.load(result["out"], "cpu")
        files = {side: Path(result[side]["path"]) / "model.safetensors" for side in ("before", "after")}
        sizes = {side: file.stat().st_size for side, file in files.items()}
        for side, size in sizes.items():
            assert result[side]["file_bytes"] == size
            assert result[side]["bits_per_weight"] == pytest.approx(8 * size / model.parameters)
            assert result[side]["characters_per_second"] > 0
        others = sum((Path(result["out"]) / name).stat().st_size for name in ("run.toml", "tokenizer.json"))
        assert model.stored_bytes == sizes["after"] + others
        assert result["ratio"] == pytest.approx(sizes["before"] / sizes["after"])
        assert result["after"]["memory_bytes"] == sum(array.nbytes for array in model.engine.weights)  # type: ignore[attr-defined]
        told = {key: result[side][key] for side, key in (("before", "precision"), ("after", "method"))}
        assert told == {"precision": "fp32", "method": "search"}
        assert result["before"]["nats_per_character"] == pytest.approx(api.load(run_copy).evaluate().nats_per_character)


class TestPlace:
    def test_by_default_it_is_in_the_run_which_stays_as_it_was(self, run_copy: Path) -> None:
        before = contents(run_copy)
        for bits, name in ((8, "int8"), (4, "int4"), (16, "bf16")):
            assert quantize(run_copy, bits=bits)["out"] == str(run_copy / "quantized" / name)
        assert {name: data for name, data in contents(run_copy).items() if "quantized/" not in name} == before
        assert load_checkpoint(run_copy).quantization is None

    def test_of_a_checkpoint_without_a_run_it_is_beside(
        self, run_copy: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        best = RunDirectory(run_copy).linked("best")
        assert best
        alone = shutil.copytree(best, tmp_path / "elsewhere" / "model")
        result = quantize(alone, bits=4)
        assert result["out"] == str(tmp_path / "elsewhere" / "model-int4")
        assert result["difference"] is result["after"]["nats_per_character"] is None
        assert "lies outside its run" in caplog.text

    def test_another_place_is_scored_on_the_text_of_the_run_too(self, run_copy: Path, tmp_path: Path) -> None:
        result = quantize(run_copy, tmp_path / "out" / "narrow", bits=8)
        assert result["difference"]["interval"] is None or result["difference"]["interval"]
        assert api.load(result["out"]).generate("the", 5)

    def test_it_is_never_the_latest_run(self, run_copy: Path) -> None:
        quantize(run_copy, run_copy.parent / "newer", bits=8)
        assert find_run(run_copy.parent / "latest") == run_copy

    @pytest.mark.parametrize("kind", ["file", "folder", "quantized"])
    def test_what_is_in_the_way_is_told_and_kept(self, run_copy: Path, tmp_path: Path, kind: str) -> None:
        out = tmp_path / "out"
        if kind == "quantized":
            quantize(run_copy, out, bits=8)
        elif kind == "folder":
            out.mkdir()
        else:
            out.write_text("mine")
        before = contents(tmp_path)
        with pytest.raises(RunError, match="out is there already; choose another --out"):
            quantize(run_copy, out, bits=4)
        assert contents(tmp_path) == before

    def test_a_text_that_has_gone_leaves_the_loss_out(self, run_copy: Path, caplog: pytest.LogCaptureFixture) -> None:
        corpus = run_copy / "corpus.json"
        corpus.write_text(corpus.read_text().replace('"sha256": "', '"sha256": "0'))
        result = quantize(run_copy, bits=8)
        assert result["difference"] is None
        assert caplog.records[-1].levelno == logging.WARNING
        assert "is not measured" in caplog.text
        assert read_checkpoint(Path(result["out"])).quantization


class TestRefusals:
    @pytest.mark.parametrize(("bits", "method"), [(3, None), (8, "bf16"), (16, "round"), (8, "other")])
    def test_what_there_is_not(self, run_copy: Path, bits: int, method: str | None) -> None:
        before = contents(run_copy)
        with pytest.raises(ConfigError):
            quantize(run_copy, bits=bits, method=method)
        assert contents(run_copy) == before

    @pytest.mark.parametrize("bits", [4, 8, 16])
    def test_quantizing_twice(self, run_copy: Path, bits: int) -> None:
        out = quantize(run_copy, bits=8)["out"]
        with pytest.raises(RunError, match=r"int8 is quantized already \(8 bits\); quantize the run it was made from"):
            quantize(out, bits=bits)

    def test_what_was_stopped_before_its_cost_is_known_is_not_left_behind(
        self, run_copy: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        before = contents(run_copy)

        def stopped(*_: Any) -> None:
            signal.raise_signal(signal.SIGINT)

        monkeypatch.setattr(quantization, "_speeds", stopped)
        with pytest.raises(KeyboardInterrupt):
            quantize(run_copy)
        assert contents(run_copy) == before

    def test_one_that_is_whole_is_not_left_behind_either_before_its_cost_is_known(
        self, run_copy: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        verify = storage.verify_folder

        def stopped(path: Path) -> dict[str, Any]:
            if path.name == "int8":
                signal.raise_signal(signal.SIGINT)
            return verify(path)

        before = contents(run_copy)
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(storage, "verify_folder", stopped)  # which is called when the folder is in its place
            quantize(run_copy)
        assert contents(run_copy) == before
        assert quantize(run_copy)["bits"] == 8

    def test_what_a_killed_one_left_is_cleared_away(self, run_copy: Path) -> None:
        def left_behind() -> Path:
            folder = run_copy / "quantized" / ".tmp-123-int8"
            folder.mkdir(parents=True)
            (folder / "model.safetensors").write_bytes(b"half")
            return folder

        folder = left_behind()
        quantize(run_copy)
        assert not folder.exists()
        left_behind()
        with RunDirectory(run_copy).locked():  # as whatever changes a run does
            assert not folder.exists()

    def test_a_run_in_training_is_left_alone(self, run_copy: Path, tmp_path: Path) -> None:
        with RunDirectory(run_copy).locked():
            with pytest.raises(LockedError, match="in use by another process"):
                quantize(run_copy)
            assert quantize(run_copy, tmp_path / "elsewhere")["bits"] == 8
        assert not (run_copy / "quantized").exists()

    def test_training_on(self, run_copy: Path) -> None:
        checkpoint = read_checkpoint(Path(quantize(run_copy, bits=4)["out"]))
        told = r"is quantized \(4 bits\) and cannot be trained on; resume or finetune the run it was made from"
        with pytest.raises(RunError, match=told):
            api.resume(checkpoint.path)
        with pytest.raises(RunError, match=told):
            checkpoint.tensors("optimizer")

    @pytest.mark.parametrize("bits", [4, 8, 16])
    def test_damage_is_named(self, run_copy: Path, bits: int) -> None:
        file = Path(quantize(run_copy, bits=bits)["out"]) / "model.safetensors"
        data = bytearray(file.read_bytes())
        data[-5] ^= 1
        file.write_bytes(data)
        with pytest.raises(DataMismatchError, match=r"model\.safetensors is damaged"):
            api.load(file.parent)

    def test_weights_that_are_not_finite_leave_nothing(self, run_copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        arrays = load_checkpoint(run_copy).arrays()
        arrays["embedding.weight"] = np.full_like(arrays["embedding.weight"], np.nan)
        monkeypatch.setattr("letterloom.runs.checkpoint.Checkpoint.arrays", lambda _: arrays)
        with pytest.raises(NonFiniteError, match=r"embedding\.weight"):
            quantize(run_copy)
        assert not (run_copy / "quantized").exists()

    @pytest.mark.parametrize("call", range(5))  # model, state, settings, vocabulary, manifest
    @pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
    def test_an_interrupted_one_leaves_nothing(
        self, run_copy: Path, monkeypatch: pytest.MonkeyPatch, call: int, error: BaseException
    ) -> None:
        done: list[Any] = []
        fsync = storage._fsync

        def failing(file: Any) -> None:
            done.append(file)
            if len(done) > call:
                raise error
            fsync(file)

        monkeypatch.setattr(storage, "_fsync", failing)
        before = contents(run_copy)
        with pytest.raises((DiskFullError, KeyboardInterrupt)):
            quantize(run_copy)
        assert contents(run_copy) == before
        assert not list((run_copy / "quantized").iterdir())
