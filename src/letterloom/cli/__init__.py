"""The command line: one file a command, imported when that command runs, so that `--help` never waits for torch.

Exit codes are those of `letterloom.errors`; 0 also when the reader of our output goes away (`letterloom ... | head`).
"""

import errno
import io
import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout, suppress
from types import FrameType

from cyclopts import App, CycloptsError

from letterloom import __version__
from letterloom.cli.help import columns
from letterloom.errors import LetterloomError, ResourceError, Terminated, is_out_of_memory, signal_of
from letterloom.training.launch import rank_of_environment

_COMMANDS = {  # name: (what it does, what it takes, an example)
    "train": ("Train a model on a text and measure it.", "[CORPUS ...]", "hamlet.txt --minutes 4 --out runs/hamlet"),
    "resume": ("Continue a run that was stopped, as if it never had been.", "RUN", "runs/hamlet"),
    "finetune": ("Train a model further, on another text.", "RUN CORPUS [CORPUS ...]", "latest names --records lines"),
    "merge": ("Put an adapter into the model that it was made for.", "RUN ADAPTER -o DIR", "latest a/adapter -o b"),
    "generate": ("Write text with a trained model.", "RUN", "latest --prompt HAMLET: -n 300 --temperature 0.7"),
    "repl": ("Continue what you type, with a trained model.", "RUN", "latest --temperature 0.7"),
    "evaluate": ("Measure a model: nats and bits per character.", "RUN [CORPUS ...]", "latest --protocol sliding"),
    "compare": ("Compare two models on the same text, paired.", "RUN RUN [CORPUS ...]", "runs/a runs/b"),
    "score": ("Tell how much each character of a text surprises a model.", "RUN FILE|TEXT", "latest hamlet.txt"),
    "compress": ("Compress a file, losslessly, by a model.", "RUN FILE -o FILE", "latest hamlet.txt -o hamlet.ltz"),
    "decompress": ("Bring back a compressed file.", "RUN FILE -o FILE", "latest hamlet.ltz -o hamlet.txt"),
    "verify": ("Check a run's files, and its model against the NumPy reference.", "RUN", "latest"),
    "quantize": ("Store a model in fewer bits, and tell what that costs.", "RUN", "latest --bits 4"),
    "report": ("Write the report of a run again, or one of several runs.", "RUN [RUN ...]", "runs/a runs/b --out ab"),
    "profile": ("Tell what a model is made of and costs.", "RECIPE|RUN [CORPUS ...]", "lecture-small --json"),
    "baselines": ("Tell what a text costs without a model: n-grams, compressors.", "CORPUS [CORPUS ...]", "hamlet.txt"),
    "inspect": (
        "Tell what a text is like, and what to mend first.",
        "CORPUS [CORPUS ...]",
        "hamlet.txt --html hamlet.html",
    ),
    "corpora": ("List the corpora that are known by name.", "", ""),
    "recipes": ("List the recipes: complete settings by name.", "", ""),
}

_STUDY = {  # commands of `letterloom study`
    "run": ("Run a study: every arm by every seed, statistics, a report.", "STUDY|FILE", "positions --workers 2"),
    "resume": ("Go on with a study where it was.", "STUDY", "positions"),
    "status": ("Tell what has become of each run of a study.", "STUDY", "positions"),
    "report": ("Write the report of a study from what is finished.", "STUDY", "positions --json"),
    "list": ("List the studies that come with Letterloom.", "", ""),
}

app = App(
    name="letterloom",
    help="Train, measure and ship character-level language models from your own text.\n\n"
    "Example: letterloom train hamlet.txt --minutes 4",
    help_format="plaintext",
    usage="Usage: letterloom COMMAND",
    help_formatter=columns,
    version=__version__,
    version_flags=["--version", "-v"],
    suppress_keyboard_interrupt=False,
)
_studies = App(
    name="study",
    help="Answer a question about models by many runs, with statistics.\n\nExample: letterloom study run positions",
    usage="Usage: letterloom study COMMAND",
    version_flags=[],
    sort_key=len(_COMMANDS),
)


