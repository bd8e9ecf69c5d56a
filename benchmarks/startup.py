"""How long a person waits for help, and for the first character of a model."""

import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

from measurement import LETTERLOOM, Measurement, seconds, tell

TEXT = Path(__file__).parent / "texts" / "tokenization.txt"
TRAIN = [
    LETTERLOOM,
    "train",
    str(TEXT),
    "--recipe",
    "gpt2-char",
    "--training.max-steps",
    "1",
    "--training.threads",
    "1",
]
COMMANDS = {
    "letterloom --help": ([LETTERLOOM, "--help"], "< 0.25"),
    "letterloom train --help": ([LETTERLOOM, "train", "--help"], "< 0.25"),
    "python -c pass": ([sys.executable, "-c", "pass"], ""),
}


def measure_startup(quick: bool) -> list[Measurement]:
    """Seconds of a whole process, the interpreter alone for comparison; `generate` with a model of 0.8 M parameters.

    Limit: files read and bytecode run while modules are imported; torch must not be among them.
    """
    rounds = 3 if quick else 10
    with tempfile.TemporaryDirectory() as folder:
        run = str(Path(folder) / "run")
        subprocess.run([*TRAIN, "--out", run], capture_output=True, check=True)
        commands = COMMANDS | {"letterloom generate RUN -n 1": ([LETTERLOOM, "generate", run, "-n", "1"], "< 0.8")}
        times: dict[str, list[float]] = {name: [] for name in commands}
        for i in range(-1, rounds):  # the first one warms the system's cache of files, and compiles kernels once
            for name, (command, _) in commands.items():
                tell(f"{name}, round {i + 1} of {rounds}")
                took = seconds(partial(subprocess.run, command, stdout=subprocess.DEVNULL, check=True))
                if i >= 0:
                    times[name].append(took)
    return [Measurement(name, "s", tuple(times[name]), target) for name, (_, target) in commands.items()]
