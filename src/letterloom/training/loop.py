"""Train a model, or go on where a run stopped. There is one loop, and this is it."""

import logging
import math
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from letterloom import storage
from letterloom.config import RunConfig
from letterloom.errors import Interrupted, RunError, signal_of
from letterloom.evaluation.copying import BETWEEN, text_of
from letterloom.evaluation.loss import evaluate
from letterloom.runs.checkpoint import Checkpoint, remove_old_checkpoints, save_checkpoint
from letterloom.runs.directory import RunDirectory
from letterloom.runs.environment import differences
from letterloom.runs.finding import is_run
from letterloom.text.batches import batch, steps_per_epoch
from letterloom.text.encoding import Corpus, open_corpus, scored_characters
from letterloom.training.closing import closing_seconds, finish, require_time, scored_at_most, write_samples
from letterloom.training.display import beginning, build_display
from letterloom.training.hardware import environment, out_of_memory_told, resolve_hardware, take_share
from letterloom.training.learner import Learner
from letterloom.training.planning.plan import Kept, make_plan
from letterloom.training.position import Position
from letterloom.training.ranks import Ranks, joined
from letterloom.training.recorder import Recorders
from letterloom.training.requirements import require_all
from letterloom.training.schedules import learning_rate_factor
from letterloom.training.signals import StopSignals
from letterloom.training.start import Start, checkpoint_to_continue, require_start

HELD_OUT_KEPT = 100_000  # ids of the validation split that the run keeps, to hold its samples against
log = logging.getLogger("letterloom")


@dataclass(frozen=True)
class _Begun:
    """What was found out before a run directory was written."""

    corpus: Corpus
    closing: float  # seconds that the end will take, where minutes limit the run
    plan: str  # as it is told; "" where nothing was planned


def train(
    config: RunConfig, out: Path, kept: Kept | None = None, began: float | None = None, start: Start | None = None
) -> RunDirectory:
    """Train into the new run directory `out`, evaluate the best weights, write the report.

    Args:
        config: Every setting, or with `kept` those that a plan begins from.
        out: The run directory.
        kept: The settings, by section, that a plan may not touch (see `planning.plan.make_plan`); None: no plan.
        began: When the command began, by `time.perf_counter`: its minutes count from there; by default now.
        start: What to begin from; by default from scratch.

    Raises:
        CorpusError, ConfigError, ResourceError: before anything is written.
        UnknownCharacterError, DataMismatchError: `start` does not fit the text or the model; likewise.
        LockedError, RunError: `out` is in use, or holds a run already.
        NonFiniteError: the loss or a gradient stopped being finite; the last checkpoint is good.
        Interrupted: a signal came; the last step is saved.
    """
    began = time.perf_counter() if began is None else began
    with joined() as ranks:
        run = ranks.first(lambda: RunDirectory(out))  # the default name tells the time, which may differ
        with ranks.first_in(_created(run, config, ranks, kept, began, start)) as begun:
            return _continue(run, ranks, began, begun, start)


def resume(path: Path) -> RunDirectory:
    """Go on where the run directory `path` stopped, as if it never had; a finished run is evaluated anew.

    On the same machine, with as many processes, every later loss equals, bit for bit, that of a run that never stopped
    (where minutes limit the run, the clock decides its schedule, so that no two runs are equal).

    Raises:
        RunError: `path` is no run directory.
        DataMismatchError: the text has changed, or no checkpoint is whole.
        LetterloomError: as `train`.
    """
    run, began = RunDirectory(path), time.perf_counter()
    with joined() as ranks:
        with ranks.alike():
            if not is_run(path):
                raise RunError(f"{path} is not a run directory; give the folder that `letterloom train` wrote")
        with ranks.first_in(run.locked()):
            return _continue(run, ranks, began)


