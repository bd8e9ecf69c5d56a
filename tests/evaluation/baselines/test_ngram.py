"""Kneser-Ney against the textbook in exact fractions, against a source whose entropy is known, and its own promises."""

import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from fractions import Fraction
from itertools import islice
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from letterloom.config import TextConfig
from letterloom.evaluation.baselines.ngram import best_order, discounts, kneser_ney, unigram
from letterloom.text.encoding import open_corpus

ORDERS = 5
Gram = tuple[int, ...]


def ids(values: Sequence[int]) -> NDArray[np.uint8]:
    return np.array(values, dtype=np.uint8)


def nats(train: Sequence[int], validation: Sequence[int], vocab_size: int, adaptive: bool) -> list[NDArray[np.float64]]:
    """Of orders 1 to `ORDERS`."""
    return list(islice(kneser_ney(ids(train), ids(validation), vocab_size, adaptive), ORDERS))


class Textbook:
    """Chen and Goodman 1998 by the letter: tables of counts, and a recursion over shorter and shorter contexts."""

    def __init__(self, text: Sequence[int], order: int, discounts: list[list[Fraction]] | None = None) -> None:
        start = -1  # stands before the text, as often as is needed
        padded = (start,) * ORDERS + tuple(text)
        grams: dict[int, list[Gram]] = {
            k: [padded[i - k + 1 : i + 1] for i in range(ORDERS, len(padded))] for k in range(1, ORDERS + 1)
        }
        self.counts = {k: Counter(gram[1:] for gram in set(grams[k + 1])) for k in range(1, order)}
        self.counts[order] = Counter(grams[order])
        self.after: dict[Gram, dict[int, int]] = defaultdict(dict)  # (k, ...) is no clash: contexts differ in length
        for table in self.counts.values():
            for gram, count in table.items():
                self.after[gram[:-1]][gram[-1]] = count
        self.discounts = discounts or [self._discounts(self.counts[k]) for k in range(1, order + 1)]

    @staticmethod
    def _discounts(table: Counter[Gram]) -> list[Fraction]:
        n1, n2, n3, n4 = (Fraction(sum(count == j for count in table.values())) for j in (1, 2, 3, 4))
        if n1 and n2 and n3:
            y = n1 / (n1 + 2 * n2)
            found = [1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3]
            if min(found) > 0:
                return found
        return [Fraction(1, 2), Fraction(1), Fraction(3, 2)]

    def probability(self, w: int, context: Gram, vocab_size: int) -> Fraction:
        lower = self.probability(w, context[1:], vocab_size) if context else Fraction(1, vocab_size)
        after = self.after.get(context, {})
        if not after:
            return lower
        d1, d2, d3 = self.discounts[len(context)]
        of = [Fraction(0), d1, d2, d3]
        total = sum(after.values())
        kept = after.get(w, 0) - of[min(after.get(w, 0), 3)]
        freed = sum((of[min(count, 3)] for count in after.values()), Fraction(0))
        return (kept + freed * lower) / total


@settings(max_examples=40)
@given(st.data(), st.booleans(), st.integers(1, ORDERS - 1))
def test_the_textbook(data: Any, adaptive: bool, order: int) -> None:
    vocab_size = data.draw(st.integers(1, 4))
    text = st.lists(st.integers(0, vocab_size - 1), min_size=1)
    train, validation = data.draw(text.filter(lambda values: len(values) < 80)), data.draw(text)[:6]
    trained = Textbook(train, order)
    expected = []
    for i, w in enumerate(validation):
        model = Textbook([*train, *validation[:i]], order, trained.discounts) if adaptive else trained
        before = (*([-1] * ORDERS), *train, *validation[:i])
        expected.append(-math.log(model.probability(w, tuple(before[len(before) - order + 1 :]), vocab_size)))
    found = nats(train, validation, vocab_size, adaptive)[order - 1]
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)


def test_the_textbook_with_discounts_that_are_estimated() -> None:
    """Long enough for all counts of counts, of which short texts have too few."""
    draw = np.random.default_rng(0)
    text = [int(x) for x in np.minimum(draw.geometric(0.25, 400), 8) - 1]
    train, validation = text[:380], text[380:]
    model = Textbook(train, 4)
    assert model.discounts[3] != [Fraction(1, 2), 1, Fraction(3, 2)]
    expected = [
        -math.log(model.probability(w, tuple([*train, *validation[:i]][-3:]), 8)) for i, w in enumerate(validation)
    ]
    np.testing.assert_allclose(nats(train, validation, 8, adaptive=False)[3], expected, rtol=1e-12)


