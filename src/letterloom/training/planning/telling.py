"""A plan in words: what is told before a run begins, and the command that would say the same."""

import shlex
import time
from collections.abc import Sequence

from letterloom import accounting
from letterloom.config import RunConfig, build_config
from letterloom.recipes import read_recipe
from letterloom.text.batches import steps_per_epoch
from letterloom.text.encoding import Corpus, scored_characters
from letterloom.training.planning.expectation import expected_bits

BASE = "small"  # the recipe that has what a plan does not say
HALF_A_DAY = 12 * 3600.0  # seconds, from which on the date is told
KNOWN_BY_HEART = 100  # readings of a text, from which on fewer minutes would do


def tell(
    config: RunConfig, corpus: Corpus, steps: float, step_seconds: float, left: float, notes: Sequence[str] = ()
) -> str:
    """A plan in lines.

    Args:
        config: What was planned.
        corpus: For this text.
        steps: As many as there will be about.
        step_seconds: Of one.
        left: Seconds until the command ends.
        notes: Lines of their own.
    """
    model, training = config.model, config.training
    ids, vocab_size = len(corpus.train), corpus.tokenizer.vocab_size
    count = sum(accounting.parameters(model, vocab_size).values())
    epochs = steps / steps_per_epoch(ids, training.batch_size, model.context_length)
    ids_per_character = ids / scored_characters(corpus.train, corpus.tokenizer)
    bits = expected_bits(corpus, count, seen=steps * training.batch_size * model.context_length)
    low, high = (ids_per_character * each for each in bits)
    end = time.strftime("%H:%M:%S" if left < HALF_A_DAY else "%Y-%m-%d %H:%M", time.localtime(time.time() + left))
    shape = f"width {model.d_model}, layers: {model.n_layers}, heads: {model.n_heads}, context {model.context_length}"
    lines = {
        "size": f"{count:,} parameters ({shape})",
        "dropout": f"{model.dropout:g}",
        "steps": f"about {steps:,.0f} of {1000 * step_seconds:.0f} ms, each of {training.batch_size} x "
        f"{model.context_length} ids",
        "text": f"read {epochs:.1f} times",
        "expected": f"{low:.2f} to {high:.2f} bits per character of the text held out",
        "ends": f"about {end}, with scores and report",
        "the same": command(config),
    }
    if epochs > KNOWN_BY_HEART:
        lines["text"] += ", more than it can teach: fewer minutes would do"
    head = f"planned for {training.max_minutes:g} min:"
    return "\n".join([head, *(f"  {name:8}  {told}" for name, told in lines.items()), *notes])


def command(config: RunConfig) -> str:
    """The command that says in flags what a configuration has otherwise than the recipe `small`."""
    base, words = build_config(read_recipe(BASE)), ["letterloom", "train", *config.text.corpus, "--recipe", BASE]
    for section, values in config:
        for name in type(values).model_fields:
            value = getattr(values, name)
            if name == "max_minutes":
                words += ["--minutes", f"{value:g}"]
            elif name != "corpus" and value != getattr(getattr(base, section), name):
                flag = f"--{section}.{name.replace('_', '-')}"
                words += [
                    word for one in (value if isinstance(value, tuple) else [value]) for word in (flag, _word(one))
                ]
    return shlex.join(words)


def _word(value: object) -> str:
    """A setting as its flag takes it."""
    return "none" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
