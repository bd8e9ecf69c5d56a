"""`letterloom recipes`."""

from letterloom.cli.arguments import Json
from letterloom.cli.output import print_json, print_table
from letterloom.config import RunConfig, build_config
from letterloom.recipes import describe_recipe, read_recipe, recipe_names


def recipes(*, json: Json = False) -> None:
    """List the recipes, with what the first line of each file says of it."""
    configs = {name: build_config(read_recipe(name)) for name in recipe_names()}
    if json:
        found = [
            {"name": name, "description": describe_recipe(name), "settings": config.model_dump()}
            for name, config in configs.items()
        ]
        print_json({"recipes": found})
    else:
        rows = [(name, f"{describe_recipe(name)}\n{_figures(config)}") for name, config in configs.items()]
        print_table(("recipe", "what it is"), rows)


def _figures(config: RunConfig) -> str:
    model, training = config.model, config.training
    limits = {"steps": training.max_steps, "epochs": training.max_epochs, "minutes": training.max_minutes}
    length = " or ".join(f"{limit:,} {unit}" for unit, limit in limits.items() if limit is not None)
    return (
        f"{model.n_layers} layers of width {model.d_model}, context {model.context_length}; {config.optimizer.name}; "
        f"{training.batch_size} sequences a step, {length}"
    )
