"""The report of a run: one page to read and one in Markdown, made from the files of the run alone."""

import math
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from letterloom import __version__, accounting, storage
from letterloom.config import RunConfig
from letterloom.errors import ConfigError, DataMismatchError, RunError
from letterloom.generation.terminal import escape_controls
from letterloom.reporting import markup
from letterloom.reporting.curves import COLOURS, Curves, draw_curves, image, read_curves
from letterloom.runs.directory import RunDirectory, is_run

SAMPLES_SHOWN = 6
SAMPLE_CHARACTERS_SHOWN = 1000
WORSE_THAN_BLIND = 32.0  # bits per character: four bytes, each guessed blindly
PROTOCOLS = {
    "blocks": "the text in consecutive windows, each starting cold",
    "sliding": "at least 3/4 of the context before each character",
}


def write_report(run: Path) -> None:
    """Write loss.svg, loss.png, report.md and report.html into a run directory, finished or not.

    The same files of the run give the same bytes. report.html stands alone: no script, nothing loaded.

    Raises:
        RunError, DataMismatchError: `run` is no run directory, or a file in it is missing or damaged; it is named.
    """
    if not is_run(run):
        raise RunError(
            f"{run} is not a run directory (it has no run.toml); give the folder that `letterloom train` made"
        )
    directory = RunDirectory(run)
    with _damage_in(directory.metrics_file):
        metrics = directory.metrics()
        curves, progress = read_curves(metrics), _progress(metrics)
    figure = draw_curves(curves)
    svg = image(figure, "svg")
    content = _content(directory, curves) | {"progress": progress}
    storage.write_file(run / "loss.svg", svg)
    storage.write_file(run / "loss.png", image(figure, "png"))
    storage.write_file(run / "report.md", _render("report.md.jinja", content))
    storage.write_file(run / "report.html", _render("report.html.jinja", content | {"curves": _inline(svg)}))


def _content(run: RunDirectory, curves: Curves) -> dict[str, Any]:
    """What both templates show, as text and numbers."""
    with _damage_in(run.config_file):
        config = run.config()
    vocab_size = run.tokenizer().vocab_size
    scores = _scores(run)
    score = next((score for score in scores if score["protocol"] == "blocks"), scores[0] if scores else None)
    return {
        "name": markup.plain(run.path.resolve().name),
        "version": __version__,
        "config": config,
        "vocab_size": vocab_size,
        "scores": scores,
        "score": score,
        "meaning": _meaning(score, config, vocab_size) if score else _state(curves),
        "protocols": PROTOCOLS,
        "samples": _samples(run),
        "corpus": list(markup.rows(run.corpus())),
        "model": _model(config, vocab_size),
        "settings": {name: list(markup.rows(section)) for name, section in config.model_dump(mode="json").items()},
        "environment": list(markup.rows(run.environment())),
        "command": markup.plain(_command(run, config)),
    }


def _meaning(score: dict[str, Any], config: RunConfig, vocab_size: int) -> str:
    """What the final number is worth, in plain words."""
    bits, uniform = score["bits"], math.log2(vocab_size)
    if bits > WORSE_THAN_BLIND:
        return f"That is further off than blind guessing, which costs {uniform:.2f} bits an id: the training diverged."
    if config.text.tokenizer == "bytes":
        guess = f"{uniform:.2f} bits per byte"
    else:
        share = f"; the model needs {100 * bits / uniform:.0f} % of that" if uniform else ""
        guess = f"{uniform:.2f} bits per character{share}"
    return (
        f"At each of {score['characters']:,} characters it had never seen, the model was as uncertain as someone "
        f"choosing among {2**bits:.1f} equally likely ones. Guessing blindly among all {vocab_size:,} of its "
        f"vocabulary costs {guess}. A compressor driven by the model would store that text in about "
        f"{markup.metric(score['characters'] * bits / 8, 'B')}."
    )


def _state(curves: Curves) -> str:
    """Where a run without a final number stands."""
    state = "This run has not finished: there is no final evaluation of it."
    if curves.best is None:
        return f"{state} It has not been validated yet either."
    step, nats = curves.best
    return (
        f"{state} The best validation so far, on part of the validation text, is {nats:.4f} nats = "
        f"{nats / math.log(2):.3f} bits per character, after step {step:,}."
    )


