"""The arms of a study: each one configuration, and a run of it for each seed, named by what defines it."""

import hashlib
import itertools
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from importlib import resources
from typing import Any, NamedTuple

from letterloom import accounting
from letterloom.config import RunConfig, TextConfig, build_config, build_from_scratch
from letterloom.errors import ConfigError, CorpusError, ResourceError, nearest
from letterloom.memory import require_memory
from letterloom.recipes import read_recipe
from letterloom.studies.design import BASELINE, Design, Level
from letterloom.text.batches import require_length
from letterloom.text.encoding import Corpus, open_corpus

_VERSION = 1  # of what a run's name is made from
_LIMITS = ("max_steps", "max_epochs", "max_minutes")
_OF_ALL = {  # settings that say what is scored, so that arms may not differ in them
    "text": ("corpus", "train_fraction", "records", "records_seed", "end_of_text"),
    "training": ("seed", "final_eval_characters"),
}
_PLACES = ("text.corpus", "text.replay")  # where texts lie
_LEFT_TO_THE_MACHINE = ("training.device", "training.precision", "training.products", "training.threads")
Layers = Sequence[Mapping[str, Any]]


class PlannedRun(NamedTuple):
    """A run of an arm."""

    arm: str
    seed: int
    name: str  # of its run directory: a hash of its settings and its text
    config: RunConfig
    text_sha256: str

    def difference(self, found: RunConfig) -> str:
        """The first setting in which a run that lies under the name is another one; nothing where it is this one.

        What was left to the machine may have come out in any way, and a text lies anywhere: its hash tells it.
        """
        planned, there = self.config.settings(), found.settings()
        for name, value in planned.items():
            if name in _PLACES or (name in _LEFT_TO_THE_MACHINE and value in ("auto", "mixed", None)):
                continue
            if there[name] != value:
                return f"{name} is {there[name]}, not {value}"
        return ""


@dataclass(frozen=True)
class Arm:
    """One configuration, by one run for each seed."""

    name: str
    config: RunConfig  # of no seed in particular
    text_sha256: str
    seeds: tuple[int, ...]

    @cached_property
    def runs(self) -> tuple[PlannedRun, ...]:
        """In the order of the seeds."""
        return tuple(self._run(seed) for seed in self.seeds)

    @cached_property
    def settings_name(self) -> str:
        """What tells its settings and its text from another arm's, whatever its seeds: the name of a run of seed 0."""
        return self._run(0).name

    def _run(self, seed: int) -> PlannedRun:
        training = self.config.training.model_copy(update={"seed": seed})
        config = self.config.model_copy(update={"training": training})
        told = {name: value for name, value in config.settings().items() if value != first_defaults()[name]}
        told.pop("text.corpus", None)  # its hash counts, wherever it lies
        digest = hashlib.sha256(json.dumps([_VERSION, self.text_sha256, told], sort_keys=True).encode())
        return PlannedRun(self.name, seed, digest.hexdigest()[:12], config, self.text_sha256)

    def to_json(self) -> dict[str, Any]:
        """What the plan of a study holds of it."""
        return {
            "name": self.name,
            "text_sha256": self.text_sha256,
            "runs": {str(run.seed): run.name for run in self.runs},
            "config": self.config.model_dump(mode="json"),
        }

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> "Arm":
        """The arm that `to_json` told of."""
        return cls(told["name"], build_config(told["config"]), told["text_sha256"], tuple(map(int, told["runs"])))


@cache
def first_defaults() -> dict[str, Any]:
    """The settings that count for nothing in a run's name: the defaults when each setting first came.

    They stay as they are when a default changes, so that an old name goes on meaning the same settings; a new setting
    is added with the value that does what was done before it, and renames no run.
    """
    told: dict[str, Any] = json.loads((resources.files(__package__) / "first_defaults.json").read_text("utf-8"))
    return told


def plan_arms(design: Design, memory: int | None = None) -> tuple[Arm, ...]:
    """Every arm of a study but those that a search finds on its way; the baseline comes first.

    Args:
        design: The study.
        memory: As `build_arm` has it.

    Raises:
        ConfigError: a setting of an arm is unknown or out of range, its text does not fill its context, two arms are
            the same or would be scored on different texts, or the budget pays for no step.
        ResourceError: an arm's model does not fit the memory.
        And what `open_corpus` raises.
    """
    open_text = cache(open_corpus)  # a text may be large, and is most often the same in all arms
    arms = [build_arm(design, name, layers, design.seeds, open_text, memory) for name, layers in _layers(design)]
    same: dict[str, str] = {}
    for arm in list(arms):
        first = same.setdefault(arm.runs[0].name, arm.name)
        if design.design == "one-at-a-time" and first == BASELINE != arm.name:
            arms.remove(arm)  # a factor's value is the one the baseline has
        elif first != arm.name:
            raise ConfigError(f"the arms {first!r} and {arm.name!r} have the same settings; keep one of them")
    names = [arm.name for arm in arms]
    if twice := [name for name in names if names.count(name) > 1]:
        raise ConfigError(f"two arms are called {twice[0]!r}; give the levels of factors names of their own")
    if not design.baseline:
        return tuple(arms)
    if design.baseline not in names:
        told = f"baseline {design.baseline!r} is no arm{nearest(design.baseline, names)}"
        raise ConfigError(f"{told}; the arms are {', '.join(names)}")
    return tuple(sorted(arms, key=lambda arm: arm.name != design.baseline))


