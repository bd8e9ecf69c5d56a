from hypothesis import given
from hypothesis import strategies as st

from letterloom.accounting import window_jump
from letterloom.model.window import window_start


@given(context=st.integers(1, 200), position=st.integers(0, 2000))
def test_window_is_full_enough_and_never_too_long(context: int, position: int) -> None:
    start = window_start(position, context)
    length = position - start
    assert 0 <= length <= context
    assert start == 0 or length >= context / 2


@given(context=st.integers(1, 60))
def test_window_moves_by_its_jump_and_only_when_full(context: int) -> None:
    start = 0
    for position in range(5 * context):  # the rule told as a story: move when the next character does not fit
        if position - start > context:
            start += max(1, context // 2)
        assert window_start(position, context) == start


def test_jump_is_half_of_the_context() -> None:
    assert [window_jump(t) for t in (1, 3, 4, 7, 8, 64, 255)] == [1, 1, 2, 3, 4, 32, 127]
