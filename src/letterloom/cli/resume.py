"""`letterloom resume`."""

from letterloom import api
from letterloom.cli.arguments import Json, RunName
from letterloom.cli.output import print_run


def resume(run: RunName, /, *, json: Json = False) -> None:
    """Continue a run from its last whole checkpoint."""
    print_run(api.resume(run), json)
