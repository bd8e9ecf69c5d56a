"""Workers as tasks of Dask: on a cluster that is there, by the address of its scheduler, or on one of this machine.

A task starts the worker as a process of its own and waits for it, because training heeds signals in the main thread
alone, and Dask runs tasks in others. With the Dask worker that started it a worker ends, as any does with its parent.
"""

# mypy: allow-untyped-calls
# (distributed is typed in part)

import contextlib
import logging
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from letterloom.errors import ResourceError
from letterloom.studies.engines import Ending, require_options
from letterloom.studies.engines.processes import ProcessWorker

if TYPE_CHECKING:
    from distributed import Client, Future

OPTIONS = ("address",)
PATIENCE_SECONDS = 10  # with a scheduler that does not answer
LOOK_SECONDS = 0.5  # between two looks of a task at its worker, and at whether it is to end


class Dask:
    """Runs workers at the study in `folder`, which the cluster's machines share.

    Args:
        folder: As every machine sees it.
        options: `address`, of a scheduler such as tcp://10.0.0.1:8786.
        workers: Dask workers of a cluster of this machine, without an address.

    Raises:
        ConfigError: an option is unknown.
        ResourceError: no scheduler answers there.
    """

    def __init__(self, folder: Path, options: Mapping[str, Any], workers: int) -> None:
        import dask.config
        from distributed import Client, LocalCluster

        require_options("dask", options, OPTIONS)
        self._folder, self._cluster = folder, None
        address = options.get("address")
        if address is None:
            # Ctrl-C is for the supervisor alone, and what is blocked is inherited; what became of a task whose Dask
            # worker died is for the supervisor to decide.
            before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
            try:
                with dask.config.set({"distributed.scheduler.allowed-failures": 0}):
                    self._cluster = address = LocalCluster(
                        n_workers=workers,
                        threads_per_worker=1,
                        dashboard_address=None,
                        silence_logs=logging.CRITICAL,
                    )
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, before)
        try:
            self._client = Client(address, timeout=PATIENCE_SECONDS, set_as_default=False)
        except (OSError, ValueError) as error:
            told = f"no Dask scheduler answers at {address!r} ({' '.join(str(error).split())})"
            raise ResourceError(f"{told}; start one with `dask scheduler`, or leave address out") from None

    def start(self, name: str) -> "DaskWorker":
        """See `Engine`."""
        return DaskWorker(self._client, self._folder, name)

    def close(self) -> None:
        """Close the connection, and a cluster of this machine with it."""
        self._client.close()
        if self._cluster is not None:
            self._cluster.close()


class DaskWorker:
    """A task that was submitted."""

    def __init__(self, client: "Client", folder: Path, name: str) -> None:
        from distributed import Event

        self._stop, self._kill = (Event(f"{asked} {name}", client=client) for asked in ("stop", "kill"))
        self._future: Future[Ending] = client.submit(_task, str(folder), name, key=name, pure=False)

    def ended(self) -> Ending | None:
        """See `Worker`."""
        if not self._future.done():
            return None
        if self._future.status == "finished":
            return self._future.result()
        return Ending(killed="its Dask worker died" if self._future.status == "lost" else str(self._future.exception()))

    def stop(self) -> None:
        """See `Worker`."""
        self._stop.set()

    def kill(self) -> None:
        """See `Worker`."""
        self._kill.set()


def _task(folder: str, name: str) -> Ending:
    """Start a worker here, and wait for it."""
    from distributed import Event

    stop, kill = Event(f"stop {name}"), Event(f"kill {name}")
    if stop.is_set():
        return Ending()
    worker, stopping = ProcessWorker(Path(folder), name), False
    with contextlib.ExitStack() as stack:
        stack.callback(worker.kill)
        while (ending := worker.ended()) is None:
            if kill.is_set():
                worker.kill()
            elif stop.is_set() and not stopping:
                stopping = True
                worker.stop()
            time.sleep(LOOK_SECONDS)
    return ending
