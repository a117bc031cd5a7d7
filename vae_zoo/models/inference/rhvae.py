"""The Riemannian Hamiltonian variational autoencoder."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from vae_zoo.distributions import Metric, RiemannianPosterior, mean_of
from vae_zoo.functional import exact
from vae_zoo.models.base.components import make
from vae_zoo.models.base.undisturbed import undisturbed
from vae_zoo.models.inference.hamiltonian_vae import HamiltonianVAE
from vae_zoo.nn import Dense
from vae_zoo.nn.batching import apply_batched
from vae_zoo.system.seeding import global_seed, mix
from vae_zoo.typing import Network


class RHVAE(HamiltonianVAE):
    r"""Hamiltonian VAE whose leapfrog steps follow a learned Riemannian metric of the latent space.

    .. math:: \mathcal{L}(x) = \mathbb{E} \Big[ \log p(x, z_K) - \log q(z_0|x)
        + \log \mathcal{N}(\rho_K; 0, G(z_K)) - \log \mathcal{N}(\rho_0; 0, T_0 G(z_0)) \Big]
        + \tfrac{d}{2} \log \tfrac{1}{T_0}

    .. math:: G^{-1}(z) = \sum_{i=1}^P L_i L_i^T e^{-\|z - c_i\|^2 / T^2} + \lambda I, \quad
        c_i = \mu(x_i), \; L_i = I + N(x_i)

    :math:`(z_K, \rho_K)` follow by K generalised leapfrog steps with cooling, see
    :class:`~vae_zoo.distributions.RiemannianPosterior`. Without a step it is the VAE. Centroids and factors are those
    of P training examples, which are drawn at the start of a fit, the same on every rank, and saved with the model.
    Both are computed anew by the present networks, so that gradients pass through them; the paper keeps those of
    recent batches. L is any matrix, of which the paper takes a triangular one: the metrics are the same. Steps whose
    implicit equations the iterations do not solve, because ε is large or T small, turn round instead.

    When to use it:
        For small data sets whose latent space is to have a geometry. Not for large ones or for many evaluations: its
        steps are those of ``HamiltonianVAE`` with implicit equations to be solved.

    References:
        | Geometry-Aware Hamiltonian Variational Auto-Encoder (Chadebec et al., 2020)
        | https://arxiv.org/abs/2010.11518

    Args:
        metric: Network N from an example, as the encoder sees it, to a matrix.
        num_centroids: Number P of training examples.
        bandwidth: Distance T over which the influence of a centroid falls to 1/e; √(d/2) if not given.
        floor: Multiple λ of the unit matrix.
        num_iterations: Number of fixed-point iterations of each implicit equation, which need no decoder.
        kwargs: Arguments of :class:`HamiltonianVAE`.

    Raises:
        ValueError: If num_centroids or num_iterations is less than 1, or bandwidth or floor is not positive and finite.
    """

    apart = {"ConditionalVAE": "the examples of the centroids have no class to be encoded with"}

    anchors: Tensor

    def __init__(
        self,
        *,
        metric: Network = Dense,
        num_centroids: int = 50,
        bandwidth: float | None = None,
        floor: float = 0.01,
        num_iterations: int = 6,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        for name, number in (("num_centroids", num_centroids), ("num_iterations", num_iterations)):
            if number < 1:
                raise ValueError(f"{name} must be at least 1, got {number}.")
        for name, value in (("bandwidth", bandwidth), ("floor", floor)):
            if value is not None and not (value > 0 and math.isfinite(value)):
                raise ValueError(f"{name} must be positive and finite, got {value}.")
        self.bandwidth = math.sqrt(self.latent_dim / 2) if bandwidth is None else bandwidth
        self.floor, self.num_iterations = floor, num_iterations
        size = (self.latent_dim, self.latent_dim)
        if self.num_leapfrog:
            self.metric_network = make("metric", metric, nn.Module, self.likelihood.read_shape, size)
            self.register_buffer("anchors", torch.rand(num_centroids, *self.shape))

    def metric(self) -> Metric:
        """The metric of the latent space, from the networks as they are."""
        size = (self.latent_dim, self.latent_dim)
        read = self.read(self.anchors)
        factors = apply_batched(self.metric_network, read, read.ndim - 1, gives=size, name="metric")
        factors = exact(factors) + torch.eye(self.latent_dim, device=factors.device)
        with torch.autocast(factors.device.type, enabled=False):
            spreads = factors @ factors.mT
        q = undisturbed(self, super(HamiltonianVAE, self).encode, self.anchors)
        centroids = exact(mean_of(q, factors.device))
        return Metric(centroids, spreads, self.bandwidth, self.floor)

    def moved(
        self, start: Distribution, log_joint: Callable[[Tensor], Tensor], step_size: Tensor, cooling: list[Tensor]
    ) -> Distribution:
        return RiemannianPosterior(self.metric, self.num_iterations, start, log_joint, step_size, cooling)

    @torch.no_grad()
    def initialise(self, x: Tensor) -> None:
        super().initialise(x)
        if self.num_leapfrog:
            generator = torch.Generator().manual_seed(mix(global_seed(), 1))  # the same on every rank
            order = [torch.randperm(len(x), generator=generator) for _ in range(-(-len(self.anchors) // len(x)))]
            self.anchors.copy_(x[torch.cat(order)[: len(self.anchors)].to(x.device)])
