# ruff: noqa: RUF001 (Greek letters are meant)
"""A trained model on another text: an ordinary run, and honest numbers of what it gained and forgot."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import letterloom
from letterloom import api
from letterloom.adaptation import finetuning
from letterloom.adaptation.forgetting import scored
from letterloom.errors import (
    ConfigError,
    CorpusError,
    DataMismatchError,
    LetterloomError,
    LockedError,
    RunError,
    UnknownCharacterError,
)
from letterloom.evaluation.comparison import score_characters
from letterloom.evaluation.interval import block_bootstrap
from letterloom.runs.checkpoint import load_checkpoint, read_checkpoint
from letterloom.runs.directory import RunDirectory
from letterloom.storage import sha256_file
from letterloom.text.encoding import open_corpus
from stopping import stopped_in

TRAINING = {"max_steps": 12, "sample_characters": 20, "device": "cpu", "threads": 1, "precision": "fp32"}


def record(told: dict[str, Any] | None) -> dict[str, Any]:
    """What a file of the run holds, which has to be there."""
    assert told is not None
    return told


def finetune(run: Path, corpus: Any, out: Path, **options: Any) -> api.Run:
    training = TRAINING | options.pop("training", {})
    return api.finetune(run, corpus, out, training=training, **options)


@pytest.fixture(scope="module")
def greek_run(tiny_run: Path, greek_text: Path, tmp_path_factory: pytest.TempPathFactory) -> api.Run:
    return finetune(tiny_run, greek_text, tmp_path_factory.mktemp("finetuned") / "greek")


def test_the_result_is_an_ordinary_run(greek_run: api.Run, tmp_path: Path) -> None:
    model = greek_run.load()
    assert model.verify().agrees
    assert set("αβψΗ·") <= set(model.checkpoint.tokenizer.decode(range(model.checkpoint.tokenizer.vocab_size)))
    assert len(model.generate("Η μικρή", max_new_tokens=10)) == 17
    assert model.evaluate().nats_per_character == pytest.approx(
        record(greek_run.evaluation)["validation"]["blocks"]["nats_per_character"], abs=1e-5
    )
    assert model.decompress(model.compress("το νερό".encode())) == "το νερό".encode()
    again = finetune(greek_run.path, "python-docs", tmp_path / "again", training={"max_steps": 2})
    assert again.load().verify().agrees


def test_the_old_ids_are_unchanged(greek_run: api.Run, tiny_run: Path) -> None:
    old, new = load_checkpoint(tiny_run).tokenizer, greek_run.load().checkpoint.tokenizer
    known = old.decode(range(old.vocab_size))
    np.testing.assert_array_equal(old.encode(known), new.encode(known))


def test_the_losses_are_those_that_evaluate_gives(greek_run: api.Run, tiny_run: Path) -> None:
    base, new, about = api.load(tiny_run, "cpu"), greek_run.load(), record(greek_run.finetuning)
    corpus = open_corpus(base.checkpoint.config.text, base.checkpoint.tokenizer)
    old = about["old"]
    assert old["before"]["nats_per_character"] == pytest.approx(base.evaluate().nats_per_character, abs=1e-5)
    held_out = corpus.tokenizer.decode(corpus.validation)
    ids = new.checkpoint.tokenizer.encode(held_out)
    scores = [
        score_characters("", model.network, model.checkpoint.tokenizer, text, "blocks")
        for model, text in ((base, corpus.validation), (new, ids))
    ]
    assert old["after"]["nats_per_character"] == pytest.approx(scores[1].mean(), abs=1e-5)
    assert old["difference"]["nats_per_character"] == pytest.approx(scores[1].mean() - scores[0].mean(), abs=1e-5)
    paired = block_bootstrap(scores[1] - scores[0], np.ones(len(ids)))
    assert paired is None
    assert about["new"]["after"] == record(greek_run.evaluation)["validation"]["blocks"]
    zero = greek_run.metrics[0]
    assert zero["step"] == 0
    assert about["new"]["before"]["nats_per_character"] == pytest.approx(zero["nats_per_character"], abs=1e-5)
    interval = about["new"]["difference"]["interval"]
    assert interval["low"] < about["new"]["difference"]["nats_per_character"] < interval["high"]


def test_the_run_it_came_from_is_only_read_and_named(greek_run: api.Run, tiny_run: Path) -> None:
    base = record(greek_run.finetuning)["base"]
    weights = load_checkpoint(tiny_run).path / "model.safetensors"
    assert base["sha256"] == sha256_file(weights)
    assert base["path"] == str(weights.parent.resolve())
    assert RunDirectory(tiny_run).finetuning() is None


def test_the_report_tells_what_was_gained_and_forgotten(greek_run: api.Run) -> None:
    about = record(greek_run.finetuning)
    for name in ("report.md", "report.html"):
        report = (greek_run.path / name).read_text(encoding="utf-8")
        for text in ("new", "old"):
            assert f"{about[text]['difference']['nats_per_character']:+.4f}" in report
        assert about["base"]["sha256"] in report
        assert "the mean of the small letters" in report


def test_a_stopped_finetuning_goes_on_bit_for_bit_and_is_measured_at_its_end(
    greek_run: api.Run, tiny_run: Path, greek_text: Path, tmp_path: Path
) -> None:
    with stopped_in(step=5):
        finetune(tiny_run, greek_text, tmp_path / "parts")
    assert "after" not in record(RunDirectory(tmp_path / "parts").finetuning())["old"]
    resumed = letterloom.resume(tmp_path / "parts")
    one, other = (read_checkpoint(RunDirectory(run.path).checkpoint(12)) for run in (greek_run, resumed))
    for kind in ("model", "optimizer"):
        expected, found = one.tensors(kind), other.tensors(kind)
        assert expected.keys() == found.keys()
        assert all(torch.equal(expected[name], found[name]) for name in expected)
    assert record(resumed.finetuning)["old"]["difference"] == record(greek_run.finetuning)["old"]["difference"]


@pytest.mark.parametrize("tied", [True, False])
def test_the_tie_of_embedding_and_head_survives(tied: bool, tiny_text: Path, greek_text: Path, tmp_path: Path) -> None:
    shape = {"context_length": 8, "d_model": 8, "n_layers": 1, "n_heads": 1, "tied_head": tied, "bias_head": True}
    base = api.train(
        tiny_text, recipe="small", out=tmp_path / "base", model=shape, training=TRAINING | {"max_steps": 2}
    )
    network = finetune(base.path, greek_text, tmp_path / "run").load().network
    assert (network.head.weight is network.embedding.weight) == tied
    assert len(network.head.bias) == len(network.head.weight)


def test_to_keep_the_characters_of_the_text_alone(tiny_run: Path, tmp_path: Path) -> None:
    text = tmp_path / "ab.txt"
    text.write_text("the loom weaves a letter.\n" * 60)
    run = finetune(tiny_run, text, tmp_path / "run", characters="text")
    tokenizer = run.load().checkpoint.tokenizer
    assert tokenizer.decode(range(tokenizer.vocab_size)) == "".join(sorted(set(text.read_text())))
    assert "ü" in record(run.finetuning)["characters"]["dropped"]
    assert run.load().verify().agrees
    old = open_corpus(load_checkpoint(tiny_run).config.text)
    held_out = old.tokenizer.decode(old.validation)
    dropped = sum(character not in text.read_text() for character in held_out)
    assert dropped > 0.01 * len(held_out)  # so what is left of the old text is none, and no loss of it is told
    skipped = record(run.finetuning)["old"].pop("skipped")
    assert f"of its {len(held_out):,} characters {dropped:,} were dropped" in skipped
    assert record(run.finetuning)["old"].keys() == {"skipped"}
    assert skipped in (run.path / "report.md").read_text(encoding="utf-8")


def test_a_few_characters_are_left_out_of_the_old_text(tiny_text: Path, tmp_path: Path) -> None:
    rare = tmp_path / "rare.txt"
    rare.write_text(tiny_text.read_text(encoding="utf-8") + "the loom, a letter\n" * 2 + "Q", encoding="utf-8")
    shape = {"context_length": 8, "d_model": 8, "n_layers": 1, "n_heads": 1}
    short = TRAINING | {"max_steps": 2}
    base = api.train(rare, "nanogpt-cpu", tmp_path / "base", model=shape, training=short)
    run = finetune(base.path, tiny_text, tmp_path / "run", characters="text", training={"max_steps": 2})
    old = record(run.finetuning)["old"]
    assert old["left_out"] == 3  # two commas and the Q
    assert old["difference"]["nats_per_character"] == pytest.approx(
        old["after"]["nats_per_character"] - old["before"]["nats_per_character"]
    )
    assert "left out of the old text" in (run.path / "report.md").read_text(encoding="utf-8")


def test_records_bring_an_end_of_text(tiny_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = tmp_path / "names.txt"
    names.write_text("".join(f"{a}{b}{c}\n" for a in "tlw" for b in "eao" for c in "nrmdsh"))
    run = finetune(tiny_run, names, tmp_path / "run", text={"records": "lines"})
    again = finetune(run.path, names, tmp_path / "again", training={"max_steps": 2})
    told = "read by lines, as the first text was; `--records none` for plain text"
    assert told in capsys.readouterr().err
    assert RunDirectory(again.path).config().text.records == "lines"
    plain = finetune(run.path, names, tmp_path / "plain", training={"max_steps": 2}, text={"records": "none"})
    assert told not in capsys.readouterr().err
    assert "records" not in RunDirectory(plain.path).corpus()
    names.write_text("one line alone, as prose often is, of some length and without an end")
    with pytest.raises(CorpusError, match=r"has 1 records.*or `--records none` for plain text"):
        finetune(run.path, names, tmp_path / "prose")
    new = record(run.finetuning)["characters"]["new"]
    assert new[-1] == {"character": "end of text", "from": "the end of a line"}
    assert run.load().checkpoint.tokenizer.end_of_text_id is not None


def test_a_longer_context(tiny_run: Path, greek_text: Path, tmp_path: Path) -> None:
    longer = {"context_length": 24}
    run = finetune(tiny_run, greek_text, tmp_path / "run", model=longer)
    assert run.load().checkpoint.config.model.context_length == 24
    assert record(run.finetuning)["context"] == {"before": 16, "positions": "16 learned positions are interpolated"}
    with pytest.raises(ConfigError, match="--positions interpolate"):
        finetune(tiny_run, greek_text, tmp_path / "other", model=longer, positions="refuse")


def test_replay_reads_the_old_text_again(tiny_run: Path, greek_text: Path, tmp_path: Path) -> None:
    run = finetune(tiny_run, greek_text, tmp_path / "run", replay=0.2)
    config, about = RunDirectory(run.path).config(), RunDirectory(run.path).corpus()
    assert config.text.replay == load_checkpoint(tiny_run).config.text.corpus
    assert about["replay"]["share"] == pytest.approx(0.2, abs=1e-3)
    letterloom.resume(run.path)


def test_a_lower_rate_than_from_scratch_and_the_base_s_again_afterwards(
    greek_run: api.Run, tiny_run: Path, greek_text: Path, tmp_path: Path
) -> None:
    scratch = load_checkpoint(tiny_run).config.optimizer.learning_rate
    first = RunDirectory(greek_run.path).config()
    assert first.optimizer.learning_rate < scratch
    again = finetune(greek_run.path, greek_text, tmp_path / "again", training={"max_steps": 1})
    assert RunDirectory(again.path).config().optimizer.learning_rate == first.optimizer.learning_rate


def test_without_a_limit_the_steps_come_from_the_text(tiny_run: Path, greek_text: Path, tmp_path: Path) -> None:
    run = api.finetune(
        tiny_run,
        greek_text,
        tmp_path / "run",
        training={name: value for name, value in TRAINING.items() if name != "max_steps"} | {"patience": 1},
        optimizer={"learning_rate": 1e-9},
    )
    training = RunDirectory(run.path).config().training
    assert training.max_steps is not None and training.max_steps >= 1_000
    assert training.eval_interval == pytest.approx(training.max_steps / 20, rel=0.1)
    assert training.max_minutes is None


def test_where_the_old_text_is_gone_its_loss_is_left_out_and_that_is_told(
    tiny_run: Path, greek_text: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    outside = shutil.copytree(load_checkpoint(tiny_run).path, tmp_path / "checkpoint")
    run = finetune(outside, greek_text, tmp_path / "run")
    assert "outside its run" in record(run.finetuning)["old"]["skipped"]
    assert "cannot be measured" in caplog.text
    assert "outside its run" in (run.path / "report.md").read_text(encoding="utf-8")
    with pytest.raises(RunError, match="the text to replay"):
        finetune(outside, greek_text, tmp_path / "replaying", replay=0.2)


def test_an_old_text_that_changed_is_told_and_one_that_is_back_is_measured(
    tiny_text: Path, greek_text: Path, tmp_path: Path
) -> None:
    old = Path(shutil.copy(tiny_text, tmp_path / "old.txt"))
    shape = {"context_length": 8, "d_model": 8, "n_layers": 1, "n_heads": 1}
    base = api.train(old, "nanogpt-cpu", tmp_path / "base", model=shape, training=TRAINING | {"max_steps": 2})
    run = finetune(base.path, greek_text, tmp_path / "run", training={"max_steps": 2})
    measured = record(run.finetuning)["old"]
    old.write_text(tiny_text.read_text(encoding="utf-8") + "more", encoding="utf-8")
    told = record(letterloom.resume(run.path).finetuning)["old"]
    assert "is not the one this run was trained on" in told["skipped"]
    assert "after" not in told
    with pytest.raises(DataMismatchError, match="is not the one this run was trained on"):
        finetune(base.path, greek_text, tmp_path / "replaying", replay=0.2)
    shutil.copy(tiny_text, old)
    again = record(letterloom.resume(run.path).finetuning)["old"]
    assert again["after"]["nats_per_character"] == measured["after"]["nats_per_character"]
    assert "skipped" not in again


def test_minutes_leave_time_for_the_old_text(
    tiny_run: Path, greek_text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: list[float] = []
    monkeypatch.setattr("letterloom.training.loop.train", lambda *given: kept.append(given[4].closing))
    monkeypatch.setattr(finetuning, "complete", lambda run: None)
    monkeypatch.setattr(finetuning, "scored", lambda *given: scored(*given) | {"seconds": 30.0})
    finetuning.finetune(tiny_run, (str(greek_text),), tmp_path / "run", {"training": TRAINING})
    assert kept == [30.0]


def test_other_contexts_are_not_paired(tiny_run: Path, greek_text: Path, tmp_path: Path) -> None:
    longer = finetune(tiny_run, greek_text, tmp_path / "run", model={"context_length": 24}, training={"max_steps": 2})
    assert record(longer.finetuning)["old"]["difference"]["interval"] is None


def test_only_what_was_trained_on_is_replayed(tiny_text: Path, greek_text: Path, tmp_path: Path) -> None:
    shape = {"context_length": 8, "d_model": 8, "n_layers": 1, "n_heads": 1}
    training, half = TRAINING | {"max_steps": 2}, {"train_share": 0.5}
    base = api.train(tiny_text, "nanogpt-cpu", tmp_path / "base", model=shape, training=training, text=half)
    with pytest.raises(ConfigError, match=r"only the share text.train_share 0.5 was trained on"):
        finetune(base.path, greek_text, tmp_path / "run", replay=0.2)


def test_its_settings_repeat_it(greek_run: api.Run, tiny_run: Path, tmp_path: Path) -> None:
    command = (greek_run.path / "report.md").read_text(encoding="utf-8")
    assert f"letterloom finetune {load_checkpoint(tiny_run).path} --config {greek_run.path}/run.toml" in command
    again = api.finetune(tiny_run, out=tmp_path / "again", config=greek_run.path / "run.toml")
    losses = [[event.get("loss") for event in RunDirectory(run.path).metrics()] for run in (greek_run, again)]
    assert losses[0] == losses[1]
    shorter = api.finetune(tiny_run, out=tmp_path / "short", config=again.path / "run.toml", training={"max_steps": 2})
    assert RunDirectory(shorter.path).config().training.max_steps == 2
    with pytest.raises(ConfigError, match=r"is of a finetuned run; `letterloom finetune RUN --config"):
        api.train(config=greek_run.path / "run.toml", out=tmp_path / "scratch")


def test_what_another_finetuning_left_when_it_was_killed_is_cleared_away(
    greek_run: api.Run, tiny_text: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    run.mkdir()
    shutil.copy(greek_run.path / "finetuning.json", run)
    shutil.copytree(load_checkpoint(greek_run.path).path, run / "base")
    shape = {"context_length": 8, "d_model": 8, "n_layers": 1, "n_heads": 1}
    trained = api.train(tiny_text, "nanogpt-cpu", run, model=shape, training=TRAINING | {"max_steps": 2})
    assert trained.finetuning is None
    assert not (run / "base").exists()


def test_a_run_that_has_not_saved_its_beginning_is_to_be_removed(
    greek_run: api.Run, tiny_run: Path, greek_text: Path, tmp_path: Path
) -> None:
    run = shutil.copytree(greek_run.path, tmp_path / "run", symlinks=True)
    shutil.rmtree(run / "checkpoints")
    with pytest.raises(RunError, match="remove it, and finetune again"):
        letterloom.resume(run)
    with pytest.raises(RunError, match="remove it, and finetune again"):
        finetune(tiny_run, greek_text, run)
    with pytest.raises(RunError, match="remove it, and finetune again"):  # as generate, verify, quantize come by it
        load_checkpoint(run)
    with RunDirectory(run).locked(), pytest.raises(LockedError, match="in use by another process"):
        load_checkpoint(run)


@pytest.fixture
def strange(tmp_path: Path) -> Path:
    path = tmp_path / "strange.txt"
    path.write_text("ψφψφχψωφ" * 100, encoding="utf-8")
    return path


def test_a_text_without_a_known_character_is_told_of(
    tiny_run: Path, strange: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    finetune(tiny_run, strange, tmp_path / "run", training={"max_steps": 2})
    assert "no character of the text is in the vocabulary" in caplog.text


@pytest.mark.parametrize(
    ("options", "error", "named"),
    [
        ({"characters": "refuse"}, UnknownCharacterError, "--characters grow"),
        ({"characters": "text"}, ConfigError, "keep nothing"),
        ({"model": {"n_layers": 3}}, ConfigError, "model.n_layers = 3.*has 2"),
        ({"model": {"context_length": 5_000}}, CorpusError, "context_length 5,000"),
        ({"text": {"tokenizer": "bytes"}}, ConfigError, "text.tokenizer"),
        ({"text": {"corpus": ["x"]}}, ConfigError, "given twice"),
        ({"text": {"train_fraction": 0.95}, "replay": 0.1}, ConfigError, "was split by 0.9"),
        ({"replay": -0.1}, ConfigError, "replay_share = -0.1"),
        ({"replay": 0.95}, ConfigError, "replay_share = 0.95"),
        ({"replay": 1e-9}, CorpusError, "replays none"),
        ({"optimiser": {"name": "sgd"}}, ConfigError, "optimizer"),
    ],
)
def test_what_does_not_fit_is_refused_and_nothing_is_written(
    tiny_run: Path, strange: Path, tmp_path: Path, options: Any, error: type[LetterloomError], named: str
) -> None:
    with pytest.raises(error, match=named):
        finetune(tiny_run, strange, tmp_path / "run", **options)
    assert not (tmp_path / "run").exists()


def test_an_empty_text_and_a_run_that_is_not_there_are_refused(
    tiny_run: Path, greek_text: Path, tmp_path: Path
) -> None:
    (tmp_path / "empty.txt").touch()
    with pytest.raises(CorpusError, match="is empty"):
        finetune(tiny_run, tmp_path / "empty.txt", tmp_path / "run")
    with pytest.raises(RunError, match="there is no run"):
        finetune(tmp_path / "none", greek_text, tmp_path / "run")
    with pytest.raises(RunError, match="already holds a run"):
        finetune(tiny_run, greek_text, tiny_run)
