"""`letterloom corpora`."""

from dataclasses import asdict

from letterloom.cli.arguments import Json
from letterloom.cli.output import print_json, print_table
from letterloom.text.corpora import CORPORA


def corpora(*, json: Json = False) -> None:
    """List the corpora that are known by name: what they are, their size, licence and origin."""
    if json:
        print_json({"corpora": [asdict(corpus) for corpus in CORPORA.values()]})
    else:
        rows = [(c.name, f"{c.title}\n{c.size}; {c.licence}; {c.url or 'comes with Python'}") for c in CORPORA.values()]
        print_table(("corpus", "what it is"), rows)
