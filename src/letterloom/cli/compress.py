"""`letterloom compress`."""

import time
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from letterloom import api, storage
from letterloom.cli.arguments import AnyProtocol, Json, RunName
from letterloom.cli.output import print_json, print_lines, progress
from letterloom.compression.container import unpack
from letterloom.errors import ConfigError, CorpusError

File = Annotated[Path, Parameter(help="The file to read.")]
Out = Annotated[Path, Parameter(name=("--out", "-o"), help="The file to write; an older one is replaced.")]


def compress(
    run: RunName,
    file: File,
    /,
    *,
    out: Out,
    protocol: AnyProtocol = "blocks",
    json: Json = False,
) -> None:
    """Compress any file without loss; `decompress` needs the same run, on the same machine with the same packages."""
    data, model = read(file, out), api.load(run, "cpu")
    began = time.perf_counter()
    with progress("compressing") as watch:
        compressed = model.compress(data, protocol, watch)
    seconds = time.perf_counter() - began
    storage.write_file(out, compressed)
    result = _figures(data, compressed, model.stored_bytes, seconds) | {"out": str(out)}
    if json:
        print_json(result)
    else:
        print_lines(_lines(result))


def read(file: Path, out: Path) -> bytes:
    """The bytes of a file, unless what becomes of them has no place.

    Raises:
        ConfigError: `out` is a folder, or the file itself.
        CorpusError: the file cannot be read.
    """
    if out.is_dir():
        raise ConfigError(f"--out {out} is a folder; name a file in it")
    try:
        if out.exists() and out.samefile(file):
            raise ConfigError(f"--out {out} is the file that is read; name another one")
        return file.read_bytes()
    except OSError as error:
        raise CorpusError(f"cannot read {file}: {error.strerror or error}; name a file that is there") from None


def _figures(data: bytes, compressed: bytes, model_bytes: int, seconds: float) -> dict[str, Any]:
    header, _ = unpack(compressed)
    characters = len(data.decode("utf-8", "surrogateescape"))  # a byte that is not UTF-8 counts as one
    return {
        "protocol": header.protocol,
        "characters": characters,
        "bytes": len(data),
        "compressed_bytes": len(compressed),
        "model_bytes": model_bytes,
        "bits_per_character": 8 * len(compressed) / characters if characters else None,
        "ratio": len(data) / len(compressed),
        "ratio_with_model": len(data) / (len(compressed) + model_bytes),
        **({"learning_rate": header.rate} if header.protocol == "dynamic" else {}),
        "characters_per_second": characters / seconds,
        "seconds": seconds,
    }


def _lines(figures: dict[str, Any]) -> dict[str, str]:
    both = figures["compressed_bytes"] + figures["model_bytes"]
    bits = figures["bits_per_character"]
    learned = ", learning rate {learning_rate:.1e}, by training text" if "learning_rate" in figures else ""
    return {
        "original": "{bytes:,} bytes, {characters:,} characters".format(**figures),
        "compressed": "{compressed_bytes:,} bytes".format(**figures)
        + (f", {bits:.4f} bits per character{_times(figures['ratio'])}" if bits else ""),
        "with the model": f"{both:,} bytes{_times(figures['ratio_with_model'])}",
        "protocol": figures["protocol"] + learned.format(**figures),
        "time": "{seconds:.1f} s, {characters_per_second:,.0f} characters/s".format(**figures),
        "file": figures["out"],
    }


def _times(ratio: float) -> str:
    """How many times smaller than the original, or larger; nothing of an empty one."""
    return f", {ratio:.3g} times smaller" if ratio >= 1 else f", {1 / ratio:.3g} times larger" if ratio else ""
