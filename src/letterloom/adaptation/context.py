"""Another context for a trained model: how far it looks back."""

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from letterloom.adaptation.vocabulary import Arrays
from letterloom.config import ModelConfig
from letterloom.errors import ConfigError

Positions = Literal["interpolate", "refuse"]
TABLE = "position.weight"


def adapt_context(
    parameters: Arrays, config: ModelConfig, context_length: int, mode: Positions = "interpolate"
) -> tuple[dict[str, NDArray[Any]], str]:
    """Parameters for another `context_length`, and what was done to them, in words; "" for the same one.

    Only learned positions are parameters. Of a shorter context the first ones are kept, which changes nothing. A longer
    one is stretched over the old one linearly, from the first position to the last (as rotary ones are by Chen et al.
    2023, "Extending Context Window of Large Language Models via Positional Interpolation", section 2.3), so that each
    has to be learned anew a little. Rotary and sinusoidal positions are functions of the place, and go on.

    Args:
        parameters: By name, in the file format.
        config: Of the trained model.
        context_length: The new one.
        mode: Whether learned positions may be interpolated.

    Raises:
        ConfigError: learned positions would have to be interpolated, and this is to be refused.
    """
    old = config.context_length
    adapted = dict(parameters)
    if context_length == old:
        return adapted, ""
    if config.positions == "none":
        return adapted, "the model has no positions"
    if config.positions != "learned":
        return adapted, f"{config.positions} positions go on as they are"
    table = parameters[TABLE]  # (T, D)
    if context_length < old:
        adapted[TABLE] = np.ascontiguousarray(table[:context_length])
        return adapted, f"the first {context_length:,} learned positions are kept"
    if mode == "refuse":
        raise ConfigError(
            f"model.context_length {context_length:,}: the model has learned {old:,} positions and no more; keep "
            "them, or let them be interpolated with --positions interpolate"
        )
    places = np.linspace(0, old - 1, context_length)
    columns = [np.interp(places, np.arange(old), column) for column in table.T.astype(np.float64)]
    adapted[TABLE] = np.ascontiguousarray(np.stack(columns, axis=1), dtype=table.dtype)
    return adapted, f"{old:,} learned positions are interpolated"
