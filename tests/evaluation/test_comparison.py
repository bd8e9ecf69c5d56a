import logging
import math
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import stats

from letterloom.config import ModelConfig, RunConfig, build_config
from letterloom.errors import ConfigError, DataMismatchError, NonFiniteError
from letterloom.evaluation.comparison import (
    Difference,
    Scored,
    differing_settings,
    require_same_text,
    require_seeds,
    score_characters,
)
from letterloom.evaluation.loss import evaluate, surprisal
from letterloom.model.transformer import Transformer
from letterloom.text.tokenizers import ByteTokenizer, CharacterTokenizer, Tokenizer

TEXT = "naïve 日本 🚀!\nthe loom " * 9
CHARACTERS, BYTES = CharacterTokenizer("".join(sorted(set(TEXT)))), ByteTokenizer()


def config(**training: Any) -> RunConfig:
    return build_config({"training": {"max_steps": 10, **training}})


def side(*runs: NDArray[np.float64]) -> tuple[Scored, ...]:
    return tuple(Scored(f"run {seed}", config(seed=seed), nats) for seed, nats in enumerate(runs))


def pair(first: NDArray[np.float64], second: NDArray[np.float64]) -> Difference:
    return Difference(side(first), side(second), "blocks")


def seeds(*means: float) -> tuple[Scored, ...]:
    """Runs that cost so much, on the average of a text that is not the same everywhere."""
    return side(*(mean + np.tile([-0.5, 0.5], 1_000) for mean in means))


def random_model(vocab_size: int) -> Transformer:
    torch.manual_seed(0)
    return Transformer(ModelConfig(context_length=8, d_model=8, n_layers=1, n_heads=2), vocab_size).eval()


class TestTwoModels:
    def test_of_independent_characters_it_is_the_paired_t_test(self) -> None:
        rng = np.random.default_rng(0)
        first = rng.gamma(2.0, 1.0, size=40_000)
        second = first + rng.normal(0.01, 0.2, size=40_000)
        found, judge = pair(first, second), stats.ttest_rel(second, first)
        expected = judge.confidence_interval(0.95)
        assert found.nats_per_character == pytest.approx((second - first).mean(), abs=1e-12)
        assert found.interval is not None
        width = expected.high - expected.low
        assert found.interval[1] - found.interval[0] == pytest.approx(width, rel=0.4)  # of 20 blocks, 1 sd is 16 %
        assert found.interval[0] == pytest.approx(expected.low, abs=0.3 * width)
        assert found.shown is bool(judge.pvalue < 0.05) is True

    def test_what_is_hard_for_both_cancels(self) -> None:
        """The difference is a hundredth of what the passages of the text differ by."""
        rng = np.random.default_rng(1)
        passages = np.repeat(rng.uniform(0.5, 3.5, size=100), 200)
        first = passages + rng.normal(0, 0.1, size=20_000)
        found = pair(first, first + rng.normal(-0.01, 0.1, size=20_000))
        assert found.shown
        assert found.interval is not None
        assert -0.02 < found.interval[0] < -0.01 < found.interval[1] < 0

    def test_a_constant_difference_is_known_exactly(self) -> None:
        found = pair(np.linspace(0, 3, 5_000), np.linspace(0, 3, 5_000) - 0.25)
        assert found.nats_per_character == pytest.approx(-0.25)
        assert found.interval == pytest.approx((-0.25, -0.25))
        assert found.shown
        assert found.to_json()["difference"]["bits_per_character"] == pytest.approx(-0.25 / math.log(2))

    def test_no_difference_is_a_normal_answer(self) -> None:
        rng = np.random.default_rng(2)
        found = pair(*rng.gamma(2.0, 1.0, size=(2, 5_000)))
        assert (found.shown, found.identical) == (False, False)

    def test_the_same_nats_differ_by_exactly_nothing(self) -> None:
        nats = np.random.default_rng(3).gamma(2.0, 1.0, size=5_000)
        found = pair(nats, nats.copy())
        assert (found.nats_per_character, found.interval, found.seeds_needed) == (0.0, (0.0, 0.0), None)
        assert (found.shown, found.identical) == (False, True)

    def test_a_short_text_shows_nothing(self) -> None:
        found = pair(np.zeros(999), np.ones(999))
        assert (found.interval, found.shown) == (None, False)

    def test_swapping_the_sides_turns_the_sign(self) -> None:
        rng = np.random.default_rng(4)
        first, second = rng.gamma(2.0, 1.0, size=(2, 5_000))
        there, back = pair(first, second), pair(second, first)
        assert there.nats_per_character == -back.nats_per_character
        assert there.interval == pytest.approx(tuple(-bound for bound in reversed(back.interval or ())), abs=0.01)


