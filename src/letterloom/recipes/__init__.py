"""Complete settings by name: TOML files shipped with the package."""

import tomllib
from importlib import resources
from typing import Any

from letterloom.errors import ConfigError, nearest


def recipe_names() -> list[str]:
    """Names of the recipes shipped with the package, sorted."""
    files = resources.files(__name__).iterdir()
    return sorted(file.name.removesuffix(".toml") for file in files if file.name.endswith(".toml"))


def read_recipe(name: str) -> dict[str, Any]:
    """The settings of a shipped recipe as a nested dict.

    Raises:
        ConfigError: there is no such recipe.
    """
    return tomllib.loads(_source(name))


def describe_recipe(name: str) -> str:
    """What a shipped recipe is, in one line: the first comment of its file.

    Raises:
        ConfigError: there is no such recipe.
    """
    return _source(name).splitlines()[0].removeprefix("#").strip()


def _source(name: str) -> str:
    known = recipe_names()
    if name not in known:
        raise ConfigError(f"there is no recipe {name!r}{nearest(name, known)}; the recipes are {', '.join(known)}")
    return (resources.files(__name__) / f"{name}.toml").read_text(encoding="utf-8")
