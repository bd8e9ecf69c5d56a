"""Ids on disk: memory-mapped, in the cache, under a key of everything that made them."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from letterloom import storage
from letterloom.errors import CorpusError, DataMismatchError, RunError
from letterloom.text.corpora import cache_folder
from letterloom.text.tokenizers import Ids

_WAIT = 24 * 3600.0  # seconds to wait while another process encodes the same text


def stored_ids(key: list[Any], dtype: np.dtype[Any], pieces: Iterator[Ids], notes: list[str]) -> Ids:
    """The ids in `pieces` as a read-only memory map, from the cache where an intact one is.

    Args:
        key: Everything that made the ids.
        dtype: What they are stored as.
        pieces: Shape (n,) each; read where the cache has none.
        notes: Is told of a copy that was damaged.

    Raises:
        CorpusError: there are no ids.
        LetterloomError: the cache cannot be written.
    """
    name = hashlib.sha256(json.dumps(key).encode()).hexdigest()
    place = cache_folder() / "encoded" / name
    folder, file = place / "ids", f"ids.{dtype.name}"
    if not _is_intact(folder, name):
        if folder.exists():
            notes.append(f"the cached encoding {folder} was damaged, and was made again")
        try:
            with storage.lock(place / "lock", f"the cached encoding {place}", _WAIT):
                storage.remove_leftovers(place)
                if not _is_intact(folder, name):  # another process may have made it while this one waited
                    with storage.new_folder(folder, key=name) as writer, writer.open(file) as stream:
                        for ids in pieces:
                            stream.write(ids.astype(dtype, copy=False).data)
        except RunError as error:
            raise RunError(f"{error}, or set LETTERLOOM_CACHE to a folder that can be written") from None
    if not (folder / file).stat().st_size:
        raise CorpusError("nothing is left of the text: none of its characters is in the vocabulary")
    return np.memmap(folder / file, dtype=dtype, mode="r").view(np.ndarray)


def _is_intact(folder: Path, key: str) -> bool:
    try:
        return bool(storage.verify_folder(folder)["key"] == key)
    except (DataMismatchError, KeyError):
        return False
