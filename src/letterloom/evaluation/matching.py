"""The longest stretches of a text that stand in another one too.

The text, which may be short, is indexed by a suffix automaton; the other one, which may be long, is read past it once.
"""

from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray


def longest_matches(
    text: NDArray[np.int32], training: NDArray[np.integer[Any]]
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """For each place of a text the longest stretch ending there that stands in the training text.

    A symbol below 0 matches nothing. Linear in both lengths (Chang and Lawler 1994, section 3: matching statistics;
    by a suffix automaton, Blumer et al. 1985).

    Returns:
        Its length, 0 for none, and where it ends in the training text (one past it; of several places any); both (n,).
    """
    automaton = _build(text)
    matched, ends = _read_past(automaton, training)
    _spread(automaton, np.argsort(automaton.lengths, kind="stable"), matched, ends)
    return matched[automaton.prefixes], ends[automaton.prefixes]


class _Automaton(NamedTuple):
    """A suffix automaton. A state stands for the substrings that end in the same places; 0 for the empty one."""

    lengths: NDArray[np.int32]  # by state: of its longest substring
    links: NDArray[np.int32]  # by state: the state of the longest suffix that ends in more places; -1 for state 0
    edges: NDArray[np.int32]  # by state: its newest edge; -1 for none
    states: NDArray[np.int32]  # by edge: where it begins
    symbols: NDArray[np.int32]  # by edge
    targets: NDArray[np.int32]  # by edge
    others: NDArray[np.int32]  # by edge: the next edge of the same state; -1 for none
    table: NDArray[np.int32]  # the edges by a hash of state and symbol, at most three quarters full; -1 for none
    prefixes: NDArray[np.int32]  # by place of the text: the state of all that comes up to it


@njit(cache=True, forceinline=True)
def _slot(automaton: _Automaton, state: int, symbol: int) -> int:
    """Where the table has the edge of a state for a symbol, or would have it."""
    table, last = automaton.table, len(automaton.table) - 1
    mixed = (state * 0x9E3779B97F4A7C15 + symbol) * 0xD6E8FEB86659FD93  # odd numbers of 64 bits
    slot = (mixed ^ (mixed >> 32)) & last
    while table[slot] >= 0 and (automaton.states[table[slot]] != state or automaton.symbols[table[slot]] != symbol):
        slot = (slot + 1) & last
    return int(slot)


@njit(cache=True, forceinline=True)
def _edge(automaton: _Automaton, state: int, symbol: int) -> int:
    """The edge of a state for a symbol; -1 for none."""
    return int(automaton.table[_slot(automaton, state, symbol)])


@njit(cache=True, forceinline=True)
def _add_edge(automaton: _Automaton, edge: int, state: int, symbol: int, target: int) -> None:
    automaton.states[edge], automaton.symbols[edge], automaton.targets[edge] = state, symbol, target
    automaton.others[edge], automaton.edges[state] = automaton.edges[state], edge
    automaton.table[_slot(automaton, state, symbol)] = edge


@njit(cache=True)
def _build(text: NDArray[np.int32]) -> _Automaton:
    """The suffix automaton of a text, symbol by symbol."""
    n_states, n_edges = 2 * len(text) + 1, 3 * len(text) + 1  # at most (Blumer et al. 1985, theorem 2)
    n_slots = 4
    while n_slots < n_edges + n_edges // 3:
        n_slots *= 2
    automaton = _Automaton(
        np.zeros(n_states, np.int32),
        np.full(n_states, -1, np.int32),
        np.full(n_states, -1, np.int32),
        np.empty(n_edges, np.int32),
        np.empty(n_edges, np.int32),
        np.empty(n_edges, np.int32),
        np.empty(n_edges, np.int32),
        np.full(n_slots, -1, np.int32),
        np.empty(len(text), np.int32),
    )
    lengths, links = automaton.lengths, automaton.links
    n_states, n_edges, whole = 1, 0, 0
    for i, symbol in enumerate(text):
        state, whole = whole, n_states
        n_states += 1
        lengths[whole], automaton.prefixes[i] = i + 1, whole
        while state >= 0 and _edge(automaton, state, symbol) < 0:
            _add_edge(automaton, n_edges, state, symbol, whole)
            n_edges += 1
            state = links[state]
        if state < 0:
            links[whole] = 0
            continue
        target = automaton.targets[_edge(automaton, state, symbol)]
        if lengths[target] > lengths[state] + 1:  # only its shorter substrings end here too: they get a state
            twin = n_states
            n_states += 1
            lengths[twin], links[twin] = lengths[state] + 1, links[target]
            edge = automaton.edges[target]
            while edge >= 0:
                _add_edge(automaton, n_edges, twin, automaton.symbols[edge], automaton.targets[edge])
                n_edges += 1
                edge = automaton.others[edge]
            links[target] = twin
            while state >= 0:
                edge = _edge(automaton, state, symbol)
                if automaton.targets[edge] != target:
                    break
                automaton.targets[edge] = twin
                state = links[state]
            target = twin
        links[whole] = target
    return automaton


@njit(cache=True)
def _read_past(
    automaton: _Automaton, training: NDArray[np.integer[Any]]
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """By state: the longest of its substrings that was the longest match somewhere, and where that ended."""
    lengths, links, targets = automaton.lengths, automaton.links, automaton.targets
    matched, ends = np.zeros(len(lengths), np.int32), np.zeros(len(lengths), np.int64)
    state, length = 0, 0
    for i, symbol in enumerate(training):
        edge = _edge(automaton, state, symbol)
        while edge < 0 and state > 0:
            state = links[state]
            length = lengths[state]
            edge = _edge(automaton, state, symbol)
        if edge >= 0:
            state, length = targets[edge], length + 1
            if length > matched[state]:
                matched[state], ends[state] = length, i + 1
    return matched, ends


@njit(cache=True)
def _spread(
    automaton: _Automaton, by_length: NDArray[np.intp], matched: NDArray[np.int32], ends: NDArray[np.int64]
) -> None:
    """Make of that, in place, the longest substring of each state, or suffix of one, that was seen at all."""
    lengths, links = automaton.lengths, automaton.links
    for state in by_length[::-1]:  # where a substring stands, its suffixes do
        link = links[state]
        if matched[state] and link > 0 and matched[link] < lengths[link]:
            matched[link], ends[link] = lengths[link], ends[state]
    for state in by_length:  # where no substring of a state stands, a suffix of them may
        if not matched[state] and links[state] > 0:
            matched[state], ends[state] = matched[links[state]], ends[links[state]]
