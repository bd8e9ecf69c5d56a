import random

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from letterloom.accounting import window_jump
from letterloom.config import ModelConfig
from letterloom.model.inference import predict, window_start
from letterloom.model.transformer import Transformer


@given(context=st.integers(1, 200), position=st.integers(0, 2000))
def test_window_is_full_enough_and_never_too_long(context: int, position: int) -> None:
    start = window_start(position, context)
    length = position - start
    assert 0 <= length <= context
    assert start == 0 or length >= 3 * context / 4


@given(context=st.integers(1, 60))
def test_window_moves_by_its_jump_and_only_when_full(context: int) -> None:
    start = 0
    for position in range(5 * context):  # the rule told as a story: move when the next character does not fit
        if position - start > context:
            start += max(1, context // 4)
        assert window_start(position, context) == start


def test_jump_is_a_quarter_of_the_context() -> None:
    assert [window_jump(t) for t in (1, 3, 4, 7, 8, 64, 255)] == [1, 1, 1, 1, 2, 16, 63]


@pytest.mark.parametrize("training", [True, False])
def test_predict_has_no_dropout_and_leaves_the_mode(training: bool) -> None:
    model = Transformer(ModelConfig(d_model=8, n_layers=1, n_heads=2, context_length=8, dropout=0.5), 5)
    model.train(training)
    ids = torch.arange(5)[None]
    before = torch.get_rng_state(), random.getstate()
    assert torch.equal(predict(model, ids), predict(model, ids))
    assert all(module.training is training for module in model.modules())
    assert torch.equal(before[0], torch.get_rng_state())
    assert before[1] == random.getstate()


def test_predict_restores_the_mode_when_the_model_fails() -> None:
    model = Transformer(ModelConfig(d_model=8, n_layers=1, n_heads=2, context_length=8), 5).train()
    with pytest.raises(ValueError, match="context"):
        predict(model, torch.zeros(1, 9, dtype=torch.int64))
    assert model.training
