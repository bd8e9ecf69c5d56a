"""The baselines that lie in a run, beside its final numbers."""

from collections.abc import Iterable
from contextlib import suppress

from letterloom import storage
from letterloom.errors import CorpusError, DataMismatchError
from letterloom.evaluation.baselines.measure import Baseline, cached_baselines
from letterloom.runs.directory import RunDirectory
from letterloom.text.encoding import open_corpus


def write_baselines(run: RunDirectory, baselines: Iterable[Baseline]) -> None:
    """Put them where the report finds them."""
    storage.write_json(run.baselines_file, {"baselines": [baseline.to_json() for baseline in baselines]})


def renew_baselines(run: RunDirectory) -> None:
    """Take what `letterloom baselines` has measured since the run ended; nothing, where its text is there no more."""
    with suppress(CorpusError, DataMismatchError):
        corpus = open_corpus(run.config().text, run.tokenizer(), expected=run.corpus())
        if baselines := cached_baselines(corpus.train, corpus.validation, corpus.tokenizer):
            write_baselines(run, baselines)
