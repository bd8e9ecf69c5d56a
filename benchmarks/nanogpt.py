"""The yardstick: the recipe `nanogpt-cpu` with as many characters in its vocabulary as Tiny Shakespeare has."""

from letterloom.config import RunConfig, build_config
from letterloom.recipes import read_recipe
from letterloom.text.tokenizers import CharacterTokenizer
from letterloom.training.hardware import resolve_hardware

TOKENIZER = CharacterTokenizer("".join(map(chr, range(32, 32 + 65))))  # which characters makes no difference


def nanogpt_on_cpu() -> RunConfig:
    """The recipe, resolved for the processor in fp32."""
    return resolve_hardware(
        build_config(read_recipe("nanogpt-cpu"), {"training": {"device": "cpu", "precision": "fp32"}})
    )
