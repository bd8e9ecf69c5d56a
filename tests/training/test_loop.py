import json
import math
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from letterloom.config import RunConfig, build_config
from letterloom.errors import (
    ConfigError,
    CorpusError,
    DataMismatchError,
    Interrupted,
    LockedError,
    NonFiniteError,
    ResourceError,
    RunError,
    Terminated,
)
from letterloom.evaluation.loss import evaluate
from letterloom.runs.checkpoint import load_checkpoint, read_checkpoint
from letterloom.runs.directory import RunDirectory
from letterloom.text.encoding import open_corpus
from letterloom.training import closing
from letterloom.training.learner import Learner
from letterloom.training.loop import resume, train

BASE = {
    "model": {"context_length": 16, "d_model": 16, "n_layers": 1, "n_heads": 2},
    "optimizer": {"warmup_steps": 2},
    "training": {
        "batch_size": 4,
        "max_steps": 12,
        "eval_interval": 5,
        "checkpoint_interval": 4,
        "sample_interval": 6,
        "sample_characters": 20,
        "device": "cpu",
        "threads": 1,
    },
}


def config(path: Path, **sections: dict[str, Any]) -> RunConfig:
    return build_config({"text": {"corpus": [str(path)]}}, BASE, sections)


def final_nats(run: RunDirectory) -> list[float]:
    evaluation = run.evaluation()
    assert evaluation
    return [evaluation[split]["blocks"]["nats_per_character"] for split in ("validation", "training")]


def curve(run: RunDirectory) -> list[dict[str, Any]]:
    """The metrics without the clock."""
    return [{key: value for key, value in line.items() if key not in ("seconds", "progress")} for line in run.metrics()]


def stop_after(monkeypatch: pytest.MonkeyPatch, step: int, number: int = signal.SIGINT) -> None:
    """Send this process a real signal while the update of `step` is being computed."""
    update = Learner.update

    def interrupted(
        self: Learner, x: NDArray[np.int64], y: NDArray[np.int64], at: int, factor: float
    ) -> tuple[float, float]:
        if at + 1 == step:
            os.kill(os.getpid(), number)
        return update(self, x, y, at, factor)

    monkeypatch.setattr(Learner, "update", interrupted)


RESTLESS: dict[str, dict[str, Any]] = {
    "optimizer": {"learning_rate": 0.3, "schedule": "constant"},
    "training": {"eval_interval": 2},
}
VARIANTS: list[dict[str, dict[str, Any]]] = [
    {},
    {"model": {"dropout": 0.2}, "training": {"micro_batches": 3}},
    {"training": {"sampling": "epochs", "max_steps": None, "max_epochs": 0.2, "ema_decay": 0.9}},
    {"optimizer": {"name": "muon", "schedule": "wsd"}},
    {"optimizer": {"name": "sgd", "momentum": 0.9, "schedule": "linear"}, "training": {"precision": "bf16"}},
    {"training": {"patience": 2, "max_steps": 200}, "optimizer": {"name": "sgd", "learning_rate": 1e-9}},
    RESTLESS,
]


@pytest.mark.parametrize("variant", VARIANTS, ids=range(len(VARIANTS)))
@pytest.mark.parametrize("stop", [3, 10, 12])
def test_a_run_that_was_stopped_goes_on_as_if_it_never_was(
    tiny_text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variant: dict[str, dict[str, Any]], stop: int
) -> None:
    settings = config(tiny_text, **variant)
    whole = train(settings, tmp_path / "whole")
    with monkeypatch.context() as patch, pytest.raises(Interrupted, match=f"after step {stop}"):
        stop_after(patch, stop)
        train(settings, tmp_path / "stopped")
    assert RunDirectory(tmp_path / "stopped").checkpoint(stop).exists()
    stopped = resume(tmp_path / "stopped")

    assert curve(stopped) == curve(whole)
    assert final_nats(stopped) == final_nats(whole)
    last = [read_checkpoint(run.checkpoints()[-1]).manifest["files"] for run in (whole, stopped)]
    assert all(last[0][name] == last[1][name] for name in ("model.safetensors", "optimizer.safetensors"))


