"""Workers as jobs of Slurm, by submitit; its local mode starts the same jobs here, to try them out.

A job is asked to end by SIGTERM. Before its time is over, or when others need its place, submitit has SIGUSR2 sent to
it, which is taken for the same: the run is saved, the job ends, and the supervisor submits another one. Jobs of Slurm
outlive a supervisor that is killed, and finish the study on their own; that is what they are for. Those of the local
mode, whose machine would be kept busy by nobody's will, wait for a lock that their supervisor holds, and end with it.
"""

import os
import signal
import threading
import time
import uuid
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from letterloom import storage
from letterloom.errors import ConfigError, LetterloomError, ResourceError
from letterloom.studies.engines import Ending, require_options
from letterloom.studies.engines.processes import end_orphan

if TYPE_CHECKING:
    from submitit import Job

CLUSTERS = ("slurm", "local")
TIMEOUT_MINUTES = 60  # of a job, where none is given: short ones find a place sooner, and the next one goes on
LATE_SECONDS = {"slurm": 30.0, "local": 0.0}  # that a result may need to be seen on another machine's disk


class Slurm:
    """Submits workers at the study in `folder`.

    Args:
        folder: On a disk that the machines share.
        options: Of submitit's AutoExecutor, such as timeout_min or slurm_partition; and `cluster`: slurm or local.

    Raises:
        ConfigError: an option is unknown, or not of its kind.
        ResourceError: there is no Slurm here.
    """

    def __init__(self, folder: Path, options: Mapping[str, Any]) -> None:
        from submitit import AutoExecutor, SlurmExecutor

        generic = AutoExecutor._typed_parameters()
        known = {"cluster", *generic, *(f"slurm_{name}" for name in SlurmExecutor._valid_parameters())}
        require_options("slurm", options, known)
        given = {"timeout_min": TIMEOUT_MINUTES, "name": "letterloom", "cluster": "slurm", **options}
        self._folder, self._cluster, self._held = folder, given.pop("cluster"), ExitStack()
        self._supervisor: Path | None = None  # the file that a supervisor of this machine holds while it lives
        if self._cluster not in CLUSTERS:
            raise ConfigError(f"cluster = {self._cluster!r}: should be slurm or local")
        try:
            self._executor = AutoExecutor(folder / "logs" / self._cluster, cluster=self._cluster)
            self._executor.update_parameters(**given)
        except RuntimeError:  # it looks for srun
            told = "there is no Slurm on this machine (no srun)"
            raise ResourceError(f"{told}; start the study where jobs are submitted, or use cluster=local") from None
        except (AssertionError, TypeError, ValueError, NameError) as error:
            raise ConfigError(f"the engine 'slurm': {' '.join(str(error).split())}") from None

    def start(self, name: str) -> "SlurmWorker":
        """See `Engine`.

        Raises:
            ResourceError: Slurm does not take the job.
        """
        from submitit.core.utils import FailedJobError, FailedSubmissionError

        # A local job is in this process's group, and Ctrl-C is for the supervisor alone; what is blocked is inherited.
        if self._cluster == "local" and self._supervisor is None:
            self._supervisor = self._folder / "workers" / f"{uuid.uuid4().hex}.lock"
            self._held.enter_context(storage.lock(self._supervisor, "the supervisor"))
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            return SlurmWorker(self._executor.submit(_task, self._folder, name, self._supervisor), self._cluster)
        except (FailedJobError, FailedSubmissionError, FileNotFoundError) as error:  # of sbatch
            told = f"Slurm does not take the job ({' '.join(str(error).split())})"
            raise ResourceError(f"{told}; see which --option this cluster needs") from None
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def close(self) -> None:
        """Nothing is left but the file that was held."""
        self._held.close()
        if self._supervisor is not None:
            storage.remove_file(self._supervisor)


class SlurmWorker:
    """A job that was submitted."""

    def __init__(self, job: "Job[LetterloomError | None]", cluster: str) -> None:
        self._job, self._cluster = job, cluster
        self._ending: Ending | None = None
        self._gone: float | None = None  # since when it is known to be over

    def ended(self) -> Ending | None:
        """See `Worker`."""
        if self._ending is None and self._job.done():
            self._gone = self._gone or time.monotonic()
            if self._job.paths.result_pickle.exists():
                self._ending = self._answer()
            elif time.monotonic() - self._gone >= LATE_SECONDS[self._cluster]:
                self._ending = Ending(killed=f"job {self._job.job_id} ended without a word")
        return self._ending

    def stop(self) -> None:
        """See `Worker`."""
        if self.ended() is not None:
            return
        if self._cluster == "local":  # its `cancel` would leave a second to save in
            os.kill(int(self._job.job_id), signal.SIGTERM)  # which it passes on
        else:
            self._job.cancel(check=False)

    def kill(self) -> None:
        """See `Worker`: a second signal ends it at once."""
        self.stop()

    def _answer(self) -> Ending:
        failed = self._job.exception()
        return Ending(killed=f"an error, see {self._job.paths.stderr}") if failed else Ending(self._job.result())


def _task(folder: Path, name: str, supervisor: Path | None) -> LetterloomError | None:
    """Work, and hand back the error that ended it, if one did: of what is raised, submitit keeps but the text."""
    for number in (signal.SIGUSR1, signal.SIGUSR2):  # it sends one of them
        signal.signal(number, lambda *_: signal.raise_signal(signal.SIGTERM))
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # it ignores that
    if supervisor is not None:
        threading.Thread(target=_end_with, args=[supervisor], daemon=True).start()
    from letterloom.studies.work import work

    try:
        work(folder, name)
    except LetterloomError as error:
        return error
    return None


def _end_with(supervisor: Path) -> None:
    """Wait until whoever holds the file has let go of it, as the kernel does for a process that ends; end then."""
    with storage.lock(supervisor, "the supervisor", wait_seconds=-1.0):  # for ever
        end_orphan()
