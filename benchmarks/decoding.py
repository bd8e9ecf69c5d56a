"""Speed of generation: one stream of text, with the cache, past the context's end."""

from functools import partial

from letterloom.config import build_config
from letterloom.generation.generate import generate
from letterloom.generation.sampler import Sampler
from letterloom.model.transformer import Transformer
from letterloom.recipes import read_recipe
from measurement import Measurement, seconds, tell
from nanogpt import TOKENIZER


def measure_decoding(quick: bool) -> list[Measurement]:
    """Characters drawn in a second by models of two recipes' sizes; their weights are random, which costs the same.

    Limit: bytes moved, every weight and the cache once a character; at these sizes, the calls of about 100 operations.
    """
    characters, rounds = (200, 3) if quick else (1000, 7)
    result = []
    for recipe in ("nanogpt-cpu", "small"):
        config = build_config(read_recipe(recipe)).model
        model = Transformer(config, TOKENIZER.vocab_size).eval()
        draw(model, 2 * config.context_length)  # warm up
        speeds = []
        for i in range(rounds):
            tell(f"decoding {recipe}, round {i + 1} of {rounds}")
            speeds.append(characters / seconds(partial(draw, model, characters)))
        result.append(Measurement(f"decoding, {recipe}", "characters/s", tuple(speeds)))
    return result


def draw(model: Transformer, characters: int) -> None:
    """Generate and throw away."""
    for _ in generate(model, TOKENIZER, "A", max_new_tokens=characters, sampler=Sampler(temperature=0.8)):
        pass
