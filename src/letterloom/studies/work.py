"""One worker at a study: it takes one run after the other that nobody has done, and trains it in this process."""

import io
import logging
import select
import signal
import socket
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path

from letterloom import storage
from letterloom.errors import (
    DataMismatchError,
    DiskFullError,
    Interrupted,
    LetterloomError,
    LockedError,
    is_out_of_memory,
)
from letterloom.runs.finding import is_run
from letterloom.studies.arms import PlannedRun
from letterloom.studies.directory import StudyDirectory
from letterloom.studies.engines import holding_file
from letterloom.text.encoding import open_corpus
from letterloom.training.loop import resume, train

log = logging.getLogger("letterloom")


def work(folder: Path, worker: str | None = None) -> None:
    """Train the runs of the study in `folder` that nobody has done or holds, until there are no more.

    The study is read again before each, so that it may change. A run that was begun goes on from its last checkpoint.
    One that fails is recorded with its error, and the rest goes on. What a run tells goes to its log.

    Args:
        folder: Of the study.
        worker: A name under which the worker tells what it holds (`holding_file`); None: it does not.

    Raises:
        DiskFullError: there is no space left, which is not the fault of a run.
        Interrupted: a signal came; the run is saved. SIGTERM is heeded as Ctrl-C is, in the main thread.
        DataMismatchError, RunError: a file of the study is damaged, or cannot be written; or its text has changed.
    """
    study, passed = StudyDirectory(folder), set[str]()
    with _heeding_sigterm() as asked_to_end:
        while not asked_to_end():
            with _next_run(study, passed) as run:
                if run is not None:
                    passed.add(run.name)
                    with _holding(study, run, worker):
                        _do(study, run)
                elif not _extended(study):
                    return
        raise KeyboardInterrupt


@contextmanager
def _next_run(study: StudyDirectory, passed: set[str]) -> Iterator[PlannedRun | None]:
    """The first run that nobody has done or holds, claimed until the block ends; a run is not tried twice."""
    if study.design().stop_worse is not None:
        from letterloom.studies.stopping import stop_worse

        stop_worse(study)
    stopped = {run.name for arm in study.arms() if study.stopped(arm) for run in arm.runs}
    with ExitStack() as claims:
        for run in study.runs():
            if run.name in passed | stopped or _is_over(study, run):
                continue
            try:
                claims.enter_context(study.claimed(run.name))
            except LockedError:
                continue
            if not _is_over(study, run):  # else whoever held it until now has finished it
                yield run
                return
        yield None


def _is_over(study: StudyDirectory, run: PlannedRun) -> bool:
    return study.is_finished(run.name) or study.failure(run.name) is not None


def _extended(study: StudyDirectory) -> bool:
    """Whether a search has added something to do."""
    if study.design().design != "search":
        return False
    from letterloom.studies.search import extend  # needs the extra `study`

    return extend(study)


def _do(study: StudyDirectory, run: PlannedRun) -> None:
    """Train a run, or go on with it, and record why it fails, where it does."""
    place = study.run(run.name).path
    _require_planned_text(study, run)
    with _told_to(study.log_file(run.name)):
        try:
            if stranger := study.stranger(run):
                raise DataMismatchError(stranger)
            if is_run(place):
                resume(place)
            else:
                train(run.config, place)
        except (DiskFullError, Interrupted):
            raise
        except LockedError as error:
            log.warning("%s", error)  # somebody trains it by hand
        except Exception as error:
            told = str(error) if isinstance(error, LetterloomError) else _unexpected(error)
            details = "" if isinstance(error, LetterloomError) else traceback.format_exc()
            log.error("%s", told)
            study.record_failure(run.name, told, details)


def _require_planned_text(study: StudyDirectory, run: PlannedRun) -> None:
    """A run on another text would count for nothing, and so would all that follow."""
    description = open_corpus(run.config.text).description
    if description["sha256"] != run.text_sha256:
        told = f"the text {', '.join(description['corpus'])} has changed since the study {study.path} was planned"
        raise DataMismatchError(f"{told}; bring it back, or plan the study anew by `letterloom study run`")


def _unexpected(error: Exception) -> str:
    if is_out_of_memory(error):
        return "out of memory; make the batch, the context or the model smaller, or use fewer workers"
    return f"unexpected {type(error).__name__}: {' '.join(str(error).split())}; a fault of Letterloom, see the details"


@contextmanager
def _holding(study: StudyDirectory, run: PlannedRun, worker: str | None) -> Iterator[None]:
    """Tell in a file that the worker is at the run; killed there, it leaves the file."""
    if worker is None:
        yield
        return
    file = holding_file(study.path, worker)
    storage.write_json(file, {"run": run.name})
    try:
        yield
    finally:
        storage.remove_file(file)


@contextmanager
def _heeding_sigterm() -> Iterator[Callable[[], bool]]:
    """Let SIGTERM interrupt what is done between two trainings, and tell whether a signal came during one.

    A training heeds signals itself, but for those that come while it saves its last step.

    Raises:
        Interrupted: in place of KeyboardInterrupt.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    reader, writer = socket.socketpair()
    with reader, writer:
        writer.setblocking(False)
        previous = signal.signal(signal.SIGTERM, signal.default_int_handler)
        waker = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
        try:
            yield lambda: bool(select.select([reader], [], [], 0)[0])
        except KeyboardInterrupt:
            raise Interrupted("stopped between two trainings; what was saved is intact", signal.SIGTERM) from None
        finally:
            signal.set_wakeup_fd(waker)
            signal.signal(signal.SIGTERM, previous)


class _LogStream(io.TextIOBase):
    """What is printed, line by line at the end of a file."""

    def __init__(self, log_file: storage.LineLog) -> None:
        self._log, self._begun = log_file, ""

    def write(self, text: str) -> int:
        *lines, self._begun = (self._begun + text).split("\n")
        for line in lines:
            self._log.append(line)
        return len(text)


@contextmanager
def _told_to(file: Path) -> Iterator[None]:
    """Let everything that is printed or logged within go to a file."""
    lines = storage.LineLog(file)
    stream = _LogStream(lines)
    notices = logging.StreamHandler(stream)
    before, log.handlers = log.handlers, [notices]
    try:
        with redirect_stdout(stream), redirect_stderr(stream):
            yield
    finally:
        log.handlers = before
        lines.close()
