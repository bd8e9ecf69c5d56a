"""Speed of generation against two peers, in turn in one run: a naive loop, and Hugging Face's GPT-2 with its cache.

python benchmarks/generation.py [--rounds N] [--seconds S] [--threads N]

Models of three sizes with random weights, which cost the same as trained ones. `long` is text past the context's end,
where the window jumps; `within` is the first text of a context, all that GPT-2's learned positions allow. What 8 bits
cost in nats is measured by `benchmarks/quantization.py`.
"""

import argparse
import os
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numba import njit

from letterloom import accounting
from letterloom.config import ModelConfig
from letterloom.generation.compiled.engine import CompiledEngine
from letterloom.generation.generate import generate, generate_samples
from letterloom.generation.sampler import Sampler
from letterloom.model.transformer import Transformer
from letterloom.runs.quantized import choose, quantize, read_quantized
from measurement import Measurement, seconds, tell
from nanogpt import TOKENIZER

V, STREAMS = TOKENIZER.vocab_size, 64
MODELS = {
    "0.2 M": ModelConfig(
        d_model=64, context_length=32, bias_qkv=True, bias_attention_out=True, bias_mlp=True, bias_norm=True
    ),
    "0.8 M": ModelConfig(),
    "10.7 M": ModelConfig(d_model=384, context_length=256, n_layers=6, n_heads=6),
}
SAMPLER = Sampler(temperature=0.8)


@dataclass(frozen=True)
class Contender:
    """What draws `characters` when it is called."""

    name: str
    characters: int
    work: Callable[[], object]

    def speed(self, least: float) -> float:
        """Characters a second, over at least so many seconds."""
        began, times = time.perf_counter(), 0
        while time.perf_counter() - began < least:
            self.work()
            times += 1
        return times * self.characters / (time.perf_counter() - began)


def contenders(config: ModelConfig, threads: int) -> Iterator[Contender]:
    """Ours and the peers, of one size."""
    model = Transformer(config, V).eval()
    parameters = {name: parameter.detach().numpy() for name, parameter in model.named_parameters()}
    narrow = read_quantized(quantize(parameters, choose(8, None)), config, Path("random"))
    engine, engine_of_8_bits = (CompiledEngine(p, config, V, threads) for p in (parameters, narrow))
    within, long = config.context_length - 1, 20 * config.context_length
    yield Contender("naive, long", 40, partial(draw_naively, model, 40))
    yield Contender("ours, within", within, partial(draw, engine, within, 1))
    yield Contender("ours, long", long, partial(draw, engine, long, 1))
    yield Contender("ours, 64 within", within * STREAMS, partial(draw, engine, within, STREAMS))
    yield Contender("ours in 8 bits, long", long, partial(draw, engine_of_8_bits, long, 1))
    try:
        hugging_face = build_hugging_face(config)
    except ImportError:
        tell("transformers is not installed (pip install 'letterloom[bench]'): nothing to hold against it")
        return
    yield Contender("Hugging Face, within", within, partial(draw_hugging_face, hugging_face, within, 1))
    yield Contender(
        "Hugging Face, 64 within", within * STREAMS, partial(draw_hugging_face, hugging_face, within, STREAMS)
    )


def draw(engine: CompiledEngine, n: int, streams: int) -> None:
    """Generate text, and throw it away."""
    if streams == 1:
        for _ in generate(engine, TOKENIZER, "A", max_new_tokens=n, sampler=SAMPLER):
            pass
    else:
        for text in generate_samples(engine, TOKENIZER, "A", max_new_tokens=n, sampler=SAMPLER, samples=range(streams)):
            "".join(text)


@torch.no_grad()
def draw_naively(model: Transformer, n: int) -> None:
    """The whole window anew for each character, as nanoGPT's `generate` has it."""
    ids = torch.zeros(1, model.config.context_length, dtype=torch.int64)
    for _ in range(n):
        logits = model(ids[:, -model.config.context_length :])[:, -1] / SAMPLER.temperature
        ids = torch.cat([ids, torch.multinomial(logits.softmax(-1), 1)], dim=1)


def build_hugging_face(config: ModelConfig) -> Any:
    """GPT-2 of that size, its weights drawn at random."""
    from transformers import GPT2Config, GPT2LMHeadModel

    shape = GPT2Config(
        vocab_size=V,
        n_positions=config.context_length,
        n_embd=config.d_model,
        n_layer=config.n_layers,
        n_head=config.n_heads,
        bos_token_id=None,
        eos_token_id=None,
    )
    return GPT2LMHeadModel(shape).train(False)


@torch.no_grad()
def draw_hugging_face(model: Any, n: int, streams: int) -> None:
    """Its own `generate`, with the cache."""
    ids = torch.zeros(streams, 1, dtype=torch.int64)
    mask = torch.ones_like(ids)
    model.generate(
        ids,
        attention_mask=mask,
        min_new_tokens=n,
        max_new_tokens=n,
        do_sample=True,
        top_k=0,
        temperature=0.8,
        use_cache=True,
        pad_token_id=0,
    )


