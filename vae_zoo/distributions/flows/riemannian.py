"""Hamiltonian posteriors whose momenta have a covariance that varies over the latent space: a Riemannian metric."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from vae_zoo.distributions.flows.hamiltonian import HamiltonianPosterior

TOLERANCE = 1e-5
"""Relative distance from its start at which a step must end when it is reversed."""


class Metric(NamedTuple):
    r"""Riemannian metric of a latent space, given by its inverse around centroids.

    .. math:: G^{-1}(z) = \sum_i w_i(z) A_i + \lambda I, \quad w_i(z) = e^{-\|z - c_i\|^2 / T^2}

    Args:
        centroids: Centroids c, (P, D), in float32 or better.
        spreads: Symmetric positive semidefinite matrices A, (P, D, D).
        bandwidth: Distance T at which the influence of a centroid has fallen to 1/e.
        floor: Multiple λ of the unit matrix, which remains far from all centroids.
    """

    centroids: Tensor
    spreads: Tensor
    bandwidth: float
    floor: float

    def kernels(self, z: Tensor) -> Tensor:
        """Influence w of each centroid at latents (..., D): (..., P)."""
        away = torch.cdist(z.flatten(0, -2), self.centroids, compute_mode="donot_use_mm_for_euclid_dist")
        return torch.exp(-(away / self.bandwidth).square()).unflatten(0, z.shape[:-1])

    def inverse(self, kernels: Tensor) -> Tensor:
        """G⁻¹ from the influences (..., P): (..., D, D)."""
        eye = torch.eye(self.centroids.shape[1], dtype=kernels.dtype, device=kernels.device)
        with torch.autocast(kernels.device.type, enabled=False):
            return (kernels @ self.spreads.flatten(1)).unflatten(-1, eye.shape) + self.floor * eye

    def root(self, z: Tensor) -> Tensor:
        """Lower Cholesky factor of G⁻¹ at latents (..., D): (..., D, D)."""
        return torch.linalg.cholesky_ex(self.inverse(self.kernels(z))).L  # without a check that waits for the device

    def pull(self, z: Tensor, kernels: Tensor, outer: Tensor) -> Tensor:
        """Gradient of tr(S G⁻¹(z)) / 2 at latents (..., D) with these influences, for S (..., D, D): (..., D)."""
        with torch.autocast(z.device.type, enabled=False):
            weights = kernels * (outer.flatten(-2) @ self.spreads.flatten(1).T)
            return (weights @ self.centroids - weights.sum(-1, keepdim=True) * z) / self.bandwidth**2


class RiemannianPosterior(HamiltonianPosterior):
    r"""Draws of a distribution after generalised leapfrog steps, whose momentum is normal with covariance G(z).

    .. math::
        H(z, \rho) = -\log p(x, z) + \tfrac{1}{2} \log \det G(z) + \tfrac{1}{2} \rho^T G^{-1}(z) \rho

    .. math::
        \rho' = \rho - \tfrac{\epsilon}{2} \nabla_z H(z, \rho'), \quad
        z' = z + \tfrac{\epsilon}{2} \big(G^{-1}(z) + G^{-1}(z')\big) \rho', \quad
        \rho'' = \rho' - \tfrac{\epsilon}{2} \nabla_z H(z', \rho')

    The first two are implicit, and are solved by fixed-point iterations. They have no solution for some momenta, where
    what comes out of the iterations does not preserve volume, and the density would be wrong. Every step is therefore
    reversed too, and where it does not lead back, the momentum changes sign instead. With this rule steps are
    one-to-one everywhere and preserve volume. With a constant metric I it is :class:`HamiltonianPosterior`.

    Args:
        metric: Function that gives the metric.
        num_iterations: Number of fixed-point iterations of each implicit equation.
        args: Arguments of :class:`HamiltonianPosterior`.
    """

    def __init__(self, metric: Callable[[], Metric], num_iterations: int, *args: Any) -> None:
        super().__init__(*args)
        self.make_metric, self.num_iterations = metric, num_iterations

    def draw(self, sample_shape: torch.Size) -> tuple[Tensor, Tensor]:
        self.metric = self.make_metric()
        return super().draw(sample_shape)

    def momentum(self, z: Tensor) -> Tensor:
        noise = super().momentum(z)
        return torch.linalg.solve_triangular(self.metric.root(z).mT, noise.unsqueeze(-1), upper=True).squeeze(-1)

    def kinetic(self, z: Tensor, momentum: Tensor) -> Tensor:
        root = self.metric.root(z)
        with torch.autocast(z.device.type, enabled=False):
            return super().kinetic(z, _times(root.mT, momentum)) - _log_diagonal(root)

    def slope(self, z: Tensor) -> Tensor:
        kernels = self.metric.kernels(z)
        root = torch.linalg.cholesky_ex(self.metric.inverse(kernels)).L
        return super().slope(z) + self.metric.pull(z, kernels, torch.cholesky_inverse(root))

    def drift(self, z: Tensor, momentum: Tensor) -> tuple[Tensor, Tensor]:
        with torch.no_grad():
            end, after = self.geodesic(z, momentum, self.step_size)
            back, before = self.geodesic(end, -after, self.step_size)
            taken = _same(back, z) & _same(-before, momentum)
        if torch.is_grad_enabled():  # through finite numbers alone: a choice between two would pass on NaN
            return self.geodesic(z, torch.where(taken, momentum, -momentum), self.step_size * taken)
        return torch.where(taken, end, z), torch.where(taken, after, -momentum)

    def geodesic(self, z: Tensor, momentum: Tensor, step_size: Tensor) -> tuple[Tensor, Tensor]:
        """A generalised leapfrog step of the kinetic energy alone, of any size: with 0 nothing moves."""
        metric, half = self.metric, 0.5 * step_size
        kernels, middle = metric.kernels(z), momentum
        for _ in range(self.num_iterations):
            middle = momentum - half * metric.pull(z, kernels, _outer(middle))
        velocity = _times(metric.inverse(kernels), middle)
        start, end = z + half * velocity, z + step_size * velocity
        for _ in range(self.num_iterations - 1):
            end = start + half * _times(metric.inverse(metric.kernels(end)), middle)
        return end, middle - half * metric.pull(end, metric.kernels(end), _outer(middle))


def _times(matrix: Tensor, x: Tensor) -> Tensor:
    return (matrix * x.unsqueeze(-2)).sum(-1)  # in float32 under autocast too


def _outer(x: Tensor) -> Tensor:
    return x.unsqueeze(-1) * x.unsqueeze(-2)


def _log_diagonal(root: Tensor) -> Tensor:
    return root.diagonal(dim1=-2, dim2=-1).log().sum(-1)


def _same(x: Tensor, y: Tensor) -> Tensor:
    return ((x - y).abs() <= TOLERANCE * (1 + y.abs())).all(-1, keepdim=True)
