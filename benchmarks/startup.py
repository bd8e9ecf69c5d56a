"""How long a person waits for help."""

import subprocess
import sys
from functools import partial

from measurement import LETTERLOOM, Measurement, seconds, tell

COMMANDS = {
    "letterloom --help": ([LETTERLOOM, "--help"], "< 0.25"),
    "letterloom train --help": ([LETTERLOOM, "train", "--help"], "< 0.25"),
    "python -c pass": ([sys.executable, "-c", "pass"], ""),
}


def measure_startup(quick: bool) -> list[Measurement]:
    """Seconds of a whole process, the interpreter alone for comparison.

    Limit: files read and bytecode run while modules are imported; torch must not be among them.
    """
    rounds = 3 if quick else 10
    times: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for i in range(-1, rounds):  # the first one warms the system's cache of files
        for name, (command, _) in COMMANDS.items():
            tell(f"{name}, round {i + 1} of {rounds}")
            took = seconds(partial(subprocess.run, command, stdout=subprocess.DEVNULL, check=True))
            if i >= 0:
                times[name].append(took)
    return [Measurement(name, "s", tuple(times[name]), target) for name, (_, target) in COMMANDS.items()]
