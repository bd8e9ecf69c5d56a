"""Where the events of a training go: the metrics log, TensorBoard, and the display.

An event is one JSON object, the same for all of them; `docs/architecture.md` lists the kinds.
"""

import importlib.util
import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from letterloom.runs.directory import RunDirectory
from letterloom.storage import LineLog

Event = dict[str, Any]


class Recorder(Protocol):
    """Takes the events of a training as they happen."""

    def record(self, event: Event) -> None:
        """Take one event."""

    def close(self) -> None:
        """No more events follow."""


class MetricsLog:
    """`metrics.jsonl`: one line an event; a number that is not finite is stored as null."""

    def __init__(self, path: Path) -> None:
        self._log = LineLog(path)

    def record(self, event: Event) -> None:
        """Append the event."""
        self._log.append(json.dumps({key: _finite(value) for key, value in event.items()}))

    def sync(self) -> None:
        """Wait until every line is on the disk."""
        self._log.sync()

    def close(self) -> None:
        """Close the file."""
        self._log.close()


class TensorBoard:
    """Scalars for TensorBoard, where the extra `track` is installed."""

    def __init__(self, folder: Path, first_step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(folder), purge_step=first_step)

    @staticmethod
    def installed() -> bool:
        """Whether the extra is there."""
        return importlib.util.find_spec("tensorboard") is not None

    def record(self, event: Event) -> None:
        """Write the event's measured numbers (not its counts, nor the clock) as `KIND/NAME`."""
        for name, value in event.items():
            if isinstance(value, float) and name != "seconds":
                self._writer.add_scalar(f"{event['kind']}/{name}", value, event["step"])

    def close(self) -> None:
        """Flush and close."""
        self._writer.close()


class Recorders:
    """All recorders of a run while they are `opened`; a rank that opens none records nothing."""

    def __init__(self) -> None:
        self._all: list[Recorder] = []

    @contextmanager
    def opened(self, run: RunDirectory, display: Recorder, first_step: int) -> Iterator[None]:
        """Record in the run directory and on the display until the block ends."""
        self._metrics = MetricsLog(run.metrics_file)
        self._all = [self._metrics, display]
        if TensorBoard.installed():
            self._all.append(TensorBoard(run.path / "tensorboard", first_step))
        try:
            yield
        finally:
            for recorder in self._all:
                recorder.close()

    def record(self, event: Event) -> None:
        """Give the event to each."""
        for recorder in self._all:
            recorder.record(event)

    def sync(self) -> None:
        """Wait until the metrics log is on the disk."""
        self._metrics.sync()


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
