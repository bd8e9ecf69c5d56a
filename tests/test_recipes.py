"""The recipes against the documents that they come from."""

from typing import Any

import pytest
import torch

from letterloom import accounting
from letterloom.config import RunConfig, build_config
from letterloom.errors import ConfigError
from letterloom.model.transformer import Transformer
from letterloom.recipes import describe_recipe, read_recipe, recipe_names

COUNTS = {  # parameters over the 65 characters of Tiny Shakespeare, as the documents have them
    "profiling-report": 210_497,
    "execution-flow": 10_714_752,
    "lecture-small": 209_729,
    "lecture-large": 2_697_281,
    "gpt2-char": 818_048 + 4 * 2 * 2 * 128,  # the document's, and a second pair of norms in each of 4 blocks
}


def recipe(name: str) -> RunConfig:
    return build_config(read_recipe(name))


@pytest.mark.parametrize("name", recipe_names())
def test_the_closed_form_is_the_models_own_count(name: str) -> None:
    config = recipe(name).model
    with torch.device("meta"):
        counted = sum(parameter.numel() for parameter in Transformer(config, 65).parameters())
    assert sum(accounting.parameters(config, 65).values()) == counted


@pytest.mark.parametrize(("name", "count"), COUNTS.items())
def test_the_count_is_the_documents(name: str, count: int) -> None:
    assert sum(accounting.parameters(recipe(name).model, 65).values()) == count


@pytest.mark.parametrize(
    ("name", "calculations"),
    [
        (
            "profiling-report",
            {
                "token embedding": "65 x 64",
                "position embedding": "32 x 64",
                "attention": "64 x 192 + 192 + 64 x 64 + 64",
                "MLP": "64 x 256 + 256 + 256 x 64 + 64",
                "final norm": "64 + 64",
                "head": "64 x 65 + 65",
            },
        ),
    ],
)
def test_the_calculations_are_the_documents(name: str, calculations: dict[str, str]) -> None:
    found = {part.name: part.calculation for part in accounting.components(recipe(name).model, 65)}
    assert {part: found[part] for part in calculations} == calculations


@pytest.mark.parametrize(
    ("name", "section", "settings"),
    [
        ("profiling-report", "optimizer", {"name": "sgd", "learning_rate": 3e-4, "momentum": 0.0}),
        ("profiling-report", "training", {"batch_size": 32, "max_steps": 1000}),
        ("execution-flow", "optimizer", {"name": "adamw", "beta1": 0.9, "beta2": 0.95, "weight_decay": 0.1}),
        ("execution-flow", "optimizer", {"schedule": "cosine", "final_fraction": 0.1, "gradient_clip": 1.0}),
        ("execution-flow", "training", {"batch_size": 64, "max_epochs": 50, "sample_interval": 5}),
        ("lecture-small", "training", {"max_steps": 5000}),
        ("lecture-large", "training", {"max_steps": 5000}),
        ("report-baseline", "model", {"d_model": 256, "n_layers": 2, "n_heads": 4, "positions": "sinusoidal"}),
        ("report-ablation", "model", {"d_model": 256, "n_layers": 2, "n_heads": 1, "positions": "none"}),
        ("report-baseline", "training", {"max_steps": 5000, "eval_interval": 500, "checkpoint_interval": 1000}),
        ("gpt2-char", "model", {"dropout": 0.1, "tied_head": True, "norm_placement": "before_and_after"}),
        ("gpt2-char", "training", {"precision": "mixed"}),
    ],
)
def test_the_settings_are_the_documents(name: str, section: str, settings: dict[str, Any]) -> None:
    found = getattr(recipe(name), section).model_dump()
    assert {key: found[key] for key in settings} == settings


@pytest.mark.parametrize("name", sorted({*recipe_names()} - {"small"}))
def test_what_others_published_trains_in_the_same_precision_on_every_machine(name: str) -> None:
    assert recipe(name).training.precision == ("mixed" if name == "gpt2-char" else "fp32")


def test_the_ablation_differs_from_its_baseline_in_heads_and_positions_alone() -> None:
    baseline, ablation = recipe("report-baseline").model_dump(), recipe("report-ablation").model_dump()
    changed = {(s, key) for s, values in baseline.items() for key in values if values[key] != ablation[s][key]}
    assert changed == {("model", "n_heads"), ("model", "positions")}


@pytest.mark.parametrize("name", recipe_names())
def test_each_is_described_in_one_line(name: str) -> None:
    assert 20 < len(describe_recipe(name)) < 130


def test_an_unknown_name_is_told_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match="'lecture-smal'; did you mean 'lecture-small'"):
        read_recipe("lecture-smal")
