"""The baselines that lie in a run, beside its final numbers."""

import logging

from letterloom import storage
from letterloom.errors import LetterloomError
from letterloom.evaluation.baselines.measure import (
    cached_baselines,
    estimated_seconds,
    measure_baselines,
    quick_baselines,
    remarks,
)
from letterloom.runs.directory import RunDirectory
from letterloom.text.encoding import Corpus, open_corpus

SHARE = 0.05  # of a run's time, at most, for baselines that were not measured before
log = logging.getLogger("letterloom")


def baseline_seconds(corpus: Corpus, seconds: float) -> float:
    """What measuring all baselines takes in a run of so many seconds: nothing, where it would take too much of them."""
    splits = corpus.train, corpus.validation, corpus.tokenizer
    if cached_baselines(*splits) is not None:
        return 0.0
    estimated = estimated_seconds(*splits)
    return estimated if estimated <= SHARE * seconds else 0.0


def write_baselines(run: RunDirectory, corpus: Corpus, seconds: float) -> None:
    """Put them where the report finds them: all, where they are known or a run of so many seconds affords them."""
    splits = corpus.train, corpus.validation, corpus.tokenizer
    found = cached_baselines(*splits)
    if found is None:
        found = measure_baselines(*splits) if baseline_seconds(corpus, seconds) else quick_baselines(*splits)
    told = {"baselines": [baseline.to_json() for baseline in found], "notes": list(remarks(*splits))}
    storage.write_json(run.baselines_file, told)


def renew_baselines(run: RunDirectory) -> None:
    """Take what `letterloom baselines` has measured since the run ended; what a run has stays, where that fails."""
    try:
        corpus = open_corpus(run.config().text, run.tokenizer(), expected=run.corpus())
        if cached_baselines(corpus.train, corpus.validation, corpus.tokenizer):
            write_baselines(run, corpus, seconds=0.0)
    except LetterloomError as error:  # its text is elsewhere by now, or the cache
        log.info("the baselines are those of the run: %s", error)
