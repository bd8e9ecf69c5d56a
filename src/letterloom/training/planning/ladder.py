"""The sizes that a plan chooses from, and the choice: as large as the time can teach and the text can carry."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from letterloom import accounting
from letterloom.config import RunConfig

Layer = dict[str, dict[str, Any]]


class Rung(NamedTuple):
    """A size, with the settings that suit it; everything else is the recipe's."""

    d_model: int
    n_layers: int
    n_heads: int
    context_length: int
    batch_size: int
    learning_rate: float
    muon_learning_rate: float
    least_seen: float  # ids a parameter to train on: with fewer, the rung below learns more in the same time


# The third was measured on two cores of an EPYC (docs/experiments.md), the others are guesses from it.
LADDER = (
    Rung(64, 2, 2, 64, 16, 0.02, 0.06, least_seen=0.0),
    Rung(128, 4, 4, 128, 16, 0.02, 0.06, least_seen=0.5),
    Rung(192, 4, 3, 256, 8, 0.015, 0.04, least_seen=0.6),
    Rung(256, 6, 4, 256, 16, 0.012, 0.03, least_seen=2.0),
    Rung(384, 6, 6, 256, 32, 0.012, 0.03, least_seen=5.0),
)
RECIPE = 2  # the one that is the recipe `small`
FIRST = 1  # the rung that is measured first; its speed foretells that of the others
PARAMETERS_PER_ID = 12.0  # of the training text: a larger model knows it by heart before it has learned from it
DROPOUT = ((4.0, 0.0), (12.0, 0.1), (40.0, 0.2), (float("inf"), 0.3))  # up to so often is the text read: so much
SHORTEST_CONTEXTS = 8  # contexts that a training text has at least
RECORDS_IN_CONTEXT = 8  # of mean length: what lies further back is of other records, which tell little


def rung_layer(
    rung: Rung, training_ids: int, record_ids: float | None = None, fixed: Mapping[str, int] | None = None
) -> Layer:
    """The settings of a rung on a text: a shorter one has a shorter context, and more sequences of it in a batch.

    Args:
        rung: One of the ladder.
        training_ids: Length of the training split.
        record_ids: Mean length of its records, if it has any.
        fixed: Those of width, heads and context that are not the rung's to choose; it goes around them.
    """
    fixed = fixed or {}
    width, heads = shape(rung, fixed)
    longest = [rung.context_length, _power_of_two(training_ids / SHORTEST_CONTEXTS)]
    if record_ids:
        longest.append(2 * _power_of_two(RECORDS_IN_CONTEXT * record_ids))
    context = fixed.get("context_length", min(longest))
    return {
        "model": {"d_model": width, "n_layers": rung.n_layers, "n_heads": heads, "context_length": context},
        "optimizer": {"learning_rate": rung.learning_rate, "muon_learning_rate": rung.muon_learning_rate},
        "training": {"batch_size": max(1, rung.batch_size * rung.context_length // context)},
    }


def shape(rung: Rung, fixed: Mapping[str, int]) -> tuple[int, int]:
    """Width and heads near a rung's, around what is fixed of them: heads are equally wide, and evenly for rotary."""
    width, heads = fixed.get("d_model", rung.d_model), fixed.get("n_heads", rung.n_heads)
    if "n_heads" not in fixed:
        heads = max(h for h in range(1, heads + 1) if width % (2 * h) == 0 or h == 1)
    elif "d_model" not in fixed:
        width = max(1, round(width / (2 * heads))) * 2 * heads
    return width, heads


def first_shape(fixed: Mapping[str, Any]) -> dict[str, int]:
    """Width and heads before a size is chosen, around settings that were not checked yet; nothing, around none."""
    numbers = {name: str(fixed[name]) for name in ("d_model", "n_heads") if name in fixed}
    positive = {name: int(number) for name, number in numbers.items() if number.isdecimal() and int(number)}
    return dict(zip(("d_model", "n_heads"), shape(LADDER[RECIPE], positive), strict=True)) if positive else {}


def dropout(epochs: float) -> float:
    """Dropout for a text that will be read so many times."""
    return next(share for most, share in DROPOUT if epochs <= most)


def climb(
    configs: Sequence[RunConfig],
    vocab_size: int,
    training_ids: int,
    steps: Callable[[RunConfig, float], float],
    step_seconds: Callable[[RunConfig], float],
) -> tuple[int, float]:
    """The last rung that the steps and the text are enough for, and the seconds of its step.

    One rung is measured, which foretells the others by their operations (`accounting.training_flops`). What that makes
    the choice is measured too, and the choice made anew: small models use less of a machine than large ones.

    Args:
        configs: A configuration for each rung of the ladder.
        vocab_size: Of the text.
        training_ids: Length of the training split.
        steps: How many of a configuration there will be, if one takes so many seconds.
        step_seconds: Measures a configuration.

    Returns:
        Its place in the ladder, and what its step takes, as measured.
    """
    carried = [place for place, config in enumerate(configs) if _carried(config, vocab_size, training_ids)] or [0]
    place = min(FIRST, carried[-1])
    measured: dict[int, float] = {}
    while place not in measured:
        measured[place] = step_seconds(configs[place])
        speed = _step_flops(configs[place], vocab_size) / measured[place]
        known = {p: measured.get(p, _step_flops(configs[p], vocab_size) / speed) for p in carried}
        seen = {p: steps(configs[p], known[p]) * _step_ids(configs[p]) for p in carried}
        enough = [p for p in carried if seen[p] >= LADDER[p].least_seen * _parameters(configs[p], vocab_size)]
        place = max(enough, default=0)
    return place, measured[place]


def _carried(config: RunConfig, vocab_size: int, training_ids: int) -> bool:
    return _parameters(config, vocab_size) <= PARAMETERS_PER_ID * training_ids


def _step_ids(config: RunConfig) -> int:
    return config.training.batch_size * config.model.context_length


def _parameters(config: RunConfig, vocab_size: int) -> int:
    return sum(accounting.parameters(config.model, vocab_size).values())


def _step_flops(config: RunConfig, vocab_size: int) -> int:
    length = config.model.context_length
    return config.training.batch_size * accounting.training_flops(config.model, vocab_size, length)


def _power_of_two(most: float) -> int:
    """The largest power of two up to a number, at least 1."""
    return 1 << max(0, int(most).bit_length() - 1)
