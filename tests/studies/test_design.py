"""Study files: what they may say, and what is told of what they may not."""

from pathlib import Path

import pytest

from letterloom.errors import ConfigError
from letterloom.studies.design import (
    Range,
    describe_study,
    parse_design,
    read_design,
    shipped_studies,
)


def test_factors_are_settings_levels_and_ranges() -> None:
    design = parse_design(
        """
        design = "random"
        factors.model.n_heads = [1, 2]
        factors.optimizer.learning_rate = { low = 1e-4, high = 1e-2, log = true }
        factors.shape."2 of 32" = { model = { n_layers = 2, d_model = 32 } }
        """,
        "a.toml",
    )
    heads, rate, shape = design.read_factors()
    assert [(level.name, level.settings) for level in heads.levels] == [
        ("n_heads 1", {"model": {"n_heads": 1}}),
        ("n_heads 2", {"model": {"n_heads": 2}}),
    ]
    assert (rate.name, rate.range) == ("optimizer.learning_rate", Range(low=1e-4, high=1e-2, log=True))
    assert shape.levels[0].settings == {"model": {"n_layers": 2, "d_model": 32}}


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("sedes = [0]\nfactors.model.n_heads = [1]", "unknown setting 'sedes'; did you mean 'seeds'"),
        ("factors.model.n_hads = [1]", "unknown setting 'factors.model.n_hads'; did you mean 'n_heads'"),
        ("factors.modle.n_heads = [1]", "unknown section 'factors.modle'; did you mean 'model'?"),
        ("factors.modle.d_model = { low = 1, high = 9 }", "unknown section 'factors.modle'; did you mean 'model'?"),
        ("factors.rates.a = [1]", "factors.rates.a = [1]: should have settings"),
        ("base.modle.n_heads = 1\narms.a = {}", "unknown section 'base.modle'; did you mean 'model'?"),
        ("base.model.n_hads = 1\narms.a = {}", "unknown setting 'base.model.n_hads'; did you mean 'n_heads'?"),
        ("design = 'serach'\narms.a = {}", "or 'search'; did you mean 'search'?"),
        ("factors.modle.a.n_heads = 1", "unknown section 'factors.modle.a.n_heads'"),
        ("factors.shape.a.modle.n_heads = 1", "unknown section 'factors.shape.a.modle'; did you mean 'model'"),
        ("factors.model = 3", "factors.model = 3: should have values to try"),
        ("factors.model = {}", "give either factors or arms"),
        ("factors.model.n_heads = [2, 2]", "factors.model.n_heads = [2, 2]: a value is given twice"),
        ("seeds = '0'\nfactors.model.n_heads = [1]", "seeds = '0': should be a list"),
        ("seeds = [-1]\nfactors.model.n_heads = [1]", "seeds.0 = -1: should be greater than or equal to 0"),
        ("seeds = [true]\nfactors.model.n_heads = [1]", "seeds.0 = True: should be a valid integer"),
        ("corpus = 'a.txt'\nfactors.model.n_heads = [1]", "corpus = 'a.txt': should be a list"),
        ("arms.a.training = 3", "arms.a.training = 3: should be a section of settings"),
        ("arms.a.recipe = 3", "arms.a.recipe = 3: should be the name of a recipe"),
        ("arms.a = 3", "arms.a = 3: should be a section of settings"),
        ("arms.a = {}\ndesign = 'search'", "arms are listed, and design = 'search' makes arms of factors"),
        ("metric = 'trainin'\narms.a = {}", "did you mean 'training'?"),
        ("metric = 'training'\nprotocol = 'sliding'\narms.a = {}", "the training text is scored by blocks alone"),
        ("trials = 3\nfactors.model.n_heads = [1]", "trials is for design = 'random' or 'search'"),
        ("confirm = 3\ndesign = 'random'\nfactors.model.n_heads = [1]", "confirm is for design = 'search'"),
        ("factors.model.n_heads = []", "should be a list of values"),
        ("factors.model.n_heads = 3", "should be a list of values"),
        ("factors.model.d_model = { low = 1, high = 9 }", "has a range; list its values"),
        (
            "design = 'random'\nfactors.model.d_model = { low = 9, high = 1 }",
            "factors.model.d_model: low should be below high",
        ),
        (
            "design = 'random'\nfactors.model.d_model = { low = 1, hihg = 9 }",
            "factors.model.d_model: high: Field required; unknown setting 'hihg'; did you mean 'high'",
        ),
        ("seeds = [1, 1]\nfactors.model.n_heads = [1]", "seeds: one is given twice"),
        ("seeds = []\nfactors.model.n_heads = [1]", "at least one entry"),
        ("recipe = 'small'", "give either factors or arms"),
        ("factors.model.n_heads = [1]\narms.a = {}", "give either factors or arms"),
        ("factors.model.n_heads = [1]\nbudget = { steps = 3, minutes = 1 }", "steps and minutes are both given"),
        (
            "factors.model.n_heads = [1]\nbudget.minutes = 0.0001",
            "minutes = 0.0001: should be greater than or equal to 0.1",
        ),
        ("factors.model.n_heads = [1]\nbudget.step = 3", "unknown setting 'budget.step'; did you mean 'steps'"),
        ("factors.model.n_heads = [1]\ndesign = 'grdi'", "design = 'grdi'"),
        ("factors.model.n_heads = [", "is not valid TOML"),
        ("design = 'search'\nbaseline = 'a'\nfactors.model.n_heads = [1, 2]", "a search has no baseline"),
        ("design = 'search'\nseeds = [0]\nfactors.model.n_heads = [1, 2]", "a search needs several seeds"),
        ("design = 'search'\nstop_worse = 0.4\nfactors.model.n_heads = [1, 2]", "leave stop_worse out"),
        ("stop_worse = 0.1\nseeds = [0, 1, 2]\nfactors.model.n_heads = [1, 2]", "is out of reach of 3 seeds"),
    ],
)
def test_what_is_wrong_is_named(source: str, told: str) -> None:
    with pytest.raises(ConfigError) as raised:
        parse_design(source, "a.toml")
    assert told in str(raised.value)
    assert str(raised.value).startswith("a.toml")


def test_a_grid_too_large_is_refused_by_its_number() -> None:
    values = list(range(1, 11))
    names = ("n_layers", "n_heads", "d_model", "d_ff", "context_length")
    with pytest.raises(ConfigError, match="these factors make 100,000 arms, and 10,000 are the most"):
        parse_design("".join(f"factors.model.{name} = {values}\n" for name in names), "a.toml")


def test_an_arm_may_be_called_none() -> None:
    assert parse_design("baseline = 'none'\narms.none = {}\narms.all = {}", "a.toml").baseline == "none"


def test_a_mistyped_name_finds_its_study(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="did you mean 'positions'"):
        read_design("positons")
    with pytest.raises(ConfigError, match="cannot read the study"):
        read_design(str(tmp_path / "none.toml"))
    (tmp_path / "latin.toml").write_bytes("question = 'ü'".encode("latin-1"))
    with pytest.raises(ConfigError, match="not UTF-8"):
        read_design(str(tmp_path / "latin.toml"))


@pytest.mark.parametrize("name", shipped_studies())
def test_a_shipped_study_asks_something(name: str) -> None:
    assert read_design(name).question.endswith("?")
    assert describe_study(name)