def test_evaluation_and_sampling_do_not_disturb_training(tiny_text: Path, tmp_path: Path) -> None:
    often = config(tiny_text, model={"dropout": 0.1}, training={"eval_interval": 1, "sample_interval": 1})
    seldom = config(tiny_text, model={"dropout": 0.1}, training={"eval_interval": 12, "sample_interval": 12})
    losses = [
        [line["loss"] for line in train(settings, tmp_path / name).metrics() if line["kind"] == "train"]
        for settings, name in ((often, "often"), (seldom, "seldom"))
    ]
    assert losses[0] == losses[1]


def test_the_same_seed_gives_the_same_run_and_another_seed_another(tiny_text: Path, tmp_path: Path) -> None:
    a, b, c = (
        curve(train(config(tiny_text, training={"seed": seed, "max_steps": 4}), tmp_path / name))
        for name, seed in (("a", 5), ("b", 5), ("c", 6))
    )
    assert a == b != c


def test_run_toml_repeats_the_run(tiny_text: Path, tmp_path: Path) -> None:
    first = train(config(tiny_text, training={"device": "auto", "precision": "auto"}), tmp_path / "first")
    again = train(first.config(), tmp_path / "again")
    assert first.config() == again.config()
    assert first.config().training.device == "cpu"
    assert curve(first) == curve(again)


def test_the_final_numbers_are_those_of_the_best_weights_on_the_whole_split(tiny_text: Path, tmp_path: Path) -> None:
    run = train(config(tiny_text, **RESTLESS), tmp_path / "run")
    checkpoint = load_checkpoint(run.path)
    corpus = open_corpus(run.config().text)
    validations = {line["step"]: line["nats_per_character"] for line in run.metrics() if line["kind"] == "validation"}
    assert checkpoint.step == min(validations, key=validations.__getitem__)
    assert checkpoint.step < max(validations)  # else the best would be the last
    expected = evaluate(checkpoint.model(), checkpoint.tokenizer, corpus.validation)
    found = run.evaluation()["validation"]["blocks"]  # type: ignore[index]
    assert found["nats_per_character"] == pytest.approx(expected.nats_per_character, rel=1e-7)  # by other kernels
    assert found["characters"] == corpus.description["split"]["validation"]["characters"]
    expected = evaluate(checkpoint.model(), checkpoint.tokenizer, corpus.train, max_characters=len(corpus.validation))
    seen = run.evaluation()["training"]["blocks"]["nats_per_character"]  # type: ignore[index]
    assert seen == pytest.approx(expected.nats_per_character, rel=1e-7)


def test_a_run_directory_holds_everything_the_design_names(tiny_run: Path) -> None:
    names = {path.name for path in tiny_run.iterdir()}
    files = {"run.toml", "tokenizer.json", "corpus.json", "environment.json", "metrics.jsonl", "evaluation.json"}
    files |= {"held-out.txt"}
    assert files | {"samples", "checkpoints", "report.html", "report.md", "loss.svg", "loss.png"} <= names
    assert (tiny_run / "checkpoints" / "best").is_symlink()
    assert (tiny_run / "checkpoints" / "last").is_symlink()
    steps = [line["step"] for line in RunDirectory(tiny_run).metrics() if line["kind"] == "train"]
    assert steps == list(range(1, 13))
    assert {path.name for path in (tiny_run / "samples").iterdir()} == {"step-000006-1.txt", "step-000012-1.txt"}


