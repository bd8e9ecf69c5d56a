import copy

import pytest
import torch
from torch import nn

from letterloom.config import ModelConfig
from letterloom.model.transformer import Transformer
from letterloom.training.products import ConvolvedLinear, convolve_linears


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("batch", "length"), [(1, 1), (1, 7), (5, 3)])
def test_a_convolution_is_the_linear_map_and_has_its_gradients(batch: int, length: int, bias: bool) -> None:
    torch.manual_seed(0)
    linear = nn.Linear(6, 4, bias=bias, dtype=torch.float64)
    convolved = ConvolvedLinear(6, 4, bias=bias, dtype=torch.float64)
    convolved.load_state_dict(linear.state_dict())
    inputs = [torch.randn(batch, length, 6, dtype=torch.float64).requires_grad_() for _ in range(2)]
    with torch.no_grad():
        inputs[1].copy_(inputs[0])
    outputs = [linear(inputs[0]), convolved(inputs[1])]
    for output in outputs:
        output.square().sum().backward()
    torch.testing.assert_close(outputs[1], outputs[0], rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(inputs[1].grad, inputs[0].grad, rtol=1e-12, atol=1e-12)
    for p, q in zip(linear.parameters(), convolved.parameters(), strict=True):
        torch.testing.assert_close(q.grad, p.grad, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("tied", [True, False])
def test_a_model_keeps_its_parameters_its_tie_and_its_logits(tied: bool) -> None:
    torch.manual_seed(0)
    config = ModelConfig(context_length=8, d_model=8, n_layers=2, n_heads=2, tied_head=tied, bias_mlp=True)
    plain = Transformer(config, 11).double().eval()
    convolved = copy.deepcopy(plain)
    before = dict(convolved.named_parameters())
    convolve_linears(convolved)
    after = dict(convolved.named_parameters())
    assert before.keys() == after.keys()
    assert all(before[name] is after[name] for name in before)
    assert (convolved.head.weight is convolved.embedding.weight) == tied
    assert not any(type(module) is nn.Linear for module in convolved.modules())
    ids = torch.randint(0, 11, (3, 8))
    torch.testing.assert_close(convolved(ids), plain(ids), rtol=0, atol=1e-12)
