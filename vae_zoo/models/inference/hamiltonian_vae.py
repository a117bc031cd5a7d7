"""The Hamiltonian variational autoencoder."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, constraints

from vae_zoo.distributions import HamiltonianPosterior, score
from vae_zoo.distributions.supports import core
from vae_zoo.functional import exact
from vae_zoo.models.plain.vae import VAE


class HamiltonianVAE(VAE):
    r"""VAE whose posterior samples are moved by leapfrog steps towards the true posterior, with tempering.

    .. math:: \mathcal{L}(x) = \mathbb{E} \Big[ \log p(x, z_K) - \log q(z_0|x)
        - \tfrac{1}{2} \|\rho_K\|^2 + \tfrac{1}{2 T_0} \|\rho_0\|^2 \Big], \quad
        z_0 \sim q(z|x), \; \rho_0 \sim \mathcal{N}(0, T_0 I)

    :math:`(z_K, \rho_K)` follow by K leapfrog steps on :math:`-\log p(x, z)`, see
    :class:`~vae_zoo.distributions.HamiltonianPosterior`. Without steps it is the VAE. The temperature falls to 1 by
    the paper's quadratic schedule; step sizes and T₀ are learned. A likelihood that depends on the batch, such as
    ``OptimalNormal``, or on chance moves the latents by its density of evaluation, in training too. Latents of
    examples (``embed``) are the means that the steps start from.

    When to use it:
        If one pass of the encoder does not reach the posterior and time is plentiful: training and evidence take a pass
        through the decoder and back for each leapfrog step. The latents of ``embed`` do not profit from the steps.

    References:
        | Hamiltonian Variational Auto-Encoder (Caterini et al., 2018)
        | https://arxiv.org/abs/1805.11328

    Args:
        num_leapfrog: Number K of leapfrog steps, each of which takes a pass through the decoder and back.
        step_size: Initial step size ε of every latent dimension.
        max_step_size: Upper bound of the step sizes.
        start_temperature: Initial value of the temperature T₀, above 1; with exactly 1 there is no tempering.
        kwargs: Arguments of :class:`VAE`.

    Raises:
        ValueError: If num_leapfrog is negative, step_size does not lie between 0 and max_step_size, start_temperature
            is less than 1 or not finite, or the posterior does not have all real numbers as its support.
    """

    apart = {
        **dict.fromkeys(("BetaTCVAE", "LadderVAE", "VampVAE"), "its posterior knows only the density of its own draws"),
        **dict.fromkeys(("IWAEDReG", "PIWAE"), "its decoder moves the latents, and so belongs to the encoder too"),
        "M2": "it encodes every class itself, without leapfrog steps",
    }

    # torch 2.14 loses second derivatives of a gradient in a compiled graph, here 7 % of the gradient of ε.
    compilable = False

    def __init__(
        self,
        *,
        num_leapfrog: int = 3,
        step_size: float = 0.05,
        max_step_size: float = 0.5,
        start_temperature: float = 2.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if num_leapfrog < 0:
            raise ValueError(f"num_leapfrog must be at least 0, got {num_leapfrog}.")
        if not (0 < step_size < max_step_size < math.inf):
            raise ValueError(f"step_size must lie between 0 and max_step_size, got {step_size} and {max_step_size}.")
        if not (start_temperature >= 1 and math.isfinite(start_temperature)):
            raise ValueError(f"start_temperature must be at least 1 and finite, got {start_temperature}.")
        support = core(self.posterior.at_zeros().support)
        if support is not constraints.real:
            name = type(self.posterior).__name__
            raise ValueError(
                f"{type(self).__name__} and {name} do not go together: leapfrog steps need any real latents, "
                f"not {support}."
            )
        self.num_leapfrog, self.max_step_size = num_leapfrog, max_step_size
        self.decodings = num_leapfrog + 2 if num_leapfrog else 1
        ratio = step_size / max_step_size
        rooted = 1 / math.sqrt(start_temperature)
        self.step_logit = self.cold_logit = None
        if num_leapfrog:
            self.step_logit = nn.Parameter(torch.full(self.latent_shape, math.log(ratio / (1 - ratio))))
        if num_leapfrog and rooted < 1:
            self.cold_logit = nn.Parameter(torch.tensor(math.log(rooted / (1 - rooted))))

    def encode(self, x: Tensor, c: Tensor | None = None) -> Distribution:
        start = super().encode(x, c)
        if self.step_logit is None:
            return start
        step_size = self.max_step_size * torch.sigmoid(exact(self.step_logit))
        return self.moved(start, partial(self.log_joint, x, c), step_size, self.cooling())

    def moved(
        self, start: Distribution, log_joint: Callable[[Tensor], Tensor], step_size: Tensor, cooling: list[Tensor]
    ) -> Distribution:
        """The posterior, from the arguments of :class:`~vae_zoo.distributions.HamiltonianPosterior`."""
        return HamiltonianPosterior(start, log_joint, step_size, cooling)

    def log_joint(self, x: Tensor, c: Tensor | None, z: Tensor) -> Tensor:
        """log p(x, z) of latents (..., B, D), which move along its gradient: the same function at every step."""
        with self.likelihood.settled():
            return self.prior(c).log_prob(z) + score(self.decode(z, c), x, z.shape[:-1])

    def cooling(self) -> list[Tensor]:
        """Factors of the momentum: √T₀, which it starts with, and that of each leapfrog step; their product is 1."""
        num = self.num_leapfrog
        if self.cold_logit is None:
            return [torch.ones((), device=self.device)] * (num + 1)
        hot = 1 + torch.exp(-exact(self.cold_logit))  # √T₀
        roots = [hot + (1 - hot) * (k / num) ** 2 for k in range(num + 1)]
        return [hot, *(after / before for before, after in pairwise(roots))]
