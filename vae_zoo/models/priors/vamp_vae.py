"""The VAE with a VampPrior."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from vae_zoo.distributions import Mixture, check_posterior
from vae_zoo.models.base.undisturbed import undisturbed
from vae_zoo.models.plain.vae import VAE
from vae_zoo.nn import Bounded
from vae_zoo.system.seeding import global_seed, mix


class VampVAE(VAE):
    r"""VAE whose prior is the mixture of its own posteriors at learned pseudo-inputs.

    .. math:: p(z) = \frac{1}{P} \sum_{i=1}^P q(z \,|\, u_i)

    Pseudo-inputs start from random training examples plus noise, or from noise alone, as in the paper. They are kept in
    [0, 1] by a clamp that, unlike the paper's Hardtanh, has a gradient towards the inside. If data are
    scaled, all of this is in the scaled units.

    When to use it:
        For better samples and density from one more matrix of parameters. Not with conditions. Pseudo-inputs are as
        large as examples, which is much for large pictures.

    References:
        | VAE with a VampPrior (Tomczak and Welling, 2018)
        | https://arxiv.org/abs/1705.07120

    Args:
        num_pseudo: Number P of pseudo-inputs.
        pseudo_mean: Mean of the noise that pseudo-inputs start from; random training examples if not given.
        pseudo_std: Standard deviation of that noise, or of the noise added to the examples.
        in_unit_interval: Whether examples, and therefore pseudo-inputs, lie in [0, 1].
        kwargs: Arguments of :class:`VAE`; ``prior`` must keep its default.

    Raises:
        ValueError: If num_pseudo is less than 1, pseudo_mean is not finite, or pseudo_std is negative or not finite; at
            the start of a fit, if examples do not lie in [0, 1] and should.
    """

    fixed = {"prior": "it is the mixture of the posteriors at the pseudo-inputs"}

    apart = {"ConditionalVAE": "a pseudo-input has no class to be encoded with"}

    def __init__(
        self,
        *,
        num_pseudo: int = 500,
        pseudo_mean: float | None = None,
        pseudo_std: float = 0.01,
        in_unit_interval: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if num_pseudo < 1:
            raise ValueError(f"num_pseudo must be at least 1, got {num_pseudo}.")
        if pseudo_mean is not None and not math.isfinite(pseudo_mean):
            raise ValueError(f"pseudo_mean must be finite, got {pseudo_mean}.")
        if not (pseudo_std >= 0 and math.isfinite(pseudo_std)):
            raise ValueError(f"pseudo_std must be at least 0 and finite, got {pseudo_std}.")
        self.pseudo_mean, self.pseudo_std, self.in_unit_interval = pseudo_mean, pseudo_std, in_unit_interval
        start = 0.5 if pseudo_mean is None else pseudo_mean
        self.pseudo = nn.Parameter(start + pseudo_std * torch.randn(num_pseudo, *self.shape))

    def check_prior(self) -> None:
        check_posterior(self.posterior)  # a mixture of posteriors lies where each of them does
        self.check_penalties(self.latent_prior)

    @property
    def pseudo_inputs(self) -> Tensor:
        """Pseudo-inputs as the encoder sees them, (P, \\*shape)."""
        return self.likelihood.unscaled(Bounded()(self.pseudo) if self.in_unit_interval else self.pseudo)

    def prior(self, c: Tensor | None = None) -> Distribution:  # noqa: ARG002
        return Mixture(undisturbed(self, self.encode, self.pseudo_inputs))

    @torch.no_grad()
    def initialise(self, x: Tensor) -> None:
        super().initialise(x)
        x = self.likelihood.scaled(x)
        if self.in_unit_interval and not bool(((x >= 0) & (x <= 1)).all()):
            span = f"from {x.min().item():.4g} to {x.max().item():.4g}"
            raise ValueError(f"pseudo-inputs lie in [0, 1], the data {span}: set in_unit_interval to false.")
        if self.pseudo_mean is None:
            generator = torch.Generator().manual_seed(mix(global_seed(), 1))  # the same on every rank
            order = [torch.randperm(len(x), generator=generator) for _ in range(-(-len(self.pseudo) // len(x)))]
            noise = torch.randn(self.pseudo.shape, generator=generator) * self.pseudo_std
            self.pseudo.copy_(x[torch.cat(order)[: len(self.pseudo)].to(x.device)].cpu() + noise)
