"""A plan: every setting of a run whose minutes are given, from the text and from what this machine does in a second."""

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from letterloom.config import RunConfig, build_config
from letterloom.errors import ResourceError
from letterloom.text.batches import steps_per_epoch
from letterloom.text.encoding import Corpus
from letterloom.training.closing import REPORT_SECONDS, Costs, closing_seconds, measure_costs, require_time
from letterloom.training.hardware import resolve_hardware, take_share
from letterloom.training.planning.ladder import FIRST, LADDER, Layer, climb, dropout, rung_layer
from letterloom.training.planning.probe import fastest_threads, measured_step
from letterloom.training.planning.telling import tell
from letterloom.training.ranks import Ranks
from letterloom.training.requirements import require_prompts, require_texts

SCORING_SHARE = 0.15  # of the time, at most, for the scores at the end,
EVALUATION_SHARE = 0.001  # for one validation on the way, which scores
FEWEST_CHARACTERS, MOST_CHARACTERS = 2_000, 100_000
ROUNDS = 20  # validations and checkpoints on the way,
LONGEST_ROUND = 600.0  # seconds apart at most,
ROUNDS_SHARE = 0.03  # and all of them with this share of the time at most,
SAMPLES_SHARE = 0.01  # and samples with this
SHAPE = ("d_model", "n_heads", "context_length")  # what a size goes around where it is kept
Kept = Mapping[str, Any]


@dataclass(frozen=True)
class Plan:
    """What was decided, and what was found out for it."""

    config: RunConfig
    costs: Costs
    told: str  # in lines


def make_plan(config: RunConfig, kept: Kept, corpus: Corpus, ranks: Ranks, began: float) -> Plan:
    """Plan a run of `config.training.max_minutes`; this takes a second or two.

    Args:
        config: The recipe `small`, and over it the settings in `kept`.
        kept: Settings by section that stay as they are, so that the plan is made around them.
        corpus: The text.
        ranks: The processes that will share the work; this one measures alone.
        began: When the command began, by `time.perf_counter`.

    Raises:
        CorpusError, ConfigError: the text is too short for any model, or the time for this text.
        ResourceError: the settings that are kept make a model too large to be measured here.
    """
    return _Planner(config, kept, corpus, ranks, began).plan()


