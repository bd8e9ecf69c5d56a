import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import letterloom
from letterloom import api
from letterloom.errors import ConfigError, DataMismatchError, NonFiniteError, RunError, UnknownCharacterError
from letterloom.evaluation.loss import Evaluation, evaluate, surprisal
from letterloom.generation.eager import EagerEngine
from letterloom.generation.generate import generate
from letterloom.generation.sampler import Sampler
from letterloom.runs.checkpoint import load_checkpoint, save_quantized
from letterloom.runs.quantized import choose


def test_the_package_offers_what_the_design_shows() -> None:
    assert (letterloom.train, letterloom.resume, letterloom.load) == (api.train, api.resume, api.load)
    assert (letterloom.Run, letterloom.Model) == (api.Run, api.Model)
    with pytest.raises(AttributeError, match="fly"):
        letterloom.fly  # noqa: B018


class TestRun:
    def test_it_tells_what_the_files_tell(self, tiny_run: Path) -> None:
        run = api.open_run(tiny_run)
        steps = [line["step"] for line in run.metrics if line["kind"] == "train"]
        assert steps == list(range(1, 13))
        assert run.evaluation == json.loads((tiny_run / "evaluation.json").read_text())
        assert [path.name for path in run.samples] == ["step-000006-1.txt", "step-000012-1.txt"]

    def test_training_learned_something(self, tiny_run: Path) -> None:
        losses = [line["loss"] for line in api.open_run(tiny_run).metrics if line["kind"] == "train"]
        assert losses[-1] < losses[0]

    def test_it_loads_its_best_checkpoint(self, tiny_run: Path) -> None:
        checkpoint = api.open_run(tiny_run).load().checkpoint
        assert checkpoint.path == (tiny_run / "checkpoints" / "best").resolve()

    def test_a_checkpoint_is_no_run(self, tiny_run: Path) -> None:
        with pytest.raises(RunError, match="checkpoint"):
            api.open_run(tiny_run / "checkpoints" / "last")

    def test_latest_is_the_newest_in_its_folder(self, tiny_run: Path, tmp_path: Path) -> None:
        shutil.copytree(tiny_run, tmp_path / "older", symlinks=True)
        shutil.copytree(tiny_run, tmp_path / "newer", symlinks=True)
        (tmp_path / "newer" / "run.toml").touch()
        assert api.open_run(tmp_path / "latest").path == tmp_path / "newer"


class TestGenerate:
    def test_it_is_the_generator_with_the_models_tokenizer(self, tiny_run: Path) -> None:
        model = api.load(tiny_run)
        pieces = generate(
            EagerEngine(model.network),
            model.checkpoint.tokenizer,
            "the",
            max_new_tokens=30,
            sampler=Sampler(temperature=0.7, top_k=5),
            seed=2,
        )
        assert model.generate("the", max_new_tokens=30, temperature=0.7, top_k=5, seed=2) == "the" + "".join(pieces)

    def test_it_begins_with_the_prompt_and_has_its_length(self, tiny_run: Path) -> None:
        text = api.load(str(tiny_run)).generate("the loom", max_new_tokens=25)
        assert text.startswith("the loom")
        assert len(text) == 8 + 25

    def test_wrong_options_are_told(self, tiny_run: Path) -> None:
        model = api.load(tiny_run)
        with pytest.raises(ConfigError, match="temperature"):
            model.generate(temperature=-1)
        with pytest.raises(TypeError, match="temprature"):
            model.generate(temprature=1)
        with pytest.raises(UnknownCharacterError, match=r"U\+1F41F"):
            model.generate("\N{FISH}")


class TestEvaluate:
    def test_without_a_text_it_is_the_validation_split(self, tiny_run: Path) -> None:
        result = api.load(tiny_run).evaluate()
        stored = json.loads((tiny_run / "evaluation.json").read_text())["validation"]["blocks"]
        assert isinstance(result, Evaluation)
        assert (result.nats_per_character, result.characters) == (stored["nats_per_character"], stored["characters"])

    def test_the_validation_split_is_the_last_tenth(self, tiny_run: Path, tiny_text: Path) -> None:
        text = tiny_text.read_text(encoding="utf-8")
        model = api.load(tiny_run)
        ids = model.checkpoint.tokenizer.encode(text[int(0.9 * len(text)) :])
        expected = evaluate(model.network, model.checkpoint.tokenizer, ids, "sliding")
        assert model.evaluate(protocol="sliding").nats_per_character == expected.nats_per_character

    def test_the_training_split_is_the_rest(self, tiny_run: Path, tiny_text: Path, tmp_path: Path) -> None:
        text = tiny_text.read_text(encoding="utf-8")
        first = tmp_path / "first.txt"
        first.write_text(text[: int(0.9 * len(text))], encoding="utf-8")
        model = api.load(tiny_run)
        expected = model.evaluate(first)
        assert model.evaluate(split="training").nats_per_character == expected.nats_per_character

    @pytest.mark.parametrize("split", ["validation", "training"])
    def test_a_split_of_another_text_is_refused(self, tiny_run: Path, tiny_text: Path, split: Any) -> None:
        with pytest.raises(ConfigError, match=f"the {split} split .* another text is named"):
            api.load(tiny_run).evaluate(tiny_text, split=split)

    @pytest.mark.parametrize("as_what", [str, Path, lambda path: [path], lambda path: (str(path),)])
    def test_a_text_may_be_a_path_or_several(self, tiny_run: Path, tiny_text: Path, as_what: Any) -> None:
        assert api.load(tiny_run).evaluate(as_what(tiny_text)).characters == len(tiny_text.read_text(encoding="utf-8"))

    def test_no_text_at_all_is_told(self, tiny_run: Path) -> None:
        with pytest.raises(ConfigError, match="at least one text"):
            letterloom.load(tiny_run).evaluate([])

    def test_the_quick_kernels_give_the_same_nats(self, tiny_run: Path) -> None:
        model = api.load(tiny_run, device="cpu")
        ids, _ = model.text()
        for protocol in ("blocks", "sliding"):
            plain, _ = surprisal(model.checkpoint.model(), ids, protocol)
            np.testing.assert_allclose(surprisal(model.network, ids, protocol)[0], plain, atol=1e-4)
        assert all(parameter.dtype == torch.float32 for parameter in model.network.parameters())

    def test_a_damaged_checkpoint_is_told(self, run_copy: Path) -> None:
        for checkpoint in (run_copy / "checkpoints").glob("step-*"):
            (checkpoint / "model.safetensors").write_bytes(b"")
        with pytest.raises(DataMismatchError, match=r"model\.safetensors"):
            api.load(run_copy)


