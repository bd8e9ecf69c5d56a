"""Speed and memory of encoding: the whole way of `open_corpus`, from a text file to verified ids on disk."""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np

from letterloom.config import TextConfig
from letterloom.text.encoding import open_corpus
from measurement import Measurement, seconds, tell

MB, MIB, GIB = 10**6, 2**20, 2**30
ASCII = "\n !',-.:;?" + "".join(map(chr, range(65, 91))) + "".join(map(chr, range(97, 123)))
MULTIBYTE = "\n .,aeiou" + "".join(map(chr, range(0x3B1, 0x3CA))) + "".join(map(chr, range(0x4E00, 0x4F00)))
LARGE = 2 * GIB
ROOM = LARGE * 2 + GIB // 2  # bytes of disk: the text, and an id a byte
SAMPLING = 0.005  # seconds
CHILD = """
import sys
from letterloom.config import TextConfig
from letterloom.text.encoding import open_corpus
open_corpus(TextConfig(corpus=(sys.argv[1],)))
"""


def measure_encoding(quick: bool) -> list[Measurement]:
    """Megabytes of text encoded in a second on one core, with an empty cache each time.

    Limit: bytes moved; the text is read twice and hashed, the ids are written, read back and hashed.
    """
    size, rounds = (16 * MB, 3) if quick else (128 * MB, 5)
    result = []
    for name, alphabet, target in (("ASCII", ASCII, ">= 100"), ("multi-byte", MULTIBYTE, "")):
        with _fresh_folder() as folder, _one_core():
            text = folder / "text.txt"
            write_text(text, alphabet, size)
            config, speeds = TextConfig(corpus=(str(text),)), []
            for i in range(rounds):
                tell(f"encoding {name}, round {i + 1} of {rounds}")
                os.environ["LETTERLOOM_CACHE"] = str(folder / f"cache-{i}")
                speeds.append(text.stat().st_size / MB / seconds(partial(open_corpus, config)))
                shutil.rmtree(folder / f"cache-{i}")
        result.append(Measurement(f"encoding, {name}", "MB/s", tuple(speeds), target))
    return result


def measure_memory(quick: bool) -> list[Measurement]:
    """Largest anonymous memory of a process that encodes a text of 2 GiB (RssAnon, sampled every 5 ms).

    Anonymous memory is what the process took for itself. Pages of the mapped ids are left out: they are the system's
    cache of a file, and are given up when memory is short.

    Limit: the interpreter with NumPy, and the few arrays of one piece of text; it must not grow with the text.
    """
    name, unit, target = "encoding 2 GiB, peak memory", "MiB", "< 512"
    with _fresh_folder() as folder:
        if reason := _reason_to_skip(folder, quick):
            tell(reason)
            return [Measurement(name, unit, (), target, reason)]
        tell("writing a text of 2 GiB")
        text = folder / "text.txt"
        write_text(text, ASCII, LARGE)
        tell("encoding it in a process of its own")
        os.environ["LETTERLOOM_CACHE"] = str(folder / "cache")
        peak, start = 0, time.perf_counter()
        with subprocess.Popen([sys.executable, "-c", CHILD, str(text)]) as child:
            while child.poll() is None:
                peak = max(peak, anonymous_memory(child.pid))
                time.sleep(SAMPLING)
        took = time.perf_counter() - start
    if child.returncode:
        raise RuntimeError(f"encoding a text of 2 GiB failed with exit code {child.returncode}")
    return [
        Measurement(name, unit, (peak / MIB,), target),
        Measurement("encoding 2 GiB, whole process", "MB/s", (LARGE / MB / took,)),
    ]


def _reason_to_skip(folder: Path, quick: bool) -> str:
    """Why peak memory cannot be measured; empty where it can."""
    if quick:
        return "skipped: --quick"
    if not Path("/proc/self/status").exists():
        return "skipped: no /proc here"
    free = shutil.disk_usage(folder).free
    return f"skipped: {free / 1e9:.1f} of {ROOM / 1e9:.1f} GB free, set TMPDIR" if free < ROOM else ""


def anonymous_memory(pid: int) -> int:
    """Bytes of anonymous memory that a process has now; 0 once it has ended."""
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    except (FileNotFoundError, ProcessLookupError):
        return 0
    lines = (line.split() for line in status.splitlines())
    return next((int(line[1]) * 1024 for line in lines if line[0] == "RssAnon:"), 0)


def write_text(path: Path, alphabet: str, size: int) -> None:
    """A file of `size` bytes, less than one character short: a million random characters again and again."""
    characters = np.array(list(alphabet))
    piece = "".join(np.random.default_rng(0).choice(characters, 10**6)).encode()
    with path.open("wb") as file:
        for _ in range(size // len(piece)):
            file.write(piece)
        file.write(piece[: size % len(piece)].decode(errors="ignore").encode())


@contextmanager
def _fresh_folder() -> Iterator[Path]:
    """A temporary folder; the cache that the environment names is put back in the end."""
    before = os.environ.get("LETTERLOOM_CACHE")
    with tempfile.TemporaryDirectory(prefix="letterloom-bench-") as folder:
        try:
            yield Path(folder)
        finally:
            os.environ.pop("LETTERLOOM_CACHE", None)
            if before is not None:
                os.environ["LETTERLOOM_CACHE"] = before


@contextmanager
def _one_core() -> Iterator[None]:
    """Keep this process on one core, where the system can do that."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)
