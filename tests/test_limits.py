"""The strictest test of the whole pipeline: a model trained on a text whose entropy is known ends at that limit.

Well above it, something in text, batches, model, loss or optimizer is wrong; below it, the future leaks into the past.
"""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import letterloom
from letterloom.evaluation.loss import surprisal
from letterloom.text.encoding import open_corpus
from letterloom.text.synthetic.sources import open_synthetic

SOURCE = "synthetic:markov,symbols=6,order=2,characters=100000,seed=1"
CUT = 90_000  # characters that train
MOST_ABOVE = 0.02  # nats per character, `sliding`
Nats = NDArray[np.float64]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return letterloom.train(
        SOURCE,
        recipe="small",
        out=tmp_path_factory.mktemp("limits") / "run",
        model={"context_length": 32, "d_model": 32, "n_layers": 2, "n_heads": 2},
        training={
            "max_steps": 250,
            "batch_size": 16,
            "eval_interval": 250,
            "sample_characters": 40,
            "precision": "fp32",
            "device": "cpu",
            "threads": 1,
        },
    ).path


def paid(run: Path) -> tuple[Nats, Nats]:
    """What the held-out characters cost the model, `sliding`, and what they cost the process that drew them."""
    model, source = letterloom.load(run, "cpu"), open_synthetic(SOURCE)
    corpus = open_corpus(model.checkpoint.config.text, model.checkpoint.tokenizer)
    assert corpus.tokenizer.decode(corpus.validation) == source.text[CUT:]
    return surprisal(model.network, corpus.validation, "sliding")[0], source.nats[CUT:]


def test_the_model_ends_at_the_limit(run: Path) -> None:
    model, process = paid(run)
    blocks = (model - process).reshape(100, -1).mean(axis=1)  # paired, so that a hard stretch of text is hard for both
    error = blocks.std(ddof=1) / math.sqrt(len(blocks))
    assert blocks.mean() < MOST_ABOVE, "the model learned less than there is to learn"
    assert blocks.mean() > -2 * error, "no model can know this much: the future leaks into the past"


def test_what_is_hard_for_the_process_is_hard_for_the_model(run: Path) -> None:
    assert np.corrcoef(*paid(run))[0, 1] > 0.95


def test_the_limit_stands_beside_the_loss(run: Path, call: Callable[..., Any]) -> None:
    limit = float(open_synthetic(SOURCE).nats[CUT:].mean())
    written = json.loads((run / "evaluation.json").read_text())["validation"]
    for protocol in ("blocks", "sliding"):
        told = json.loads(call("evaluate", run, "--protocol", protocol, "--json").out)
        assert told["limit"] == pytest.approx(limit)
        assert told["gap"] == pytest.approx(told["nats_per_character"] - limit)
        lines = call("evaluate", run, "--protocol", protocol).out.splitlines()
        nats, gap = told["nats_per_character"], told["gap"]
        assert f"known limit         model {nats:.4f}, limit {limit:.4f}, gap {gap:.4f} nats per character" in lines
        assert (written[protocol]["limit"], written[protocol]["gap"]) == pytest.approx((limit, gap), abs=1e-5)


def test_of_what_is_not_held_out_or_not_scored_whole_no_limit_is_told(
    run: Path, call: Callable[..., Any], tiny_text: Path
) -> None:
    training = json.loads((run / "evaluation.json").read_text())["training"]["blocks"]
    told = json.loads(call("evaluate", run, "--split", "training", "--json").out)
    assert not {"limit", "gap"} & (told.keys() | training.keys())  # what was learned by heart may cost less
    part = letterloom.train(
        SOURCE,
        recipe="nanogpt-cpu",
        out=run.parent / "part",
        model={"context_length": 16, "d_model": 16, "n_layers": 1, "n_heads": 2},
        training={"max_steps": 2, "batch_size": 2, "final_eval_characters": 500, "device": "cpu", "threads": 1},
    )
    assert part.evaluation
    assert not any("limit" in result for result in part.evaluation["validation"].values())
