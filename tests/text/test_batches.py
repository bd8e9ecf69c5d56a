import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import chisquare

from letterloom.errors import ConfigError, CorpusError
from letterloom.text.batches import _hash, batch, require_length, steps_per_epoch

samplings = st.sampled_from(["random", "epochs"])


def text(n: int) -> NDArray[np.uint32]:
    """Ids that tell where they lie."""
    return np.arange(n, dtype=np.uint32)


def targets_of_epochs(n: int, batch_size: int, context: int, epochs: int, seed: int = 0) -> NDArray[np.int64]:
    """All targets of whole epochs, one row a window, from as many batches as that takes."""
    windows = round(steps_per_epoch(n, batch_size, context) * batch_size)
    steps = -(-windows * epochs // batch_size)
    rows = [
        batch(text(n), seed=seed, step=i, batch_size=batch_size, context_length=context, sampling="epochs")[1]
        for i in range(steps)
    ]
    return np.concatenate(rows)[: windows * epochs].reshape(epochs, windows, context)


@given(samplings, st.integers(0, 2**32 - 1), st.integers(0, 10**12), st.integers(2, 300), st.integers(1, 20))
def test_targets_are_the_inputs_one_later(sampling: str, seed: int, step: int, n: int, context: int) -> None:
    context = min(context, n - 1)
    inputs, targets = batch(text(n), seed=seed, step=step, batch_size=6, context_length=context, sampling=sampling)  # type: ignore[arg-type]
    assert inputs.shape == targets.shape == (6, context)
    assert inputs.dtype == targets.dtype == np.int64
    assert (targets == inputs + 1).all()
    assert (np.diff(inputs, axis=1) == 1).all()
    assert inputs.min() >= 0
    assert targets.max() < n


@given(samplings, st.integers(0, 2**32 - 1), st.integers(0, 10**6), st.sampled_from([1, 2, 3, 4, 6, 12]))
def test_the_global_batch_is_the_same_for_any_number_of_processes(
    sampling: str, seed: int, step: int, world: int
) -> None:
    settings = {"seed": seed, "step": step, "batch_size": 12, "context_length": 7, "sampling": sampling}
    whole = batch(text(100), **settings)  # type: ignore[arg-type]
    shares = [batch(text(100), **settings, rank=rank, world=world) for rank in range(world)]  # type: ignore[arg-type]
    for i in range(2):
        np.testing.assert_array_equal(np.concatenate([share[i] for share in shares]), whole[i])


@given(st.integers(2, 400), st.integers(1, 12), st.integers(1, 40), st.integers(0, 2**32 - 1))
def test_each_epoch_has_every_window_once(n: int, batch_size: int, context: int, seed: int) -> None:
    context = min(context, n - 1)
    expected = [min(start, n - 1 - context) for start in range(0, n - 1, context)]
    for epoch in targets_of_epochs(n, batch_size, context, epochs=3, seed=seed):
        assert sorted(epoch[:, 0] - 1) == expected


def test_every_id_but_the_first_is_a_target_once_an_epoch() -> None:
    (epoch,) = targets_of_epochs(n=1 + 13 * 8, batch_size=5, context=8, epochs=1)
    assert sorted(epoch.ravel()) == list(range(1, 1 + 13 * 8))


def test_the_last_window_ends_with_the_text_and_repeats_what_it_must() -> None:
    (epoch,) = targets_of_epochs(n=12, batch_size=3, context=4, epochs=1)  # 11 targets: 4 + 4 + 3
    targets, times = np.unique(epoch, return_counts=True)
    assert targets.tolist() == list(range(1, 12))
    assert targets[times == 2].tolist() == [8]


def test_steps_per_epoch() -> None:
    assert steps_per_epoch(n_ids=65, batch_size=4, context_length=8) == 2.0
    assert steps_per_epoch(n_ids=66, batch_size=4, context_length=8) == 2.25


def test_epochs_differ_in_order_and_so_do_seeds() -> None:
    first, second = targets_of_epochs(n=801, batch_size=4, context=8, epochs=2)
    (other,) = targets_of_epochs(n=801, batch_size=4, context=8, epochs=1, seed=1)
    assert not np.array_equal(first, second)
    assert not np.array_equal(first, other)
    assert not np.array_equal(first, np.sort(first, axis=0))


def test_random_windows_start_anywhere_with_equal_chance() -> None:
    n, context, places = 50, 9, 41  # the last start leaves room for one more target
    starts = np.concatenate(
        [batch(text(n), seed=3, step=i, batch_size=41, context_length=context)[0][:, 0] for i in range(500)]
    )
    assert chisquare(np.bincount(starts, minlength=places)).pvalue > 1e-3
    assert len(np.unique(starts)) == places


def test_a_window_falls_on_every_place_of_an_epoch_with_equal_chance() -> None:
    windows = 37
    epochs = targets_of_epochs(n=1 + windows, batch_size=windows, context=1, epochs=4000)[:, :, 0]
    for window in (1, 19, 37):
        places = np.argmax(epochs == window, axis=1)
        assert chisquare(np.bincount(places, minlength=windows)).pvalue > 1e-3


def test_neighbours_in_an_epoch_are_not_neighbours_in_the_text() -> None:
    (epoch,) = targets_of_epochs(n=10_001, batch_size=50, context=1, epochs=1)
    correlation = np.corrcoef(epoch[:-1, 0], epoch[1:, 0])[0, 1]
    assert abs(correlation) < 4 / np.sqrt(10_000)  # four standard errors of independent draws


def test_steps_and_seeds_give_different_random_batches() -> None:
    def starts(seed: int, step: int) -> tuple[int, ...]:
        return tuple(batch(text(10**6), seed=seed, step=step, batch_size=8, context_length=8)[0][:, 0].tolist())

    assert len({starts(seed, step) for seed in range(20) for step in range(20)}) == 400


def test_the_hash_is_splitmix64() -> None:
    # The first outputs of the generator seeded with 1234567 (Rosetta Code, "Pseudo-random numbers/Splitmix64").
    states = [(1234567 + i * 0x9E3779B97F4A7C15) % 2**64 for i in range(3)]
    assert [int(_hash(state)[0]) for state in states] == [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
    ]


def test_a_batch_that_cannot_be_shared_equally_is_refused() -> None:
    with pytest.raises(ConfigError, match="batch_size 10 is not divisible by the number of processes, 4"):
        batch(text(100), seed=0, step=0, batch_size=10, context_length=4, world=4)


@pytest.mark.parametrize("sampling", ["random", "epochs"])
def test_the_shortest_text_is_one_window_and_one_target(sampling: str) -> None:
    settings = {"seed": 0, "step": 7, "batch_size": 2, "sampling": sampling}
    inputs, _ = batch(text(9), **settings, context_length=8)  # type: ignore[arg-type]
    assert inputs.tolist() == [list(range(8))] * 2
    with pytest.raises(CorpusError, match="training split has 9 ids, and context_length 9 needs at least 10"):
        batch(text(9), **settings, context_length=9)  # type: ignore[arg-type]


def test_require_length_names_the_split() -> None:
    require_length(text(5), 4, "validation split")
    with pytest.raises(CorpusError, match="validation split has 4 ids"):
        require_length(text(4), 4, "validation split")