@contextmanager
def _created(
    run: RunDirectory, config: RunConfig, ranks: Ranks, kept: Kept | None, began: float, start: Start | None
) -> Iterator[_Begun]:
    """Begin a run directory, as soon as everything is known to fit, and hold it; the text that it is about."""
    require_start(start, config)
    take_share(resolve_hardware(config), ranks)
    run.require_free()
    corpus = open_corpus(config.text, start.tokenizer if start else None)
    plan = None if kept is None else make_plan(config, kept, corpus, ranks, began)
    config = resolve_hardware(plan.config if plan else config)
    found = {"corpus": corpus.description, "replay": corpus.description.get("replay", {"corpus": ()})}
    text = config.text.model_copy(update={name: tuple(about["corpus"]) for name, about in found.items()})
    config = config.model_copy(update={"text": text})  # found from any folder
    take_share(config, ranks)
    require_all(run, corpus, config, ranks)
    if start:
        start.require_fit(config.model, run.path)
    closing = closing_seconds(config, corpus, plan.costs if plan else None) + (start.closing if start else 0.0)
    require_time(config.training, time.perf_counter() - began, closing)
    with run.locked():
        run.require_free()  # another process may have come first
        held_out = text_of(corpus.validation[:HELD_OUT_KEPT], corpus.tokenizer).replace(BETWEEN, "\n")
        run.forget_beginning()
        if start:
            start.keep(run, config)
        run.create(config, corpus.tokenizer, corpus.description, environment(config, ranks), held_out)
        yield _Begun(corpus, closing, plan.told if plan else start.told if start else "")


def _continue(
    run: RunDirectory, ranks: Ranks, began: float, begun: _Begun | None = None, start: Start | None = None
) -> RunDirectory:
    """Go on from the newest checkpoint, or begin where there is none, in a run directory that rank 0 holds."""
    with ranks.alike():
        config = resolve_hardware(run.config())
        take_share(config, ranks)
        corpus = begun.corpus if begun else open_corpus(config.text, run.tokenizer(), expected=run.corpus())
    checkpoint = ranks.first(lambda: checkpoint_to_continue(run, start))
    training = _Training(run, config, corpus, checkpoint or start, ranks)
    if checkpoint is None and config.training.max_minutes is not None:
        closing = ranks.first(lambda: begun.closing if begun else closing_seconds(config, corpus))
        training.position.reserved = closing + ranks.largest(time.perf_counter() - began)[0]
    return training.go(begun.plan if begun else "")


