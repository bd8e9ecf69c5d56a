"""Every setting of a run as a flag, `--model.n-layers 6`, made from the configuration models themselves."""

from types import NoneType
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypedDict, get_args, get_origin

from cyclopts import Group, Parameter
from pydantic.fields import FieldInfo

from letterloom.config import RunConfig

_SHORT_NAMES = {
    "text.tokenizer": ["--tokenizer"],
    "text.records": ["--records"],
    "training.max_minutes": ["--minutes"],
    "training.seed": ["--seed"],
    "training.lora_rank": ["--lora"],
    "training.weight_bits": ["--bits"],
}
_VALUES: dict[Any, str] = {int: "INT", float: "FLOAT", str: "TEXT", bool: "true|false", tuple[str, ...]: "TEXT"}


def _flag(place: str, field: FieldInfo) -> Any:
    """The annotation of one flag. Values stay strings: `build_config` alone judges them."""
    choices = get_args(field.annotation)
    kind: Any = choices[0] if NoneType in choices else field.annotation
    parameter = Parameter(
        name=[f"--{place.replace('_', '-')}", *_SHORT_NAMES.get(place, [])],
        help=field.description,
        negative=(),
        allow_leading_hyphen=True,
        show_choices=kind is not bool,
        metavar=_VALUES.get(kind, "CHOICE") + ("|none" if NoneType in choices else ""),
    )
    if get_origin(kind) in (Literal, tuple):
        return Annotated[kind, parameter]
    return Annotated[Literal["true", "false"] if kind is bool else str, parameter]


def _section(name: str, section: Any) -> Any:
    make: Any = TypedDict  # by call, with fields that are known only now
    flags = {key: _flag(f"{name}.{key}", field) for key, field in section.model_fields.items()}
    group = Group(f"{name.capitalize()} settings", sort_key=list(RunConfig.model_fields).index(name))
    return Annotated[make(name, flags, total=False), Parameter(group=group)]


if TYPE_CHECKING:
    Settings = dict[str, dict[str, Any]]
else:  # typed dicts give back what was given and nothing else, and unlike models are read without their source
    Settings = TypedDict(
        "Settings",
        {name: _section(name, field.annotation) for name, field in RunConfig.model_fields.items()},
        total=False,
    )
