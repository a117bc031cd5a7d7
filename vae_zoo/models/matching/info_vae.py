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

    α = 1 gives the MMD-VAE, without a rate; α = 0 and λ = 1 give the VAE.

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
        penalties: Further penalties.
        kwargs: Arguments of :class:`VAE`.

    Raises:
        ValueError: If alpha is above 1, or alpha + lambd below 1, which would drive the latents away from the prior.
    """

    def __init__(
        self,
        *,
        alpha: float = 0.0,
        lambd: float = 10.0,
        kernel: Literal["imq", "rbf"] = "rbf",
        penalties: Sequence[Callable[[Shape], Penalty]] = (),
        **kwargs: Any,
    ) -> None:
        if not (alpha <= 1 and 1 <= alpha + lambd < math.inf):
            raise ValueError(f"alpha must be at most 1, and alpha + lambd at least 1, got {alpha} and {lambd}.")
        super().__init__(penalties=[partial(MMD, weight=alpha + lambd - 1, kernel=kernel), *penalties], **kwargs)
        self.alpha, self.lambd = alpha, lambd

    def objective(self, elbo: ELBO) -> dict[str, Tensor]:
        return super().objective(elbo.weighted(1 - self.alpha))
