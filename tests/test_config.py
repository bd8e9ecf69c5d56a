import math
import re
import tomllib
from pathlib import Path
from typing import Any, get_args, get_origin

import pytest
import torch
from annotated_types import Ge, Gt
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic.fields import FieldInfo

from letterloom.config import (
    ModelConfig,
    RunConfig,
    build_config,
    to_toml,
)
from letterloom.errors import ConfigError
from letterloom.model.transformer import Transformer
from letterloom.recipes import read_recipe, recipe_names
from letterloom.sections import read_toml

SECTIONS = {name: type(section) for name, section in RunConfig()}
MANY = settings(max_examples=1000)


def sensible(field: FieldInfo) -> st.SearchStrategy[Any]:
    """Values that the setting allows, small ones."""
    choices = get_args(field.annotation)
    if type(None) in choices:
        return st.none() | st.just("none") | sensible(FieldInfo.merge_field_infos(field, annotation=choices[0]))
    if get_origin(field.annotation) is tuple:
        return st.lists(st.text(max_size=5), min_size=1, max_size=3)
    if choices:
        return st.sampled_from(choices)
    if field.annotation is bool:
        return st.booleans() | st.sampled_from(["true", "false"])
    if field.annotation is int:
        least = next((limit.ge for limit in field.metadata if isinstance(limit, Ge)), 0)
        return st.integers(int(str(least)), int(str(least)) + 7)
    if field.annotation is float:
        above = any(isinstance(limit, Gt) for limit in field.metadata)
        return st.floats(0, 1, exclude_min=above, exclude_max=True)
    return st.sampled_from(["auto", "cpu", "mps", "cuda", "cuda:1"]) if field.default == "auto" else st.text(max_size=9)


anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([10**12, -1, 2**63, 10**400, "1e308", "nan", "-0", "☃", "\x00", "\ud800", math.nan, math.inf])
    | st.floats()
    | st.text(max_size=9)
    | st.binary(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=4,
)
sections = st.fixed_dictionaries(
    {},
    optional={
        name: st.fixed_dictionaries({}, optional={key: sensible(f) for key, f in model.model_fields.items()})
        for name, model in SECTIONS.items()
    },
)
names = st.sampled_from([*SECTIONS, *(key for model in SECTIONS.values() for key in model.model_fields)])
layers = st.one_of(
    sections,
    st.dictionaries(names | st.text(max_size=9), st.dictionaries(names | st.text(max_size=9), anything, max_size=3)),
    st.dictionaries(names | st.text(max_size=9), anything, max_size=2),
)


@MANY
@given(st.lists(layers, max_size=3))
def test_any_layers_make_a_configuration_or_an_error_of_one_line(given_layers: list[dict[str, Any]]) -> None:
    try:
        config = build_config(*given_layers)
    except ConfigError as error:
        assert str(error)
        assert "\n" not in str(error)
    else:
        assert build_config(tomllib.loads(to_toml(config))) == config


@st.composite
def fitting_models(draw: st.DrawFn) -> dict[str, Any]:
    """Small architectures of every option, whose settings fit one another."""
    fields = {name: sensible(field) for name, field in ModelConfig.model_fields.items()}
    model = draw(st.fixed_dictionaries({}, optional=fields))
    n_heads, d_head = draw(st.integers(1, 3)), draw(st.integers(1, 3)) * 2
    model |= {"n_heads": n_heads, "d_model": n_heads * d_head, "n_layers": draw(st.integers(1, 3))}
    return model | ({"bias_norm": False} if model.get("norm") == "rmsnorm" else {})


@MANY
@given(fitting_models(), st.integers(2, 9), st.data())
def test_what_fits_is_accepted_builds_and_computes(model: dict[str, Any], vocab_size: int, data: st.DataObject) -> None:
    config = build_config({"model": model}).model
    ids = data.draw(st.lists(st.integers(0, vocab_size - 1), min_size=1, max_size=min(4, config.context_length)))
    logits = Transformer(config, vocab_size).eval()(torch.tensor([ids]))
    assert logits.shape == (1, len(ids), vocab_size)
    assert torch.isfinite(logits).all()


