"""The seeds whose results were told before: who adds seeds and looks again, until a difference shows, will find one."""

import hashlib
import json
from collections.abc import Sequence

from letterloom import storage
from letterloom.studies.arms import Arm
from letterloom.studies.directory import StudyDirectory

_LEAST_ARMS = 2  # that two looks share, so that some comparison was looked at twice


def record_look(study: StudyDirectory, arms: Sequence[Arm], seeds: Sequence[int]) -> None:
    """Keep that the comparisons of these arms were told, as a plan with these seeds has them."""
    told = {"seeds": sorted(seeds), "arms": sorted(arm.settings_name for arm in arms)}
    name = hashlib.sha256(json.dumps(told).encode()).hexdigest()[:12]
    storage.write_json(study.path / "looks" / f"{name}.json", told)


def earlier_looks(study: StudyDirectory, arms: Sequence[Arm], seeds: Sequence[int]) -> int:
    """How many other lists of seeds have shown what some of these arms give."""
    looks = [study.read(file) for file in sorted((study.path / "looks").glob("[!.]*.json"))]
    ours = {arm.settings_name for arm in arms}
    told = {tuple(look["seeds"]) for look in looks if len(ours & set(look["arms"])) >= _LEAST_ARMS}
    return len(told - {tuple(sorted(seeds))})
