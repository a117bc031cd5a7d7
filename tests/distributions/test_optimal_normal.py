"""The optimal σ: computed from the batch in training, fixed everywhere else."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from helpers import losses, tiny
from torch import Tensor

from vae_zoo.distributions import OptimalNormal
from vae_zoo.models import VAE
from vae_zoo.testing.losses import ONE_GRAPH


def test_no_other_scale_fits_the_batch_better() -> None:
    family, loc, x = OptimalNormal((3,)), torch.randn(50, 3), torch.randn(50, 3)
    best = family(loc).log_prob(x).mean()
    scales = torch.linspace(0.5, 4, 2001)[:, None, None]
    others = torch.distributions.Normal(loc, scales).log_prob(x).sum(-1).mean(-1)
    assert best.item() == pytest.approx(others.max().item(), rel=1e-5)


def test_the_gradient_is_that_of_the_paper() -> None:
    """σ is left out of the gradient, which is nevertheless that of D/2 log of the mean squared error."""
    family, x = OptimalNormal((3,)), torch.randn(50, 3)
    loc = torch.randn(50, 3, requires_grad=True)
    (grad,) = torch.autograd.grad(family(loc).log_prob(x).mean(), loc)
    (expected,) = torch.autograd.grad(-1.5 * (x - loc).square().mean().log(), loc)
    torch.testing.assert_close(grad, expected)


def test_evaluation_looks_at_no_example(images: Tensor) -> None:
    """One density: what an example is worth does not depend on those beside it, in training mode neither."""
    model = tiny(VAE, likelihood=OptimalNormal)
    losses(model, images)["loss"].backward()
    before = model.likelihood.square.clone()
    z = torch.randn(16, 4)
    for mode in (False, True):
        model.train(mode)
        with torch.no_grad():
            whole = model.decode(z).log_prob(images)
            alone = torch.cat([model.decode(z[i : i + 1]).log_prob(images[i : i + 1]) for i in range(16)])
            model.log_evidence(images, num_samples=3)
        torch.testing.assert_close(whole, alone)
    assert torch.equal(model.likelihood.square, before)
    assert model.likelihood.count == 1


def test_a_duplicated_batch_changes_nothing(images: Tensor) -> None:
    params = torch.randn(16, 1, 8, 8)
    once, twice = OptimalNormal((1, 8, 8)), OptimalNormal((1, 8, 8))
    one, two = once(params).log_prob(images), twice(params.repeat(2, 1, 1, 1)).log_prob(images.repeat(2, 1, 1, 1))
    torch.testing.assert_close(torch.cat([one, one]), two)
    torch.testing.assert_close(once.square, twice.square)


def test_tracks_the_mean_over_batches() -> None:
    family, squares = OptimalNormal((3,), decay=0.75), []
    for size in (1.0, 2.0, 3.0, 4.0, 5.0):
        x = size * torch.randn(20, 3)
        family(torch.zeros(20, 3, requires_grad=True)).log_prob(x)
        squares.append(x.square().mean())
    plain = torch.stack(squares[:4]).mean()  # the first batches are weighted alike
    torch.testing.assert_close(family.square, 0.75 * plain + 0.25 * squares[4])
    scale = family.eval()(torch.zeros(1, 3)).stddev
    torch.testing.assert_close(scale, family.square.sqrt().expand(1, 3))


@pytest.mark.exhaustive
def test_one_graph_that_tracks(images: Tensor) -> None:
    eager, whole = (
        tiny(VAE, likelihood=OptimalNormal, num_samples=2),
        tiny(VAE, likelihood=OptimalNormal, num_samples=2),
    )
    whole.load_state_dict(eager.state_dict())
    step = torch.compile(VAE.losses, fullgraph=ONE_GRAPH, backend="eager")
    for seed in (1, 2, 3):
        expected = losses(eager, images, seed)
        torch.manual_seed(seed)
        torch.testing.assert_close(step(whole, images), expected)
    assert whole.likelihood.count == 3
    torch.testing.assert_close(whole.likelihood.square, eager.likelihood.square)


def test_kept_in_the_checkpoint_and_in_full_precision() -> None:
    family = OptimalNormal((3,), scale=0.2)
    assert set(family.state_dict()) == {"square", "count"}
    assert family.square.item() == pytest.approx(0.04)
    assert family.bfloat16().square.dtype == torch.float32
    assert family.double().square.dtype == torch.float64


def test_exact_reconstructions() -> None:
    params = torch.zeros(4, 3, requires_grad=True)
    log_prob = OptimalNormal((3,))(params).log_prob(torch.zeros(4, 3))
    (grad,) = torch.autograd.grad(log_prob.sum(), params)
    assert log_prob.isfinite().all()
    assert (grad == 0).all()


@pytest.mark.parametrize("decay", [-0.1, 1.0, float("nan")])
def test_bad_values(decay: float) -> None:
    with pytest.raises(ValueError, match="decay must be at least 0 and below 1, got"):
        OptimalNormal((3,), decay=decay)
    with pytest.raises(ValueError, match="scale must be positive and finite"):
        partial(OptimalNormal, scale=0.0)((3,))
