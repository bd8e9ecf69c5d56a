"""What a benchmark hands to `run.py`."""

import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LETTERLOOM = str(Path(sys.executable).with_name("letterloom"))  # the command, of this environment


@dataclass(frozen=True)
class Measurement:
    """One quantity, a value a round; no values where it was skipped, and `note` says why."""

    name: str
    unit: str
    values: tuple[float, ...]
    target: str = ""
    note: str = ""

    def to_json(self) -> dict[str, Any]:
        """Median, extremes and number of rounds; null for what was skipped."""
        values = self.values
        return {
            "name": self.name,
            "unit": self.unit,
            "median": statistics.median(values) if values else None,
            "min": min(values, default=None),
            "max": max(values, default=None),
            "rounds": len(values),
            "target": self.target,
            "note": self.note,
        }


def seconds(work: Callable[[], object]) -> float:
    """Wall-clock time of one call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def tell(message: str) -> None:
    """Progress, on standard error."""
    print(f"bench: {message}", file=sys.stderr, flush=True)
