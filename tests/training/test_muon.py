import pytest
import torch
from torch import nn

from letterloom.training import muon
from letterloom.training.muon import Muon, orthogonalised


@pytest.fixture
def in_double(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(muon, "bf16_is_faster", lambda device: False)


@pytest.mark.parametrize("low_precision", [True, False])
@pytest.mark.parametrize("shape", [(3, 16, 16), (1, 16, 64), (2, 1, 5)])
def test_singular_values_come_near_one_and_their_vectors_stay(
    shape: tuple[int, int, int], low_precision: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(muon, "bf16_is_faster", lambda device: low_precision)
    torch.manual_seed(0)
    matrices = torch.randn(shape) * torch.tensor([1e-6, 1.0, 1e4])[: shape[0], None, None]
    found = orthogonalised(matrices)
    assert found.dtype == matrices.dtype
    u, s, vh = torch.linalg.svd(matrices, full_matrices=False)
    turned = u.mT @ found @ vh.mT  # diagonal, where the singular vectors are those of the momentum
    new = turned.diagonal(dim1=1, dim2=2)
    large = s > 0.05 * s.amax(dim=1, keepdim=True)  # the steps bring what is far smaller only part of the way
    assert ((new > 0.6) & (new < 1.3))[large].all()
    assert (turned - torch.diag_embed(new)).abs().max() < (0.05 if low_precision else 1e-4)


@pytest.mark.usefixtures("in_double")
@pytest.mark.parametrize("shape", [(6, 6), (12, 4), (4, 12)])
def test_a_step_is_that_of_torchs_muon(shape: tuple[int, int]) -> None:
    """Its Newton-Schulz is in bf16, so directions agree to its precision; sizes, momentum and decay are the same."""
    torch.manual_seed(0)
    start = torch.randn(shape)
    ours, theirs = nn.Parameter(start.clone()), nn.Parameter(start.clone())
    pair: tuple[Muon, torch.optim.Muon] = (
        Muon([{"params": [ours]}], lr=0.1, momentum=0.8, weight_decay=0.3),
        torch.optim.Muon([theirs], lr=0.1, momentum=0.8, weight_decay=0.3),
    )
    for _ in range(4):
        gradient = torch.randn(shape)
        ours.grad, theirs.grad = gradient.clone(), gradient.clone()
        for optimizer in pair:
            optimizer.step()
    assert (ours - theirs).norm() < 0.02 * (ours - start).norm()


@pytest.mark.usefixtures("in_double")
def test_the_parts_of_a_fused_matrix_move_as_matrices_of_their_own() -> None:
    torch.manual_seed(0)
    start, gradient = torch.randn(2, 9, 4).double()
    settings = {"lr": 0.1, "momentum": 0.8, "weight_decay": 0.0}
    fused = nn.Parameter(start.clone())
    single = [nn.Parameter(part.clone()) for part in start.chunk(3)]
    fused.grad = gradient.clone()
    for parameter, part in zip(single, gradient.chunk(3), strict=True):
        parameter.grad = part.clone()
    Muon([{"params": [fused], "parts": 3}], **settings).step()
    Muon([{"params": single}], **settings).step()
    torch.testing.assert_close(fused.data, torch.cat([p.data for p in single]), rtol=1e-12, atol=1e-12)


def test_a_parameter_without_a_gradient_stays() -> None:
    parameter = nn.Parameter(torch.ones(2, 2))
    Muon([{"params": [parameter]}], lr=0.1, momentum=0.9, weight_decay=0.5).step()
    assert torch.equal(parameter, torch.ones(2, 2))
