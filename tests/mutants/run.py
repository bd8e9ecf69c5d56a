"""See the suite catch seeded bugs: each patch, applied to a copy of the repository, must make its tests fail.

python tests/mutants/run.py [NAME ...] [--jobs N]

Above the diff of each NAME.patch stand the bug in words and `Tests:`, the tests that have to find it.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.progress import track
from rich.table import Column, Table

ROOT = Path(__file__).parents[2]
PATCHES = sorted(Path(__file__).parent.glob("*.patch"))
TESTS_FAILED = 1  # pytest's exit code; others mean that the tests did not run


@dataclass(frozen=True)
class Mutant:
    """One bug and the tests that have to find it."""

    patch: Path
    bug: str
    tests: tuple[str, ...]  # files and node ids, as pytest takes them


@dataclass(frozen=True)
class Outcome:
    """What became of a mutant: `caught`, `survived`, `does not apply` or `tests did not run`."""

    word: str
    told: str  # the first test that failed; of a survivor the bug; else what went wrong
    seconds: float


def read_mutant(patch: Path) -> Mutant:
    """The mutant in a patch file."""
    bug, tests = patch.read_text(encoding="utf-8").splitlines()[:2]
    if not tests.startswith("Tests: tests/"):
        raise ValueError(f"{patch}: the second line should be `Tests: tests/...`")
    return Mutant(patch, bug, tuple(tests.removeprefix("Tests: ").split()))


def apply(patch: Path, folder: Path, *options: str) -> "subprocess.CompletedProcess[str]":
    """Apply a patch below `folder`, which is taken for no part of a repository around it."""
    environment = os.environ | {"GIT_CEILING_DIRECTORIES": str(folder.parent)}
    command = ["git", "apply", *options, str(patch)]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


@contextmanager
def copy_of(repository: Path) -> Iterator[Path]:
    """A temporary copy of what the tests need."""
    with tempfile.TemporaryDirectory(prefix="letterloom-mutant-") as folder:
        copy = Path(folder).resolve() / "copy"
        for name in ("src", "tests"):
            shutil.copytree(repository / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(repository / "pyproject.toml", copy)
        yield copy


def python(copy: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run this Python where the package of the copy wins over the installed one."""
    environment = os.environ | {"PYTHONPATH": str(copy / "src")}
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True, check=False)


def pytest(copy: Path, tests: Sequence[str]) -> "subprocess.CompletedProcess[str]":
    """Run tests of the copy, up to the first failure."""
    options = ["-x", "-q", "-p", "no:randomly", "--tb=no", f"--basetemp={copy.parent / 'tmp'}"]
    return python(copy, "-m", "pytest", *options, *tests)


def require_sound(original: Path, mutants: Sequence[Mutant]) -> None:
    """Exit unless the package that a copy's tests import is the copy's, and they pass without any bug."""
    package = python(original, "-c", "import letterloom; print(letterloom.__file__)").stdout.strip()
    if not Path(package).is_relative_to(original):
        sys.exit(f"the tests would import {package}, not the copy in {original}")
    result = pytest(original, sorted({test for mutant in mutants for test in mutant.tests}))
    if result.returncode:
        sys.exit(f"without a bug the tests do not pass:\n{result.stdout}{result.stderr}")


def try_mutant(original: Path, mutant: Mutant) -> Outcome:
    """Run a mutant's tests on a copy that has its bug."""
    began = time.monotonic()
    with copy_of(original) as copy:
        applied = apply(mutant.patch, copy)
        if applied.returncode:
            return Outcome("does not apply", applied.stderr.strip(), time.monotonic() - began)
        result = pytest(copy, mutant.tests)
    seconds = time.monotonic() - began
    if result.returncode == 0:
        return Outcome("survived", mutant.bug, seconds)
    failed = re.search(r"^FAILED \S+::(\w+)", result.stdout, re.MULTILINE)
    if result.returncode == TESTS_FAILED and failed:
        return Outcome("caught", failed[1], seconds)
    return Outcome("tests did not run", f"exit code {result.returncode}: {result.stdout[-300:].strip()}", seconds)


def main() -> int:
    """Try the mutants and print what became of them; 0 if every one was caught."""
    parser = argparse.ArgumentParser(description="See the suite catch seeded bugs.")
    parser.add_argument("names", metavar="NAME", nargs="*", help="only these")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="mutants tried at the same time (default: 1)")
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - {patch.stem for patch in PATCHES}:
        parser.error(f"there is no mutant {', '.join(sorted(unknown))}")
    mutants = [read_mutant(p) for p in PATCHES if not arguments.names or p.stem in arguments.names]

    console, began = Console(highlight=False), time.monotonic()
    with copy_of(ROOT) as original, ThreadPoolExecutor(arguments.jobs) as pool:
        with console.status("the tests without a bug ..."):
            require_sound(original, mutants)
        tries = pool.map(partial(try_mutant, original), mutants)
        outcomes = list(track(tries, "mutants", len(mutants), console=console, transient=True))

    names = Column("mutant", min_width=max(len(m.patch.stem) for m in mutants))
    table = Table(names, "outcome", Column("seconds", justify="right"), Column("told by", overflow="fold"), box=None)
    for mutant, outcome in zip(mutants, outcomes, strict=True):
        table.add_row(mutant.patch.stem, outcome.word, f"{outcome.seconds:.1f}", escape(outcome.told))
    console.print(table)
    caught = sum(outcome.word == "caught" for outcome in outcomes)
    console.print(f"{caught} of {len(mutants)} caught, in {time.monotonic() - began:.0f} s")
    return int(caught < len(mutants))


if __name__ == "__main__":
    sys.exit(main())
