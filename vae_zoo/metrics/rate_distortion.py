"""The two terms of the bound: rate and distortion."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric


class RateDistortion(Metric):
    r"""Rate and distortion of a set of examples, in which models with the same bound may differ.

    .. math:: R = \mathbb{E}_x \, \mathrm{KL}(q(z|x) \,\|\, p(z)), \quad
        D = -\mathbb{E}_x \, \mathbb{E}_{q(z|x)}[\log p(x|z)], \quad -\mathrm{ELBO} = R + D

    References:
        | Fixing a Broken ELBO (Alemi et al., 2018)
        | https://arxiv.org/abs/1711.00464

    Args:
        kwargs: Arguments of :class:`torchmetrics.Metric`.
    """

    full_state_update = False
    total: Tensor
    count: Tensor

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.add_state("total", default=torch.zeros(2), dist_reduce_fx="sum")
        self.add_state("count", default=torch.zeros(()), dist_reduce_fx="sum")

    def update(self, kl: Tensor, log_px: Tensor) -> None:
        """Add divergences, (B,), and log p(x|z) of samples, (K, B) or (B,): the fields of a bound."""
        distortion = -log_px.detach().reshape(-1, len(kl)).mean(0)
        self.total = self.total + torch.stack([kl.detach().sum(), distortion.sum()]).to(self.total.dtype)
        self.count = self.count + len(kl)

    def compute(self) -> dict[str, Tensor]:
        """``rate`` and ``distortion`` in nats per example, by name."""
        rate, distortion = self.total / self.count
        return {"rate": rate, "distortion": distortion}
