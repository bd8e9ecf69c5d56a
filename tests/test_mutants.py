"""That the seeded bugs stay usable; that the suite catches them is for `make mutants` to see."""

import ast
import shutil
from pathlib import Path

import pytest

from mutants.run import PATCHES, ROOT, apply, read_mutant

patches = pytest.mark.parametrize("patch", PATCHES, ids=lambda patch: patch.stem)


def test_there_are_many() -> None:
    assert len(PATCHES) >= 40


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
@patches
def test_it_applies_to_the_package_as_it_is(patch: Path) -> None:
    applied = apply(patch, ROOT, "--check", "--verbose")
    assert applied.returncode == 0, applied.stderr
    checked = [line for line in applied.stderr.splitlines() if line.startswith("Checking patch src/letterloom/")]
    assert len(checked) == patch.read_text(encoding="utf-8").count("\n+++ ")  # git leaves out what lies elsewhere


@patches
def test_it_tells_the_bug_and_names_tests_that_exist(patch: Path) -> None:
    mutant = read_mutant(patch)
    assert mutant.bug[0].isupper()
    assert mutant.bug[-1] == "."
    assert mutant.tests
    for test in mutant.tests:
        file, *names = test.partition("[")[0].split("::")
        body = ast.parse((ROOT / file).read_text(encoding="utf-8")).body
        for name in names:
            [found] = [n for n in body if isinstance(n, (ast.FunctionDef, ast.ClassDef)) and n.name == name]
            body = found.body
