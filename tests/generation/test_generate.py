import itertools
import math
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from letterloom.config import ModelConfig
from letterloom.errors import ConfigError, DataMismatchError, LetterloomError, NonFiniteError, UnknownCharacterError
from letterloom.generation.eager import EagerEngine
from letterloom.generation.generate import first_id, generate, generate_samples
from letterloom.generation.sampler import Sampler, uniforms
from letterloom.model.transformer import Transformer
from letterloom.text.tokenizers import ByteTokenizer, CharacterTokenizer, Tokenizer

LETTERS = CharacterTokenizer("\n abcdefghijklmnopqrstuvwxyzé日🚀")
BYTES = ByteTokenizer()


def random_model(vocab_size: int, context_length: int = 16, **settings: Any) -> Transformer:
    """Float64, so that cached and uncached sums differ by 1e-15, and weights large enough for every id to matter."""
    config = ModelConfig(context_length=context_length, d_model=16, n_layers=2, n_heads=2, **settings)
    model = Transformer(config, vocab_size).double()
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.4, generator=generator)
    return model.eval()


def text_of(
    model: Transformer, tokenizer: Tokenizer = LETTERS, prompt: str = "an", *, n: int = 70, **settings: Any
) -> str:
    settings.setdefault("sampler", Sampler())
    engine = EagerEngine(model, settings.pop("cached", True))
    return "".join(generate(engine, tokenizer, prompt, max_new_tokens=n, **settings))


class Scripted(Transformer):
    """A model that writes a given list of ids, whatever it reads: logits point at the next one on the list."""

    def __init__(self, ids: list[int], vocab_size: int) -> None:
        super().__init__(ModelConfig(context_length=8, d_model=4, n_layers=1, n_heads=1), vocab_size)
        self.remaining = iter(ids)

    def forward(self, ids: torch.Tensor, cache: Any = None) -> torch.Tensor:
        logits = torch.zeros(*ids.shape, self.vocab_size)
        logits[:, -1, next(self.remaining)] = 1.0
        return logits


def scripted(text: str, tokenizer: Tokenizer, **settings: Any) -> Iterator[str]:
    ids = tokenizer.encode(text).tolist()
    model = Scripted(ids, tokenizer.vocab_size)
    greedy = Sampler(temperature=0)
    return generate(
        EagerEngine(model, cached=False), tokenizer, "", max_new_tokens=len(ids), sampler=greedy, **settings
    )


VARIANTS: list[dict[str, Any]] = [
    {"positions": positions, "token_smear": smear, "norm": norm, "norm_placement": placement}
    for (positions, smear), (norm, placement) in zip(
        itertools.product(["none", "learned", "sinusoidal", "rotary"], [False, True]),
        itertools.cycle([("layernorm", "before"), ("rmsnorm", "before"), ("rmsnorm", "before_and_after")]),
        strict=False,
    )
] + [
    {"positions": "rotary", "qk_norm": True, "logit_soft_cap": 5.0, "activation": "swiglu", "tied_head": False},
    {"positions": "rotary", "token_smear": True, "context_length": 1},
    {"positions": "learned", "token_smear": True, "context_length": 2},
    {"positions": "rotary", "token_smear": True, "context_length": 7},
    {"dropout": 0.5},
]


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda variant: "-".join(map(str, variant.values())))
@pytest.mark.parametrize("tokenizer", [LETTERS, BYTES], ids=["characters", "bytes"])
def test_the_cache_changes_nothing(variant: dict[str, Any], tokenizer: Tokenizer) -> None:
    model = random_model(tokenizer.vocab_size, **variant)
    for prompt, sampler in [
        ("", Sampler(temperature=0)),
        ("an", Sampler(temperature=0.8)),
        ("a prompt that is longer than the context of the model", Sampler(repetition_penalty=1.3, top_k=20)),
    ]:
        cached = text_of(model, tokenizer, prompt, sampler=sampler)
        assert len(cached) > 10
        assert cached == text_of(model, tokenizer, prompt, sampler=sampler, cached=False)


def test_the_cache_changes_nothing_in_float32() -> None:
    model = random_model(LETTERS.vocab_size, positions="rotary").float()
    assert text_of(model, n=400) == text_of(model, n=400, cached=False)


@pytest.mark.parametrize("cached", [True, False])
@pytest.mark.parametrize("prompt", ["a", "abcdefghijklmnopqrstuvwxyz"])
@pytest.mark.parametrize("penalty", [1.0, 1.5])
@torch.no_grad()
def test_against_a_loop_by_hand(cached: bool, prompt: str, penalty: float) -> None:
    model = random_model(LETTERS.vocab_size, context_length=16, token_smear=True)
    ids, start = LETTERS.encode(prompt).tolist(), 0
    for uniform in uniforms(5).random(60):
        while len(ids) - start > 16:
            start += 8
        logits = model(torch.tensor([ids[start:]]))[0, -1]
        for i in set(ids[start:]):
            logits[i] *= 1 / penalty if logits[i] > 0 else penalty
        ids.append(int((logits.softmax(-1).cumsum(-1) <= uniform).sum()))
    expected = LETTERS.decode(ids)[len(prompt) :]
    sampler = Sampler(repetition_penalty=penalty)
    assert text_of(model, prompt=prompt, n=60, seed=5, cached=cached, sampler=sampler) == expected
    assert len(set(expected)) > 3


