"""Whole runs of given minutes: time asked and taken, bits per character expected and reached.

python benchmarks/planning.py [CORPUS ...] [--minutes M ...] [--threads N]

The long form is `python benchmarks/planning.py shakespeare python-docs names --minutes 0.5 2 5 30 480`.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from measurement import LETTERLOOM, seconds, tell

RECORDS = {"names": ["--records", "lines"]}  # texts whose lines are documents of their own
EXPECTED = re.compile(r"expected +([\d.]+) to ([\d.]+) bits")


def main() -> None:
    parser = argparse.ArgumentParser(description="Hold plans against what became of them.")
    parser.add_argument("corpus", nargs="*", default=["shakespeare"], help="names or files [shakespeare]")
    parser.add_argument("--minutes", nargs="+", type=float, default=[0.5], metavar="M", help="[0.5]")
    parser.add_argument("--threads", type=int, metavar="N", help="for each run [as it is planned]")
    arguments = parser.parse_args()
    heads = ("text", "minutes", "taken, s", "of the time", "parameters", "steps", "expected, bpc", "reached, bpc")
    table = Table(*heads, box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for corpus in arguments.corpus:
        for minutes in arguments.minutes:
            tell(f"{corpus}, {minutes:g} minutes")
            table.add_row(corpus, f"{minutes:g}", *run(corpus, minutes, arguments.threads))
    console = Console(markup=False, highlight=False)
    console.width = max(console.width, 110)
    console.print(table)


def run(corpus: str, minutes: float, threads: int | None) -> list[str]:
    """One run as a person starts it, in a process and a folder of its own."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        command = [LETTERLOOM, "train", corpus, "--minutes", str(minutes), "--out", str(out), "--json"]
        command += RECORDS.get(corpus, [])
        command += [] if threads is None else ["--training.threads", str(threads)]
        ended: list[subprocess.CompletedProcess[str]] = []
        start = partial(subprocess.run, command, capture_output=True, text=True, check=False)
        took = seconds(lambda: ended.append(start()))
        if ended[0].returncode:
            sys.exit(ended[0].stderr)
        steps = json.loads((out / "metrics.jsonl").read_text(encoding="utf-8").splitlines()[-1])["step"]
    reached: dict[str, Any] = json.loads(ended[0].stdout)["evaluation"]["validation"]["blocks"]
    told = ended[0].stderr
    parameters = re.search(r"([\d,]+) parameters", told)
    expected = EXPECTED.search(told)
    low, high = map(float, expected.groups()) if expected else (float("nan"), float("nan"))
    bits = reached["bits_per_character"]
    return [
        f"{took:.1f}",
        f"{took / (60 * minutes):.1%}",
        parameters[1] if parameters else "?",
        f"{steps:,}",
        f"{low:.2f} to {high:.2f}",
        f"{bits:.3f}" + ("" if low <= bits <= high else ", outside"),
    ]


if __name__ == "__main__":
    main()
