"""What a study loses when its supervisor is killed at random moments: nothing that was finished, and no process stays.

python benchmarks/study_kills.py [--kills N] [--steps N] [--seed N]

Runs of a tiny model, two at a time. Each kill (SIGKILL) comes up to three seconds after training has begun again, so it
meets training, saving, scoring or the start of the next run. Then the study is resumed to its end, and held against the
same study that nobody kills. Linux only: processes are found in /proc.
"""

import argparse
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from letterloom.studies.directory import StudyDirectory
from measurement import LETTERLOOM, tell

SPREAD_SECONDS = 3.0  # within which a kill comes, once training has begun
PATIENCE_SECONDS = 300.0
STUDY = """
corpus = ["{text}"]
recipe = "gpt2-char"
seeds = [0, 1, 2, 3, 4, 5]
budget.steps = {steps}
factors.model.n_heads = [1, 2, 4, 8]
[base.model]
context_length = 32
d_model = 32
n_layers = 2
[base.training]
batch_size = 8
eval_interval = 50
checkpoint_interval = 25
sample_interval = 1000000
sample_characters = 10
final_eval_characters = 2000
device = "cpu"
"""


def main() -> None:
    parser = argparse.ArgumentParser(description="What a study loses when its supervisor is killed.")
    parser.add_argument("--kills", type=int, default=20, metavar="N", help="[20]")
    parser.add_argument("--steps", type=int, default=150, metavar="N", help="of each of 24 runs [150]")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the moments and the text [0]")
    arguments = parser.parse_args()

    draw = random.Random(arguments.seed)
    with tempfile.TemporaryDirectory() as folder:
        file, text = Path(folder) / "study.toml", Path(folder) / "text.txt"
        text.write_text("".join(draw.choice("abcdefgh \n") for _ in range(40_000)), encoding="utf-8")
        file.write_text(STUDY.format(text=text, steps=arguments.steps), encoding="utf-8")
        killed, whole = (StudyDirectory(Path(folder) / name) for name in ("killed", "whole"))
        finished: list[int] = []
        rewritten: set[str] = set()
        longest = 0.0
        while len(finished) < arguments.kills:
            before = written(killed)
            kill_once(file, killed, draw.uniform(0.0, SPREAD_SECONDS))
            began = time.monotonic()
            wait_for(lambda: not processes_at(killed.path), "processes are left")
            longest = max(longest, time.monotonic() - began)
            now = written(killed)
            rewritten |= {name for name, state in before.items() if now.get(name) != state}
            finished.append(len(now))
            tell(f"kill {len(finished)} of {arguments.kills}: {len(now)} runs are finished")
        before = written(killed)
        run(file, killed)
        rewritten |= {name for name, state in before.items() if written(killed).get(name) != state}
        run(file, whole)

        names = [run.name for run in whole.runs()]
        other = [name for name in names if losses(killed, name) != losses(whole, name)]
        print(f"{len(finished)} kills, at {', '.join(map(str, finished))} of {len(names)} runs finished")
        print(
            f"{len(rewritten)} finished runs lost or written again; the last process ended {longest:.1f} s after a kill"
        )
        print(f"{len(names) - len(other)} of {len(names)} runs have every loss that a study which nobody killed has")
        sys.exit(bool(rewritten or other))


def command(file: Path, study: StudyDirectory) -> list[str]:
    return [LETTERLOOM, "study", "run", str(file), "--out", str(study.path), "--workers", "2"]


def run(file: Path, study: StudyDirectory) -> None:
    subprocess.run(command(file, study), check=True, capture_output=True)


def kill_once(file: Path, study: StudyDirectory, seconds: float) -> None:
    """Start the study or go on with it, and kill it so long after it has begun to train."""
    with subprocess.Popen(command(file, study), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as supervisor:
        for _ in range(2):  # a resumed run has its log cut first
            before = logged(study)

            def goes_on(before: int = before) -> bool:
                return logged(study) > before or supervisor.poll() is not None

            wait_for(goes_on, "nothing is trained")
        time.sleep(seconds)
        if supervisor.poll() is not None:
            sys.exit("the study is over before the last kill: give more --steps")
        supervisor.kill()


def written(study: StudyDirectory) -> dict[str, tuple[int, int, bytes]]:
    """The final numbers of each finished run: the file, when it was written, and what it says."""
    files = (study.path / "runs").glob("*/evaluation.json")
    return {file.parent.name: (file.stat().st_ino, file.stat().st_mtime_ns, file.read_bytes()) for file in files}


def logged(study: StudyDirectory) -> int:
    """When a step was logged last."""
    return max((file.stat().st_mtime_ns for file in (study.path / "runs").glob("*/metrics.jsonl")), default=0)


def losses(study: StudyDirectory, name: str) -> list[tuple[int, float]]:
    events = study.run(name).metrics()
    return [(event["step"], event["loss"]) for event in events if event["kind"] == "train"]


def processes_at(folder: Path) -> list[str]:
    """Those that have the folder in their command."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if str(folder) in (process / "cmdline").read_text():
                found.append(process.name)
        except OSError:  # it has ended
            continue
    return found


def wait_for(there: Callable[[], bool], otherwise: str) -> None:
    until = time.monotonic() + PATIENCE_SECONDS
    while not there():
        if time.monotonic() > until:
            sys.exit(f"after {PATIENCE_SECONDS:.0f} s {otherwise}")
        time.sleep(0.02)


if __name__ == "__main__":
    main()
