"""An old state of a folder and the writes that make a new one, for the tests of storage."""

from pathlib import Path

from letterloom import storage

OLD, NEW = b"the old state", b"the new state, which is longer"


def write_new_file(folder: Path) -> None:
    storage.write_file(folder / "file", NEW)


def write_new_folder(folder: Path) -> None:
    with storage.new_folder(folder / "saved", step=2) as writer:
        writer.write("a.bin", NEW)
        with writer.open("b.bin") as file:
            file.write(NEW)


def write_old(folder: Path) -> None:
    storage.write_file(folder / "file", OLD)
    with storage.new_folder(folder / "saved", step=1) as writer:
        writer.write("a.bin", OLD)
        writer.write("b.bin", OLD)


def state(folder: Path) -> tuple[bytes, list[bytes]]:
    """What a reader finds, verified, and nothing else may lie beside it."""
    assert sorted(path.name for path in folder.iterdir()) == ["file", "saved"]
    storage.verify_folder(folder / "saved")
    return (folder / "file").read_bytes(), [(folder / "saved" / name).read_bytes() for name in ("a.bin", "b.bin")]
