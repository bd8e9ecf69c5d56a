"""The report of a run: one page to read and one in Markdown, made from the files of the run alone."""

import math
import shlex
from pathlib import Path
from typing import Any

from letterloom import __version__, accounting, storage
from letterloom.errors import RunError
from letterloom.generation.terminal import escape_controls
from letterloom.reporting import markup, standing
from letterloom.reporting.curves import Curves, draw_curves, image
from letterloom.reporting.diagnosis.diagnose import diagnose
from letterloom.reporting.diagnosis.finding import Finding
from letterloom.reporting.page import inline, render
from letterloom.reporting.reading import RunRecord, Sample, Score, read_run

FILES = ("loss.svg", "loss.png", "standing.svg", "report.md", "report.html")
PICTURED = "Training and validation loss against steps"
STEPS_SHOWN = 6
SAMPLE_CHARACTERS_SHOWN = 1000
WORSE_THAN_BLIND = 32.0  # bits per character: four bytes, each guessed blindly
PROTOCOLS = {
    "blocks": "the text in consecutive windows, each starting cold",
    "sliding": "at least 3/4 of the context before each character",
}


def write_report(path: Path) -> tuple[Finding, ...]:
    """Write loss.svg, loss.png, report.md and report.html into a run directory, finished or not; then standing.svg too.

    The same files of the run give the same bytes. report.html stands alone: no script, nothing loaded.

    Returns:
        The diagnosis, which the report tells too.

    Raises:
        RunError: `path` is no run directory, or a folder lies where a file of the report belongs.
        DataMismatchError: a file in it is missing or damaged; it is named.
    """
    run = read_run(path)
    for folder in (path / name for name in FILES if (path / name).is_dir()):
        raise RunError(f"{folder} is a folder where the report has a file; move it away")
    findings = diagnose(run)
    figure = draw_curves(run.curves)
    svg = image(figure, "svg")
    content = _content(run, findings)
    pictures = {"curves": inline(svg, PICTURED), "standing": None}
    if rows := standing.standing(run):
        placed = image(standing.draw_standing(rows), "svg")
        storage.write_file(path / "standing.svg", placed)
        pictures["standing"] = inline(placed, standing.PICTURED)
    storage.write_file(path / "loss.svg", svg)
    storage.write_file(path / "loss.png", image(figure, "png"))
    storage.write_file(path / "report.md", render("report.md.jinja", content))
    page = render("report.html.jinja", content | pictures)
    storage.write_file(path / "report.html", page)
    return findings


def _content(run: RunRecord, findings: tuple[Finding, ...]) -> dict[str, Any]:
    """What both templates show, as text and numbers."""
    score = run.score("held out")
    return {
        "name": markup.plain(run.name),
        "version": __version__,
        "config": run.config,
        "vocab_size": run.vocab_size,
        "progress": run.progress,
        "scores": run.scores,
        "score": score,
        "meaning": _meaning(score, run) if score else _state(run.curves),
        "protocols": {score.protocol: PROTOCOLS[score.protocol] for score in run.scores if score.protocol in PROTOCOLS},
        "verdict": standing.verdict(run, findings),
        "baselines": run.baselines,
        "remarks": run.remarks,
        "copied": _copied(run),
        "finetuned": run.finetuned,
        "findings": findings,
        "final_step": run.final_step,
        "final_model": "the finished model" if run.final_step == run.finished_step else "the newest sample",
        "samples": _samples(run),
        "corpus": list(markup.rows(run.corpus)),
        "model": _model(run),
        "settings": {name: list(markup.rows(values)) for name, values in run.config.model_dump(mode="json").items()},
        "environment": list(markup.rows(run.environment)),
        "command": markup.plain(_command(run)),
    }