def test_intervals_in_epochs_end_with_the_step_that_completes_one(tiny_text: Path, tmp_path: Path) -> None:
    epochs = {"interval_unit": "epochs", "eval_interval": 1, "checkpoint_interval": 1, "sample_interval": 2}
    limits = {"max_steps": None, "max_epochs": 4, "batch_size": 100, "keep_checkpoints": 9, "sampling": "epochs"}
    run = train(config(tiny_text, training=epochs | limits), tmp_path / "run")
    windows = -(-(len(open_corpus(run.config().text).train) - 1) // 16)
    ends = [math.ceil(epoch * windows / 100) for epoch in (1, 2, 3, 4)]
    assert windows % 100  # an epoch is no whole number of steps
    assert [line["step"] for line in run.metrics() if line["kind"] == "validation"] == ends
    assert run.checkpoints() == [run.checkpoint(step) for step in ends]
    best = run.linked("best")
    assert best
    sampled = {ends[1], ends[3], int(best.name.removeprefix("step-"))}  # the best weights write at the end
    assert set(run.samples()) == sampled


def test_each_prompt_has_its_sample(tiny_text: Path, tmp_path: Path) -> None:
    prompts = ("the loom", "", "über")
    run = train(config(tiny_text, training={"sample_prompts": prompts}), tmp_path / "run")
    for files in run.samples().values():
        texts = [file.read_text(encoding="utf-8") for file in files]
        assert [len(text) for text in texts] == [len(prompt) + 20 for prompt in prompts]
        assert all(text.startswith(prompt) for text, prompt in zip(texts, prompts, strict=True))


def test_the_run_keeps_the_beginning_of_the_text_it_was_validated_on(tiny_run: Path, tiny_text: Path) -> None:
    kept = RunDirectory(tiny_run).held_out()
    assert kept is not None
    assert len(kept) > 400
    assert tiny_text.read_text(encoding="utf-8").endswith(kept)  # all of it, where it is short


def test_kept_records_do_not_run_together(tmp_path: Path) -> None:
    names = tmp_path / "names.txt"
    records = {f"{first}{second}" for first in "abcdefgh" for second in "mnopqrst"}
    names.write_text("\n".join(sorted(records)), encoding="utf-8")
    kept = train(config(names, text={"records": "lines"}), tmp_path / "run").held_out()
    assert kept is not None
    assert len(found := kept.split()) == 7  # a tenth of 64, rounded up
    assert set(found) < records


def test_minutes_limit_the_run_and_the_decay_ends_with_it(tiny_text: Path, tmp_path: Path) -> None:
    limits = {"max_steps": None, "max_minutes": 0.15, "eval_interval": 10**6, "checkpoint_interval": 10**6}
    run = train(
        config(tiny_text, training=limits, optimizer={"schedule": "linear", "final_fraction": 0.0}), tmp_path / "r"
    )
    lines = [line for line in run.metrics() if line["kind"] == "train"]
    left = 9.0 - read_checkpoint(run.checkpoints()[-1]).state["position"]["reserved"]
    assert lines[-1]["seconds"] >= left > lines[-2]["seconds"]
    expected = [1e-3 * (1 - line["progress"]) for line in lines[2:-1]]  # each step uses the progress before it
    assert [line["learning_rate"] for line in lines[3:]] == pytest.approx(expected)


def test_patience_ends_a_run_that_no_longer_improves(
    tiny_text: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    still = {"name": "sgd", "learning_rate": 1e-12, "weight_decay": 0.0}
    run = train(config(tiny_text, optimizer=still, training={"patience": 2, "max_steps": 10**6}), tmp_path / "run")
    validations = [line for line in run.metrics() if line["kind"] == "validation"]
    best = max(i for i, line in enumerate(validations) if line["best"])
    assert len(validations) - 1 - best == 2
    assert f"than that of step {validations[best]['step']}\n" in capsys.readouterr().err


def test_a_loss_that_is_not_finite_ends_the_run_and_leaves_only_good_checkpoints(
    tiny_text: Path, tmp_path: Path
) -> None:
    explosive = {"name": "sgd", "learning_rate": 100.0, "gradient_clip": None, "momentum": 0.99, "warmup_steps": 0}
    settings = config(tiny_text, optimizer=explosive, training={"max_steps": 500, "checkpoint_interval": 1})
    with pytest.raises(NonFiniteError) as caught:
        train(settings, tmp_path / "run")
    assert caught.value.exit_code == 6
    for path in RunDirectory(tmp_path / "run").checkpoints():
        for tensor in read_checkpoint(path).tensors("model").values():
            assert tensor.isfinite().all()
    logged = (tmp_path / "run" / "metrics.jsonl").read_text(encoding="utf-8")
    assert all(json.loads(line)["loss"] > 0 for line in logged.splitlines() if '"train"' in line)


def test_a_text_changed_between_save_and_resume_is_refused_with_both_hashes(tiny_text: Path, tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_bytes(tiny_text.read_bytes())
    run = train(config(text), tmp_path / "run")
    text.write_bytes(tiny_text.read_bytes().replace(b"loom", b"mool"))
    with pytest.raises(DataMismatchError, match=run.corpus()["sha256"]) as caught:
        resume(run.path)
    assert caught.value.exit_code == 4


def test_two_trainings_in_one_run_directory_are_refused(tiny_text: Path, run_copy: Path) -> None:
    with RunDirectory(run_copy).locked():
        with pytest.raises(LockedError) as caught:
            resume(run_copy)
        assert caught.value.exit_code == 3
        with pytest.raises(LockedError):
            train(config(tiny_text), run_copy)
    with pytest.raises(RunError, match="already holds a run"):
        train(config(tiny_text), run_copy)


def test_resuming_a_finished_run_trains_no_further(run_copy: Path) -> None:
    before = RunDirectory(run_copy).metrics()
    (run_copy / "report.html").unlink()
    resume(run_copy)
    assert RunDirectory(run_copy).metrics() == before
    assert (run_copy / "report.html").exists()


@pytest.mark.parametrize("tokenizer", ["characters", "bytes"])
@pytest.mark.parametrize("records", ["none", "lines"])
def test_bits_while_training_are_per_the_characters_that_validation_counts(
    tiny_text: Path, tmp_path: Path, tokenizer: str, records: str
) -> None:
    settings = config(tiny_text, text={"tokenizer": tokenizer, "records": records}, training={"max_steps": 1})
    run = train(settings, tmp_path / "run")
    corpus = open_corpus(settings.text)
    event = run.metrics()[0]
    characters = np.count_nonzero(corpus.tokenizer.starts(corpus.train))
    assert event["bits_per_character"] == pytest.approx(event["loss"] / np.log(2) * len(corpus.train) / characters)
    assert tokenizer == "bytes" or event["bits_per_character"] == pytest.approx(event["loss"] / np.log(2))


@pytest.mark.parametrize(("interrupt", "exit_code"), [(KeyboardInterrupt, 130), (Terminated, 143)])
def test_an_interrupt_after_training_tells_how_to_go_on(
    tiny_text: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    interrupt: type[KeyboardInterrupt],
    exit_code: int,
) -> None:
    def interrupted(*_: object) -> None:
        raise interrupt

    monkeypatch.setattr(closing, "write_report", interrupted)
    with pytest.raises(Interrupted, match=r"it is saved, .*`letterloom resume .*run`") as caught:
        train(config(tiny_text, training={"max_steps": 1}), tmp_path / "run")
    assert caught.value.exit_code == exit_code


def test_a_checkpoint_of_another_run_is_passed_over_and_told(
    tiny_text: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "other.txt").write_text(tiny_text.read_text(encoding="utf-8").swapcase(), encoding="utf-8")
    run = train(config(tiny_text), tmp_path / "run")
    other = train(config(tmp_path / "other.txt"), tmp_path / "other")
    before = curve(run)
    foreign = shutil.copytree(other.checkpoint(12), run.checkpoint(13))
    resume(run.path)
    assert f"{foreign} is of another run" in caplog.text
    assert curve(run) == before


def test_only_a_run_directory_can_be_resumed(tiny_run: Path) -> None:
    with pytest.raises(RunError, match="not a run directory"):
        resume(tiny_run / "checkpoints" / "last")


@pytest.mark.parametrize(
    ("sections", "error", "message"),
    [
        ({"model": {"context_length": 100_000}}, CorpusError, r"loom\.txt has .* context_length 100,000"),
        ({"text": {"train_fraction": 0.9999}}, CorpusError, r"loom\.txt is a single id; .* text\.train_fraction"),
        ({"training": {"sample_prompts": ["", "über Qualm"]}}, ConfigError, r"sample_prompts: .*: 'Q' .*loom\.txt"),
        ({"model": {"d_model": 1_000_000, "n_layers": 1000, "n_heads": 1}}, ResourceError, "parameters"),
        ({"training": {"device": "cuda:77"}}, ResourceError, "cuda:77"),
        ({"training": {"keep_checkpoints": 10**6}, "model": {"d_model": 2048, "n_heads": 1}}, ResourceError, "free"),
        ({"text": {"corpus": ["/no/such/file"]}}, CorpusError, "/no/such/file"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_is_written(
    tiny_text: Path, tmp_path: Path, sections: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        train(config(tiny_text, **sections), tmp_path / "run")
    assert not (tmp_path / "run").exists()
