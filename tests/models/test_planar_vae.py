from __future__ import annotations

import pytest
import torch
from helpers import losses, tiny
from torch import Tensor

from vae_zoo.distributions import PlanarFlow, RadialFlow, StandardNormal, SylvesterFlow
from vae_zoo.models import FlowVAE, PlanarVAE, RadialVAE, SylvesterVAE

every_alias = pytest.mark.parametrize(
    ("cls", "family"), [(PlanarVAE, PlanarFlow), (RadialVAE, RadialFlow), (SylvesterVAE, SylvesterFlow)]
)


@every_alias
def test_is_a_flow_under_a_standard_prior(cls: type[FlowVAE], family: type, images: Tensor) -> None:
    model, same = tiny(cls), tiny(FlowVAE, posterior=family, prior=StandardNormal)
    assert type(model.posterior) is family
    assert type(model.latent_prior) is StandardNormal
    same.load_state_dict(model.state_dict())
    assert losses(model, images)["loss"] == losses(same, images)["loss"]


@every_alias
def test_the_flow_of_each_example_is_its_own(cls: type[FlowVAE], family: type, images: Tensor) -> None:
    """Every parameter comes from the encoder: none is shared by all examples."""
    del family
    model, moves = tiny(cls), []
    assert not list(model.posterior.parameters())
    for n in range(2):
        q, z = model.encode(images[n : n + 1]), []
        for seed in (1, 2, 3):
            torch.manual_seed(seed)
            z.append((q.rsample((1,)) - q.loc) / q.log_scale.exp())
        moves.append(torch.cat(z))
    assert not torch.allclose(*moves)
