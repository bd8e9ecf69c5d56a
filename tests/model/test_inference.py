import random

import pytest
import torch

from letterloom.config import ModelConfig
from letterloom.model.inference import predict
from letterloom.model.transformer import Transformer


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