@pytest.mark.parametrize("training", [True, False])
def test_the_model_is_left_as_it_was(training: bool) -> None:
    model = random_model(LETTERS.vocab_size, dropout=0.5)
    expected = text_of(model)
    model.train(training)
    state = torch.get_rng_state()
    assert text_of(model) == expected
    pieces = generate(EagerEngine(model), LETTERS, "an", max_new_tokens=50, sampler=Sampler())
    begun = next(pieces)
    assert not torch.is_inference_mode_enabled()
    assert all(module.training is training for module in model.modules())
    assert expected.startswith(begun + next(pieces))
    pieces.close()  # type: ignore[attr-defined]
    assert all(module.training is training for module in model.modules())
    assert torch.equal(state, torch.get_rng_state())


def test_texts_drawn_in_turn_are_those_drawn_apart() -> None:
    engine = EagerEngine(random_model(LETTERS.vocab_size, dropout=0.5).train())
    texts = [generate(engine, LETTERS, "an", max_new_tokens=30, sampler=Sampler(), sample=i) for i in (0, 1)]
    begun = [next(text) for text in (*texts, *reversed(texts))]
    first, second = begun[0] + begun[3] + "".join(texts[0]), begun[1] + begun[2] + "".join(texts[1])
    assert [first, second] == [text_of(engine.model, n=30, sample=i) for i in (0, 1)]


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1)])
def test_texts_drawn_together_are_those_drawn_apart(order: tuple[int, ...]) -> None:
    model = random_model(LETTERS.vocab_size)
    settings: dict[str, Any] = {"sampler": Sampler(), "seed": 4, "stop": ["a", "日"]}
    samples = (7, 0, 9)
    texts = generate_samples(EagerEngine(model), LETTERS, "an", max_new_tokens=50, samples=samples, **settings)
    found = {place: "".join(texts[place]) for place in order}
    assert found == {place: text_of(model, n=50, sample=samples[place], **settings) for place in order}
    assert len({len(text) for text in found.values()}) > 1  # they end in different places


def test_samples_differ_and_repeat() -> None:
    model = random_model(LETTERS.vocab_size)
    draws = [(seed, sample) for seed in (0, 1) for sample in (0, 1, 2)]
    texts = [text_of(model, seed=seed, sample=sample) for seed, sample in draws]
    assert len(set(texts)) == len(draws)
    torch.manual_seed(99)
    assert texts == [text_of(model, seed=seed, sample=sample) for seed, sample in draws]


def test_a_longer_text_begins_with_the_shorter_one() -> None:
    model = random_model(LETTERS.vocab_size)
    assert text_of(model, n=80).startswith(text_of(model, n=30))
    assert len(text_of(model, n=30)) == 30


def test_bytes_are_held_back_until_a_character_is_whole() -> None:
    text = "aé日🚀\n"
    pieces = list(scripted(text, BYTES))
    assert "".join(pieces) == text
    assert pieces[0] == "a"  # the first does not wait for others


def test_a_character_that_is_never_finished_is_shown_as_replaced() -> None:
    model = Scripted([0x61, 0xE6, 0x97], 256)
    greedy = Sampler(temperature=0)
    pieces = generate(EagerEngine(model, cached=False), BYTES, "x", max_new_tokens=3, sampler=greedy)
    assert "".join(pieces) == "a\ufffd"


@pytest.mark.parametrize("tokenizer", [CharacterTokenizer("ab", end_of_text=True), ByteTokenizer(end_of_text=True)])
def test_end_of_text_ends_it(tokenizer: Tokenizer) -> None:
    assert tokenizer.end_of_text_id is not None
    a, b = tokenizer.encode("ab").tolist()
    model = Scripted([a, b, tokenizer.end_of_text_id, a, a], tokenizer.vocab_size)
    greedy = Sampler(temperature=0)
    pieces = generate(EagerEngine(model, cached=False), tokenizer, "b", max_new_tokens=5, sampler=greedy)
    assert "".join(pieces) == "ab"


@pytest.mark.parametrize(
    ("text", "stop", "expected"),
    [
        ("one two", ["two"], "one "),
        ("one two", "two", "one "),  # a bare string is one stop string
        ("a\n\nb", ["\n\n"], "a"),
        ("a\nb", ["\n\n"], "a\nb"),
        ("aab", ["ab"], "a"),
        ("ababac!", ["abac"], "ab"),
        ("abcx", ["abcd", "x"], "abc"),
        ("abcd", ["abcd", "c"], "ab"),  # the first to be complete
        ("xab", ["b", "ab"], "x"),  # complete together: the longer
        ("abc", ["abcd"], "abc"),  # never complete: given at the end
        ("ab", ["zzz"], "ab"),
        ("日本é", ["本é"], "日"),
        ("x🚀y", ["🚀"], "x"),
    ],
)
def test_stop_strings(text: str, stop: Any, expected: str) -> None:
    assert "".join(scripted(text, BYTES, stop=stop)) == expected


