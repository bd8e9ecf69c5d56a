"""Synthetic sources by name: `synthetic:KIND`, or `synthetic:KIND,key=value,...`.

A name says everything: the probabilities are drawn by its seed, and then the text, so equal names give equal texts, and
a longer text begins with the shorter one.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import islice

import numpy as np

from letterloom.errors import CorpusError, nearest
from letterloom.text.documents import printable
from letterloom.text.synthetic import PREFIX
from letterloom.text.synthetic.grammar import Grammar
from letterloom.text.synthetic.hmm import HiddenMarkov
from letterloom.text.synthetic.markov import Markov, Uniform
from letterloom.text.synthetic.process import LETTERS, Floats, Process
from letterloom.text.synthetic.repeats import Copy, Periodic


@dataclass(frozen=True)
class Parameter:
    """A whole number in the name of a source."""

    name: str
    default: int
    low: int
    high: int
    meaning: str


@dataclass(frozen=True)
class Kind:
    """A kind of process, and how one is made by its parameters."""

    name: str
    title: str
    entropy: str  # what is known of it, and by what
    parameters: tuple[Parameter, ...]
    make: Callable[..., Process]  # of a random generator and the parameters; a ValueError says what does not fit


def _symbols(default: int, low: int = 2) -> Parameter:
    return Parameter("symbols", default, low, len(LETTERS), "letters")


ALL = (
    Parameter("characters", 200_000, 1, 10_000_000, "length of the text"),
    Parameter("seed", 0, 0, 2**32 - 1, "equal seeds give equal texts"),
)
KINDS = {
    kind.name: kind
    for kind in (
        Kind(
            "uniform",
            "letters drawn with equal probability",
            "ln symbols",
            (_symbols(26, low=1),),
            lambda _, symbols: Uniform(symbols),
        ),
        Kind(
            "markov",
            "each letter depends on the last few",
            "closed form, by the stationary distribution",
            (_symbols(6), Parameter("order", 2, 1, 6, "letters that the next one depends on")),
            Markov.random,
        ),
        Kind(
            "hmm",
            "each letter depends on a hidden state that mostly stays",
            "of each text, by the forward algorithm",
            (_symbols(6), Parameter("states", 4, 2, 16, "hidden states")),
            HiddenMarkov.random,
        ),
        Kind(
            "grammar",
            "lines that are the sentences of a context-free grammar",
            "of each text, by inside probabilities; closed form from 6 symbols on, where no sentence is ambiguous",
            (_symbols(8), Parameter("nonterminals", 3, 1, 8, "nonterminals, of 6 rules each")),
            Grammar.random,
        ),
        Kind(
            "copy",
            "lines of a random word and the same word again, which is free",
            "closed form",
            (
                _symbols(26),
                Parameter("shortest", 4, 1, 1000, "letters of the shortest word"),
                Parameter("longest", 8, 1, 1000, "letters of the longest"),
            ),
            lambda _, symbols, shortest, longest: Copy(symbols, shortest, longest),
        ),
        Kind(
            "periodic",
            "one random word repeated",
            "0, once the word is known",
            (_symbols(26), Parameter("period", 12, 1, 100_000, "letters of the word")),
            lambda _, symbols, period: Periodic(symbols, period),
        ),
    )
}


@dataclass(frozen=True)
class SyntheticSource:
    """A text and the process that drew it; `name` tells every parameter."""

    name: str
    process: Process
    text: str

    @cached_property
    def nats(self) -> Floats:
        """What each character costs the process itself, given all before it, exact, shape (n,)."""
        return self.process.nats(self.text)

    def limit(self, cut: int) -> dict[str, float | None]:
        """Nats per character that no model of the text can be expected to go below.

        Returns:
            `entropy_rate` of the process, where there is a closed form, and what `train`, the first `cut` characters
            of this very text, and `validation`, the others given all before them, cost the process.
        """
        return {
            "entropy_rate": self.process.entropy_rate,
            "train": float(self.nats[:cut].mean()),
            "validation": float(self.nats[cut:].mean()),
        }


@lru_cache(maxsize=1)  # a text is opened for its characters, and again for its limit
def open_synthetic(name: str) -> SyntheticSource:
    """Draw the text of a source, by its name.

    Raises:
        CorpusError: the name has an unknown kind or parameter, or a value out of range.
    """
    kind, values = _read(name)
    characters, seed = values["characters"], values["seed"]
    rng = np.random.Generator(np.random.PCG64(seed))
    try:
        process = kind.make(rng, **{p.name: values[p.name] for p in kind.parameters})
    except ValueError as error:
        raise CorpusError(f"{printable(name)}: {error}") from None
    told = PREFIX + ",".join([kind.name, *(f"{key}={value}" for key, value in values.items())])
    return SyntheticSource(told, process, "".join(islice(process.characters(rng), characters)))


def _read(name: str) -> tuple[Kind, dict[str, int]]:
    """The kind and all parameters that a name tells."""
    shown = printable(name)
    word, *settings = name.removeprefix(PREFIX).split(",")
    if word not in KINDS:
        hint = nearest(word, KINDS) or f"; there are {', '.join(KINDS)}"
        raise CorpusError(f"{shown}: there is no synthetic source {word!r}{hint}")
    known = {parameter.name: parameter for parameter in (*KINDS[word].parameters, *ALL)}
    given: dict[str, int] = {}
    for setting in settings:
        key, _, value = setting.partition("=")
        if key not in known:
            hint = nearest(key, known) or f"; it takes {', '.join(known)}"
            raise CorpusError(f"{shown}: the source {word!r} has no parameter {key!r}{hint}")
        if key in given:
            raise CorpusError(f"{shown}: {key} is given twice; keep one of them")
        low, high = known[key].low, known[key].high
        if not (re.fullmatch("[0-9]{1,10}", value) and low <= int(value) <= high):
            raise CorpusError(f"{shown}: {key} = {value!r}: should be a whole number from {low:,} to {high:,}")
        given[key] = int(value)
    return KINDS[word], {key: given.get(key, parameter.default) for key, parameter in known.items()}
