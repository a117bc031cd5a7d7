"""The uniform distribution on the sphere."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution, constraints

from vae_zoo.distributions.priors import Prior
from vae_zoo.distributions.supports import Sphere
from vae_zoo.functional import exact
from vae_zoo.typing import Shape


class Uniform(Distribution):
    """The uniform distribution on the unit vectors of m dimensions, with a density with respect to area.

    Args:
        like: Any vector of m numbers, for type and device.
    """

    has_rsample = True
    arg_constraints: dict[str, constraints.Constraint] = {}

    def __init__(self, like: Tensor) -> None:
        self.like = like
        super().__init__(torch.Size(), like.shape, validate_args=False)

    @property
    def support(self) -> constraints.Constraint:
        return Sphere(len(self.like))

    @property
    def variance(self) -> Tensor:
        """Variance of each coordinate of the surrounding space around the centre."""
        return torch.full_like(self.like, 1 / len(self.like))

    def log_prob(self, value: Tensor) -> Tensor:
        return torch.full_like(value[..., 0], -log_area(len(self.like)))

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        shape = self._extended_shape(torch.Size(sample_shape))
        z = torch.randn(shape, dtype=self.like.dtype, device=self.like.device) + 1e-15  # so that no vector is 0
        return z / torch.linalg.vector_norm(z, dim=-1, keepdim=True)


class UniformSphere(Prior):
    r"""The uniform distribution on the sphere of unit vectors.

    .. math:: \log p(z) = -\log \frac{2 \pi^{m/2}}{\Gamma(m/2)}, \quad \|z\| = 1

    A latent of m numbers is a point on the sphere of m - 1 dimensions.

    References:
        | Hyperspherical Variational Auto-Encoders (Davidson et al., 2018)
        | https://arxiv.org/abs/1804.00891

    Args:
        shape: Shape of one latent, (m,) with m of at least 2.

    Raises:
        ValueError: If latents are not vectors of at least 2 numbers.
    """

    zero: Tensor

    def __init__(self, shape: Shape) -> None:
        super().__init__(shape)
        check_dims("UniformSphere", self.shape)
        self.register_buffer("zero", torch.zeros(self.shape), persistent=False)

    def forward(self, c: Tensor | None = None) -> Distribution:  # noqa: ARG002
        return Uniform(exact(self.zero))


def log_area(dim: int) -> float:
    r"""Logarithm of the area of the sphere of unit vectors in m dimensions, :math:`2 \pi^{m/2} / \Gamma(m/2)`."""
    return math.log(2) + dim / 2 * math.log(math.pi) - math.lgamma(dim / 2)


def check_dims(name: str, shape: Shape) -> None:
    """Refuse latents that are not points on a sphere.

    Raises:
        ValueError: If the shape is not (m,) with m of at least 2.
    """
    if len(shape) != 1 or shape[0] < 2:
        raise ValueError(f"{name} needs latents that are vectors of at least 2 numbers, got shape {shape}.")
