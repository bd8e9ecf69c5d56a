"""Every process against brute force: all short texts, all paths of states, all derivations; and the closed forms."""

import itertools
import math
from collections import defaultdict
from itertools import islice

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from letterloom.text.synthetic.grammar import GROWTH, Grammar, Rule
from letterloom.text.synthetic.hmm import HiddenMarkov
from letterloom.text.synthetic.markov import Markov, Uniform
from letterloom.text.synthetic.process import Process, choose, choosers, random_rows
from letterloom.text.synthetic.repeats import Copy, Periodic


def generator(seed: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(seed))


def drawn(process: Process, n: int, seed: int = 0) -> str:
    return "".join(islice(process.characters(generator(seed)), n))


SMALL = {  # a process, its characters, and a length of text of which all are enumerated
    "uniform": (Uniform(3), "abc", 6),
    "markov": (Markov.random(generator(1), symbols=3, order=1), "abc", 6),
    "markov of order 2": (Markov.random(generator(1), symbols=2, order=2), "ab", 9),
    "markov of order 3": (Markov.random(generator(1), symbols=2, order=3), "ab", 9),
    "hmm": (HiddenMarkov.random(generator(1), symbols=3, states=3), "abc", 7),
    "grammar": (Grammar.random(generator(1), symbols=6, nonterminals=2), "abcdef\n", 4),
    "ambiguous grammar": (Grammar.random(generator(1), symbols=2, nonterminals=3), "ab\n", 7),
    "copy": (Copy(2, shortest=1, longest=3), "ab \n", 8),
    "copy of one length": (Copy(2, shortest=2, longest=2), "ab \n", 8),
    "periodic": (Periodic(2, period=3), "ab", 9),
}
LONG = {
    "uniform": Uniform(26),
    "markov": Markov.random(generator(2), symbols=6, order=2),
    "markov of order 1": Markov.random(generator(3), symbols=26, order=1),
    "grammar": Grammar.random(generator(4), symbols=8, nonterminals=3),
    "grammar of one nonterminal": Grammar.random(generator(5), symbols=6, nonterminals=1),
    "copy": Copy(26, shortest=4, longest=8),
    "periodic": Periodic(26, period=12),
}
small = pytest.mark.parametrize(("process", "alphabet", "length"), SMALL.values(), ids=SMALL)
long = pytest.mark.parametrize("process", LONG.values(), ids=LONG)


@small
def test_the_probabilities_of_all_texts_of_a_length_add_up_to_one(process: Process, alphabet: str, length: int) -> None:
    for n in range(length + 1):
        texts = map("".join, itertools.product(alphabet, repeat=n))
        assert sum(math.exp(-process.nats(text).sum()) for text in texts) == pytest.approx(1, abs=1e-12)


@small
def test_texts_come_as_often_as_their_probabilities_say(process: Process, alphabet: str, length: int) -> None:
    n, draws, rng = min(3, length), 4000, generator(7)
    counts: dict[str, int] = defaultdict(int)
    for _ in range(draws):
        counts["".join(islice(process.characters(rng), n))] += 1
    for text in map("".join, itertools.product(alphabet, repeat=n)):
        p = math.exp(-process.nats(text).sum())
        assert abs(counts[text] - p * draws) <= 5 * math.sqrt(p * (1 - p) * draws)  # never where p is 0


@small
def test_what_comes_later_changes_no_cost(process: Process, alphabet: str, length: int) -> None:
    for seed in range(20):
        text = drawn(process, 40, seed)
        nats = process.nats(text)
        assert nats.shape == (40,)
        assert np.isfinite(nats).all()
        assert (nats >= -1e-12).all()
        for n in (0, 1, length, 39):
            np.testing.assert_allclose(process.nats(text[:n]), nats[:n], rtol=0, atol=1e-12)


@long
def test_the_mean_over_a_long_text_is_the_closed_form(process: Process) -> None:
    nats = process.nats(drawn(process, 200_000))
    assert process.entropy_rate is not None
    blocks = nats.reshape(200, -1).mean(axis=1)  # a thousand characters say little of the next thousand
    error = blocks.std(ddof=1) / math.sqrt(len(blocks))
    assert abs(nats.mean() - process.entropy_rate) <= 4 * error + 1e-12


class TestUniform:
    @pytest.mark.parametrize("symbols", [1, 2, 26, 52])
    def test_its_entropy_is_the_logarithm_of_its_letters(self, symbols: int) -> None:
        assert Uniform(symbols).entropy_rate == pytest.approx(np.log(symbols))
        assert set(drawn(Uniform(symbols), 2000)) == set(Uniform(symbols).alphabet)

    def test_a_character_that_it_does_not_write_is_refused(self) -> None:
        with pytest.raises(ValueError, match="'c'"):
            Uniform(2).nats("abc")