def test_verification_agrees_until_a_weight_is_not_finite(tiny_run: Path) -> None:
    model = api.load(tiny_run)
    assert model.verify().agrees
    with torch.no_grad():
        model.network.get_parameter("blocks.0.attention.qkv.weight")[0, 0] = torch.nan
    with pytest.raises(NonFiniteError, match=r"blocks\.0\.attention\.qkv\.weight"):
        model.verify()


@pytest.mark.parametrize("bits", [8, 4, 16])
def test_verification_of_a_quantized_checkpoint_reads_its_file_by_itself(
    tiny_run: Path, tmp_path: Path, bits: int
) -> None:
    save_quantized(tmp_path / "narrow", load_checkpoint(tiny_run), choose(bits, None))
    comparison = api.load(tmp_path / "narrow", device="cpu").verify()
    assert comparison.difference < 1e-12
    assert comparison.engine_difference is not None
    assert 0 < comparison.engine_difference < 1e-5


@pytest.mark.parametrize("bits", [None, 8])
def test_verification_judges_what_draws_text(
    tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bits: int | None
) -> None:
    path = tiny_run
    if bits:
        path = tmp_path / "narrow"
        save_quantized(path, load_checkpoint(tiny_run), choose(bits, None))
    model = api.load(path, device="cpu")
    weights = model.engine.weights  # type: ignore[attr-defined]
    weights.down[0, 0] = 0  # codes and scales, or floats
    comparison = model.verify()
    assert (comparison.model_agrees, comparison.engine_agrees, comparison.agrees) == (True, False, False)


class TestTrain:
    def test_settings_of_python_reach_the_run(self, tiny_text: Path, tmp_path: Path) -> None:
        run = letterloom.train(
            [tiny_text],
            out=tmp_path / "run",
            recipe="nanogpt-cpu",
            model={"n_layers": 1, "d_model": 8, "n_heads": 2, "context_length": 8},
            text={"tokenizer": "bytes"},
            training={"max_steps": 2, "batch_size": 2, "device": "cpu", "threads": 1},
        )
        assert run == api.Run(tmp_path / "run")
        model = run.load()
        assert (model.checkpoint.step, model.checkpoint.tokenizer.vocab_size) == (2, 256)
        assert run.evaluation is not None
        assert run.evaluation["validation"]["blocks"]["characters"] == model.evaluate().characters

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            ({"modle": {"n_layers": 1}}, ["modle", "model"]),
            ({"model": 3}, ["model = 3"]),
            ({"model": {"layers": 1}}, ["model.layers", "n_layers"]),
            ({"training": "fast"}, ["training = 'fast'"]),
            ({"corpus": "a", "text": {"corpus": ["b"]}}, ["twice"]),
            ({"recipe": "smal"}, ["smal", "small"]),
            ({"recipe": ""}, ["recipe", "small"]),
            ({"config": "nowhere.toml"}, ["nowhere.toml"]),
            ({"corpus": ()}, ["text.corpus"]),
        ],
        ids=str,
    )
    def test_wrong_settings_are_told(self, tmp_path: Path, arguments: dict[str, Any], words: list[str]) -> None:
        with pytest.raises(ConfigError) as caught:
            letterloom.train(out=tmp_path / "run", **arguments)
        assert all(word in str(caught.value) for word in words), str(caught.value)
        assert not (tmp_path / "run").exists()

    def test_a_text_that_changed_is_refused_on_resume(self, run_copy: Path, tiny_text: Path) -> None:
        original = tiny_text.read_bytes()
        try:
            tiny_text.write_bytes(original.replace(b"loom", b"room"))
            with pytest.raises(DataMismatchError, match="SHA-256"):
                letterloom.resume(run_copy)
        finally:
            tiny_text.write_bytes(original)


def test_scoring_the_text_a_model_was_trained_on_is_told(
    tiny_run: Path, tiny_text: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = letterloom.load(tiny_run)
    (tmp_path / "other.txt").write_text(tiny_text.read_text(encoding="utf-8")[:500], encoding="utf-8")
    model.evaluate(tmp_path / "other.txt")
    assert "trained on" not in caplog.text
    model.evaluate(tiny_text)
    assert "the text the model was trained on" in caplog.text
