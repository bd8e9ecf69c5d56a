"""What Jupyter shows: text, and a run by its final numbers and its learning curve."""

import html
from pathlib import Path

from letterloom.reporting.curves import draw_curves, image
from letterloom.reporting.reading import Score, read_run


def render_run(path: Path) -> str:
    """A run directory, finished or not, as HTML for the output of a cell.

    Raises:
        RunError, DataMismatchError: as `letterloom.reporting.reading.read_run`.
    """
    run = read_run(path)
    lines = [str(path), *map(_line, run.scores)]
    if not run.scores:
        lines.append("not finished")
    svg = image(draw_curves(run.curves), "svg").decode()
    return preformatted("\n".join(lines)) + svg[svg.index("<svg") :]


def preformatted(text: str) -> str:
    """Text as HTML that looks as the printed output of a cell does, which a bare <pre> does not everywhere."""
    return f'<pre style="font-family: monospace; line-height: 1.3; margin: 0">{html.escape(text)}</pre>'


def _line(score: Score) -> str:
    interval = "" if score.interval is None else "  (95 %: {:.4f} to {:.4f})".format(*score.interval)
    measured = f"{score.characters:,} characters, {score.protocol}"
    return f"{score.split:8}  {score.bits:.4f} bits per character{interval}  on {measured}"