class TestMarkov:
    def test_two_states_by_hand(self) -> None:
        a, b = 0.1, 0.3  # of leaving the first letter, and the second: the first comes b / (a + b) of the time

        def entropy(p: float) -> float:
            return -p * math.log(p) - (1 - p) * math.log(1 - p)

        chain = Markov(np.array([[1 - a, a], [b, 1 - b]]))
        assert chain.entropy_rate == pytest.approx((b * entropy(a) + a * entropy(b)) / (a + b), abs=1e-12)
        expected = [0.5, 1 - a, a, 1 - b, b]
        np.testing.assert_allclose(np.exp(-chain.nats("aabba")), expected)

    def test_a_context_is_read_from_the_oldest_letter_on(self) -> None:
        rows = np.array([[0.9, 0.1], [0.8, 0.2], [0.7, 0.3], [0.6, 0.4]])  # after aa, ab, ba, bb
        np.testing.assert_allclose(np.exp(-Markov(rows).nats("abaabb")), [0.5, 0.5, 0.8, 0.7, 0.1, 0.2])

    @pytest.mark.parametrize("order", [1, 2, 3, 4])
    def test_its_contexts_settle_at_the_eigenvector(self, order: int) -> None:
        chain = Markov.random(generator(order), symbols=3, order=order)
        contexts = list(itertools.product(range(3), repeat=order))
        step = np.zeros((len(contexts), len(contexts)))
        for i, context in enumerate(contexts):
            for letter in range(3):
                step[i, contexts.index((*context[1:], letter))] += chain.transitions[i, letter]
        values, vectors = np.linalg.eig(step.T)
        stationary = np.real(vectors[:, np.argmax(np.real(values))])
        stationary /= stationary.sum()
        entropies = [-sum(p * math.log(p) for p in row) for row in chain.transitions]
        assert chain.entropy_rate == pytest.approx(float(stationary @ entropies), abs=1e-12)

    def test_too_many_contexts_are_refused(self) -> None:
        with pytest.raises(ValueError, match=r"7,311,616.* at most 20,000"):
            Markov.random(generator(0), symbols=52, order=4)


class TestHiddenMarkov:
    def test_against_all_paths_of_states(self) -> None:
        model = HiddenMarkov.random(generator(3), symbols=3, states=3)
        for seed in range(5):
            text = drawn(model, 7, seed)
            letters = ["abc".index(character) for character in text]
            joint = np.zeros(8)  # p(the first n characters)
            for n in range(8):
                for path in itertools.product(range(3), repeat=n):
                    p = 1.0
                    for i, (state, letter) in enumerate(zip(path, letters, strict=False)):
                        p *= model.transitions[path[i - 1], state] if i else 1 / 3
                        p *= model.emissions[state, letter]
                    joint[n] += p
            np.testing.assert_allclose(np.exp(-model.nats(text)), joint[1:] / joint[:-1])

    def test_states_that_show_are_a_markov_chain(self) -> None:
        moves = random_rows(generator(4), 3, 3)
        text = drawn(Markov(moves), 500)
        np.testing.assert_allclose(HiddenMarkov(moves, np.eye(3)).nats(text), Markov(moves).nats(text))

    def test_a_text_of_any_length_does_not_underflow(self) -> None:
        model = HiddenMarkov.random(generator(5), symbols=26, states=2)
        assert np.isfinite(model.nats(drawn(model, 20_000))).all()


def sentences(grammar: Grammar, most: int) -> dict[str, float]:
    """The probabilities of all sentences of up to `most` letters: each leftmost derivation followed to its end."""
    found: dict[str, float] = defaultdict(float)
    pending: list[tuple[str, tuple[int, ...], float]] = [("", (0,), 1.0)]
    while pending:
        text, stack, p = pending.pop()
        if not stack:
            found[text] += p
        elif len(text) + len(stack) <= most:  # every nonterminal becomes a letter at least
            for rule in grammar.rules[stack[0]]:
                letter = grammar.letters[rule.letter]
                pending.append((text + letter, (*rule.children, *stack[1:]), p * rule.probability))
    return found


def begun(grammar: Grammar, prefix: str) -> float:
    """The probability that a sentence begins with these letters: each derivation followed as far as they go."""
    total = 0.0
    pending: list[tuple[int, tuple[int, ...], float]] = [(0, (0,), 1.0)]
    while pending:
        matched, stack, p = pending.pop()
        if matched == len(prefix):
            total += p
        elif stack:
            pending += [
                (matched + 1, (*rule.children, *stack[1:]), p * rule.probability)
                for rule in grammar.rules[stack[0]]
                if grammar.letters[rule.letter] == prefix[matched]
            ]
    return total


