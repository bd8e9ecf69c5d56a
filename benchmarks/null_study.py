"""How often a study of identical arms claims a difference: real runs that differ in their seed alone, dealt as arms.

python benchmarks/null_study.py [--runs N] [--steps N] [--studies N] [--workers N]

Tiny Shakespeare, a tiny model, one thread a run. Each study takes 4 arms x 3 seeds of the runs without replacement. The
studies share runs, so their share varies more than the binomial interval beside it says.
"""

import argparse
from concurrent.futures import ThreadPoolExecutor
from statistics import mean, stdev

import numpy as np
from scipy import stats

from letterloom.studies.statistics import analyse
from processes import trained

ARMS, SEEDS = 4, 3
TINY = ["--recipe", "small", "--minutes", "none", "--model.context-length", "64", "--model.d-model", "64"]
TINY += ["--model.n-layers", "2", "--model.n-heads", "2", "--training.batch-size", "16", "--training.threads", "1"]
TINY += ["--training.final-eval-characters", "20000", "--training.sample-characters", "10"]


def main() -> None:
    parser = argparse.ArgumentParser(description="How often a study of identical arms claims a difference.")
    parser.add_argument("--runs", type=int, default=24, metavar="N", help=f"at least {ARMS * SEEDS} (default: 24)")
    parser.add_argument("--steps", type=int, default=100, metavar="N")
    parser.add_argument("--studies", type=int, default=400, metavar="N")
    parser.add_argument("--workers", type=int, default=2, metavar="N", help="runs at a time, of one thread each")
    arguments = parser.parse_args()
    if arguments.runs < ARMS * SEEDS:
        parser.error(f"--runs {arguments.runs}: a study takes {ARMS * SEEDS}")

    flags = [*TINY, "--training.max-steps", str(arguments.steps), "--training.eval-interval", str(arguments.steps)]
    with ThreadPoolExecutor(arguments.workers) as pool:  # each thread waits for a process
        runs = list(pool.map(lambda seed: trained("shakespeare", flags, seed), range(arguments.runs)))
    nats = [run.nats for run in runs]
    claims = sum(claims_a_difference(nats, study) for study in range(arguments.studies))

    interval = stats.binomtest(claims, arguments.studies).proportion_ci(method="exact")
    print(f"noise: sd {stdev(nats):.4f} nats per character between {len(nats)} seeds, mean {mean(nats):.4f}")
    print(f"{claims} of {arguments.studies} studies of {ARMS} identical arms x {SEEDS} seeds claim a difference:")
    print(f"{claims / arguments.studies:.1%}, 95 % {interval.low:.1%} to {interval.high:.1%}; 5.0 % is what is allowed")


def claims_a_difference(nats: list[float], study: int) -> bool:
    """Whether the study of that number, which seeds how the runs are dealt out, shows any."""
    dealt = np.random.default_rng(study).choice(nats, size=(ARMS, SEEDS), replace=False)
    arms = {f"arm {arm}": dict(enumerate(map(float, values))) for arm, values in enumerate(dealt)}
    return any(comparison.shown for comparison in analyse(arms, "arm 0").comparisons)


if __name__ == "__main__":
    main()