class TestSeeds:
    def test_the_interval_is_welchs(self) -> None:
        """The formula of Welch 1947, written out."""
        a, b = [1.50, 1.52, 1.51], [1.40, 1.46, 1.42, 1.44]
        found = Difference(seeds(*a), seeds(*b), "blocks")
        va, vb = np.var(a, ddof=1) / 3, np.var(b, ddof=1) / 4
        freedom = (va + vb) ** 2 / (va**2 / 2 + vb**2 / 3)
        margin = stats.t.ppf(0.975, freedom) * math.sqrt(va + vb)
        assert found.nats_per_character == pytest.approx(1.43 - 1.51)
        assert found.interval == pytest.approx((-0.08 - margin, -0.08 + margin))
        assert found.shown
        assert found.seed_noise == pytest.approx(math.sqrt((3 * va + 4 * vb) / 2))
        assert found.to_json()["difference"]["interval_over"] == "seeds"

    def test_seeds_that_differ_more_than_the_sides_show_nothing(self) -> None:
        found = Difference(seeds(1.50, 1.60), seeds(1.52, 1.61), "blocks")
        assert not found.shown
        assert (found.seeds_needed or 0) > 50

    def test_seeds_without_noise_have_no_interval(self) -> None:
        found = Difference(seeds(1.5, 1.5), seeds(1.4, 1.4), "blocks")
        assert (found.interval, found.shown, found.seed_noise) == (None, False, 0.0)

    def test_one_run_against_several_is_refused(self) -> None:
        one, two = [("a", config(seed=0))], [("b", config(seed=0)), ("c", config(seed=1))]
        for sides in ((one, two), (two, one)):
            with pytest.raises(ConfigError, match="a is one run against several seeds"):
                require_seeds(*sides)
        require_seeds(one, one)
        require_seeds(two, two)

    def test_a_seed_twice_is_refused(self) -> None:
        two = [("b", config(seed=0)), ("c", config(seed=1))]
        with pytest.raises(ConfigError, match=r"d has the same seed as c \(1\)"):
            require_seeds(two, [*two, ("d", config(seed=1))])

    def test_more_than_the_seed_is_told(self, caplog: pytest.LogCaptureFixture) -> None:
        two = [("b", config(seed=0)), ("c", config(seed=1))]
        with caplog.at_level(logging.WARNING, "letterloom"):
            require_seeds(two, [("d", config(seed=0)), ("e", config(seed=1, batch_size=3))])
        assert caplog.messages == ["e differs from d in more than the seed: training.batch_size"]


class TestTheText:
    def test_bytes_and_characters_of_one_text_are_the_same(self) -> None:
        require_same_text({"a": (CHARACTERS, CHARACTERS.encode(TEXT)), "b": (BYTES, BYTES.encode(TEXT))})

    @pytest.mark.parametrize(
        ("tokenizer", "text"), [(BYTES, TEXT[1:]), (BYTES, "N" + TEXT[1:]), (CHARACTERS, TEXT + TEXT[0])]
    )
    def test_other_texts_are_refused(self, tokenizer: Tokenizer, text: str) -> None:
        readings = {"a": (CHARACTERS, CHARACTERS.encode(TEXT)), "b": (tokenizer, tokenizer.encode(text))}
        with pytest.raises(DataMismatchError, match=rf"b and a cannot be compared.*{len(text)} characters, SHA-256"):
            require_same_text(readings)

    def test_an_end_of_text_that_one_of_them_has_is_a_difference(self) -> None:
        ending = ByteTokenizer(end_of_text=True)
        ids = np.append(ending.encode(TEXT), [256])
        with pytest.raises(DataMismatchError, match="cannot be compared"):
            require_same_text({"a": (BYTES, BYTES.encode(TEXT)), "b": (ending, ids)})

    def test_the_bytes_of_a_character_are_added_up(self) -> None:
        model, ids = random_model(256), BYTES.encode(TEXT)
        nats, _ = surprisal(model, ids, "sliding")
        place, expected = 0, []
        for character in TEXT:
            length = len(character.encode())
            expected.append(math.fsum(nats[place : place + length]))
            place += length
        found = score_characters("a", model, BYTES, ids, "sliding")
        np.testing.assert_allclose(found, expected, rtol=1e-12)
        assert found.mean() == pytest.approx(evaluate(model, BYTES, ids, "sliding").nats_per_character, rel=1e-12)

    def test_a_model_that_gives_nan_is_named(self) -> None:
        model = random_model(CHARACTERS.vocab_size)
        with torch.no_grad():
            model.get_parameter("norm.weight")[0] = math.nan
        with pytest.raises(NonFiniteError, match=r"runs/broken: the model's loss on this text is not finite"):
            score_characters("runs/broken", model, CHARACTERS, CHARACTERS.encode(TEXT), "blocks")


def test_differing_settings_are_those_and_no_others() -> None:
    first = build_config({"model": {"n_layers": 2}, "training": {"max_steps": 10}})
    second = build_config({"model": {"n_layers": 3}, "training": {"max_steps": 10, "seed": 5}})
    assert differing_settings(first, second) == {"model.n_layers": (2, 3), "training.seed": (0, 5)}
    assert differing_settings(first, first) == {}
