"""The volume that the metric of a Riemannian Hamiltonian VAE gives to its latents."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution, constraints

from vae_zoo.distributions import CholeskyNormal
from vae_zoo.distributions.estimation.mixtures import fit_mixture
from vae_zoo.distributions.priors import mixture
from vae_zoo.elbo.importance import LogEvidence
from vae_zoo.functional import exact
from vae_zoo.models import RHVAE
from vae_zoo.samplers.density import Density
from vae_zoo.system.seeding import forked, mix
from vae_zoo.typing import Shape

NUM_CHAINS = 1000
"""Chains of a fit, from as many latents."""

NUM_PROPOSED = 20_000
"""Draws of the mixture by which the volume is measured."""

LEAST_EFFECTIVE = 200
"""Number of independent draws that those must be worth at least."""

ACCEPTANCE = 0.8
NUM_LEAPFROG = 8
WIDER = 0.5
"""By how much the scales of the mixture are larger than fitted, times the root of D, so that it covers the tails."""

_ELEMENTS = 2**22


class Volume(Distribution):
    r"""Distribution whose density is the root of the determinant of a sum of matrices around centroids.

    .. math:: p(z) = \frac{1}{Z} \sqrt{\det \sum_i e^{-\|z - c_i\|^2 / T^2} A_i}

    With a single centroid it is the normal distribution of mean c and variance :math:`T^2 / D`.

    Args:
        centroids: Centroids c, (P, D).
        matrices: Symmetric positive definite matrices A, (P, D, D).
        bandwidth: Distance T, a scalar.
        log_normaliser: log Z, a scalar.
        near: A distribution close to it, from which draws start.
        step_size: Step size of the leapfrog steps, a scalar.
        num_transitions: Transitions of Hamiltonian Monte Carlo of each draw.
    """

    arg_constraints: dict[str, constraints.Constraint] = {}
    support = constraints.real_vector

    def __init__(
        self,
        centroids: Tensor,
        matrices: Tensor,
        bandwidth: Tensor,
        *,
        log_normaliser: Tensor,
        near: Distribution,
        step_size: Tensor,
        num_transitions: int,
    ) -> None:
        self.centroids, self.matrices, self.bandwidth = centroids, matrices, bandwidth
        self.log_normaliser, self.near, self.step_size = log_normaliser, near, step_size
        self.num_transitions = num_transitions
        super().__init__(torch.Size(), centroids.shape[1:], validate_args=False)

    def log_prob(self, value: Tensor) -> Tensor:
        return self.log_volume(value) - self.log_normaliser

    def log_volume(self, z: Tensor) -> Tensor:
        """Logarithm of the root of the determinant at latents (..., D): (...)."""
        with torch.autocast(z.device.type, enabled=False):
            parts = [self._log_volume(part) for part in self._chunks(z)]
            return torch.cat(parts).view(z.shape[:-1])

    @torch.no_grad()
    def sample(self, sample_shape: Any = ()) -> Tensor:
        return self.moved(self.near.sample(torch.Size(sample_shape)), self.step_size, self.num_transitions)[0]

    def moved(self, z: Tensor, step_size: Tensor, num_transitions: int) -> tuple[Tensor, Tensor]:
        """Latents (..., D) after transitions that leave this distribution as it is, and the mean acceptance."""
        accepted = torch.zeros_like(step_size)
        log_p, slope = self.log_volume(z), self.slope(z)
        for _ in range(num_transitions):
            step = step_size * (0.8 + 0.4 * torch.rand_like(log_p))[..., None]  # so that no trajectory is periodic
            start = torch.randn_like(z)
            end, end_slope, momentum = z, slope, start
            for _ in range(NUM_LEAPFROG):
                momentum = momentum + 0.5 * step * end_slope
                end = end + step * momentum
                end_slope = self.slope(end)
                momentum = momentum + 0.5 * step * end_slope
            end_log_p = self.log_volume(end)
            gain = end_log_p - log_p + 0.5 * (start.square() - momentum.square()).sum(-1)
            accept = gain.nan_to_num(nan=-torch.inf).clamp(max=0).exp()
            moved = torch.rand_like(accept) < accept
            z = torch.where(moved[..., None], end, z)
            slope = torch.where(moved[..., None], end_slope, slope)
            log_p = torch.where(moved, end_log_p, log_p)
            accepted = accepted + accept.mean() / num_transitions
        return z, accepted

    def slope(self, z: Tensor) -> Tensor:
        """Gradient of the log-density at latents (..., D), the same shape."""
        with torch.autocast(z.device.type, enabled=False):
            return torch.cat([self._slope(part) for part in self._chunks(z)]).view(z.shape)

    def _chunks(self, z: Tensor) -> Iterator[Tensor]:
        num, dim = self.centroids.shape
        yield from z.to(self.centroids.dtype).reshape(-1, dim).split(max(1, _ELEMENTS // (dim * dim + num)))

    def _sum(self, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Weights of the centroids over the largest, (N, P), its logarithm, (N, 1), and the sum of matrices over it."""
        log_w = -(torch.cdist(z, self.centroids, compute_mode="donot_use_mm_for_euclid_dist") / self.bandwidth).square()
        top = log_w.detach().amax(1, keepdim=True)
        weights = (log_w - top).exp()
        return weights, top, (weights @ self.matrices.flatten(1)).view(-1, *self.matrices.shape[1:])

    def _log_volume(self, z: Tensor) -> Tensor:
        _, top, total = self._sum(z)
        diagonal = torch.linalg.cholesky_ex(total).L.diagonal(dim1=-2, dim2=-1)
        return diagonal.log().sum(-1) + 0.5 * z.shape[1] * top[:, 0]

    def _slope(self, z: Tensor) -> Tensor:
        weights, _, total = self._sum(z)
        inverse = torch.cholesky_inverse(torch.linalg.cholesky_ex(total).L)
        pulls = weights * (inverse.flatten(1) @ self.matrices.flatten(1).T) / self.bandwidth.square()
        return pulls @ self.centroids - pulls.sum(1, keepdim=True) * z


