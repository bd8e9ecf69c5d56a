"""Two models on one text: what a character costs the one more than the other, and how sure that is."""

import hashlib
import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from letterloom.config import RunConfig
from letterloom.errors import ConfigError, DataMismatchError, NonFiniteError
from letterloom.evaluation.interval import block_bootstrap
from letterloom.evaluation.loss import surprisal
from letterloom.evaluation.seeds import SEED_NOISE, seeds_needed
from letterloom.model.transformer import Transformer
from letterloom.text.tokenizers import Tokenizer

SEED = "training.seed"
log = logging.getLogger("letterloom")


@dataclass(frozen=True)
class Scored:
    """A run, and what each character of the text costs its model."""

    run: str
    config: RunConfig
    nats: NDArray[np.float64]  # (characters,)

    @property
    def nats_per_character(self) -> float:
        """As `evaluate` has it."""
        return float(self.nats.mean())


@dataclass(frozen=True)
class Difference:
    """What a character costs the second side more than the first; below 0, the second is the better one.

    Of one run a side, the interval is a block bootstrap of the differences character by character: what hard and easy
    passages add to both cancels. It holds for these two models on texts like this one; another seed gives another
    model. Of several seeds a side it is Welch's over the seeds, and holds for the two configurations on this text.
    """

    first: tuple[Scored, ...]
    second: tuple[Scored, ...]
    protocol: str

    @property
    def nats_per_character(self) -> float:
        """The mean of the second side less that of the first."""
        return float(np.mean(_means(self.second)) - np.mean(_means(self.first)))

    @cached_property
    def interval(self) -> tuple[float, float] | None:
        """95 %, nats per character; None below 1,000 characters, and of seeds that give exactly the same."""
        if not self.over_seeds:
            (first,), (second,) = self.first, self.second
            return block_bootstrap(second.nats - first.nats, np.ones(len(first.nats)))
        if not self.seed_noise:
            return None
        limits = stats.ttest_ind(_means(self.second), _means(self.first), equal_var=False).confidence_interval()
        return float(limits.low), float(limits.high)

    @property
    def shown(self) -> bool:
        """Whether there is an interval, and 0 lies outside."""
        return self.interval is not None and not self.interval[0] <= 0.0 <= self.interval[1]

    @property
    def identical(self) -> bool:
        """Whether every character costs every run the same."""
        return all(np.array_equal(run.nats, self.first[0].nats) for run in (*self.first, *self.second))

    @property
    def over_seeds(self) -> bool:
        """Whether there are several runs a side."""
        return len(self.first) > 1

    @property
    def seed_noise(self) -> float:
        """Standard deviation between seeds of one configuration, nats per character: of these runs, or `SEED_NOISE`."""
        if not self.over_seeds:
            return SEED_NOISE
        return math.sqrt(np.mean([np.var(_means(side), ddof=1) for side in (self.first, self.second)]))

    @property
    def seeds_needed(self) -> int | None:
        """See `seeds_needed`."""
        return seeds_needed(self.nats_per_character, self.seed_noise)

    @property
    def settings(self) -> dict[str, tuple[Any, Any]]:
        """The settings in which the sides differ, by their names, each as the first and the second has it."""
        found = differing_settings(self.first[0].config, self.second[0].config)
        return {name: values for name, values in found.items() if name != SEED or not self.over_seeds}

    def to_json(self) -> dict[str, Any]:
        """What `compare --json` prints; scripts rely on these keys."""
        return {
            "first": _side_json(self.first),
            "second": _side_json(self.second),
            "difference": {
                "nats_per_character": self.nats_per_character,
                "bits_per_character": self.nats_per_character / math.log(2),
                "interval": self.interval and dict(zip(("low", "high"), self.interval, strict=True)),
                "interval_over": "seeds" if self.over_seeds else "text",
                "shown": self.shown,
                "identical": self.identical,
            },
            "seed_noise": self.seed_noise,
            "seeds_needed": self.seeds_needed,
            "characters": len(self.first[0].nats),
            "protocol": self.protocol,
            "settings": {name: list(values) for name, values in self.settings.items()},
        }


def score_characters(
    run: str, network: Transformer, tokenizer: Tokenizer, ids: NDArray[np.integer], protocol: str
) -> NDArray[np.float64]:
    """Nats of each character of a text, (characters,); an id that continues a character adds to that.

    Raises:
        NonFiniteError: the model gives NaN or infinity; the run is named.
        And what `surprisal` raises.
    """
    try:
        nats, _ = surprisal(network, ids, protocol)
    except NonFiniteError as error:
        raise NonFiniteError(f"{run}: {error}") from None
    characters: NDArray[np.float64] = np.add.reduceat(nats, np.flatnonzero(tokenizer.starts(ids)))
    return characters


def require_same_text(readings: Mapping[str, tuple[Tokenizer, NDArray[np.integer]]]) -> None:
    """Refuse runs whose texts are not the same, character for character, whatever their ids are.

    Raises:
        DataMismatchError: naming two of them, with the size and the SHA-256 of what each would be scored on.
    """
    texts = {run: _fingerprint(*reading) for run, reading in readings.items()}
    (first, expected), *others = texts.items()
    for run, found in others:
        if found != expected:
            raise DataMismatchError(
                f"{run} and {first} cannot be compared: they would be scored on different texts ({found} against "
                f"{expected}); name one CORPUS for both, or train them on the same text, split and records"
            )


def require_seeds(*sides: Sequence[tuple[str, RunConfig]]) -> None:
    """Refuse several runs as a side, unless each has a seed of its own and the other side has several too.

    Raises:
        ConfigError: naming the run.
    """
    if all(len(side) == 1 for side in sides):
        return
    for (first, config), *others in sides:
        if not others:
            raise ConfigError(f"{first} is one run against several seeds; give at least two seeds on either side")
        seeds = {config.training.seed: first}
        for run, other in others:
            if other.training.seed in seeds:
                raise ConfigError(
                    f"{run} has the same seed as {seeds[other.training.seed]} ({other.training.seed}); the runs of a "
                    "side are to differ in their seeds"
                )
            seeds[other.training.seed] = run
            if unlike := [name for name in differing_settings(config, other) if name != SEED]:
                log.warning("%s differs from %s in more than the seed: %s", run, first, ", ".join(unlike))


def differing_settings(first: RunConfig, second: RunConfig) -> dict[str, tuple[Any, Any]]:
    """The settings in which two runs differ, by their names, each as the first and the second has it."""
    ours, theirs = first.settings(), second.settings()
    return {name: (ours[name], theirs[name]) for name in ours if ours[name] != theirs[name]}


def _fingerprint(tokenizer: Tokenizer, ids: NDArray[np.integer]) -> str:
    """What tells two texts apart, whatever the vocabulary; an end-of-text is a character without spelling."""
    digest = hashlib.sha256(tokenizer.decode(ids).encode()).hexdigest()
    return f"{tokenizer.starts(ids).sum():,} characters, SHA-256 {digest[:16]}"


def _means(side: Sequence[Scored]) -> list[float]:
    return [run.nats_per_character for run in side]


def _side_json(side: Sequence[Scored]) -> dict[str, Any]:
    mean = float(np.mean(_means(side)))
    return {
        "runs": {run.run: run.nats_per_character for run in side},
        "nats_per_character": mean,
        "bits_per_character": mean / math.log(2),
        "context_length": side[0].config.model.context_length,
    }
