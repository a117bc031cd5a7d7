from __future__ import annotations

import pytest
import torch
from helpers import losses, tiny
from torch import Tensor

from vae_zoo.models import CIWAE, IWAE, VAE


def test_between_the_elbo_and_the_importance_weighted_bound(images: Tensor) -> None:
    model = tiny(CIWAE, beta=0.3, num_samples=4)
    iwae, vae = tiny(IWAE, num_samples=4), tiny(VAE, num_samples=4)
    for other in (iwae, vae):
        other.load_state_dict(model.state_dict())
    mixed, weighted, plain = (losses(m, images)["loss"] for m in (model, iwae, vae))
    torch.testing.assert_close(mixed, 0.3 * plain + 0.7 * weighted)


@pytest.mark.parametrize("beta", [-0.1, 1.1, float("nan")])
def test_bad_values(beta: float) -> None:
    with pytest.raises(ValueError, match="beta must lie between 0 and 1, got"):
        tiny(CIWAE, beta=beta)
