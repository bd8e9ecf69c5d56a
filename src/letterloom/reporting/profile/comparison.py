"""What was computed beside what was measured, and why they differ where they do."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from letterloom.config import RunConfig

ALIKE = 0.02  # no reason is given for a difference up to this share of what was computed
UNEXPLAINED = "nothing known explains this; please report it"


@dataclass(frozen=True)
class Measured:
    """What real training steps took, on random characters here, or in a run by its log."""

    seconds_per_step: float  # median
    steps: int  # that it is the median of
    source: str
    environment: Mapping[str, Any]
    product_flops_per_second: float | None = None  # of a large matrix product, in the same minute
    bytes: Mapping[str, int] = field(default_factory=dict)  # weights, gradients, ... as in `figures`
    disturbance: str | None = None  # what made it slower than it need be, in words


def compare(
    config: RunConfig, memory: Mapping[str, Any], flops_per_step: float, measured: Measured
) -> list[dict[str, Any]]:
    """Rows of quantity, unit, computed, measured, difference (a share of the computed) and note.

    There is a note wherever the two differ by more than 2 %. All memory of a training computed is the sum of its parts;
    the time of a step computed is that of its operations at the speed of a large product.

    Args:
        config: With device and precision as they were measured.
        memory: Computed bytes, `weights_bytes` and so on.
        flops_per_step: Computed operations.
        measured: What to hold them against.
    """
    pairs: list[tuple[str, str, float, float]] = [
        (kind, "bytes", memory["training_bytes" if kind == "peak" else f"{kind}_bytes"], count)
        for kind, count in measured.bytes.items()
        if kind != "process"
    ]
    if measured.product_flops_per_second:
        least = flops_per_step / measured.product_flops_per_second
        pairs.append(("time of a step", "seconds", least, measured.seconds_per_step))
    return [_row(config, measured, *pair) for pair in pairs]


def _row(
    config: RunConfig, measured: Measured, quantity: str, unit: str, computed: float, found: float
) -> dict[str, Any]:
    difference = (found - computed) / computed if computed else float(found != 0)
    note = _reason(config, quantity, difference) if abs(difference) > ALIKE else ""
    if note and unit == "seconds" and measured.disturbance:
        note += f"; {measured.disturbance}"
    return {
        "quantity": quantity.replace("_", " "),
        "unit": unit,
        "computed": computed,
        "measured": found,
        "difference": difference,
        "note": note,
    }


def _reason(config: RunConfig, quantity: str, difference: float) -> str:
    """Why a measured quantity is that much more (or less) than the computed one."""
    match quantity:
        case "optimizer_state" if difference > 0:
            return "a count of steps for each tensor comes on top"
        case "activations":
            return _other_activations(config) or UNEXPLAINED
        case "peak":
            others = "the activations are others, as said; " if _other_activations(config) else ""
            if difference < 0:
                return f"{others}gradients appear while activations go, so the parts are never whole at once"
            return f"{others}what the backward pass and the optimizer take while they compute comes on top"
        case "time of a step" if difference > 0:
            share = 100 / (1 + difference)
            return (
                f"{share:.0f} % of the speed of a large product: norms, softmax, the optimizer and small products "
                "take their time"
            )
        case "time of a step":
            return "faster than a large product alone: other work on this machine may have slowed that"
    return UNEXPLAINED


def _other_activations(config: RunConfig) -> str:
    """Why the closed form for activations, which is for float32 on a CPU, is not theirs here; "" where it is."""
    training = config.training
    device = training.device.partition(":")[0]
    causes = {
        f"{training.precision} halves what products keep, and converted weights are kept": training.precision != "fp32",
        f"on {device} other kernels compute norms, dropout and attention": device != "cpu",
        "compiled code computes some of it anew instead of keeping it": training.compile,
        "PyTorch treats a context of one character in its own way": config.model.context_length == 1,
    }
    return "; ".join(cause for cause, holds in causes.items() if holds)
