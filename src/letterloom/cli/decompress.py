"""`letterloom decompress`."""

import time

from letterloom import api, storage
from letterloom.cli.arguments import Json, RunName
from letterloom.cli.compress import File, Out, read
from letterloom.cli.output import print_json, print_lines, progress


def decompress(run: RunName, file: File, /, *, out: Out, json: Json = False) -> None:
    """Bring back what `compress` was given, byte for byte; nothing is written unless its SHA-256 is the original's."""
    compressed, model = read(file, out), api.load(run, "cpu")
    began = time.perf_counter()
    with progress("decompressing") as watch:
        data = model.decompress(compressed, watch)
    seconds = time.perf_counter() - began
    storage.write_file(out, data)
    if json:
        print_json({"bytes": len(data), "seconds": seconds, "out": str(out)})
    else:
        print_lines({"original": f"{len(data):,} bytes, as they were", "time": f"{seconds:.1f} s", "file": str(out)})
