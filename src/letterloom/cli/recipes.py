"""`letterloom recipes`."""

from typing import Annotated, Any

from cyclopts import Parameter

from letterloom.accounting import SHAKESPEARE_VOCABULARY, Measured
from letterloom.cli.arguments import Json
from letterloom.cli.output import print_json, print_table
from letterloom.config import RunConfig, build_config
from letterloom.recipes import describe_recipe, read_recipe, recipe_names
from letterloom.reporting.markup import duration, metric
from letterloom.reporting.profile.figures import Profile, figures
from letterloom.reporting.profile.tables import milliseconds
from letterloom.training.estimates import step_seconds


def recipes(
    *,
    measure: Annotated[bool, Parameter(help="Measure the time of a step again.", negative=())] = False,
    json: Json = False,
) -> None:
    """List the recipes: what each is, its size, and what it costs on this machine.

    The figures are for Tiny Shakespeare: 65 characters, and its training split as an epoch. The time is that of the
    steps, of which a few are measured here once; validations and samples come on top.
    """
    configs = {name: build_config(read_recipe(name)) for name in recipe_names()}
    seconds = step_seconds(configs, SHAKESPEARE_VOCABULARY, again=measure)
    found = [_figures(name, config, seconds.get(name)) for name, config in configs.items()]
    if json:
        print_json({"recipes": found})
        return
    heads = ("recipe", "parameters", "a step", "memory", "its time", "steps", "in all")
    print_table(heads, [_row(recipe) for recipe in found], "lrrrrrr")
    print("\nOf Tiny Shakespeare, its 65 characters, and its training split as an epoch; time here, of steps alone.\n")
    print_table(("recipe", "what it is"), [(recipe["name"], recipe["description"]) for recipe in found])


def _figures(name: str, config: RunConfig, seconds_per_step: float | None) -> dict[str, Any]:
    measured = (
        None if seconds_per_step is None else Measured(seconds_per_step, 1, "steps on random characters, here", {})
    )
    told = figures(Profile(name, describe_recipe(name), config, SHAKESPEARE_VOCABULARY, measured=measured))
    return {
        "name": name,
        "description": told["about"],
        "parameters": told["parameters"]["total"],
        "training_flops_per_step": told["computation"]["training_flops_per_step"],
        "training_memory_bytes": told["memory"]["training_bytes"],
        "seconds_per_step": seconds_per_step,
        "steps": told["training"]["steps"],
        "seconds": told["training"]["seconds"],
        "settings": told["settings"],
    }


def _row(recipe: dict[str, Any]) -> list[str]:
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
