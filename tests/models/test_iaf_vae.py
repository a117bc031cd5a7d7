from __future__ import annotations

import torch
from helpers import losses, tiny
from torch import Tensor

from vae_zoo.distributions import AutoregressiveFlow, StandardNormal
from vae_zoo.models import IAFVAE, FlowVAE


def test_is_a_flow_under_a_standard_prior(images: Tensor) -> None:
    model, same = tiny(IAFVAE), tiny(FlowVAE, prior=StandardNormal)
    assert isinstance(model.posterior, AutoregressiveFlow)
    assert isinstance(model.latent_prior, StandardNormal)
    same.load_state_dict(model.state_dict())
    assert losses(model, images)["loss"] == losses(same, images)["loss"]


def test_the_flow_of_each_example_is_its_own(images: Tensor) -> None:
    """With the same noise, what the flow does depends on the example and not only on where it begins."""
    torch.manual_seed(0)
    model = tiny(IAFVAE).eval()
    with torch.no_grad():
        for parameter in model.posterior.parameters():
            parameter.normal_()
    moves = []
    for n in range(2):
        q, z = model.encode(images[n : n + 1]), []
        for seed in (1, 2):
            torch.manual_seed(seed)
            z.append(q.rsample((1,)))
        moves.append(z[1] - z[0])
    assert not torch.allclose(*moves)