def _progress(metrics: list[dict[str, Any]]) -> dict[str, float] | None:
    """Steps, characters and seconds of training so far; None before the first step."""
    last = next((line for line in reversed(metrics) if line["kind"] == "train"), None)
    if last is None:
        return None
    return {"step": int(last["step"]), "characters": int(last["characters"]), "seconds": float(last["seconds"])}


def _scores(run: RunDirectory) -> list[dict[str, Any]]:
    """The final numbers, one entry a protocol, with the interval in bits; empty while the run is not finished."""
    with _damage_in(run.evaluation_file):
        scores: list[dict[str, Any]] = []
        for protocol, score in (run.evaluation() or {}).items():
            interval = score["interval"]
            scores.append(
                {
                    "protocol": protocol,
                    "nats": float(score["nats_per_character"]),
                    "bits": float(score["bits_per_character"]),
                    "interval": interval and [float(interval[end]) / math.log(2) for end in ("low", "high")],
                    "characters": int(score["characters"]),
                    "context_length": int(score["context_length"]),
                    "seconds": float(score["seconds"]),
                }
            )
    return scores


def _samples(run: RunDirectory) -> list[dict[str, Any]]:
    """Samples spread over the run, the first and the last among them, control characters written out."""
    files = run.samples()
    steps = list(files)
    n_shown = min(SAMPLES_SHOWN, len(steps))
    samples = []
    for step in (steps[i * (len(steps) - 1) // max(1, n_shown - 1)] for i in range(n_shown)):
        try:
            text = files[step].read_bytes().decode()  # not read_text: it would turn a carriage return into a newline
        except (OSError, UnicodeDecodeError) as error:
            raise RunError(f"cannot read the sample {files[step]}: {error}; remove it or restore it") from None
        shown = text[:SAMPLE_CHARACTERS_SHOWN]
        samples.append({"step": step, "text": escape_controls(shown), "shown": len(shown), "characters": len(text)})
    return samples


def _model(config: RunConfig, vocab_size: int) -> dict[str, Any]:
    """The parameter table and what a step costs."""
    model, training = config.model, config.training
    components = accounting.components(model, vocab_size)
    forward = accounting.forward_flops(model, vocab_size, model.context_length)
    return {
        "components": components,
        "parameters": sum(component.count for component in components),
        "costs": {
            "forward pass, a character": markup.metric(forward / model.context_length, "FLOP"),
            "training step": markup.metric(
                training.batch_size * accounting.training_flops(model, vocab_size, model.context_length), "FLOP"
            ),
            "weights, gradients and optimizer state": markup.metric(
                accounting.training_bytes(model, vocab_size, config.optimizer), "B"
            ),
            "cache to generate one text": markup.metric(accounting.cache_bytes(model), "B"),
        },
    }


def _command(run: RunDirectory, config: RunConfig) -> str:
    """The command line that trains the same model again."""
    file = run.config_file.resolve()
    file = file.relative_to(Path.cwd()) if file.is_relative_to(Path.cwd()) else file
    command = f"letterloom train --config {shlex.quote(str(file))}"
    return f"{command} < THE-SAME-TEXT" if "-" in config.text.corpus else command


def _render(template: str, content: dict[str, Any]) -> str:
    """Fill a template; in HTML every value is escaped, in Markdown the template puts it into code."""
    environment = Environment(
        loader=PackageLoader("letterloom.reporting", ""),
        autoescape=template == "report.html.jinja",
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {name: getattr(markup, name) for name in ("plain", "metric", "duration", "fence", "code")}
    return environment.get_template(template).render(content)


def _inline(svg: bytes) -> Markup:
    """The curves as part of a page: its colours, its font, and a name for those who cannot see it."""
    text = svg.decode()
    for name, colour in COLOURS.items():
        text = text.replace(colour, f"var(--{name})")
    text = text[text.index("<svg") :].replace(
        "<svg", '<svg role="img" aria-label="Training and validation loss against steps"', 1
    )
    return Markup(text)  # drawn by us, from numbers alone


@contextmanager
def _damage_in(file: Path) -> Iterator[None]:
    """Tell which file it is that does not hold what a run writes."""
    try:
        yield
    except (ConfigError, DataMismatchError) as error:
        raise RunError(f"{file} is damaged: {error}") from None
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise RunError(f"{file} is damaged ({type(error).__name__}: {error}); restore it from a copy") from None
