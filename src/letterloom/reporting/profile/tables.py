"""The figures of a profile as tables of text, the same for the terminal, for Markdown and for a page."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from letterloom.config import ModelConfig
from letterloom.reporting.markup import duration, metric, plain, rows

DIMENSIONS = {  # whose description is not that of a setting
    "vocab_size": "Distinct ids (V): characters, or bytes; and the end of a text where there are several.",
    "d_head": "Width of one attention head (K = D / H).",
    "d_ff": "Width of the MLP's hidden layer (F).",
}
STATE = {  # of an optimizer
    "adamw": "two values a parameter, and a count of steps for each tensor",
    "sgd": "a value a parameter where there is momentum",
    "muon": "a value for each weight of the blocks' matrices; of the rest as adamw",
}


@dataclass(frozen=True)
class Table:
    """A table of text: its heads, how its columns are set (l left, r right), its rows, and what is said below it."""

    title: str
    heads: tuple[str, ...]
    columns: str
    rows: Sequence[tuple[str, ...]]
    note: str = ""


def tables(told: Mapping[str, Any]) -> list[Table]:
    """The tables of a profile (its `figures`), in their order; what could not be told is left out."""
    found = [_dimensions(told["dimensions"])]
    if told["parameters"]:
        found += [_parameters(told["parameters"]), _memory(told), _computation(told["computation"])]
    found += [_training(told), _inference(told)]
    if told["measured"]:
        found.append(_measured(told))
    if told["comparison"]:
        found.append(_comparison(told["comparison"]))
    return found


def _dimensions(dimensions: Mapping[str, Any]) -> Table:
    about = {name: field.description or "" for name, field in ModelConfig.model_fields.items()} | DIMENSIONS
    return Table(
        "Dimensions",
        ("dimension", "value", "what it is"),
        "lrl",
        [(name, "unknown" if value is None else plain(value), about[name]) for name, value in dimensions.items()],
    )


def _parameters(parameters: Mapping[str, Any]) -> Table:
    total = plain(parameters["total"])
    return Table(
        "Parameters",
        ("component", "calculation", "each", "copies", "parameters"),
        "llrrr",
        [
            (c["name"], c["calculation"], plain(c["each"]), plain(c["copies"]), plain(c["count"]))
            for c in parameters["components"]
        ]
        + [("total", "", "", "", total)],
    )


def _memory(told: Mapping[str, Any]) -> Table:
    memory, dimensions = told["memory"], told["dimensions"]
    optimizer, rank = told["settings"]["optimizer"]["name"], told["settings"]["training"]["lora_rank"]
    only = ", of those that are trained" if rank else ""
    sequences = memory["activations_of_sequences"]
    heads = f"{dimensions['n_layers']} x {dimensions['n_heads']} heads"
    mask = f"a {dimensions['context_length']} x {dimensions['context_length']} mask"
    lines = {
        "weights": ("4 bytes a parameter" + (f", factors of rank {rank} among them" if rank else ""), "weights_bytes"),
        "gradients": (f"4 bytes a parameter{only}", "gradients_bytes"),
        "optimizer state": (f"{optimizer}: {STATE[optimizer]}{only}", "optimizer_state_bytes"),
        "averaged weights": ("4 bytes a parameter", "averaged_weights_bytes"),
        "activations": (f"kept for the backward pass; sequences at a time: {sequences:,}", "activations_bytes"),
        "training, in all": ("the sum of these", "training_bytes"),
        "cache": ("keys, values and two embeddings of one text being generated", "cache_bytes"),
        "with masks": (f"weights, and {mask} of floats for each of {heads}", "masked_model_bytes"),
    }
    return Table(
        "Memory, computed",
        ("what", "of what", "bytes", "MB", "MiB"),
        "llrrr",
        [
            (name, of, plain(memory[key]), f"{memory[key] / 1e6:,.2f}", f"{memory[key] / 2**20:,.2f}")
            for name, (of, key) in lines.items()
            if key in memory
        ],
        "Activations are those of a CPU: in bf16 if that is the precision, in any other in float32. 1 MB is 1,000,000 "
        "bytes, 1 MiB is 1,048,576. Lectures on GPTs count a model with its masks, and call the MiB MB; Letterloom "
        "keeps no masks.",
    )


def _computation(computation: Mapping[str, float]) -> Table:
    lines = {
        "a character, forward": "forward_flops_per_character",
        "a character, forward and backward": "training_flops_per_character",
        "a training step": "training_flops_per_step",
    }
    return Table(
        "Computation",
        ("of what", "operations", ""),
        "lrr",
        [(name, plain(round(computation[key])), metric(computation[key], "FLOP")) for name, key in lines.items()],
        "Matrix products alone, a multiply-add as two operations, at full contexts, attention over all pairs; the "
        "optimizer is not in it.",
    )


def _training(told: Mapping[str, Any]) -> Table:
    training, settings = told["training"], told["settings"]
    return Table(
        "Training", ("setting", "value"), "ll", list(_hyperparameters(training, settings["optimizer"], settings))
    )


def _hyperparameters(
    training: Mapping[str, Any], optimizer: Mapping[str, Any], settings: Mapping[str, Any]
) -> Iterator[tuple[str, str]]:
    name = optimizer["name"]
    momentum = {
        "sgd": f"momentum {optimizer['momentum']:g}",
        "adamw": f"betas {optimizer['beta1']:g} and {optimizer['beta2']:g}",
        "muon": f"momentum {optimizer['muon_momentum']:g}; beside it AdamW, betas {optimizer['beta1']:g} and "
        f"{optimizer['beta2']:g}",
    }
    yield "optimizer", f"{name}, {momentum[name]}, weight decay {optimizer['weight_decay']:g}"
    rate = f"{optimizer['learning_rate']:g}"
    if settings["training"]["lora_rank"]:
        rate += f"; of factors {optimizer['lora_learning_rate']:g}"
    yield "learning rate", rate if name != "muon" else f"{optimizer['muon_learning_rate']:g}; of AdamW {rate}"
    ends = "" if optimizer["schedule"] == "constant" else f" to {optimizer['final_fraction']:g} of the peak"
    warmup = optimizer["warmup_steps"]
    yield "schedule", f"{optimizer['schedule']}{ends}" + (f", after {warmup:,} steps of warm-up" if warmup else "")
    yield "gradient clip", plain(optimizer["gradient_clip"])
    parts = settings["training"]["micro_batches"]
    yield "batch size", f"{training['batch_sequences']:,} sequences" + (f", in {parts:,} parts" if parts > 1 else "")
    yield "characters a batch", plain(training["batch_characters"])
    limits = {
        unit: settings["training"][f"max_{unit}"]
        for unit in ("steps", "epochs", "minutes")
        if settings["training"][f"max_{unit}"] is not None
    }
    limit = " or ".join(f"{plain(value)} {unit}" for unit, value in limits.items())
    steps = training["steps"]
    yield "length", limit if steps is None or "steps" in limits else f"{limit}, about {steps:,} steps"
    if training["seconds"] is not None:
        yield "time of all steps", f"{duration(training['seconds'])}, at the speed measured below, without validations"
    if training["trained_steps"]:
        trained = duration(training["trained_seconds"])
        yield "time of the run", f"{trained} for {training['trained_steps']:,} steps, validations and samples included"
    guess = training["loss_of_blind_guessing_nats"]
    yield "loss", training["loss"] + ("" if guess is None else f"; guessing blindly costs {guess:.3f} nats a character")
    places = "{dropout:g}, on attention weights {attention_dropout:g}, in the MLP's hidden layer {mlp_dropout:g}"
    yield "dropout", places.format(**settings["model"])


def _inference(told: Mapping[str, Any]) -> Table:
    inference = told["inference"]
    return Table(
        "Inference",
        ("setting", "value"),
        "ll",
        [
            (
                "method",
                f"temperature sampling, by default at {inference['temperature']:g}; top-k, top-p, min-p on demand",
            ),
            (
                "window",
                f"slides over the last {inference['window_characters']:,} characters; when it is full, it jumps by "
                f"{inference['window_jump_characters']:,}",
            ),
            (
                "cache",
                f"keys, values and two embeddings, {metric(inference['cache_bytes'], 'B')}; filled anew at each jump",
            ),
        ],
    )


def _measured(told: Mapping[str, Any]) -> Table:
    measured = told["measured"]
    peak, share = measured["product_flops_per_second"], measured["share_of_product_speed"]
    lines = [
        ("source", f"{measured['source']}; the median of {measured['steps']:,}"),
        ("time of a step", milliseconds(measured["seconds_per_step"])),
        ("characters a second, of steps alone", plain(round(measured["characters_per_second"]))),
        ("speed", f"{metric(measured['flops_per_second'], 'FLOP/s')}"),
    ]
    if peak:
        lines.append(
            ("share of peak", f"{100 * share:.0f} % of {metric(peak, 'FLOP/s')}, a large product's speed here")
        )
    environment = [(name.replace("_", " "), value) for name, value in rows(measured["environment"])]
    process = measured["memory"].get("process_bytes")
    if process:
        lines.append(
            ("memory of the process", f"{metric(process, 'B')} at most, with Python, PyTorch and their buffers")
        )
    return Table("Measured", ("quantity", "value"), "ll", lines + environment)


def _comparison(comparison: list[Mapping[str, Any]]) -> Table:
    def text(value: float, unit: str) -> str:
        return plain(value) if unit == "bytes" else milliseconds(value)

    return Table(
        "Measured beside computed",
        ("quantity", "computed", "measured", "difference", "why"),
        "lrrrl",
        [
            (
                f"{row['quantity']}, {'bytes' if row['unit'] == 'bytes' else 'at peak'}",
                text(row["computed"], row["unit"]),
                text(row["measured"], row["unit"]),
                f"{100 * row['difference']:+.1f} %",
                row["note"],
            )
            for row in comparison
        ],
        "Differences of up to 2 % are given no reason. The peak is held against the sum of all parts.",
    )


def milliseconds(seconds: float) -> str:
    """A short time with three digits: 12.3 ms; from a second on as any duration."""
    return duration(seconds) if seconds >= 1 else f"{1000 * seconds:.3g} ms"
