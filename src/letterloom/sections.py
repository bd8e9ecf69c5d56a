"""What settings are made of: nested dicts, read and merged; frozen models; what is wrong with them, in one line."""

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from types import NoneType
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from letterloom.errors import ConfigError, nearest


class Section(BaseModel):
    """Base of every part of the configuration: frozen, strict about keys and about NaN."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, defer_build=True)

    @model_validator(mode="before")
    @classmethod
    def _absent(cls, values: Any) -> Any:
        """TOML and flags have no null: "none" stands for it in a setting that may be absent."""
        if not isinstance(values, Mapping):
            return values
        may_be = {name for name, field in cls.model_fields.items() if NoneType in get_args(field.annotation)}
        return {key: None if key in may_be and value == "none" else value for key, value in values.items()}


_Section = TypeVar("_Section", bound=Section)


def validate(kind: type[_Section], values: Mapping[str, Any]) -> _Section:
    """The settings that nested values say.

    Raises:
        ConfigError: a key is unknown (the nearest known one is named) or a value is out of range.
    """
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        raise ConfigError("; ".join(_explain(e, kind) for e in error.errors())) from None


def merge_layers(*layers: Mapping[str, Any]) -> dict[str, Any]:
    """Settings by section, later layers winning; a value of None clears what an earlier layer set."""
    merged: dict[str, Any] = {}
    for layer in layers:
        for section, values in layer.items():
            below = merged.setdefault(section, {})
            if isinstance(below, Mapping):  # what is no section stays in place, to be refused
                merged[section] = {**below, **values} if isinstance(values, Mapping) else values
    return merged


def read_toml(path: Path) -> dict[str, Any]:
    """Read a configuration file as a nested dict.

    Raises:
        ConfigError: the file is missing, unreadable or not TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read the configuration {path}: {error.strerror}; check the path") from None
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{path} is not valid TOML: {error}") from None


_REASONS = {  # in the words of a user, what pydantic tells in its own
    "model_type": "should be a section of settings",
    "tuple_type": "should be a list",
    "dict_type": "should be a section of settings",
    "string_pattern_mismatch": "should be auto, cpu, mps, cuda or cuda:N",  # the device is the only one with a pattern
    "too_short": "should have at least one entry",
}


def _explain(error: Mapping[str, Any], section: Any) -> str:
    """One pydantic error as one line that names the setting, its value and what is allowed."""
    place = [str(part) for part in error["loc"]]
    name = ".".join(place)
    if error["type"] == "extra_forbidden":
        for part in place[:-1]:
            section = section.model_fields[part].annotation
        return f"unknown setting {name!r}{nearest(place[-1], list(section.model_fields))}"
    told = error["msg"].removeprefix("Value error, ").replace("Input should", "should")
    reason = _REASONS.get(error["type"], told)
    if error["type"] == "literal_error":
        reason += nearest(str(error["input"]), re.findall("'([^']*)'", error["ctx"]["expected"]))
    if isinstance(error["input"], (Mapping, BaseModel)):
        return f"{name}: {reason}" if name else reason
    return f"{name} = {error['input']!r}: {reason}"
