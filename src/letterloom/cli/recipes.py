"""`letterloom recipes`."""

from importlib import resources

from letterloom.cli.arguments import Json
from letterloom.cli.output import print_json, print_table
from letterloom.config import RunConfig, build_config, read_recipe, recipe_names


def recipes(*, json: Json = False) -> None:
    """List the recipes, with what the first line of each file says of it."""
    configs = {name: build_config(read_recipe(name)) for name in recipe_names()}
    if json:
        found = [
            {"name": name, "description": _description(name), "settings": config.model_dump()}
            for name, config in configs.items()
        ]
        print_json({"recipes": found})
    else:
        rows = [(name, f"{_description(name)}\n{_figures(config)}") for name, config in configs.items()]
        print_table(("recipe", "what it is"), rows)


def _description(name: str) -> str:
    text = (resources.files("letterloom.recipes") / f"{name}.toml").read_text(encoding="utf-8")
    return text.splitlines()[0].removeprefix("#").strip()


def _figures(config: RunConfig) -> str:
    model, training = config.model, config.training
    limits = {"steps": training.max_steps, "epochs": training.max_epochs, "minutes": training.max_minutes}
    length = " or ".join(f"{limit:,} {unit}" for unit, limit in limits.items() if limit is not None)
    return (
        f"{model.n_layers} layers of width {model.d_model}, context {model.context_length}; {config.optimizer.name}; "
        f"{training.batch_size} sequences a step, {length}"
    )
