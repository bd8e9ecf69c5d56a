"""`letterloom corpora`."""

from dataclasses import asdict
from typing import TYPE_CHECKING

from letterloom.cli.arguments import Json
from letterloom.cli.output import print_json, print_table
from letterloom.text.corpora import CORPORA
from letterloom.text.synthetic import PREFIX

if TYPE_CHECKING:
    from letterloom.text.synthetic.sources import Parameter


def corpora(*, json: Json = False) -> None:
    """List the corpora that are known by name: what they are, their size, licence and origin."""
    from letterloom.text.synthetic.sources import ALL, KINDS

    if json:
        kinds = [
            {
                "name": PREFIX + kind.name,
                "title": kind.title,
                "entropy": kind.entropy,
                "parameters": [asdict(parameter) for parameter in (*kind.parameters, *ALL)],
            }
            for kind in KINDS.values()
        ]
        print_json({"corpora": [asdict(corpus) for corpus in CORPORA.values()], "synthetic": kinds})
    else:
        rows = [(c.name, f"{c.title}\n{c.size}; {c.licence}; {c.url or 'comes with Python'}") for c in CORPORA.values()]
        rows += [
            (PREFIX + kind.name, f"{kind.title}\nentropy: {kind.entropy}\n{', '.join(map(_told, kind.parameters))}")
            for kind in KINDS.values()
        ]
        print_table(("corpus", "what it is"), rows)
        example = f"{PREFIX}markov,symbols=4,seed=7"
        print(f"\nevery synthetic source: {', '.join(map(_told, ALL))}; {example} is a name of one")


def _told(parameter: "Parameter") -> str:
    """A parameter as a name has it, with its range."""
    return f"{parameter.name}={parameter.default} ({parameter.low:,} to {parameter.high:,})"