def _meaning(score: Score, run: RunRecord) -> str:
    """What the final number is worth, in plain words."""
    bits, uniform = score.bits, math.log2(run.vocab_size)
    if bits > WORSE_THAN_BLIND:
        return f"That is further off than blind guessing, which costs {uniform:.2f} bits an id: the training diverged."
    if run.config.text.tokenizer == "bytes":
        guess = f"{uniform:.2f} bits per byte"
    else:
        share = f"; the model needs {100 * bits / uniform:.0f} % of that" if uniform else ""
        guess = f"{uniform:.2f} bits per character{share}"
    return (
        f"At each of {score.characters:,} characters it had never seen, the model was as uncertain as someone "
        f"choosing among {2**bits:.1f} equally likely ones. Guessing blindly among all {run.vocab_size:,} of its "
        f"vocabulary costs {guess}. A compressor driven by the model would store that text in about "
        f"{markup.metric(score.characters * bits / 8, 'B')}."
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


def _samples(run: RunRecord) -> list[dict[str, Any]]:
    """Samples spread over the run: of the final step all, of the others the first prompt's."""
    steps = list(run.samples)
    n_shown = min(STEPS_SHOWN, len(steps))
    spread = {steps[i * (len(steps) - 1) // max(1, n_shown - 1)] for i in range(n_shown)}
    earlier = [run.samples[step][0] for step in sorted(spread - {run.final_step}, reverse=True)]
    return [show_sample(sample) for sample in run.final_samples + earlier]


def show_sample(sample: Sample) -> dict[str, Any]:
    """A sample for a template: cut where it is long, control characters written out."""
    shown = sample.text[:SAMPLE_CHARACTERS_SHOWN]
    return {
        "step": sample.step,
        "prompt": markup.plain(sample.prompt),
        "text": escape_controls(shown),
        "shown": len(shown),
        "characters": len(sample.text),
    }


def _copied(run: RunRecord) -> dict[str, Any] | None:
    """What the last samples have in common with the training text; None where that was not measured."""
    if run.copying is None:
        return None
    texts, human = run.copying["texts"], run.copying["human"]
    none = dict.fromkeys(texts["shares"])
    columns = {
        "samples": texts["shares"],
        "human": human["shares"] if human else none,
        "highest": human["highest_shares"] if human else none,
    }
    rows = [
        {"n": n}
        | {name: "none" if (share := shares[n]) is None else f"{share:.1%}" for name, shares in columns.items()}
        for n in texts["shares"]
    ]
    longest = texts["longest"]["text"] if texts["longest"] else ""
    return {"longest": escape_controls(longest), "human": human["longest"] if human else [], "rows": rows}


def _model(run: RunRecord) -> dict[str, Any]:
    """The parameter table, what a step costs, and what takes memory."""
    model, training = run.config.model, run.config.training
    forward = accounting.forward_flops(model, run.vocab_size, model.context_length)
    sequence = accounting.training_flops(model, run.vocab_size, model.context_length, training.lora_rank)
    memory = run.memory()
    disk = run.checkpoint_bytes()
    return {
        "components": accounting.components(model, run.vocab_size),
        "parameters": run.parameters,
        "work": {
            "forward pass, a character": markup.metric(forward / model.context_length, "FLOP"),
            "training step": markup.metric(training.batch_size * sequence, "FLOP"),
        },
        "memory": {
            **{name: markup.metric(count, "B") for name, count in memory.items()},
            "to train, in all": markup.metric(sum(memory.values()), "B"),
            "cache to generate one text": markup.metric(accounting.cache_bytes(model), "B"),
            **{f"on disk: {name}": markup.metric(count, "B") for name, count in disk.items()},
        },
    }


def _from_here(path: Path) -> str:
    path = path.resolve()
    return shlex.quote(str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path))


def _command(run: RunRecord) -> str:
    """The command line that trains the same model again."""
    file = _from_here(run.directory.config_file)
    command = f"letterloom train --config {file}"
    if about := run.directory.finetuning():
        command = f"letterloom finetune {_from_here(Path(about['base']['path']))} --config {file}"
        command += " --characters text" if about["characters"]["dropped"] else ""
    return f"{command} < THE-SAME-TEXT" if "-" in run.config.text.corpus else command
