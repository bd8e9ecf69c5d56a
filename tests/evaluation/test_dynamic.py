"""Dynamic evaluation against a loop by hand, and against what it must not know."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from letterloom.config import ModelConfig
from letterloom.errors import ConfigError, CorpusError, DataMismatchError, NonFiniteError
from letterloom.evaluation import dynamic
from letterloom.evaluation.dynamic import choose_rate, dynamic_surprisal, evaluate_dynamic
from letterloom.evaluation.loss import evaluate, surprisal
from letterloom.model.transformer import Transformer
from letterloom.text.tokenizers import ByteTokenizer, CharacterTokenizer

LETTERS = CharacterTokenizer("abcdefg")


def small_model(context_length: int = 8, scale: float = 0.4, **settings: Any) -> Transformer:
    config = ModelConfig(context_length=context_length, d_model=8, n_layers=1, n_heads=2, **settings)
    model = Transformer(config, 7)
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=scale, generator=generator)
    return model.eval()


def random_ids(n: int) -> NDArray[np.uint8]:
    return np.random.default_rng(n).integers(0, 7, n).astype(np.uint8)


def by_hand(model: Transformer, ids: NDArray[np.uint8], rate: float) -> NDArray[np.float64]:
    """The judge: positions one at a time, and the formulas of the paper on Adam with a first beta of 0."""
    context = model.config.context_length
    copy = Transformer(model.config, model.vocab_size).eval()
    copy.load_state_dict(model.state_dict())
    parameters = list(copy.parameters())
    squares = [torch.zeros_like(parameter) for parameter in parameters]
    text = torch.from_numpy(ids.astype(np.int64))
    nats, start, step, unlearned = [math.log(model.vocab_size)], 0, 0, [1]
    for position in range(1, len(ids)):
        if position - start > context:  # the window is full: learn from what was new in it, then move on
            losses = [-copy(text[None, start:p])[0, -1].log_softmax(-1)[text[p]] for p in unlearned]
            gradients = torch.autograd.grad(torch.stack(losses).mean(), parameters)
            step += 1
            with torch.no_grad():
                for parameter, square, gradient in zip(parameters, squares, gradients, strict=True):
                    square.copy_(0.999 * square + 0.001 * gradient**2)
                    parameter.sub_(rate * gradient / ((square / (1 - 0.999**step)).sqrt() + 1e-8))
            start, unlearned = start + max(1, context // 4), []
        if position not in unlearned:
            unlearned.append(position)
        with torch.no_grad():
            nats.append(-float(copy(text[None, start:position])[0, -1].log_softmax(-1)[ids[position]]))
    return np.array(nats)


@pytest.mark.parametrize(("context", "n"), [(8, 2), (8, 9), (8, 10), (8, 60), (3, 20), (1, 9)])
def test_agrees_with_a_loop_by_hand(context: int, n: int) -> None:
    model, ids = small_model(context), random_ids(n)
    expected = by_hand(model, ids, 0.01)
    np.testing.assert_allclose(dynamic_surprisal(model, ids, 0.01), expected, rtol=1e-3, atol=1e-4)


def test_without_learning_it_is_sliding() -> None:
    model, ids = small_model(), random_ids(100)
    static, _ = surprisal(model, ids, "sliding")
    np.testing.assert_allclose(dynamic_surprisal(model, ids, 0.0), static, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("changed", [9, 10, 11, 40, 79])
def test_what_comes_later_makes_no_difference(changed: int) -> None:
    """Neither in the window that is scored nor through what was learned."""
    model, ids = small_model(), random_ids(80)
    other = ids.copy()
    other[changed:] = (other[changed:] + 1) % 7
    before = dynamic_surprisal(model, ids, 0.05)[:changed]
    assert before.tolist() == dynamic_surprisal(model, other, 0.05)[:changed].tolist()


def test_nothing_is_gained_where_nothing_can_be_known() -> None:
    """Ids drawn independently and uniformly: the best is ln 7, whatever was learned; a leak goes below."""
    nats = dynamic_surprisal(small_model(), np.random.default_rng(5).integers(0, 7, 4000), 0.01)
    assert nats.mean() > math.log(7) - 3 * nats.std() / math.sqrt(len(nats))


def test_a_habit_of_the_text_is_learned() -> None:
    model, ids = small_model(), np.resize(np.array([1, 5, 2, 2, 6]), 600)
    static, _ = surprisal(model, ids, "sliding")
    assert dynamic_surprisal(model, ids, 0.01)[300:].mean() < static[300:].mean() / 4


def test_the_model_is_left_as_it_was_found() -> None:
    model = small_model(dropout=0.5).train()
    before = {name: parameter.clone() for name, parameter in model.named_parameters()}
    first = dynamic_surprisal(model, random_ids(60), 0.05)
    assert model.training
    for name, parameter in model.named_parameters():
        assert parameter.grad is None
        assert torch.equal(parameter, before[name])
    assert first.tolist() == dynamic_surprisal(model, random_ids(60), 0.05).tolist()  # no dropout, no chance


class TestRate:
    @pytest.fixture
    def tried(self, monkeypatch: pytest.MonkeyPatch) -> dict[float, float]:
        """The costs that are asked for, from a curve whose lowest point lies at 8 times the first rate."""
        costs: dict[float, float] = {}

        def cost(_: Transformer, ids: NDArray[np.integer], rate: float) -> NDArray[np.float64]:
            costs[rate] = abs(math.log2(rate / dynamic.FIRST_RATE) - self.lowest)
            return np.full(len(ids), costs[rate])

        monkeypatch.setattr(dynamic, "dynamic_surprisal", cost)
        return costs

    lowest = 3.0

    @pytest.mark.parametrize("lowest", [3.0, -2.0, 0.0])
    def test_the_lowest_point_is_found(self, tried: dict[float, float], lowest: float) -> None:
        self.lowest = lowest
        assert choose_rate(small_model(), random_ids(500)) == dynamic.FIRST_RATE * 2**lowest
        assert len(tried) == abs(lowest) + 3  # one more in its direction, and one against it

    def test_the_search_ends(self, tried: dict[float, float]) -> None:
        self.lowest = 1000.0
        assert choose_rate(small_model(), random_ids(500)) == dynamic.FIRST_RATE * 2**dynamic.FURTHEST

    def test_the_end_of_the_training_text_is_read_and_no_more(self) -> None:
        model, text = small_model(), random_ids(2000)
        needed = 8 + 1 + (dynamic.SEARCHED_WINDOWS - 1) * 2
        assert choose_rate(model, text) == choose_rate(model, text[-needed:])

    def test_a_model_that_cannot_learn_has_the_first(self) -> None:
        assert choose_rate(small_model(scale=0.0), random_ids(200)) == dynamic.FIRST_RATE

    @pytest.mark.parametrize("n", [0, 1])
    def test_without_training_text_it_is_the_first(self, n: int) -> None:
        assert choose_rate(small_model(), random_ids(n)) == dynamic.FIRST_RATE


class TestEvaluation:
    def test_it_is_told_apart(self) -> None:
        model, ids, training = small_model(), random_ids(2000), random_ids(300)
        result = evaluate_dynamic(model, LETTERS, ids, training)
        rate = choose_rate(model, training)
        assert (result.protocol, result.learning_rate, result.characters) == ("dynamic", rate, 2000)
        assert result.nats_per_character == pytest.approx(dynamic_surprisal(model, ids, rate).mean())
        assert result.to_json()["learning_rate"] == rate
        assert result.interval is not None

    def test_a_static_number_has_no_rate(self) -> None:
        assert "learning_rate" not in evaluate(small_model(), LETTERS, random_ids(50)).to_json()

    def test_it_is_no_protocol_of_a_model_that_stays_the_same(self) -> None:
        with pytest.raises(ConfigError, match="dynamic"):
            surprisal(small_model(), random_ids(50), "dynamic")

    @pytest.mark.parametrize("n", [0, 1])
    def test_a_text_without_anything_to_predict_is_refused(self, n: int) -> None:
        with pytest.raises(CorpusError, match=f"{n} ids"):
            evaluate_dynamic(small_model(), LETTERS, random_ids(n), random_ids(300))

    def test_a_foreign_tokenizer_is_refused(self) -> None:
        with pytest.raises(DataMismatchError, match="256"):
            evaluate_dynamic(small_model(), ByteTokenizer(), random_ids(50), random_ids(300))

    def test_damaged_weights_are_refused(self) -> None:
        model = small_model()
        with torch.no_grad():
            next(model.parameters())[0, 0] = math.nan
        with pytest.raises(NonFiniteError, match="not finite"):
            evaluate_dynamic(model, LETTERS, random_ids(50), random_ids(300))

    def test_a_rate_so_high_that_the_model_diverges_is_refused(self) -> None:
        with pytest.raises(NonFiniteError, match="not finite"):
            dynamic_surprisal(small_model(), random_ids(60), math.inf)
