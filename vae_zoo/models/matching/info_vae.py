"""The InfoVAE."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal

from torch import Tensor

from vae_zoo.elbo import ELBO
from vae_zoo.models.plain.vae import VAE
from vae_zoo.penalties import MMD, Penalty
from vae_zoo.typing import Shape


class InfoVAE(VAE):
    r"""VAE that trades the rate of each example for a match of the latents with the prior as a whole.

    .. math:: \mathcal{L} = -\mathbb{E}[\log p(x|z)] + (1 - \alpha) \, \mathrm{KL}(q(z|x) \,\|\, p(z))
        + (\alpha + \lambda - 1) \, \mathrm{MMD}^2(q(z), p(z))

    α = 1 gives the MMD-VAE, without a rate; α = 0 and λ = 1 give the VAE. The Gaussian kernel
    :math:`e^{-\| a - b \|^2 / 2 h^2}` of D latents has :math:`h^2 = D \sigma^2 / 2` by default: D / 2 for the
    standard normal prior, and D times as much in the authors' tutorial.

    When to use it:
        If decoders are strong and rates collapse, or if latents must match the prior as a whole. The discrepancy takes
        batches of some size; with tiny ones its noise dominates.

    References:
        | InfoVAE: Balancing Learning and Inference in Variational Autoencoders (Zhao et al., 2019)
        | https://arxiv.org/abs/1706.02262

    Args:
        alpha: Preference α for information in the latents, at most 1.
        lambd: Weight λ of the match; α + λ is at least 1.
        kernel: Kernel of :class:`~vae_zoo.penalties.MMD`.
        bandwidth: Squared width of the kernel, or ``median``; by default h² above, or that of ``MMD`` for ``imq``.
        penalties: Further penalties.
        kwargs: Arguments of :class:`VAE`.

    Raises:
        ValueError: If alpha is above 1, alpha + lambd is below 1, which would drive the latents away from the prior, or
            the bandwidth is not positive.
    """

    def __init__(
        self,
        *,
        alpha: float = 0.0,
        lambd: float = 10.0,
        kernel: Literal["imq", "rbf"] = "rbf",
        bandwidth: float | Literal["median"] | None = None,
        penalties: Sequence[Callable[[Shape], Penalty]] = (),
        **kwargs: Any,
    ) -> None:
        if not (alpha <= 1 and 1 <= alpha + lambd < math.inf):
            raise ValueError(f"alpha must be at most 1, and alpha + lambd at least 1, got {alpha} and {lambd}.")
        scale = 0.5 if kernel == "rbf" else 1.0
        mmd = partial(MMD, weight=alpha + lambd - 1, kernel=kernel, bandwidth=bandwidth, scale=scale)
        super().__init__(penalties=[mmd, *penalties], **kwargs)
        self.alpha, self.lambd = alpha, lambd

    def objective(self, elbo: ELBO) -> dict[str, Tensor]:
        return super().objective(elbo.weighted(1 - self.alpha))