class TestGrammar:
    @settings(max_examples=30)
    @given(st.integers(0, 2**32), st.integers(2, 5), st.integers(1, 4))
    def test_against_all_derivations_of_an_ambiguous_one(self, seed: int, symbols: int, nonterminals: int) -> None:
        grammar = Grammar.random(generator(seed), symbols, nonterminals)
        for sentence, probability in sentences(grammar, 5).items():
            nats = grammar.nats(sentence + "\n")
            assert math.exp(-nats.sum()) == pytest.approx(probability)
            for n in range(1, len(sentence)):
                assert math.exp(-nats[:n].sum()) == pytest.approx(begun(grammar, sentence[:n]))

    def test_two_derivations_by_hand(self) -> None:
        grammar = Grammar([[Rule(0.5, 0, ()), Rule(0.3, 0, (0,)), Rule(0.2, 0, (0, 0))]], symbols=2)
        # aaa: a (a (a)) by two rules of one child, or a (a) (a) by one of two
        three = 0.3 * 0.3 * 0.5 + 0.2 * 0.5 * 0.5
        assert math.exp(-grammar.nats("aaa\n").sum()) == pytest.approx(three)
        assert grammar.entropy_rate is None

    def test_lines_are_independent(self) -> None:
        grammar = Grammar.random(generator(0), symbols=4, nonterminals=2)
        first, second = drawn(grammar, 300).split("\n")[:2]
        both = grammar.nats(f"{first}\n{second}\n")
        alone = [grammar.nats(f"{line}\n") for line in (first, second)]
        np.testing.assert_allclose(both, np.concatenate(alone))

    def test_of_a_simple_grammar_each_letter_tells_its_rule(self) -> None:
        grammar = Grammar.random(generator(1), symbols=9, nonterminals=3)
        expected, stack = [], [0]
        text = drawn(grammar, 5000)
        for character in text:
            if character == "\n":
                assert not stack
                expected.append(1.0)
                stack = [0]
                continue
            [rule] = [rule for rule in grammar.rules[stack.pop()] if grammar.letters[rule.letter] == character]
            stack += rule.children[::-1]
            expected.append(rule.probability)
        np.testing.assert_allclose(np.exp(-grammar.nats(text)), expected)

    @pytest.mark.parametrize("symbols", [2, 5, 6, 52])
    def test_every_nonterminal_grows_alike(self, symbols: int) -> None:
        for rules in Grammar.random(generator(2), symbols, nonterminals=4).rules:
            shares = [sum(rule.probability for rule in rules if len(rule.children) == n) for n in range(3)]
            assert shares == pytest.approx(GROWTH)
            assert {len(set(rule.children) - set(range(4))) for rule in rules} == {0}
            assert len({rule.letter for rule in rules}) == min(symbols, 6)

    def test_a_sentence_has_five_letters_in_the_mean(self) -> None:
        lengths = [len(line) for line in drawn(Grammar.random(generator(4), 8, 3), 200_000).split("\n")[:-1]]
        assert np.mean(lengths) == pytest.approx(5, abs=4 * float(np.std(lengths)) / math.sqrt(len(lengths)))

    def test_what_cannot_be_drawn_costs_infinitely_from_there_on(self) -> None:
        grammar = Grammar([[Rule(0.5, 0, ()), Rule(0.5, 1, (0,))]], symbols=3)  # b ... b a
        np.testing.assert_allclose(
            grammar.nats("ba\na\n\na"), [math.log(2), math.log(2), 0, math.log(2), 0, *[np.inf] * 2]
        )
        assert np.isinf(grammar.nats("bca\na")[1:]).all()


class TestCopy:
    def test_a_line_by_hand(self) -> None:
        letter, lengths = 1 / 3, 2
        expected = [letter, letter, (1 - 1 / lengths) * letter, *[1] * 5, letter, letter, 1 / lengths, *[1] * 3]
        np.testing.assert_allclose(np.exp(-Copy(3, 2, 3).nats("abc abc\nca ca\n")), expected)

    @pytest.mark.parametrize("wrong", ["ab ac", "a ", "abca", "ab ab ", "\n", "?"])
    def test_what_cannot_be_drawn_costs_infinitely(self, wrong: str) -> None:
        nats = Copy(3, 2, 3).nats(wrong + "\n")
        assert np.isinf(nats[len(wrong) - 1 :]).all()
        assert np.isfinite(nats[: len(wrong) - 1]).all()

    def test_lengths_are_from_the_shortest_to_the_longest(self) -> None:
        words = {line.split(" ")[0] for line in drawn(Copy(26, 3, 5), 20_000).split("\n")[:-1]}
        assert {len(word) for word in words} == {3, 4, 5}


class TestPeriodic:
    def test_it_is_charged_once(self) -> None:
        text = drawn(Periodic(26, 12), 100)
        assert text == (text[:12] * 9)[:100]
        np.testing.assert_allclose(Periodic(26, 12).nats(text), [math.log(26)] * 12 + [0] * 88)

    def test_another_word_cannot_be(self) -> None:
        assert np.isinf(Periodic(3, 2).nats("ababbb")[4:]).all()


def test_rows_are_probabilities_and_none_is_too_small_to_be_learned() -> None:
    rows = random_rows(generator(0), 500, 8)
    np.testing.assert_allclose(rows.sum(axis=1), 1)
    assert rows.min() > 0.01 / (8 * 1.01)


def test_choosing_follows_the_thresholds() -> None:
    class Fixed:
        value = 0.0

        def random(self) -> float:
            return self.value

    [thresholds] = choosers(np.array([[0.25, 0.0, 0.5, 0.25]]))
    fixed = Fixed()
    for fixed.value, expected in ((0.0, 0), (0.2499, 0), (0.25, 2), (0.7499, 2), (0.75, 3), (1 - 2**-53, 3)):
        assert choose(thresholds, fixed) == expected  # type: ignore[arg-type]
