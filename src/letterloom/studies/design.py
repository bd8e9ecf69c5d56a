"""A study file: what is compared with what, by how many seeds, at which cost. Frozen, validated on construction.

question = "Which positions are best at this size?"
corpus = ["shakespeare"]
recipe = "gpt2-char"
seeds = [0, 1, 2]
budget.steps = 400
factors.model.positions = ["learned", "rotary", "none"]
"""

import math
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from letterloom.config import RunConfig
from letterloom.errors import ConfigError, nearest
from letterloom.sections import Section, validate

MOST_ARMS = 10_000
LEAST_MINUTES = 0.1  # of a run: scores, samples and the report alone take half of them
BASELINE = "baseline"  # the arm of a one-at-a-time study in which no factor is changed


Seed = Annotated[int, Field(strict=True, ge=0, le=2**32 - 1)]


class Budget(Section):
    """What a run of any arm may cost, by one of these; none: what recipe and settings say."""

    steps: int | None = Field(None, ge=1, le=10**12, description="Updates.")
    characters: int | None = Field(None, ge=1, le=10**15, description="Characters trained on, repetitions included.")
    flops: float | None = Field(None, gt=0, le=1e30, description="Operations of all forward and backward passes.")
    minutes: float | None = Field(None, ge=LEAST_MINUTES, le=1e7, description="Minutes of the whole run.")

    @property
    def given(self) -> dict[str, float]:
        """The one that is given, by its name."""
        return {name: value for name, value in self if value is not None}

    @model_validator(mode="after")
    def _one(self) -> Self:
        if len(self.given) > 1:
            raise ValueError(f"{' and '.join(self.given)} are both given; arms can be made equal in one of them")
        return self


class Range(Section):
    """Values between two ends, to draw from: whole numbers where the setting is one."""

    low: float = Field(description="The least.")
    high: float = Field(description="The greatest.")
    log: bool = Field(False, description="Draw evenly by the logarithm.")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if not (self.low < self.high and (self.low > 0 or not self.log)):
            raise ValueError("low should be below high, and above 0 where log is set")
        return self


@dataclass(frozen=True)
class Level:
    """One value of a factor: the settings it stands for, by section."""

    name: str
    settings: Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Factor:
    """What is varied: by levels, or (one setting, drawn) over a range."""

    name: str
    levels: tuple[Level, ...] = ()
    range: Range | None = None