@pytest.mark.parametrize(
    ("layer", "words"),
    [
        ({"model": {"d_modle": 8}}, ["model.d_modle", "d_model"]),
        ({"modle": {}}, ["modle", "model"]),
        ({"model": 3}, ["model = 3", "section of settings"]),
        ({"model": {"d_model": 10, "n_heads": 4}}, ["d_model 10", "n_heads 4"]),
        ({"model": {"d_model": 6, "n_heads": 2, "positions": "rotary"}}, ["rotary", "3"]),
        ({"model": {"norm": "rmsnorm", "bias_norm": True}}, ["bias_norm", "RMSNorm"]),
        ({"model": {"positions": "rotari"}}, ["model.positions = 'rotari'", "'rotary'; did you mean 'rotary'?"]),
        ({"model": {"dropout": math.nan}}, ["model.dropout", "nan"]),
        ({"model": {"n_layers": 0}}, ["model.n_layers = 0", "1"]),
        ({"model": {"n_layers": 3.5}}, ["model.n_layers = 3.5", "integer"]),
        ({"optimizer": {"learning_rate": -1e-3}}, ["optimizer.learning_rate = -0.001", "greater than 0"]),
        ({"training": {"max_steps": None}}, ["training", "max_steps, max_epochs or max_minutes"]),
        ({"training": {"keep_checkpoints": 1}}, ["training.keep_checkpoints = 1", "2"]),
        ({"text": {"corpus": []}}, ["text.corpus", "at least one entry"]),
        ({"training": {"device": "tpu"}}, ["training.device = 'tpu'", "auto, cpu, mps, cuda or cuda:N"]),
    ],
    ids=str,
)
def test_an_error_names_the_setting_its_value_and_what_is_allowed(layer: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        build_config({"training": {"max_steps": 1}}, layer)
    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_later_layers_win_setting_by_setting() -> None:
    config = build_config(
        {"model": {"n_layers": 1, "d_model": 8}, "training": {"max_steps": 5}},
        {"model": {"n_layers": 2}, "training": {"max_steps": None, "max_minutes": 1}},
    )
    assert (config.model.n_layers, config.model.d_model) == (2, 8)
    assert (config.training.max_steps, config.training.max_minutes) == (None, 1.0)


def test_what_is_absent_stays_absent_on_disk() -> None:
    config = build_config({"optimizer": {"gradient_clip": None}})  # whose default is a number
    assert build_config(tomllib.loads(to_toml(config))).optimizer.gradient_clip is None
    assert set(tomllib.loads(to_toml(config))["training"]) == set(SECTIONS["training"].model_fields)


def test_none_is_a_word_where_nothing_may_be_absent() -> None:
    config = build_config({"training": {"max_steps": 1, "sample_prompts": ["none"]}, "text": {"records": "none"}})
    assert (config.training.sample_prompts, config.text.records) == (("none",), "none")


def test_a_configuration_cannot_be_changed() -> None:
    config = RunConfig()
    with pytest.raises(ValueError, match="frozen"):
        config.model.d_model = 1  # type: ignore[misc]


@pytest.mark.parametrize(
    ("activation", "d_model", "hidden"), [("gelu", 64, 256), ("swiglu", 64, 176), ("swiglu", 192, 512)]
)
def test_the_hidden_width_by_default(activation: Any, d_model: int, hidden: int) -> None:
    assert ModelConfig(activation=activation, d_model=d_model).d_hidden == hidden


@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe_is_valid(name: str) -> None:
    build_config(read_recipe(name))


def test_the_yardstick_is_nanogpts_command() -> None:
    """The README of nanoGPT (commit 3adf61e), the command for a CPU, against the names of this project."""
    config = build_config(read_recipe("nanogpt-cpu"))
    assert (config.model.context_length, config.model.d_model) == (64, 128)
    assert (config.model.n_layers, config.model.n_heads, config.model.dropout) == (4, 4, 0.0)
    assert (config.training.batch_size, config.training.max_steps) == (12, 2000)
    assert (config.optimizer.beta2, config.optimizer.learning_rate) == (0.99, 1e-3)


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    (tmp_path / "broken.toml").write_text("[model\n")
    (tmp_path / "latin.toml").write_bytes(b"\xe9")
    for name in ("missing.toml", "broken.toml", "latin.toml", ""):
        with pytest.raises(ConfigError, match=re.escape(str(tmp_path / name))):
            read_toml(tmp_path / name)
