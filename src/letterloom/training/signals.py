"""SIGINT and SIGTERM ask the loop to save and end; a second one ends the process at once."""

import os
import signal
import threading
from types import FrameType, TracebackType
from typing import Self


class StopSignals:
    """While entered, the first signal is only remembered in `received`; the second exits without a word.

    The last checkpoint stays valid either way, since a save is visible only when it is whole. Signals can be
    caught in the main thread only; in another one this changes nothing.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self._previous: dict[int, object] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._previous[number] = signal.signal(number, self._remember)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)  # type: ignore[arg-type]  # what signal.signal gave back

    def _remember(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        if self.received is not None:
            os._exit(128 + number)
        self.received = number