def test_what_may_be_the_beginning_of_a_stop_string_is_held_back() -> None:
    assert next(scripted("abc", BYTES, stop=["ab"]), None) is None
    assert not next(scripted("xxab", BYTES, stop=["ab"])).endswith("a")


@given(
    text=st.text("abé", min_size=1, max_size=30),
    stops=st.lists(st.text("abé", min_size=1, max_size=4), max_size=3),
)
@settings(deadline=None)
def test_stop_strings_in_any_text(text: str, stops: list[str]) -> None:
    ends = [text.find(stop) + len(stop) for stop in stops if stop in text]
    expected = text
    if ends:
        upto = text[: min(ends)]
        expected = upto.removesuffix(max((s for s in stops if upto.endswith(s)), key=len))
    assert "".join(scripted(text, BYTES, stop=stops)) == expected


@pytest.mark.parametrize(
    ("tokenizer", "expected"),
    [
        (CharacterTokenizer("\nab", end_of_text=True), 3),
        (CharacterTokenizer("\x00\nab"), 1),
        (CharacterTokenizer("ab"), 0),
        (ByteTokenizer(), 10),
        (ByteTokenizer(end_of_text=True), 256),
    ],
)
def test_what_an_empty_prompt_begins_from(tokenizer: Tokenizer, expected: int) -> None:
    assert first_id(tokenizer) == expected
    model = random_model(tokenizer.vocab_size)
    with torch.no_grad():
        best = int(model(torch.tensor([[expected]]))[0, -1].argmax())
    assert text_of(model, tokenizer, "", n=1, sampler=Sampler(temperature=0)) == tokenizer.decode([best])


FEW = CharacterTokenizer("\n abcé")
SMALL = ModelConfig(context_length=8, d_model=4, n_layers=1, n_heads=1)
SMALL_MODELS = {FEW: Transformer(SMALL, FEW.vocab_size).eval(), BYTES: Transformer(SMALL, BYTES.vocab_size).eval()}


@given(
    prompt=st.text(st.sampled_from("\n abcé") | st.characters() | st.characters(categories=["Cs", "Cc", "So"])),
    tokenizer=st.sampled_from([FEW, BYTES]),
    unknown=st.sampled_from(["error", "skip", "replace"]),
    cached=st.booleans(),
    stop=st.lists(st.text(max_size=3), max_size=2),
)
@settings(max_examples=1000, deadline=None)
def test_any_prompt_ends_in_text_or_a_clear_error(
    prompt: str, tokenizer: Any, unknown: Any, cached: bool, stop: list[str]
) -> None:
    settings: dict[str, Any] = {"n": 3, "unknown": unknown, "cached": cached, "stop": stop}
    try:
        text = text_of(SMALL_MODELS[tokenizer], tokenizer, prompt, **settings)
    except LetterloomError as error:
        assert "\n" not in str(error)
        assert unknown == "error" or "" in stop
    else:
        assert len(text) <= 3
        text.encode()


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        ({"n": 0}, ConfigError, "max_new_tokens = 0: should be a whole number from 1"),
        ({"n": -5}, ConfigError, "max_new_tokens = -5"),
        ({"n": 1.5}, ConfigError, r"max_new_tokens = 1\.5"),
        ({"n": 10**30}, ConfigError, "max_new_tokens = 1000"),
        ({"stop": [""]}, ConfigError, "stop = ''"),
        ({"stop": ""}, ConfigError, "stop = ''"),
        ({"seed": -1}, ConfigError, "seed = -1: should be"),
        ({"sample": 2**32}, ConfigError, "sample = 4294967296: should be"),
        ({"prompt": "a%"}, UnknownCharacterError, "'%'"),
        ({"tokenizer": BYTES}, DataMismatchError, "the tokenizer has 256 ids, the model 31"),
    ],
)
def test_mistakes_are_told_at_the_call(wrong: dict[str, Any], error: type[Exception], message: str) -> None:
    arguments = {"tokenizer": LETTERS, "prompt": "an", "sampler": Sampler(), "max_new_tokens": wrong.get("n", 5)}
    settings = {**arguments, **{name: value for name, value in wrong.items() if name != "n"}}
    with pytest.raises(error, match=message):
        generate(EagerEngine(random_model(31)), **settings)  # not iterated


def test_damaged_weights_are_told() -> None:
    model = random_model(LETTERS.vocab_size)
    with torch.no_grad():
        next(model.parameters()).fill_(math.nan)
    with pytest.raises(NonFiniteError, match="not finite"):
        text_of(model)
