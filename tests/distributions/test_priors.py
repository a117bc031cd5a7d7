from __future__ import annotations

import pytest
import torch
from helpers import PRIORS

from vae_zoo.distributions import Prior, StandardNormal


@pytest.mark.parametrize("cls", PRIORS)
class TestEveryPrior:
    def test_shapes(self, cls: type[Prior]) -> None:
        p = cls((3,))()
        assert p.event_shape == (3,)
        assert p.batch_shape == ()
        assert p.sample((7,)).shape == (7, 3)
        assert p.log_prob(p.sample((2, 7))).shape == (2, 7)

    def test_float32_in_a_half_precision_model(self, cls: type[Prior]) -> None:
        p = cls((3,)).bfloat16()()
        assert p.sample().dtype == p.log_prob(p.sample((2,))).dtype == torch.float32
        assert cls((3,)).double()().sample().dtype == torch.float64


def test_standard_normal() -> None:
    z = torch.randn(5, 3)
    expected = torch.distributions.Normal(0, 1).log_prob(z).sum(-1)
    torch.testing.assert_close(StandardNormal((3,))().log_prob(z), expected)
    assert not StandardNormal((3,)).state_dict()
