"""Maximum mean discrepancy between the aggregate posterior and the prior."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor
from torch.distributions import Distribution

from vae_zoo.penalties.base import Penalty, draws_like
from vae_zoo.typing import Shape

SCALES = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
"""Factors on the width of the inverse multiquadratic kernel, over which kernels are summed."""


class MMD(Penalty):
    r"""Squared maximum mean discrepancy between the latents z of a batch and draws y from the prior, without bias.

    .. math:: \widehat{\mathrm{MMD}}^2 = \frac{1}{n (n - 1)} \sum_{i \ne j} \big( k(z_i, z_j) + k(y_i, y_j) \big)
        - \frac{2}{n^2} \sum_{i, j} k(z_i, y_j)

    Its mean does not depend on the size of the batch, and may be negative if the two agree. The kernel is
    the sum of inverse multiquadratics :math:`\sum_s C s / (C s + \| a - b \|^2)`, with :math:`C = 2 D \sigma^2`, or a
    Gaussian :math:`e^{-\| a - b \|^2 / 2 h^2}`, with :math:`h^2 = D \sigma^2`, for a prior of D dimensions and variance
    σ². Each process compares its own examples, which does not change the mean.

    References:
        | A Kernel Two-Sample Test (Gretton et al., 2012)
        | https://jmlr.org/papers/v13/gretton12a.html
        | Wasserstein Auto-Encoders (Tolstikhin et al., 2018)
        | https://arxiv.org/abs/1711.01558

    Args:
        shape: Shape of one latent; supplied by the model.
        weight: Weight of the penalty.
        kernel: ``imq`` or ``rbf``.
        bandwidth: Squared width C or h², or ``median`` for the median squared distance between the latents of a batch
            and the draws, taken together and held fixed; by default from the variance of the prior.
        scale: Factor on the bandwidth where it follows from the prior.

    Raises:
        ValueError: If weight is negative, the kernel unknown, or bandwidth or scale not positive.
    """

    units = {"mmd": "squared discrepancy"}
    min_batch_size = 2

    def __init__(
        self,
        shape: Shape,
        *,
        weight: float = 1.0,
        kernel: Literal["imq", "rbf"] = "imq",
        bandwidth: float | Literal["median"] | None = None,
        scale: float = 1.0,
    ) -> None:
        super().__init__(shape, weight=weight)
        if kernel not in ("imq", "rbf"):
            raise ValueError(f"kernel must be imq or rbf, got {kernel!r}.")
        if isinstance(bandwidth, str) and bandwidth != "median":
            raise ValueError(f"bandwidth must be a number or median, got {bandwidth!r}.")
        for name, value in (("bandwidth", bandwidth), ("scale", scale)):
            if isinstance(value, float | int) and not (value > 0 and math.isfinite(value)):
                raise ValueError(f"{name} must be positive and finite, got {value}.")
        self.kernel, self.bandwidth, self.scale = kernel, bandwidth, scale

    def forward(
        self,
        z: Tensor,
        q: Distribution,  # noqa: ARG002
        p: Distribution,
        c: Tensor | None = None,  # noqa: ARG002
    ) -> tuple[Tensor, dict[str, Tensor]]:
        z, y = z.flatten(1), draws_like(z, p).flatten(1)
        width = _median_distance(torch.cat([z, y])) if self.bandwidth == "median" else self._width(p, z.shape[1])
        within = sum(_mean_of_pairs(self._k(a, a, width)) for a in (z, y))
        return within - 2 * self._k(z, y, width).mean(), {}

    def check(self, q: Distribution, p: Distribution) -> None:  # noqa: ARG002
        if self.bandwidth == "median":
            return
        try:
            self._width(p, 1)
        except NotImplementedError:
            name = type(p).__name__
            raise ValueError(f"the variance of {name} is unknown: give MMD the bandwidth of its kernel.") from None

    def _width(self, p: Distribution, dim: int) -> Tensor | float:
        if isinstance(self.bandwidth, float | int):
            return self.bandwidth
        variance = p.variance.detach().mean()
        return self.scale * dim * variance * (2 if self.kernel == "imq" else 1)

    def _k(self, a: Tensor, b: Tensor, width: Tensor | float) -> Tensor:
        squared = _squared_distances(a, b)
        if self.kernel == "rbf":
            return torch.exp(-0.5 * squared / width)
        return torch.stack([width * s / (width * s + squared) for s in SCALES]).sum(0)


def _squared_distances(a: Tensor, b: Tensor) -> Tensor:
    return torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist").square()


def _median_distance(a: Tensor) -> Tensor:
    """Median squared distance between different rows of (n, D), without a gradient; positive if most are equal."""
    squared = _squared_distances(a.detach(), a.detach())
    above = torch.ones_like(squared, dtype=torch.bool).triu(1)  # each pair once, without boolean indexing for compilers
    return torch.where(above, squared, torch.nan).nanmedian().clamp(min=torch.finfo(a.dtype).eps)


def _mean_of_pairs(k: Tensor) -> Tensor:
    """Mean of a kernel matrix (n, n) without its diagonal; the diagonal of a last batch of one example."""
    num = len(k)
    if num == 1:
        return k.sum()
    return (k.sum() - k.diagonal().sum()) / (num * (num - 1))
