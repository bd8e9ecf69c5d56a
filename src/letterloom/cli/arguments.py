"""Arguments that several commands take."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from cyclopts import Parameter, Token, UnknownOptionError

from letterloom import texts, trained
from letterloom.cli import app
from letterloom.generation.defaults import MAX_NEW_TOKENS, TEMPERATURE


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
Unknown = Annotated[texts.Unknown, Parameter(help="What to do with characters the model does not know.")]
Protocol = Annotated[trained.Protocol, Parameter(help="Windows that start cold, or 3/4 of the context kept.")]
AnyProtocol = Annotated[
    trained.AnyProtocol,
    Parameter(help="Windows that start cold, 3/4 of the context kept, or that and learning from the text."),
]
Device = Annotated[str, Parameter(help="auto, cpu, mps, cuda or cuda:N.")]


@dataclass(frozen=True)
class GenerationOptions:
    """How a text is drawn: the options of `trained.Model.stream` that are flags here and commands in the REPL."""

    max_new_tokens: Annotated[
        WholeNumber,
        Parameter(
            name=("--max-new-tokens", "--length", "-n"), help="Characters (of a byte model: bytes) to write at most."
        ),
    ] = MAX_NEW_TOKENS
    temperature: Annotated[float, Parameter(help="0 takes the likeliest each time.")] = TEMPERATURE
    top_k: Annotated[WholeNumber | None, Parameter(help="Draw from the k likeliest.")] = None
    top_p: Annotated[float, Parameter(help="Draw from the fewest likeliest with this share of the probability.")] = 1.0
    min_p: Annotated[float, Parameter(help="Draw from those at least this times as likely as the likeliest.")] = 0.0
    repetition_penalty: Annotated[float, Parameter(help="Above 1: discourage what the context holds already.")] = 1.0
    seed: Annotated[WholeNumber, Parameter(help="Equal seeds give equal texts.")] = 0
    stop: Annotated[
        tuple[str, ...],
        Parameter(help="End before this string; may be given several times.", negative=(), allow_leading_hyphen=True),
    ] = ()
    unknown: Unknown = "error"


DEFAULTS = GenerationOptions()
Options = Annotated[GenerationOptions, Parameter(name="*")]
