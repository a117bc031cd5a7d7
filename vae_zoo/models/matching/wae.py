"""The Wasserstein autoencoder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal

from vae_zoo.distributions import Family, SquaredError
from vae_zoo.models.plain.prior_ae import PriorAE
from vae_zoo.penalties import MMD, Penalty
from vae_zoo.typing import Shape


class WAE(PriorAE):
    r"""Autoencoder whose latents match the prior as a whole, by their maximum mean discrepancy: WAE-MMD.

    .. math:: \mathcal{L} = \mathbb{E} \| x - \hat x \|^2 + \lambda \, \mathrm{MMD}^2(q(z), p(z))

    The default likelihood is normal with σ = 1/√2, under which -log p(x|z) is the squared error up to a constant, and
    λ is that of the paper. (The authors' code multiplies the squared error by 0.05, so its λ = 10 is 200 here.)

    When to use it:
        For reconstructions of an autoencoder with a prior to sample from. Not for likelihoods by a bound. Take few
        latents: of many, a batch says little about the discrepancy, and samples lie where the decoder was never
        trained. Of MNIST, 8 latents give digits at λ = 10, where 32 do not; at λ = 1000 these do.

    References:
        | Wasserstein Auto-Encoders (Tolstikhin et al., 2018)
        | https://arxiv.org/abs/1711.01558

    Args:
        weight: Weight λ of the discrepancy.
        kernel: Kernel of :class:`~vae_zoo.penalties.MMD`.
        bandwidth: Squared width of the kernel, or ``median``; by default that of ``MMD``.
        likelihood: Family of p(x|z).
        penalties: Further penalties.
        kwargs: Arguments of :class:`PriorAE`.
    """

    def __init__(
        self,
        *,
        weight: float = 10.0,
        kernel: Literal["imq", "rbf"] = "imq",
        bandwidth: float | Literal["median"] | None = None,
        likelihood: Callable[[Shape], Family] | None = SquaredError,
        penalties: Sequence[Callable[[Shape], Penalty]] = (),
        **kwargs: Any,
    ) -> None:
        penalties = [partial(MMD, weight=weight, kernel=kernel, bandwidth=bandwidth), *penalties]
        super().__init__(likelihood=likelihood, penalties=penalties, **kwargs)