def build_arm(
    design: Design,
    name: str,
    layers: Layers,
    seeds: tuple[int, ...],
    open_text: Callable[[TextConfig], Corpus] = open_corpus,
    memory: int | None = None,
) -> Arm:
    """The arm that some settings make over the study's base.

    Args:
        design: The study.
        name: Of the arm.
        layers: Settings by section, and maybe a recipe in place of the study's.
        seeds: Of its runs.
        open_text: Opens what it is trained on.
        memory: Bytes that its training may take; None where that is not known.

    Raises:
        ConfigError, ResourceError: as `plan_arms`, naming the arm.
    """
    recipe = next((layer["recipe"] for layer in layers if "recipe" in layer), design.recipe)
    over: list[Mapping[str, Any]] = [design.base, *({k: v for k, v in x.items() if k != "recipe"} for x in layers)]
    _require_own(name, over[1:])
    limited = [limit for layer in over for limit in _LIMITS if limit in layer.get("training", {})]
    if limited and design.budget.given:
        raise ConfigError(f"arm {name!r}: training.{limited[0]} and the budget both limit it; keep one of them")
    text = {"text": {"corpus": design.corpus}, "training": {"threads": 1}}
    cleared = {"training": dict.fromkeys(_LIMITS) if limited or design.budget.given else {}}
    limit = {"training": {"max_steps": 1} if design.budget.given else {}}  # until the text is known
    try:
        config = build_from_scratch(read_recipe(recipe), text, cleared, limit, *over)
        corpus = open_text(config.text)
        config = _afford(config, corpus, design)
        _require_fit(config, corpus, memory)
        return Arm(name, config, corpus.description["sha256"], seeds)
    except (ConfigError, ResourceError) as error:
        raise type(error)(f"arm {name!r}: {error}") from None


def _require_fit(config: RunConfig, corpus: Corpus, memory: int | None) -> None:
    """Refuse what each of its runs would be refused for when it starts."""
    model, training = config.model, config.training
    try:
        require_length(corpus.train, model.context_length, f"training split of {', '.join(config.text.corpus)}")
    except CorpusError as error:
        raise ConfigError(str(error)) from None  # of the arm: the text suffices for shorter contexts
    if memory is not None:
        vocab_size, sequences = corpus.tokenizer.vocab_size, training.micro_batch()
        require_memory(model, vocab_size, config.optimizer, sequences, memory, training.lora_rank)


def _afford(config: RunConfig, corpus: Corpus, design: Design) -> RunConfig:
    """The configuration with the text where it was found, and the limits that the budget sets."""
    text = config.text.model_copy(update={"corpus": tuple(corpus.description["corpus"])})  # from any folder
    config = config.model_copy(update={"text": text})
    training, description = config.training, corpus.description
    ids = training.batch_size * config.model.context_length
    flops = accounting.training_flops(config.model, corpus.tokenizer.vocab_size, config.model.context_length)
    step = {  # what one costs
        "steps": 1,
        "characters": ids * description["characters"] / description["ids"],
        "flops": training.batch_size * flops,
    }
    for name, number in design.budget.given.items():
        limits = {"max_minutes": number, "max_steps": None}
        if name != "minutes":
            limits = {"max_steps": math.floor(number / step[name])}
            if not limits["max_steps"]:
                raise ConfigError(f"budget.{name} = {number:g} does not pay for one step; give more or smaller batches")
        return build_config(config.model_dump(), {"training": limits})
    return config


def _layers(design: Design) -> list[tuple[str, Layers]]:
    """Names and settings of the arms."""
    if design.arms:
        return [(name, [settings]) for name, settings in design.arms.items()]
    factors = design.read_factors()
    if design.design == "search":
        return []
    if design.design == "random":
        from letterloom.studies.search import draw  # needs the extra `study`

        return [(f"draw {number}", [settings]) for number, settings in enumerate(draw(design), start=1)]
    if design.design == "grid":
        return [_named(levels) for levels in itertools.product(*(factor.levels for factor in factors))]
    return [(BASELINE, []), *(_named([level]) for factor in factors for level in factor.levels)]


def _named(levels: Sequence[Level]) -> tuple[str, Layers]:
    return ", ".join(level.name for level in levels), [level.settings for level in levels]


def _require_own(name: str, layers: Layers) -> None:
    """Refuse an arm that would be scored on another text than the others."""
    for layer in layers:
        for section, settings in _OF_ALL.items():
            for setting in settings:
                if setting in layer.get(section, {}):
                    place = "seeds" if setting == "seed" else f"base.{section}.{setting}"
                    raise ConfigError(f"arm {name!r} has its own {section}.{setting}; set it for all arms, by {place}")
