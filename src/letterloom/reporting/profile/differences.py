"""What was computed beside what was measured, and why they differ where they do."""

from typing import Any

from letterloom import accounting
from letterloom.accounting import Measured
from letterloom.config import RunConfig

ALIKE = 0.02  # no reason is given for a difference up to this share of what was computed
UNEXPLAINED = "nothing known explains this; please report it"
PASSING = 4  # times the largest thing held; at the peak of 300 models tried up to 3 times that came on top
WORKSPACE = 2**27  # bytes that the libraries of a GPU take for themselves at most
LEAST_SHARE, START_UP = 0.01, 0.1  # of the speed of a large product; seconds of a step that starting its work may take


def compare(config: RunConfig, vocab_size: int, measured: Measured) -> list[dict[str, Any]]:
    """Rows of quantity, unit, computed, measured, difference (a share of the computed) and note.

    There is a note wherever the two differ by more than 2 %: a reason, which holds for differences of one sign and up
    to a limit, or that there is none. The peak computed is the sum of all that training holds, the time of a step that
    of its operations at the speed of a large product.

    Args:
        config: With device and precision as they were measured.
        vocab_size: Of the model.
        measured: What to hold against what is computed.
    """
    model, held = config.model, accounting.training_memory(config, vocab_size)
    reasons = {}
    if "peak" in measured.bytes:
        activations = measured.bytes["activations"]
        reasons["activations"] = _other_activations(config, vocab_size, activations)
        reasons["peak"] = _other_peak(config, vocab_size, activations, measured.bytes["peak"])
    computed = held | {"peak": sum(held.values())}
    rows = [
        _row(name, "bytes", computed[name], count, reasons.get(name, ""))
        for name, count in measured.bytes.items()
        if name != "process"
    ]
    if measured.product_flops_per_second:
        flops = config.training.batch_size * accounting.training_flops(
            model, vocab_size, model.context_length, config.training.lora_rank
        )
        least, found = flops / measured.product_flops_per_second, measured.seconds_per_step
        rows.append(_row("time of a step", "seconds", least, found, _other_time(least, found, measured.disturbance)))
    return rows


def _row(quantity: str, unit: str, computed: float, found: float, reason: str) -> dict[str, Any]:
    difference = (found - computed) / computed if computed else float(found != 0)
    return {
        "quantity": quantity,
        "unit": unit,
        "computed": computed,
        "measured": found,
        "difference": difference,
        "note": (reason or UNEXPLAINED) if abs(difference) > ALIKE else "",
    }


def _other_activations(config: RunConfig, vocab_size: int, found: int) -> str:
    """Why activations are not those of the closed form, which is for float32 and bf16 on a CPU; "" if nothing is."""
    training, held = config.training, accounting.training_memory(config, vocab_size)
    least = accounting.least_activation_bytes(config.model, vocab_size, training.micro_batch()) / (1 + training.compile)
    most = (1 + ALIKE) * held["activations"]
    causes = []
    device = training.device.partition(":")[0]
    if training.precision != "fp32" and (device, training.precision) != ("cpu", "bf16"):
        causes.append(f"{training.precision} halves what products keep, and converted weights are kept")
        most += held["weights"] / 2
    if device != "cpu":
        causes.append(f"on {device} other kernels compute norms, dropout and attention")
        most *= 2
    if training.compile:
        causes.append("compiled code computes some of it anew instead of keeping it")
    return "; ".join(causes) if least <= found <= most else ""


def _other_peak(config: RunConfig, vocab_size: int, activations: int, found: int) -> str:
    """Why the peak is not the sum of the parts, the activations as they were measured; "" if nothing explains it."""
    held = accounting.training_memory(config, vocab_size)
    others = activations - held["activations"]
    surplus = found - sum(held.values()) - others
    told = "the activations are others, as said; " if abs(others) > ALIKE * held["activations"] else ""
    if -min(held["gradients"], activations) <= surplus < 0:
        return f"{told}gradients appear while activations go, so the parts are never whole at once"
    kept = accounting.training_activations(config, vocab_size)
    passing = PASSING * max(held["weights"], *kept.values()) + (0 if config.training.device == "cpu" else WORKSPACE)
    if 0 <= surplus <= passing:
        return f"{told}what the backward pass and the optimizer take while they compute comes on top"
    return ""


def _other_time(least: float, found: float, disturbance: str | None) -> str:
    """Why a step takes other than its operations at the speed of a large product; "" if nothing explains it."""
    share = least / found
    if share > 2 or (share < LEAST_SHARE and found > START_UP and not disturbance):
        return ""
    reason = (
        "faster than a large product alone: other work on this machine may have slowed that"
        if share > 1
        else f"{100 * share:.0f} % of the speed of a large product: norms, softmax, the optimizer and small products "
        "take their time"
    )
    return f"{reason}; {disturbance}" if disturbance else reason
