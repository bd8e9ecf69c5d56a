"""Arguments that several commands take."""

from collections.abc import Sequence
from typing import Annotated, Any

from cyclopts import Parameter, Token, UnknownOptionError

from letterloom import api
from letterloom.cli import app


def _corpus(_: Any, tokens: Sequence[Token]) -> str:
    """A text; "-" is standard input, but anything else that begins with a hyphen is a mistyped option."""
    (token,) = tokens
    if token.value.startswith("-") and token.value != "-":
        command = app.app_stack.current_frame[-1]
        raise UnknownOptionError(token=token, argument_collection=command.assemble_argument_collection())
    return token.value


def _whole_number(_: Any, tokens: Sequence[Token]) -> int:
    """A whole number; cyclopts itself would take 3.4 for 3."""
    try:
        return int(tokens[0].value)
    except ValueError:
        raise ValueError(f"{tokens[0].value!r} is not a whole number.") from None


Corpus = Annotated[
    str,
    Parameter(
        help="Text: a name (see `letterloom corpora`), a file, a folder, or - for standard input; several are joined.",
        allow_leading_hyphen=True,
        converter=_corpus,
    ),
]
RunName = Annotated[str, Parameter(help="A run directory, a checkpoint folder, or `latest`.")]
WholeNumber = Annotated[int, Parameter(converter=_whole_number)]
Text = Annotated[str, Parameter(allow_leading_hyphen=True)]
Json = Annotated[bool, Parameter(name="--json", help="Print one JSON object.", negative=())]
Unknown = Annotated[api.Unknown, Parameter(help="What to do with characters the model does not know.")]
Device = Annotated[str, Parameter(help="auto, cpu, mps, cuda or cuda:N.")]