class Manifold(Density):
    r"""Distribution of the volume of a Riemannian latent space: latents are likely where its metric allows long steps.

    .. math:: p(z) = \frac{1}{Z} \sqrt{\det G^{-1}(z)}, \quad
        G^{-1}(z) = \sum_i \big( L_i L_i^T + \lambda I \big) \, e^{-\|z - c_i\|^2 / T^2}

    For :class:`~vae_zoo.models.RHVAE`, whose metric it takes by :meth:`adopt`. The floor λ falls off like the
    influence of the centroids, since with that of the model, a constant, the volume would be infinite. Draws are those
    of Hamiltonian Monte Carlo, from a mixture of normal distributions that was fitted to long chains. The normaliser Z
    is measured by importance sampling from the same mixture; three standard errors are added to log Z, so that bounds
    and evidence under this prior are too low rather than too high. Its error is the attribute ``log_normaliser_se``.

    References:
        | Data Augmentation in High Dimensional Low Sample Size Setting Using a Geometry-Based Variational Autoencoder
        | (Chadebec et al., 2021)
        | https://arxiv.org/abs/2105.00026

    Args:
        shape: Shape of one latent, (D,).
        num_centroids: Number of centroids; those of the model, once it has one.
        num_components: Number of components of the mixture.
        num_transitions: Transitions of Hamiltonian Monte Carlo of each draw.
        seed: Seed of the fit.

    Raises:
        ValueError: If a number is less than 1, or latents are no vectors; when fitted, if no model was adopted, or the
            volume cannot be measured.
    """

    centroids: Tensor
    matrices: Tensor
    bandwidth: Tensor
    step_size: Tensor
    log_normaliser: Tensor
    log_normaliser_se: Tensor
    logits: Tensor
    loc: Tensor
    tril: Tensor

    _adopted = False

    def __init__(
        self,
        shape: Shape,
        *,
        num_centroids: int = 1,
        num_components: int = 10,
        num_transitions: int = 10,
        seed: int = 0,
    ) -> None:
        super().__init__(shape, seed=seed)
        numbers = {"num_centroids": num_centroids, "num_components": num_components, "num_transitions": num_transitions}
        for name, number in numbers.items():
            if number < 1:
                raise ValueError(f"{name} must be at least 1, got {number}.")
        if len(self.shape) != 1:
            raise ValueError(f"Manifold is for latents that are vectors, got latents of shape {self.shape}.")
        self.num_components, self.num_transitions = num_components, num_transitions
        dim = self.num_dims
        self.register_buffer("centroids", torch.zeros(num_centroids, dim))
        self.register_buffer("matrices", torch.eye(dim).repeat(num_centroids, 1, 1))
        self.register_buffer("bandwidth", torch.tensor(math.sqrt(dim)))  # which makes it a standard normal
        self.register_buffer("step_size", torch.tensor(0.1))
        self.register_buffer("log_normaliser", torch.tensor(0.5 * dim * math.log(2 * math.pi * num_centroids)))
        self.register_buffer("log_normaliser_se", torch.tensor(0.0))
        self.register_buffer("logits", torch.zeros(num_components))
        self.register_buffer("loc", torch.zeros(num_components, dim))
        self.register_buffer("tril", torch.eye(dim).repeat(num_components, 1, 1))

    def forward(self, c: Tensor | None = None) -> Volume:  # noqa: ARG002
        return Volume(
            exact(self.centroids),
            exact(self.matrices),
            exact(self.bandwidth),
            log_normaliser=exact(self.log_normaliser),
            near=_normals(exact(self.logits), exact(self.loc), exact(self.tril)),
            step_size=exact(self.step_size),
            num_transitions=self.num_transitions,
        )

    @property
    def settings(self) -> dict[str, Any]:
        sizes = {"num_centroids": len(self.centroids), "num_components": self.num_components}
        return {**sizes, "num_transitions": self.num_transitions, **super().settings}

    @property
    def least(self) -> int:
        return max(2, self.num_components)

    @torch.no_grad()
    def adopt(self, model: Any) -> Manifold:
        if not (isinstance(model, RHVAE) and model.num_leapfrog):
            why = "which takes no leapfrog steps" if isinstance(model, RHVAE) else "which has none"
            raise ValueError(f"Manifold needs the metric of RHVAE, got {type(model).__name__}, {why}: take GMM.")
        metric = model.metric()
        eye = torch.eye(self.num_dims, dtype=metric.spreads.dtype, device=metric.spreads.device)
        for name, value in (("centroids", metric.centroids), ("matrices", metric.spreads + metric.floor * eye)):
            like = getattr(self, name)
            setattr(self, name, value.to(like.device, like.dtype, copy=True))
        self.bandwidth.fill_(metric.bandwidth)
        self.num_latents.zero_()
        self._adopted = True
        return self

    def _fit(self, z: Tensor) -> None:
        if not (self._adopted or self.num_latents):
            raise ValueError("Manifold needs the metric of a model: call its adopt with an RHVAE first.")
        with forked(mix(self.seed, 0), torch.device("cpu")):
            p = copy.deepcopy(self).to("cpu", torch.float64)()
            chains = z[torch.randperm(len(z))[:NUM_CHAINS]]
            step_size = p.bandwidth / self.num_dims**0.75  # less than the spread around a single centroid
            for _ in range(30):
                chains, accepted = p.moved(chains, step_size, 2)
                step_size = step_size * torch.exp(0.5 * (accepted - ACCEPTANCE))
            drawn = []
            for _ in range(5):
                chains, _ = p.moved(chains, step_size, 10)
                drawn.append(chains)
            found, _ = fit_mixture(
                torch.cat(drawn[1:]),
                self.num_components,
                num_starts=1,
                max_steps=200,
                tolerance=1e-4,
                generator=torch.Generator().manual_seed(self.seed),
            )
            tril = (1 + WIDER / math.sqrt(self.num_dims)) * found.tril
            near = _normals(found.log_shares, found.loc, tril)
            draws = near.sample((NUM_PROPOSED,))
            log_w = p.log_volume(draws) - near.log_prob(draws)
        measured = LogEvidence.from_weights(log_w[:, None])
        effective = measured.ess.item()
        if not effective >= LEAST_EFFECTIVE:
            raise ValueError(
                f"Manifold cannot measure the volume of these {self.num_dims} latent dimensions: {NUM_PROPOSED} draws "
                f"are worth {effective:.0f}, {LEAST_EFFECTIVE} are needed. Take GMM, or train with fewer dimensions."
            )
        self.step_size.fill_(step_size)
        self.log_normaliser.copy_((measured.value + 3 * measured.error).squeeze())
        self.log_normaliser_se.copy_(measured.error.squeeze())
        self.logits.copy_(found.log_shares)
        self.loc.copy_(found.loc)
        self.tril.copy_(tril)


def _normals(logits: Tensor, loc: Tensor, tril: Tensor) -> Distribution:
    """Mixture of normal distributions of means (K, D), from the Cholesky factors of their covariances, (K, D, D)."""
    log_diagonal = tril.diagonal(dim1=-2, dim2=-1).log()
    return mixture(CholeskyNormal(loc, tril.tril(-1), log_diagonal, loc.shape[1:]), logits)