def _register(parent: App, name: str, place: int, function: str, words: tuple[str, str, str]) -> None:
    about, takes, example = words
    command = " ".join(["letterloom", *parent.name[: parent is not app], name])
    parent.command(
        f"letterloom.cli.{function}",
        name=name,
        help=f"{about}\n\nExample: {command} {example}",
        usage=f"Usage: {command} {takes} [OPTIONS]".replace("  ", " "),
        version_flags=[],
        sort_key=place,
    )


for _place, (_name, _words) in enumerate(_COMMANDS.items()):
    _register(app, _name, _place, f"{_name}:{_name}", _words)
for _place, (_name, _words) in enumerate(_STUDY.items()):
    _register(_studies, _name, _place, f"study:{'list_studies' if _name == 'list' else _name}", _words)
app.command(_studies)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command (of `sys.argv` by default) and return its exit code; a mistake becomes one line on stderr."""
    for stream in ("stdout", "stderr"):
        if getattr(sys, stream) is None:  # closed before we began, as by `>&-`
            setattr(sys, stream, open(os.devnull, "w", encoding="utf-8"))  # noqa: PTH123, SIM115 (a device; stays open)
    if isinstance(sys.stdout, io.TextIOWrapper):  # UTF-8 in any locale; undecodable bytes of argv go out as they came
        sys.stdout.reconfigure(encoding="utf-8", errors="surrogateescape")
    notices = logging.StreamHandler()
    notices.setFormatter(logging.Formatter("letterloom: %(message)s"))
    logging.getLogger("letterloom").addHandler(notices)
    try:
        with _first_prints(), _sigterm_interrupts():
            app(arguments, exit_on_error=False, print_error=False, result_action="return_value")
            sys.stdout.flush()
    except CycloptsError as error:
        command = " ".join(["letterloom", *(error.command_chain or ())])
        return _fail(f"{error} See `{command} --help`.", LetterloomError.exit_code)
    except LetterloomError as error:
        if error.shared and rank_of_environment():
            return error.exit_code  # rank 0 tells it
        return _fail(f"{error}", error.exit_code)
    except KeyboardInterrupt as error:
        return _fail("interrupted", 128 + signal_of(error))
    except (BrokenPipeError, SystemExit):  # the reader of our output has what it wanted; rich's word for it is an exit
        _discard_output()
    except OSError as error:
        _discard_output()
        place = "standard output" if error.filename is None else repr(error.filename)
        message = f"{error.strerror or error}: {place}; check that it is there, may be used, and has space left"
        return _fail(message, ResourceError.exit_code if error.errno == errno.ENOSPC else LetterloomError.exit_code)
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        return _fail("out of memory; choose a smaller model, batch or context", ResourceError.exit_code)
    finally:
        logging.getLogger("letterloom").removeHandler(notices)
    return 0


@contextmanager
def _sigterm_interrupts() -> Iterator[None]:
    """Within, SIGTERM ends the work as Ctrl-C does, so that nothing half-written stays; training saves first."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def terminated(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 (what signal calls it with)
        raise Terminated

    previous = signal.signal(signal.SIGTERM, terminated)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


@contextmanager
def _first_prints() -> Iterator[None]:
    """Within, of several processes of `torchrun` the first alone writes on standard output."""
    if not rank_of_environment():
        yield
        return
    with open(os.devnull, "w", encoding="utf-8", errors="replace") as nowhere, redirect_stdout(nowhere):  # noqa: PTH123 (a device)
        yield


def _fail(message: str, exit_code: int) -> int:
    rank = rank_of_environment()
    who = f"process {rank}: " if rank else ""
    with suppress(OSError):  # where nobody can be told, the exit code still tells
        print(f"letterloom: error: {who}{' '.join(message.split())}", file=sys.stderr)
    return exit_code


def _discard_output() -> None:
    """Send what is still buffered nowhere, so that the interpreter's last flush cannot fail again."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