class Design(Section):
    """Everything that defines a study. Arms come from `factors` by `design`, or are listed in `arms`."""

    question: str = Field("", description="What is asked, in words.")
    corpus: tuple[str, ...] = Field(("python-docs",), min_length=1, description="Names, files or folders, in order.")
    recipe: str = Field("small", description="What every arm begins from.")
    base: dict[str, dict[str, Any]] = Field({}, description="Settings of every arm, over the recipe's.")
    design: Literal["grid", "one-at-a-time", "random", "search"] = Field("grid", description="How factors make arms.")
    factors: dict[str, Any] = Field({}, description="What is varied.")
    arms: dict[str, dict[str, Any]] = Field({}, description="Arms by name: settings, and a recipe of their own.")
    baseline: str = Field("", description="The arm that the others are held against; else the first.")
    seeds: tuple[Seed, ...] = Field((0, 1, 2), min_length=1, description="Seeds of each arm.")
    budget: Budget = Field(default_factory=lambda: Budget.model_validate({}))
    metric: Literal["validation", "training"] = Field("validation", description="Whose loss is compared.")
    protocol: Literal["blocks", "sliding"] = Field("blocks", description="How arms are scored.")
    trials: int = Field(20, ge=1, le=MOST_ARMS, description="Arms that a random or search study draws.")
    confirm: int = Field(3, ge=1, le=100, description="Best arms of a search that are run with every seed.")
    stop_worse: float | None = Field(
        None, gt=0.0, lt=0.5, description="Stop an arm that is worse than the best one at this p (Wilcoxon), by seeds."
    )
    fit: Literal["none", "scaling"] = Field("none", description="'scaling': loss against parameters and characters.")

    @model_validator(mode="after")
    def _makes_arms(self) -> Self:
        _require_settings("base", self.base)
        for section, values in self.base.items():
            for key in values:
                _require_known("base", section, key)
        factors = self.read_factors()
        if bool(factors) == bool(self.arms):
            raise ValueError("give either factors or arms")
        drawn = self.design in ("random", "search")
        if self.arms and self.design != "grid":
            raise ValueError(
                f"arms are listed, and design = {self.design!r} makes arms of factors; leave one of them out"
            )
        for name, settings in self.arms.items():
            _require_settings(f"arms.{name}", {k: v for k, v in settings.items() if k != "recipe"})
            if not isinstance(settings.get("recipe", ""), str):
                raise ConfigError(f"arms.{name}.recipe = {settings['recipe']!r}: should be the name of a recipe")
        for factor in factors:
            if factor.range and not drawn:
                raise ValueError(f"{factor.name} has a range; list its values, or set design to 'random' or 'search'")
        number = math.prod(len(factor.levels) for factor in factors)
        if self.design == "grid" and number > MOST_ARMS:
            raise ValueError(f"these factors make {number:,} arms, and {MOST_ARMS:,} are the most; leave some out")
        if len(set(self.seeds)) != len(self.seeds):
            raise ValueError("seeds: one is given twice")
        for name, designs in {"trials": ("random", "search"), "confirm": ("search",)}.items():
            if name in self.model_fields_set and self.design not in designs:
                raise ValueError(f"{name} is for design = {' or '.join(map(repr, designs))}; leave it out")
        if (self.metric, self.protocol) == ("training", "sliding"):
            raise ValueError("the training text is scored by blocks alone; leave protocol out")
        self._require_search()
        if self.stop_worse is not None and self.stop_worse <= 0.5 ** (len(self.seeds) - 1):
            raise ValueError(f"stop_worse = {self.stop_worse:g} is out of reach of {len(self.seeds)} seeds; give more")
        return self

    def _require_search(self) -> None:
        if self.design != "search":
            return
        if self.baseline:
            raise ValueError("a search has no baseline: its arms are found on the way")
        if self.stop_worse is not None:
            raise ValueError("a search confirms its best arms by every seed: leave stop_worse out")
        if len(self.seeds) == 1:
            raise ValueError("a search needs several seeds: it goes by the first, the others confirm what it found")

    def read_factors(self) -> tuple[Factor, ...]:
        """The factors, in their order.

        Raises:
            ConfigError: a factor has no values, or its settings no such name.
        """
        return tuple(self._factors())

    def drawn_settings(self) -> tuple[str, ...]:
        """Names of the settings that draws decide, such as model.n_heads; of other designs none: their arms say it."""
        if self.design not in ("random", "search"):
            return ()
        names: dict[str, None] = {}
        for factor in self.read_factors():
            settings = [level.settings for level in factor.levels]
            sections = [section for levels in settings for section in levels.items() if isinstance(section[1], Mapping)]
            names |= dict.fromkeys(f"{section}.{key}" for section, values in sections for key in values)
            names |= dict.fromkeys([factor.name] if factor.range else [])
        return tuple(names)

    def _factors(self) -> Iterator[Factor]:
        for name, value in self.factors.items():
            if name in RunConfig.model_fields and isinstance(value, Mapping):
                for key, values in value.items():
                    yield _setting(name, key, values)
            elif isinstance(value, Mapping) and value:
                _require_levels(name, value)
                yield Factor(name, tuple(Level(level, settings) for level, settings in value.items()))
            else:
                raise ConfigError(
                    f"factors.{name} = {value!r}: should have values to try, as factors.model.n_layers = [2, 4], "
                    f'or levels with settings, as factors.{name}."a name" = {{ model = {{ n_layers = 2 }} }}'
                )