@given(st.data(), st.booleans(), st.integers(1, 6))
def test_probabilities_sum_to_one(data: Any, adaptive: bool, vocab_size: int) -> None:
    text = st.lists(st.integers(0, vocab_size - 1), min_size=1, max_size=60)
    train, context = data.draw(text), data.draw(text)
    sums = np.zeros(ORDERS)
    for w in range(vocab_size):
        sums += [math.exp(-costs[-1]) for costs in nats(train, [*context, w], vocab_size, adaptive)]
    np.testing.assert_allclose(sums, 1.0, rtol=1e-12)


@given(st.lists(st.integers(0, 3), min_size=2, max_size=60), st.booleans(), st.data())
def test_no_id_is_known_before_it_is_scored(text: list[int], adaptive: bool, data: Any) -> None:
    train, validation = text[: len(text) // 2], text[len(text) // 2 :]
    end = data.draw(st.integers(1, len(validation)))
    whole, part = nats(train, validation, 4, adaptive), nats(train, validation[:end], 4, adaptive)
    for costs, beginning in zip(whole, part, strict=True):
        np.testing.assert_array_equal(costs[:end], beginning)


def test_a_static_model_learns_nothing_from_what_it_reads() -> None:
    train, news = [0, 1] * 20, [2, 3] * 20  # 2 and 3 were never seen
    static, adaptive = nats(train, news, 4, adaptive=False)[1], nats(train, news, 4, adaptive=True)[1]
    assert static[-1] == pytest.approx(static[3])
    assert adaptive[-1] < 0.1 < 1.0 < min(adaptive[1], static[-1])  # [1] is the first 3


@pytest.mark.parametrize("adaptive", [False, True])
def test_certainty_costs_nothing_and_not_less(adaptive: bool) -> None:
    for costs in nats([0] * 50, [0] * 50, 1, adaptive):
        assert costs.tolist() == [0.0] * 50
        assert not np.signbit(costs).any()


def test_discounts_of_the_paper() -> None:
    """100, 40, 20 and 12 n-grams counted 1 to 4 times: Y = 100 / 180."""
    counts = np.repeat([1, 2, 3, 4, 9], [100, 40, 20, 12, 5]).astype(np.int32)
    y = 5 / 9
    assert discounts(counts).tolist() == pytest.approx([0, 1 - 0.8 * y, 2 - 1.5 * y, 3 - 2.4 * y])


@pytest.mark.parametrize("kinds", [[0, 0, 0, 0, 9], [4, 0, 2, 1, 9], [9, 1, 8, 1, 9], [0, 3, 2, 1, 0]])
def test_discounts_that_cannot_be_estimated(kinds: list[int]) -> None:
    assert discounts(np.repeat([1, 2, 3, 4, 9], kinds).astype(np.int32)).tolist() == [0, 0.5, 1, 1.5]


def test_unigram_by_hand() -> None:
    costs = unigram(ids([0, 0, 1]), ids([0, 1, 2]), 3)  # 3 of 6, 2 of 6, 1 of 6
    assert np.exp(-costs).tolist() == pytest.approx([3 / 6, 2 / 6, 1 / 6])


def test_a_markov_source_is_found_out() -> None:
    """Its order is 2, so that trigrams know all there is to know: no more than the process, and hardly less."""
    corpus = open_corpus(TextConfig(corpus=("synthetic:markov,symbols=4,order=2,characters=100000",)))
    order = best_order(corpus.train, corpus.tokenizer.vocab_size)
    assert order == 3
    limit = corpus.description["limit"]["validation"]
    for adaptive in (False, True):
        models = kneser_ney(corpus.train, corpus.validation, corpus.tokenizer.vocab_size, adaptive)
        costs = list(islice(models, order))
        assert limit - 0.001 < costs[2].mean() < limit + 0.005
        assert costs[1].mean() > limit + 0.02  # bigrams know less


@pytest.mark.parametrize("length", [1, 2, 3, 11])
def test_a_text_too_short_to_judge_orders(length: int) -> None:
    assert 1 <= best_order(ids([0, 1] * length)[:length], 2) <= 10
