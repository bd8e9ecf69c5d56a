import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from letterloom import api

TINY = {"context_length": 16, "d_model": 16, "n_layers": 1, "n_heads": 2}


@pytest.fixture(scope="module")
def make_run(tiny_text: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Trains a run of a few steps, each set of settings once."""
    made: dict[str, Path] = {}

    def make(name: str, seed: int = 0, **text: Any) -> Path:
        if name not in made:
            training = {"batch_size": 4, "max_steps": 3, "seed": seed, "device": "cpu", "threads": 1}
            out = tmp_path_factory.mktemp("compared") / name
            api.train(tiny_text, recipe="nanogpt-cpu", out=out, model=TINY, text=text, training=training)
            made[name] = out
        return made[name]

    return make


def compare(call: Any, *arguments: Any) -> Any:
    result = call("compare", *arguments, "--json")
    assert result.exit_code == 0, result.err
    return json.loads(result.out)


@pytest.mark.parametrize("protocol", ["blocks", "sliding"])
def test_the_sides_are_what_evaluate_tells(call: Any, tiny_run: Path, make_run: Any, protocol: str) -> None:
    runs = [tiny_run, make_run("a")]
    value = compare(call, *runs, "--protocol", protocol)
    told = [json.loads(call("evaluate", run, "--protocol", protocol, "--json").out) for run in runs]
    for side, evaluation in zip(("first", "second"), told, strict=True):
        assert value[side]["nats_per_character"] == pytest.approx(evaluation["nats_per_character"], rel=1e-12)
        assert value[side]["bits_per_character"] == pytest.approx(evaluation["bits_per_character"], rel=1e-12)
    difference = told[1]["nats_per_character"] - told[0]["nats_per_character"]
    assert value["difference"]["nats_per_character"] == pytest.approx(difference, abs=1e-12)
    assert (value["characters"], value["protocol"], value["text"]) == (
        told[0]["characters"],
        protocol,
        "validation split",
    )
    assert value["settings"]["model.n_layers"] == [2, 1]
    assert "model.d_model" not in value["settings"]


def test_a_byte_model_and_a_character_model(call: Any, make_run: Any, tiny_text: Path) -> None:
    """The text has characters of two and three bytes; the models' splits are the same, and so is the whole text."""
    runs = make_run("a"), make_run("bytes", tokenizer="bytes")
    text = tiny_text.read_text(encoding="utf-8")
    assert compare(call, *runs)["characters"] == len(text) - int(0.9 * len(text))
    value = compare(call, *runs, tiny_text)
    assert value["characters"] == len(text) < len(text.encode())
    assert value["difference"]["interval"]["low"] < value["difference"]["nats_per_character"]
    assert value["settings"] == {"text.tokenizer": ["characters", "bytes"]}


def test_a_run_and_itself_differ_by_exactly_nothing(call: Any, tiny_run: Path, tiny_text: Path) -> None:
    value = compare(call, tiny_run, tiny_run, tiny_text)
    assert value["difference"] == {
        "nats_per_character": 0.0,
        "bits_per_character": 0.0,
        "interval": {"low": 0.0, "high": 0.0},
        "interval_over": "text",
        "shown": False,
        "identical": True,
    }
    assert (value["seeds_needed"], value["settings"]) == (None, {})
    assert "the difference is exactly 0" in call("compare", tiny_run, tiny_run, tiny_text).out


def test_lines_show_the_same_figures(call: Any, tiny_run: Path, make_run: Any, tiny_text: Path) -> None:
    arguments = tiny_run, make_run("a"), tiny_text
    value, out = compare(call, *arguments), call("compare", *arguments).out
    nats, interval = value["difference"]["nats_per_character"], value["difference"]["interval"]
    told = f"{nats:+.4f} nats per character  (95 %: {interval['low']:+.4f} to {interval['high']:+.4f})"
    assert f"second - first  {told}, {nats / math.log(2):+.4f} bits\n" in out
    assert f"{value['first']['nats_per_character']:.4f} nats per character" in out
    assert f"{value['characters']:,} characters" in out
    assert f"seeds           {value['seeds_needed']:,} of each" in out
    assert "model.n_layers" in out


def test_a_short_text_shows_no_difference(call: Any, tiny_run: Path, make_run: Any, tmp_path: Path) -> None:
    (tmp_path / "short.txt").write_text("the loom weaves a thread")
    out = call("compare", tiny_run, make_run("a"), tmp_path / "short.txt").out
    assert "no difference shown: there is too little" in out
    assert "95 %" not in out


def test_several_seeds(call: Any, make_run: Any) -> None:
    first = [make_run("a"), make_run("a1", seed=1)]
    second = [make_run("bytes", tokenizer="bytes"), make_run("bytes1", seed=1, tokenizer="bytes")]
    value = compare(call, *first, "--against", *second)
    assert list(value["first"]["runs"]) == [str(run) for run in first]
    assert value["difference"]["interval_over"] == "seeds"
    assert value["difference"]["shown"] is True  # 256 ids against a few, after three steps
    assert value["settings"] == {"text.tokenizer": ["characters", "bytes"]}
    out = call("compare", *first, "--against", *second).out
    assert "the first is better as a configuration, on this text" in out


def test_a_checkpoint_away_from_its_run_wants_a_text(
    call: Any, tiny_run: Path, run_copy: Path, tiny_text: Path, tmp_path: Path
) -> None:
    (run_copy / "checkpoints" / "last").resolve().rename(tmp_path / "alone")
    refused = call("compare", tiny_run, tmp_path / "alone")
    assert (refused.exit_code, "name a text" in refused.error) == (2, True)
    assert call("compare", tiny_run, tmp_path / "alone", tiny_text).exit_code == 0


def test_other_splits_are_refused(call: Any, make_run: Any) -> None:
    result = call("compare", make_run("a"), make_run("half", train_fraction=0.5))
    assert result.exit_code == 4
    error = result.err.splitlines()[-1]
    assert all(word in error for word in ("error: ", "cannot be compared", "SHA-256", "name one CORPUS for both"))


def test_a_damaged_run_is_told(call: Any, tiny_run: Path, run_copy: Path) -> None:
    for checkpoint in (run_copy / "checkpoints").glob("step-*"):
        (checkpoint / "model.safetensors").write_bytes(b"")
    result = call("compare", tiny_run, run_copy)
    assert (result.exit_code, "model.safetensors is damaged" in result.err) == (4, True)


def test_one_character_is_too_little(call: Any, tiny_run: Path, tmp_path: Path) -> None:
    (tmp_path / "one.txt").write_text("t")
    result = call("compare", tiny_run, tiny_run, tmp_path / "one.txt")
    assert (result.exit_code, "at least 2 characters" in result.error) == (2, True)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], ["one run is named"]),
        (["nowhere"], ["nowhere"]),
        (["RUN", "nowhere.txt"], ["nowhere.txt"]),
        (["RUN", "--protocol", "slide"], ["--protocol", "blocks", "sliding"]),
        (["RUN", "RUN", "--split", "validation"], ["validation split"]),
        (["RUN", "RUN", "--against", "RUN"], ["has the same seed as"]),
        (["--jason"], ["--jason"]),
    ],
    ids=lambda value: " ".join(value),
)
def test_wrong_input(call: Any, tiny_run: Path, arguments: list[str], words: list[str]) -> None:
    result = call("compare", tiny_run, *(str(tiny_run) if word == "RUN" else word for word in arguments))
    assert result.exit_code == 2
    assert all(word in result.error for word in words), result.error
