"""The command that is told says the plan, by the word of the command line itself."""

import re
import shlex
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from letterloom.config import RunConfig, build_config
from letterloom.recipes import read_recipe
from letterloom.text.encoding import open_corpus
from letterloom.training import loop
from letterloom.training.planning.telling import command, tell

LAYERS: list[dict[str, Any]] = [
    {},
    {"training": {"max_minutes": 0.5, "threads": 3, "final_eval_characters": 4000}},
    {"model": {"n_layers": 6, "dropout": 0.1, "qk_norm": False, "logit_soft_cap": None}},
    {"text": {"corpus": ["a play.txt", "names"], "records": "lines"}, "optimizer": {"gradient_clip": None}},
    {"training": {"sample_prompts": ["", "--x", "it's"], "max_steps": 70, "max_epochs": 1.5}},
]


@pytest.mark.parametrize("layer", LAYERS, ids=range(len(LAYERS)))
def test_the_command_gives_the_configuration_again(
    layer: dict[str, Any], call: Any, monkeypatch: pytest.MonkeyPatch, tiny_run: Path
) -> None:
    config = build_config(read_recipe("small"), {"text": {"corpus": ["hamlet.txt"]}}, layer)
    found: list[RunConfig] = []

    def train(given: RunConfig, *_: object) -> SimpleNamespace:
        found.append(given)
        return SimpleNamespace(path=tiny_run)

    monkeypatch.setattr(loop, "train", train)
    program, *words = shlex.split(command(config))
    result = call(*words)
    assert (program, result.exit_code, result.err) == ("letterloom", 0, "")
    assert found == [config]


def test_a_recipe_unchanged_needs_no_flags() -> None:
    config = build_config(read_recipe("small"), {"text": {"corpus": ["hamlet.txt"]}})
    assert command(config) == f"letterloom train hamlet.txt --recipe small --minutes {config.training.max_minutes:g}"


def test_the_lines_tell_size_steps_bits_and_end(tiny_text: Path) -> None:
    config = build_config(
        read_recipe("small"),
        {
            "text": {"corpus": [str(tiny_text)], "tokenizer": "bytes"},
            "model": {"d_model": 16, "n_layers": 1, "context_length": 16, "n_heads": 2},
            "training": {"batch_size": 4, "max_minutes": 3},
        },
    )
    corpus = open_corpus(config.text)
    told = tell(config, corpus, 500, 0.0123, 0.0, ["a note"])
    head, *lines, note = told.splitlines()
    assert (head, note) == ("planned for 3 min:", "a note")
    said = {line[2:10].strip(): line[12:] for line in lines}
    assert list(said) == ["size", "dropout", "steps", "text", "expected", "ends", "the same"]
    assert said["steps"].startswith("about 500 of 12 ms, each of 4 x 16 ids")
    assert f"{500 * 4 * 16 / len(corpus.train):.1f} times" in said["text"]
    low, high = map(float, re.findall(r"\d+\.\d+", said["expected"]))
    assert 0 < low < high < 12
    assert re.search(r"\d\d:\d\d:\d\d", said["ends"])
    assert said["the same"] == command(config)
    assert "fewer minutes would do" not in told
    assert "fewer minutes would do" in tell(config, corpus, 50_000, 0.01, 0.0)
