"""`letterloom recipes`."""

import math
from typing import Annotated, Any

from cyclopts import Parameter

from letterloom import accounting
from letterloom.cli.arguments import Json
from letterloom.cli.output import print_json, print_table
from letterloom.config import RunConfig, build_config
from letterloom.recipes import describe_recipe, read_recipe, recipe_names


def recipes(
    *,
    measure: Annotated[bool, Parameter(help="Measure the time of a step again.", negative=())] = False,
    json: Json = False,
) -> None:
    """List the recipes: what each is, its size, and what it costs on this machine.

    The figures are for Tiny Shakespeare: 65 characters, and its training split as an epoch. The time is that of the
    steps, of which a few are measured here once; validations and samples come on top.
    """
    from letterloom.reporting.profile.profile import SHAKESPEARE_VOCABULARY
    from letterloom.training.estimates import step_seconds

    configs = {name: build_config(read_recipe(name)) for name in recipe_names()}
    seconds = step_seconds(configs, SHAKESPEARE_VOCABULARY, again=measure)
    found = [_figures(name, config, seconds.get(name)) for name, config in configs.items()]
    if json:
        print_json({"recipes": found})
        return
    rows = [_row(recipe) for recipe in found]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    print_table(
        ("recipe", "parameters", "a step", "memory", "time a step", "steps", "in all"),
        [[row[0], *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))] for row in rows],
    )
    print("\nOf Tiny Shakespeare, its 65 characters, and its training split as an epoch; time here, of steps alone.\n")
    print_table(("recipe", "what it is"), [(recipe["name"], recipe["description"]) for recipe in found])


def _figures(name: str, config: RunConfig, seconds_per_step: float | None) -> dict[str, Any]:
    from letterloom.reporting.profile.profile import (
        SHAKESPEARE_TRAINING,
        SHAKESPEARE_VOCABULARY,
        micro_batch,
        planned_steps,
    )

    model, training = config.model, config.training
    sequence = accounting.training_flops(model, SHAKESPEARE_VOCABULARY, model.context_length)
    state = accounting.training_bytes(model, SHAKESPEARE_VOCABULARY, config.optimizer)
    steps = planned_steps(config, SHAKESPEARE_TRAINING, seconds_per_step)
    return {
        "name": name,
        "description": describe_recipe(name),
        "parameters": sum(accounting.parameters(model, SHAKESPEARE_VOCABULARY).values()),
        "training_flops_per_step": training.batch_size * sequence,
        "training_memory_bytes": state
        + accounting.activation_bytes(model, SHAKESPEARE_VOCABULARY, micro_batch(config)),
        "seconds_per_step": seconds_per_step,
        "steps": steps and math.ceil(steps),
        "seconds": steps and seconds_per_step and steps * seconds_per_step,
        "settings": config.model_dump(mode="json"),
    }


def _row(recipe: dict[str, Any]) -> list[str]:
    from letterloom.reporting.markup import duration, metric
    from letterloom.reporting.profile.tables import milliseconds

    seconds = recipe["seconds_per_step"]
    return [
        recipe["name"],
        f"{recipe['parameters']:,}",
        metric(recipe["training_flops_per_step"], "FLOP"),
        metric(recipe["training_memory_bytes"], "B"),
        "unknown" if seconds is None else milliseconds(seconds),
        "unknown" if recipe["steps"] is None else f"{recipe['steps']:,}",
        "unknown" if recipe["seconds"] is None else duration(recipe["seconds"]),
    ]
