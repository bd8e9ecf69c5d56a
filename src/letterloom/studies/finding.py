"""Find the study that a user names."""

from pathlib import Path

from letterloom.errors import RunError, nearest
from letterloom.studies.directory import StudyDirectory


def find_study(name: str) -> StudyDirectory:
    """The study in a folder, or of that name in `studies`.

    Raises:
        RunError: there is none.
    """
    places = [Path(name), Path("studies") / name]
    for place in places:
        if (place / "plan.json").is_file():
            return StudyDirectory(place)
    there = [found.parent.name for found in Path("studies").glob("*/plan.json")]
    told = f"there is no study in {places[0]} or {places[1]}{nearest(name, there)}"
    raise RunError(f"{told}; begin one with `letterloom study run NAME|FILE`")
