"""What a person sees while a model trains: a live line on a terminal, plain lines elsewhere; always on stderr."""

import time

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.text import Text

from letterloom.training.recorder import Event

PLAIN_LINE_SECONDS = 10.0


def build_display() -> "LiveDisplay | PlainDisplay":
    """The display that fits standard error."""
    console = Console(stderr=True, highlight=False)
    return LiveDisplay(console) if console.is_terminal else PlainDisplay(console)


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
                self._print(self.describe(event))
        elif event["kind"] == "validation":
            self._print(_validation(event))

    def tell(self, message: str) -> None:
        """Print a line of its own."""
        self._print(message)

    def close(self) -> None:
        """Nothing is left open."""

    def describe(self, event: Event) -> str:
        """One step as a line; speed and time left are measured since this display's first event."""
        first = self._first = self._first or event
        seconds = event["seconds"] - first["seconds"]
        done = event["progress"] - first["progress"]
        speed = (event["characters"] - first["characters"]) / seconds if seconds else 0.0
        left = _duration(seconds * (1 - event["progress"]) / done) if done > 0 else "?"
        return (
            f"step {event['step']:,}  loss {event['loss']:.4f} nats  {event['bits_per_character']:.3f} bpc  "
            f"rate {event['learning_rate']:.1e}  {speed:,.0f} characters/s  {left} left"
        )

    def _print(self, line: str) -> None:
        self._console.print(line, markup=False, soft_wrap=True)


class LiveDisplay(PlainDisplay):
    """A bar and the newest figures, under the validations so far."""

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        self._live = Live(console=console, transient=True, refresh_per_second=4)

    def record(self, event: Event) -> None:
        """Move the bar, or print the validation above it."""
        if event["kind"] == "validation":
            self._print(_validation(event))
            return
        bar = ProgressBar(total=1.0, completed=event["progress"], width=60)
        self._live.start()  # once started, it stays so
        self._live.update(Group(bar, Text(self.describe(event))))

    def close(self) -> None:
        """Take the bar away; the lines above it stay."""
        self._live.stop()


def _validation(event: Event) -> str:
    mark = "  best so far" if event["best"] else ""
    return (
        f"step {event['step']:,}  validation {event['nats_per_character']:.4f} nats = "
        f"{event['bits_per_character']:.4f} bits per character ({event['protocol']}){mark}"
    )


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
