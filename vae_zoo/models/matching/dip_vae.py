"""The DIP-VAE."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from vae_zoo.models.plain.vae import VAE
from vae_zoo.penalties import Covariance, Penalty
from vae_zoo.typing import Shape


class DIPVAE(VAE):
    r"""VAE whose aggregate posterior has a covariance near the identity: DIP-VAE-II, and I with ``means_only``.

    .. math:: \mathcal{L} = -\mathrm{ELBO} + \lambda_{od} \sum_{i \ne j} \Sigma_{ij}^2
        + \lambda_d \sum_i (\Sigma_{ii} - 1)^2

    In the paper λ_d is 10 λ_od for kind I and λ_od for kind II. See :class:`~vae_zoo.penalties.Covariance`.

    When to use it:
        For uncorrelated latents without a second network. It matches second moments only: latents may still depend on
        each other.

    References:
        | Variational Inference of Disentangled Latent Concepts from Unlabeled Observations (Kumar et al., 2018)
        | https://arxiv.org/abs/1711.00848

    Args:
        off_diagonal: Weight λ_od of the covariances.
        diagonal: Weight λ_d of the variances; by default as in the paper.
        means_only: Whether Σ is the covariance of the posterior's means (kind I) or of its samples (kind II).
        penalties: Further penalties.
        kwargs: Arguments of :class:`VAE`.
    """

    apart = dict.fromkeys(
        ("HamiltonianVAE", "LadderVAE", "TwoLevelVAE", "TopDownVAE"), "the covariance of its posterior is not known"
    )

    def __init__(
        self,
        *,
        off_diagonal: float = 10.0,
        diagonal: float | None = None,
        means_only: bool = False,
        penalties: Sequence[Callable[[Shape], Penalty]] = (),
        **kwargs: Any,
    ) -> None:
        diagonal = (10 if means_only else 1) * off_diagonal if diagonal is None else diagonal
        own = partial(Covariance, off_diagonal=off_diagonal, diagonal=diagonal, means_only=means_only)
        super().__init__(penalties=[own, *penalties], **kwargs)