@njit(nogil=True, fastmath=True)  # type: ignore[untyped-decorator]  # Numba has no types
def _read(array: Any) -> float:
    total = np.float32(0.0)
    for i in range(len(array)):
        total += array[i]
    return float(total)


def bytes_per_second(size: int, threads: int) -> float:
    """How fast so many bytes are read again and again, shared out among threads."""
    parts = np.array_split(np.ones(size // 4, np.float32), threads)
    times = max(1, int(2e8 / size))
    _read(parts[0])

    def read_all(part: Any) -> None:
        for _ in range(times):
            _read(part)

    def together() -> None:
        others = [threading.Thread(target=read_all, args=(part,)) for part in parts[1:]]
        for thread in others:
            thread.start()
        read_all(parts[0])
        for thread in others:
            thread.join()

    return times * size / min(seconds(together) for _ in range(5))


def products_per_second() -> float:
    """Operations of `torch.mm`, fp32, 1024 x 1024, by all of its threads."""
    a, b = torch.randn(2, 1024, 1024)
    return 2 * 1024**3 / min(seconds(partial(torch.mm, a, b)) for _ in range(20))


def bytes_per_character(config: ModelConfig) -> float:
    """Every weight once, and of the cache what a text within its context has on average."""
    weights = accounting.FLOAT32 * sum(accounting.parameters(config, V).values())
    return weights + 1 / 2 * accounting.cache_bytes(config)


def measure_generation(quick: bool) -> list[Measurement]:
    """Characters drawn in a second, one text past the context's end, and 64 texts together: the short form.

    Limit: bytes read, every weight and the cache once a character; at a jump of the window, the products.
    """
    rounds, least = (3, 0.2) if quick else (7, 0.5)
    result = []
    for name in ("0.2 M", "0.8 M"):
        ours = [c for c in contenders(MODELS[name], accounting.usable_cores()) if c.name.startswith(("ours", "naive"))]
        for contender in ours:
            contender.work()  # warm up
        speeds: dict[str, list[float]] = {contender.name: [] for contender in ours}
        for i in range(rounds):
            tell(f"generation, {name}, round {i + 1} of {rounds}")
            for contender in ours:
                speeds[contender.name].append(contender.speed(least))
        result += [Measurement(f"{name}, {what}", "characters/s", tuple(values)) for what, values in speeds.items()]
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description="Speed of generation against two peers.")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0, help="of each contender in each round, at least")
    parser.add_argument("--threads", type=int, default=accounting.usable_cores())
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    for name in arguments.models:
        compare(name, arguments.rounds, arguments.seconds, arguments.threads)


def compare(name: str, rounds: int, least: float, threads: int) -> None:
    """Print the speeds of one size, their ratios, and the share of the limit that memory sets."""
    config = MODELS[name]
    torch.manual_seed(0)
    found = {contender.name: contender for contender in contenders(config, threads)}
    for contender in found.values():
        contender.work()
    speeds: dict[str, list[float]] = {contender: [] for contender in found}
    for i in range(rounds):
        tell(f"{name}, round {i + 1} of {rounds}, load {os.getloadavg()[0]:.1f}")
        for contender in found.values():
            speeds[contender.name].append(contender.speed(least))
    for what, values in speeds.items():
        print(f"{name}  {what:24} {_range(values)} characters/s")
    for ours, peer in (
        ("ours, long", "naive, long"),
        ("ours in 8 bits, long", "naive, long"),
        ("ours, within", "Hugging Face, within"),
        ("ours, 64 within", "Hugging Face, 64 within"),
    ):
        if peer in speeds:
            ratios = [a / b for a, b in zip(speeds[ours], speeds[peer], strict=True)]
            print(f"{name}  {f'{ours} / {peer}':48} {_range(ratios)}")
    size = bytes_per_character(config)
    for used in sorted({1, threads}):
        limit = bytes_per_second(int(size), used) / size
        share = statistics.median(speeds["ours, within"]) / limit
        print(f"{name}  memory, threads: {used}: at most {limit:,.0f} characters/s; ours within: {share:.0%} of it")
    half = config.context_length // 2
    limit = products_per_second() * half / accounting.forward_flops(config, V, half)
    share = statistics.median(speeds["ours, 64 within"]) / limit
    print(f"{name}  products, threads: {threads}: at most {limit:,.0f} characters/s; ours 64 within: {share:.0%} of it")


def _range(values: list[float]) -> str:
    return f"{statistics.median(values):>10,.1f} ({min(values):,.1f} to {max(values):,.1f})"


if __name__ == "__main__":
    main()
