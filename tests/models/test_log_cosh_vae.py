from __future__ import annotations

import math

import pytest
import torch
from helpers import tiny
from torch import Tensor
from torch.nn.functional import softplus

from vae_zoo.distributions import LogCosh
from vae_zoo.models import LogCoshVAE


@pytest.mark.parametrize("weight", [0.1, 10.0, 100.0, 1e4])
def test_the_error_of_the_paper_with_its_normaliser(weight: float, images: Tensor) -> None:
    """log cosh(a·e), which is infinite or negative if it is computed by exponentials of the error."""
    model = tiny(LogCoshVAE).double().eval()
    assert isinstance(model.likelihood, LogCosh)
    with torch.no_grad():
        model.likelihood.log_scale.fill_(-math.log(weight))
    x, z = images.double(), torch.zeros(len(images), 4, dtype=torch.float64)
    px = model.decode(z)
    t = weight * (x - px.mean).abs()
    expected = t + softplus(-2 * t) - math.log(2) + math.log(math.pi / weight)
    torch.testing.assert_close(-px.log_prob(x), expected.flatten(1).sum(1), rtol=1e-4, atol=1e-4)
    assert torch.isfinite(px.log_prob(x + 100)).all()