class _Training:
    """One process's share of a run: what is open while it lasts."""

    def __init__(
        self, run: RunDirectory, config: RunConfig, corpus: Corpus, origin: Checkpoint | Start | None, ranks: Ranks
    ) -> None:
        self.run, self.config, self.corpus, self.ranks = run, config, corpus, ranks
        self.display = build_display(quiet=not ranks.is_first)
        self.recorders = Recorders()
        with out_of_memory_told(config):
            self.learner = Learner(config, corpus.tokenizer.vocab_size, ranks)
        self._starts = isinstance(origin, Start)
        self.position = Position(finetuned=self._starts)
        if isinstance(origin, Start):
            origin.begin(self.learner, run.path)
        elif origin:
            for difference in differences(run.environment(), environment(config, ranks)):
                log.warning("%s, so losses may differ from those of a run that never stopped", difference)
            with ranks.alike():
                self.position = Position.restored(origin)
                self.learner.load(origin)
            ranks.first(lambda: self._link(origin.path))
        ranks.first(lambda: run.trim_metrics(self.position.step))
        self._epoch = steps_per_epoch(len(corpus.train), config.training.batch_size, config.model.context_length)
        self._ids_per_character = len(corpus.train) / scored_characters(corpus.train, corpus.tokenizer)

    def go(self, plan: str) -> RunDirectory:
        """Train to the end, then evaluate and report."""
        self._earlier, self._since = self.position.seconds, time.perf_counter()
        about = beginning(self.run, self.config, self.corpus, self.position.step, self.ranks.world)
        self.display.tell("\n".join(filter(None, [about, plan])))
        recording = self.recorders.opened(self.run, self.display, self.position.step + 1)
        with self.ranks.first_in(recording), StopSignals() as signals, out_of_memory_told(self.config):
            self._loop(signals)
        if self.position.out_of_patience(self.config.training):
            self.display.tell(f"out of patience: no loss was better than that of step {self.position.best_step:,}")
        try:
            self.ranks.first(out_of_memory_told(self.config)(self._finish))
        except KeyboardInterrupt as error:
            message = "stopped while the finished model was measured; it is saved, measure it with"
            raise Interrupted(f"{message} `letterloom resume {self.run.path}`", signal_of(error)) from None
        return self.run

    def _loop(self, signals: StopSignals) -> None:
        training, position = self.config.training, self.position
        if self._starts:
            self._validate()
            self.ranks.first(self._save)
        progress = position.progress(training, self._epoch)
        while progress < 1.0 and not position.out_of_patience(training):
            x, y = batch(
                self.corpus.train,
                seed=training.seed,
                step=position.step,
                batch_size=training.batch_size,
                context_length=self.config.model.context_length,
                sampling=training.sampling,
                rank=self.ranks.rank,
                world=self.ranks.world,
            )
            factor = learning_rate_factor(self.config.optimizer, position.step, progress)
            loss, gradient_norm = self.learner.update(x, y, position.step, factor)
            position.step += 1
            stop = self._agree(signals)
            progress = position.progress(training, self._epoch)
            self._record_step(loss, gradient_norm, factor, progress)
            ends = progress >= 1.0
            improved = (ends or self._due(training.eval_interval)) and self._validate()
            if self._due(training.sample_interval):
                self.ranks.first(self._sample)
            ends = ends or position.out_of_patience(training)
            if improved or ends or stop or self._due(training.checkpoint_interval):
                self.ranks.first(self._save)
            stop = self._agree(signals) if ends else stop  # no next step will notice what came since
            if stop:
                with self.ranks.alike():
                    raise Interrupted(self._farewell(stop), stop)

    def _agree(self, signals: StopSignals) -> int:
        """Take the clock of the slowest rank for that of all; the signal that came to any of them, or 0."""
        clock = self._earlier + time.perf_counter() - self._since
        self.position.seconds, stop = self.ranks.largest(clock, signals.received or 0)
        return int(stop)

    def _due(self, interval: int) -> bool:
        """Whether the last step completed a multiple of the interval."""
        unit = self._epoch if self.config.training.interval_unit == "epochs" else 1
        step, length = self.position.step, interval * unit
        return step // length > (step - 1) // length

    def _record_step(self, loss: float, gradient_norm: float, factor: float, progress: float) -> None:
        ids_per_step = self.config.training.batch_size * self.config.model.context_length
        self.recorders.record(
            {
                "kind": "train",
                "step": self.position.step,
                "loss": loss,
                "bits_per_character": loss / math.log(2) * self._ids_per_character,
                "learning_rate": self.config.optimizer.learning_rate * factor,
                "gradient_norm": gradient_norm,
                "characters": round(self.position.step * ids_per_step / self._ids_per_character),
                "seconds": self.position.seconds,
                "progress": min(1.0, progress),
            }
        )

    def _validate(self) -> bool:
        """Score part of the validation split; whether it is the best so far."""
        model, corpus, most = self.learner.best_model, self.corpus, self.config.training.eval_characters
        result = self.ranks.first(lambda: evaluate(model, corpus.tokenizer, corpus.validation, max_characters=most))
        best = self.position.validated(result.nats_per_character)
        self.recorders.record(
            {
                "kind": "validation",
                "step": self.position.step,
                "nats_per_character": result.nats_per_character,
                "bits_per_character": result.bits_per_character,
                "characters": result.characters,
                "protocol": result.protocol,
                "best": best,
            }
        )
        return best

    def _sample(self) -> None:
        model, tokenizer = self.learner.best_model, self.corpus.tokenizer
        write_samples(self.run, model, tokenizer, self.config.training, self.position.step)

    def _save(self) -> None:
        """Save a checkpoint, point `last` and `best` at theirs, and remove old ones."""
        self.recorders.sync()
        model, optimizer = self.learner.tensors()
        path = self.run.checkpoint(self.position.step)
        save_checkpoint(
            path,
            step=self.position.step,
            model=model,
            optimizer=optimizer,
            state={"position": asdict(self.position), "learner": self.learner.state()},
            config=self.config,
            tokenizer=self.corpus.tokenizer,
        )
        self._link(path)
        remove_old_checkpoints(self.run, self.config.training.keep_checkpoints)

    def _link(self, last: Path) -> None:
        best = self.run.checkpoint(self.position.best_step)
        storage.set_link(self.run.checkpoints_folder / "last", last)
        storage.set_link(self.run.checkpoints_folder / "best", best if best.exists() else last)

    def _finish(self) -> None:
        most = scored_at_most(self.config.training, len(self.corpus.validation))
        told = f"{most:,} characters of the" if most else "the whole"
        self.display.tell(f"scoring {told} validation split, and as much of the training split ...")
        finish(self.run, self.config, self.corpus, self.position.seconds)

    def _farewell(self, number: int) -> str:
        done = f"stopped by {signal.Signals(number).name} after step {self.position.step:,}; everything is saved"
        return f"{done}, continue with `letterloom resume {self.run.path}`"