def _require_settings(place: str, settings: Any) -> None:
    """Refuse what is no settings by section; whether they are known and in range is for the arm to find."""
    sections = RunConfig.model_fields
    if not isinstance(settings, Mapping):
        raise ConfigError(f"{place} = {settings!r}: should have settings, as model = {{ n_layers = 2 }}")
    for name, values in settings.items():
        if name not in sections:
            raise ConfigError(f"unknown section '{place}.{name}'{nearest(name, sections)}; it is {', '.join(sections)}")
        if not isinstance(values, Mapping):
            raise ConfigError(f"{place}.{name} = {values!r}: should be a section of settings")


def _require_levels(name: str, levels: Mapping[str, Any]) -> None:
    """Refuse levels that are no settings; where they are named as settings are, the factor is a section mistyped."""
    try:
        for level, settings in levels.items():
            _require_settings(f"factors.{name}.{level}", settings)
    except ConfigError:
        for section in RunConfig.model_fields:
            if set(levels) <= set(_settings_of(section)):
                raise ConfigError(f"unknown section 'factors.{name}'; did you mean {section!r}?") from None
        raise


def _settings_of(section: str) -> Iterable[str]:
    kind: Any = RunConfig.model_fields[section].annotation
    fields: Mapping[str, Any] = kind.model_fields
    return fields


def _require_known(place: str, section: str, key: str) -> None:
    if key not in (known := _settings_of(section)):
        raise ConfigError(f"unknown setting '{place}.{section}.{key}'{nearest(key, known)}")


def _setting(section: str, key: str, values: Any) -> Factor:
    name = f"{section}.{key}"
    _require_known("factors", section, key)
    if isinstance(values, Mapping):
        try:
            return Factor(name, range=validate(Range, values))
        except ConfigError as error:
            raise ConfigError(f"factors.{name}: {error}") from None
    if not isinstance(values, (list, tuple)) or not values:
        raise ConfigError(f"factors.{name} = {values!r}: should be a list of values, or a range with low and high")
    levels = tuple(Level(f"{key} {_plain(value)}", {section: {key: value}}) for value in values)
    if len({level.name for level in levels}) < len(levels):
        raise ConfigError(f"factors.{name} = {values!r}: a value is given twice")
    return Factor(name, levels)


def _plain(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def shipped_studies() -> list[str]:
    """Names of the studies shipped with the package, sorted."""
    return sorted(file.name.removesuffix(".toml") for file in _shipped().iterdir() if file.name.endswith(".toml"))


def read_source(name: str) -> str:
    """The text of the study of that name, or of that file.

    Raises:
        ConfigError: there is none.
    """
    if name in shipped_studies():
        path = _shipped() / f"{name}.toml"
    elif (path := Path(name)).suffix != ".toml" and not path.exists():
        told = f"there is no study {name!r}{nearest(name, shipped_studies())}"
        raise ConfigError(f"{told}; the studies are {', '.join(shipped_studies())}, or give a TOML file")
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"cannot read the study {path}: {error.strerror}; check the path") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not UTF-8: {error}") from None


def parse_design(source: str, name: str) -> Design:
    """The study that a text says; `name` is told where it is wrong.

    Raises:
        ConfigError: the text is no TOML, or an entry is unknown (the nearest is named) or out of range.
    """
    try:
        return validate(Design, tomllib.loads(source))
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{name} is not valid TOML: {error}") from None
    except ConfigError as error:
        raise ConfigError(f"{name}: {error}") from None


def read_design(name: str) -> Design:
    """The study of that name, or in that file.

    Raises:
        ConfigError: as `read_source` and `parse_design`.
    """
    return parse_design(read_source(name), name)


def describe_study(name: str) -> str:
    """What a shipped study asks, in one line: the first comment of its file.

    Raises:
        ConfigError: there is no such study.
    """
    return read_source(name).splitlines()[0].removeprefix("#").strip()


def _shipped() -> Path:
    return Path(str(resources.files(__package__) / "shipped"))
