"""The normal distribution with the moments of the latents."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions import Distribution

from vae_zoo.distributions import CholeskyNormal
from vae_zoo.distributions.estimation.moments import factor, ridge_of
from vae_zoo.functional import exact
from vae_zoo.samplers.density import Density
from vae_zoo.typing import Shape


class FittedNormal(Density):
    r"""Normal distribution with the mean and the full covariance of the latents.

    .. math:: p(z) = \mathcal{N}(z; \bar z, S)

    Args:
        shape: Shape of one latent.
        seed: Not used: there is nothing to draw.
    """

    loc: Tensor
    lower: Tensor
    log_diagonal: Tensor

    def __init__(self, shape: Shape, *, seed: int = 0) -> None:
        super().__init__(shape, seed=seed)
        self.register_buffer("loc", torch.zeros(self.num_dims))
        self.register_buffer("lower", torch.zeros(self.num_dims, self.num_dims))
        self.register_buffer("log_diagonal", torch.zeros(self.num_dims))

    def forward(self, c: Tensor | None = None) -> Distribution:  # noqa: ARG002
        return CholeskyNormal(exact(self.loc), exact(self.lower), exact(self.log_diagonal), self.shape)

    def _fit(self, z: Tensor) -> None:
        gap = z - z.mean(0)
        tril = factor(gap.T @ gap / len(z), ridge_of(z))
        self.loc.copy_(z.mean(0))
        self.lower.copy_(tril.tril(-1))
        self.log_diagonal.copy_(tril.diagonal().log())
