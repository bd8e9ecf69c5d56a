"""What a person sees while a model trains: a live line on a terminal (on stderr) and in Jupyter, else plain lines."""

import time
from contextlib import suppress

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from letterloom import accounting
from letterloom.config import RunConfig
from letterloom.reporting.notebook import preformatted
from letterloom.runs.directory import RunDirectory
from letterloom.text.encoding import Corpus
from letterloom.training.recorder import Event

PLAIN_LINE_SECONDS = 10.0
NOTEBOOK_UPDATE_SECONDS = 0.25


def build_display(quiet: bool = False) -> "PlainDisplay":
    """The display that fits a notebook's cell, or else standard error; a quiet one shows nothing."""
    console = _Console(stderr=True, highlight=False, quiet=quiet)
    if console.is_jupyter:
        return NotebookDisplay(console)
    return LiveDisplay(console) if console.is_terminal and not console.is_dumb_terminal else PlainDisplay(console)


class _Console(Console):
    """A console that falls silent when its reader goes away; rich would end the process, and the training with it."""

    def on_broken_pipe(self) -> None:
        """Write nothing from now on."""
        self.quiet = True


class PlainDisplay:
    """A line every ten seconds, and one for each validation."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._next = 0.0
        self._first: Event | None = None

    def record(self, event: Event) -> None:
        """Print the event, if it is time."""
        if event["kind"] == "train":
            now = time.monotonic()
            if now >= self._next:
                self._next = now + PLAIN_LINE_SECONDS
                self._print("  ".join(filter(None, self.describe(event))))
        elif event["kind"] == "validation":
            self._print(_validation(event))

    def tell(self, message: str) -> None:
        """Print a line of its own."""
        self._print(message)

    def close(self) -> None:
        """Nothing is left open."""

    def describe(self, event: Event) -> tuple[str, str]:
        """A step's figures and the time left; that and the speed are measured since this display's first event."""
        first = self._first = self._first or event
        seconds = event["seconds"] - first["seconds"]
        done = event["progress"] - first["progress"]
        figures = (
            f"step {event['step']:,}  loss {event['loss']:.4f} nats  {event['bits_per_character']:.3f} bpc  "
            f"rate {event['learning_rate']:.1e}"
        )
        if not (seconds > 0 and done > 0):
            return figures, ""
        speed = (event["characters"] - first["characters"]) / seconds
        return f"{figures}  {speed:,.0f} characters/s", f"{_duration(seconds * (1 - event['progress']) / done)} left"

    def _print(self, line: str) -> None:
        with suppress(OSError):  # a full disk under a log of progress is no reason to end a training
            self._console.print(line, markup=False, soft_wrap=True)


class LiveDisplay(PlainDisplay):
    """A bar with the time left and the newest figures, under the validations so far; made for 80 columns."""

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        self._live = Live(console=console, transient=True, refresh_per_second=4)

    def record(self, event: Event) -> None:
        """Move the bar, or print the validation above it."""
        if event["kind"] == "validation":
            self._print(_validation(event))
            return
        figures, left = self.describe(event)
        bar = Table.grid(padding=(0, 2, 0, 0))
        bar.add_row(ProgressBar(total=1.0, completed=event["progress"], width=60), left)
        self._live.start()  # once started, it stays so
        self._live.update(Group(bar, Text(figures)))

    def close(self) -> None:
        """Take the bar away; the lines above it stay."""
        self._live.stop()


class NotebookDisplay(PlainDisplay):
    """One output of a Jupyter cell, updated in place: the lines so far, the newest figures, and a bar while it trains.

    Rich's own live display would need ipywidgets, and prints every line as an output of its own without them.
    """

    def __init__(self, console: Console) -> None:
        from IPython.display import display

        super().__init__(console)
        self._lines: list[str] = []
        self._output = display({"text/plain": ""}, raw=True, display_id=True)  # type: ignore[no-untyped-call]  # IPython's

    def record(self, event: Event) -> None:
        """Move the bar, if it is time, or add the validation to the lines."""
        if event["kind"] == "validation":
            self._print(_validation(event))
            return
        figures, left = self.describe(event)
        now = time.monotonic()
        if now >= self._next:
            self._next = now + NOTEBOOK_UPDATE_SECONDS
            self._show(figures, f'<progress value="{event["progress"]:.4f}" style="width: 60ch"></progress> {left}')

    def close(self) -> None:
        """Take the bar away; the lines stay."""
        self._show()

    def _print(self, line: str) -> None:
        self._lines.append(line)
        self._next = 0.0  # the bar comes back with the next step
        self._show()

    def _show(self, figures: str = "", bar: str = "") -> None:
        text = "\n".join([*self._lines, figures])
        content = {"text/plain": text, "text/html": preformatted(text) + bar}
        self._output.update(content, raw=True)


def _validation(event: Event) -> str:
    mark = "  best so far" if event["best"] else ""
    return (
        f"step {event['step']:,}  validation {event['nats_per_character']:.4f} nats = "
        f"{event['bits_per_character']:.4f} bpc ({event['protocol']}){mark}"
    )


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def beginning(run: RunDirectory, config: RunConfig, corpus: Corpus, step: int, processes: int) -> str:
    """What is told before a step is done: where, on what, with what; in lines."""
    training, description, vocab_size = config.training, corpus.description, corpus.tokenizer.vocab_size
    count = sum(accounting.parameters(config.model, vocab_size).values())
    verb = f"continuing at step {step:,}" if step else "training"
    together = f", processes: {processes}" if processes > 1 else ""
    lines = [
        f"{verb} in {run.path}",
        f"{description['characters']:,} characters, vocabulary {vocab_size}; {count:,} parameters",
        f"{training.device}, {training.precision}, threads: {training.threads}{together}",
    ]
    return "\n".join([*lines, *description["notes"]])