class _Planner:
    def __init__(self, config: RunConfig, kept: Kept, corpus: Corpus, ranks: Ranks, began: float) -> None:
        self.given, self.kept, self.corpus, self.ranks, self.began = config, kept, corpus, ranks, began
        self.minutes_in_seconds = 60 * (config.training.max_minutes or math.inf)
        self.vocab_size, self.ids = corpus.tokenizer.vocab_size, len(corpus.train)
        self.disturbance: list[str] = []  # what made the last measurement longer than it need be

    def plan(self) -> Plan:
        """Choose a size, measure it, and divide the time."""
        fixed_context = "context_length" in self.kept.get("model", {})
        require_texts(self.corpus, self.given, self.given.model.context_length if fixed_context else 1)
        require_prompts(self.corpus, self.given)
        require_time(self.given.training, time.perf_counter() - self.began, REPORT_SECONDS)
        sizes = [self._with(self.given, self._size(place)) for place in range(len(LADDER))]
        threads, slower = fastest_threads(sizes[FIRST], self.vocab_size, self.ranks)
        sizes = [self._with(size, {"training": {"threads": threads}}) for size in sizes]
        seconds = self._left() - SCORING_SHARE * self.minutes_in_seconds
        place, taken = climb(
            sizes, self.vocab_size, self.ids, lambda size, step: self._steps(size, seconds / step), self._measured
        )
        epochs = self._steps(sizes[place], seconds / taken) / self._epoch(sizes[place])
        config = self._with(sizes[place], {"model": {"dropout": dropout(epochs)}})
        if config.model.dropout != sizes[place].model.dropout:  # steps take longer with it
            taken = self._measured(config)
        resolved = resolve_hardware(config)
        take_share(resolved, self.ranks)
        costs = measure_costs(resolved, self.corpus)
        config = self._with(config, {"training": self._scores(costs)})
        closing = closing_seconds(config, self.corpus, costs)
        require_time(config.training, time.perf_counter() - self.began, closing)
        steps = self._steps(config, (self._left() - closing) / taken)
        config = self._with(config, {"training": self._intervals(config, costs, steps, steps * taken)})
        notes = [*slower, *self.disturbance]
        if config.optimizer.warmup_steps > steps:
            notes.append(f"the warm-up, optimizer.warmup_steps {config.optimizer.warmup_steps:,}, outlasts the run")
        return Plan(config, costs, tell(config, self.corpus, steps, taken, steps * taken + closing, notes))

    def _with(self, config: RunConfig, layer: Layer) -> RunConfig:
        """A configuration with the settings of a layer, but for those that are kept."""
        kept = {section: values for section, values in self.kept.items() if section != "text"}  # no layer has any
        return build_config(config.model_dump(), layer, kept)

    def _left(self) -> float:
        """Seconds until the command is to end."""
        return self.minutes_in_seconds - (time.perf_counter() - self.began)

    def _measured(self, config: RunConfig) -> float:
        try:
            measured = measured_step(config, self.vocab_size, self.ranks)
        except ResourceError as error:
            raise ResourceError(
                f"a plan measures steps, and {error}; ask for less, or plan nothing: --recipe small"
            ) from None
        self.disturbance = [measured.disturbance] if measured.disturbance else []
        return measured.seconds_per_step

    def _epoch(self, config: RunConfig) -> float:
        return steps_per_epoch(self.ids, config.training.batch_size, config.model.context_length)

    def _size(self, place: int) -> Layer:
        """A rung of the ladder as it suits this text, these processes and the width that is kept, if one is."""
        records = self.corpus.description.get("records")
        record_ids = self.corpus.description["ids"] / records["kept"] if records else None
        fixed = {name: getattr(self.given.model, name) for name in SHAPE if name in self.kept.get("model", {})}
        layer = rung_layer(LADDER[place], self.ids, record_ids, fixed)
        sequences = layer["training"]["batch_size"]
        layer["training"]["batch_size"] = -(-sequences // self.ranks.world) * self.ranks.world
        return layer

    def _scores(self, costs: Costs) -> dict[str, int | None]:
        """As many characters scored, at the end and on the way, as there is time for."""
        most = round_down(SCORING_SHARE * self.minutes_in_seconds / 3 / costs.scored_id)
        on_the_way = round_down(EVALUATION_SHARE * self.minutes_in_seconds / costs.scored_id)
        return {
            "final_eval_characters": None if most >= len(self.corpus.validation) else most,
            "eval_characters": min(max(on_the_way, FEWEST_CHARACTERS), MOST_CHARACTERS),
        }

    def _steps(self, config: RunConfig, steps: float) -> float:
        """As many steps as time allows, and other limits that are kept."""
        limits = config.training
        epochs = math.inf if limits.max_epochs is None else limits.max_epochs * self._epoch(config)
        return min(steps, epochs, math.inf if limits.max_steps is None else limits.max_steps)

    def _intervals(self, config: RunConfig, costs: Costs, steps: float, seconds: float) -> dict[str, int]:
        """Validations, checkpoints and samples so often that they take a few hundredths of the time."""
        training = config.training
        one = min(training.eval_characters, len(self.corpus.validation)) * costs.scored_id + costs.save
        rounds = max(1.0, min(max(ROUNDS, seconds / LONGEST_ROUND), ROUNDS_SHARE * seconds / one))
        length = steps / self._epoch(config) if training.interval_unit == "epochs" else steps
        interval = round_down(length / rounds)
        samples = SAMPLES_SHARE * seconds / costs.samples
        apart = interval * max(1, math.ceil(length / samples / interval))
        return {"eval_interval": interval, "checkpoint_interval": interval, "sample_interval": apart}


def round_down(number: float) -> int:
    """To two digits, at least 1: a plan is to be read."""
    digits: int = 10 ** max(0, len(str(int(number))) - 2)
    return max(1, int(number) // digits * digits)
