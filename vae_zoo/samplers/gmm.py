"""A mixture of normal distributions, fitted by expectation maximisation."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution

from vae_zoo.distributions import CholeskyNormal
from vae_zoo.distributions.estimation.mixtures import fit_mixture
from vae_zoo.distributions.priors import mixture
from vae_zoo.functional import exact
from vae_zoo.samplers.density import Density
from vae_zoo.typing import Shape


class GMM(Density):
    r"""Mixture of normal distributions with full covariances.

    .. math:: p(z) = \sum_{k=1}^K \pi_k \, \mathcal{N}(z; \mu_k, \Sigma_k)

    Fitted by expectation maximisation in float64, from centres of k-means. A ridge of 1e-6 of the latents' mean
    variance keeps covariances invertible.

    References:
        | From Variational to Deterministic Autoencoders (Ghosh et al., 2020)
        | https://arxiv.org/abs/1903.12436

    Args:
        shape: Shape of one latent.
        num_components: Number of components K.
        num_starts: Number of starts, of which the one with the highest likelihood is kept.
        max_steps: Largest number of steps of a start.
        tolerance: Rise of the mean log-likelihood in a step, in nats, below which a start ends.
        seed: Seed of the starts.

    Raises:
        ValueError: If a number is less than 1, or the tolerance is not positive; when fitted, if there are fewer
            latents than components.
    """

    logits: Tensor
    loc: Tensor
    lower: Tensor
    log_diagonal: Tensor

    def __init__(
        self,
        shape: Shape,
        *,
        num_components: int = 10,
        num_starts: int = 3,
        max_steps: int = 200,
        tolerance: float = 1e-4,
        seed: int = 0,
    ) -> None:
        super().__init__(shape, seed=seed)
        numbers = {"num_components": num_components, "num_starts": num_starts, "max_steps": max_steps}
        for name, number in numbers.items():
            if number < 1:
                raise ValueError(f"{name} must be at least 1, got {number}.")
        if not tolerance > 0:
            raise ValueError(f"tolerance must be positive, got {tolerance}.")
        self.num_components, self.num_starts = num_components, num_starts
        self.max_steps, self.tolerance = max_steps, tolerance
        self.register_buffer("logits", torch.zeros(num_components))
        self.register_buffer("loc", torch.zeros(num_components, self.num_dims))
        self.register_buffer("lower", torch.zeros(num_components, self.num_dims, self.num_dims))
        self.register_buffer("log_diagonal", torch.zeros(num_components, self.num_dims))

    def forward(self, c: Tensor | None = None) -> Distribution:  # noqa: ARG002
        components = CholeskyNormal(exact(self.loc), exact(self.lower), exact(self.log_diagonal), self.shape)
        return mixture(components, exact(self.logits))

    @property
    def settings(self) -> dict[str, Any]:
        names = ("num_components", "num_starts", "max_steps", "tolerance")
        return {**{name: getattr(self, name) for name in names}, **super().settings}

    @property
    def least(self) -> int:
        return max(2, self.num_components)

    def _fit(self, z: Tensor) -> None:
        found, _ = fit_mixture(
            z,
            self.num_components,
            num_starts=self.num_starts,
            max_steps=self.max_steps,
            tolerance=self.tolerance,
            generator=torch.Generator().manual_seed(self.seed),
        )
        self.logits.copy_(found.log_shares)
        self.loc.copy_(found.loc)
        self.lower.copy_(found.tril.tril(-1))
        self.log_diagonal.copy_(found.tril.diagonal(dim1=-2, dim2=-1).log())
