"""The VAE with two levels of latents and a VampPrior."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Distribution
from torch.nn.functional import leaky_relu

from vae_zoo.distributions import (
    DiagonalNormal,
    Hierarchical,
    Mixture,
    Prior,
    StandardNormal,
    check_pair,
    joined,
    kl_of_layers,
)
from vae_zoo.models.base.components import make
from vae_zoo.models.priors.vamp_vae import VampVAE
from vae_zoo.nn import Dense
from vae_zoo.nn.batching import apply_batched
from vae_zoo.typing import Network, Shape

_DEFAULT = 16


class TwoLevelVAE(VampVAE):
    r"""VAE with two levels of latents, whose upper one has a VampPrior or any other prior.

    .. math::
        \mathcal{L}(x) = \mathbb{E}_{q(z_2|x) \, q(z_1|x, z_2)} \Big[ \log p(x|z_1, z_2)
        + \log \frac{p(z_1|z_2)}{q(z_1|x, z_2)} + \log \frac{p(z_2)}{q(z_2|x)} \Big], \quad
        p(z_2) = \frac{1}{P} \sum_{i=1}^P q(z_2|u_i)

    The decoder gets both levels, and a latent z contains both, the lower first. Both posteriors start from the same
    features of the example, whereas the paper has a network for each.

    When to use it:
        For better samples than one level of latents gives, at little more time. For more than two levels, take
        ``LadderVAE`` or ``VDVAE``.

    References:
        | VAE with a VampPrior (Tomczak and Welling, 2018)
        | https://arxiv.org/abs/1705.07120

    Args:
        latent_dim: Number of latent dimensions of both levels together, if ``latent_dims`` is not given.
        latent_dims: Dimensions of the lower and of the upper level; by default half of them each.
        width: Number of features of an example that both posteriors start from.
        layer: Network from the features and the upper latent to the posterior of the lower one, and from the upper
            latent to the prior of the lower one.
        prior: Prior of the upper level, in place of the VampPrior, which then has no pseudo-inputs.
        kwargs: Arguments of :class:`VampVAE` except ``posterior``, which is normal here.

    Raises:
        ValueError: If latent_dims are not two numbers of at least 1 or do not add up to latent_dim, latent_dim is less
            than 2, width is less than 1, or the prior does not suit the upper level.
    """

    fixed = {"posterior": "both levels of its latents are normal"}

    apart = {"BetaTCVAE": "the dimensions of its posterior are not independent, which the parts of the rate need"}

    def __init__(
        self,
        *,
        latent_dim: int = _DEFAULT,
        latent_dims: Sequence[int] | None = None,
        width: int = 128,
        layer: Network = Dense,
        prior: Callable[[Shape], Prior] | None = None,
        **kwargs: Any,
    ) -> None:
        dims = list(latent_dims or [latent_dim - latent_dim // 2, latent_dim // 2])
        if latent_dims is not None and (len(latent_dims) != 2 or min(latent_dims) < 1):
            raise ValueError(f"latent_dims must be two numbers of at least 1, got {latent_dims}.")
        if latent_dim not in (sum(dims), _DEFAULT):
            raise ValueError(f"latent_dim is {latent_dim}, but latent_dims add up to {sum(dims)}: give one of the two.")
        if latent_dim == 1:
            raise ValueError("latent_dim must be at least 2, one for each level, got 1.")
        if width < 1:
            raise ValueError(f"width must be at least 1, got {width}.")
        self.latent_dims, self.width = dims, width  # the networks' shapes follow from them
        super().__init__(latent_dim=sum(dims), posterior=DiagonalNormal, **kwargs)
        lower, upper = dims
        self.families = nn.ModuleList(DiagonalNormal((dim,)) for dim in dims)
        self.top = Dense((width,), (2, upper), hidden=())
        self.inference = make("layer", layer, nn.Module, (width + upper,), (2, lower))
        self.generative = make("layer", layer, nn.Module, (upper,), (2, lower))
        self.latent_prior = make("prior", prior or StandardNormal, Prior, (upper,))  # type: ignore[type-abstract]
        check_pair(self.families[1], self.latent_prior)  # type: ignore[arg-type]
        if prior is not None:
            self.register_parameter("pseudo", None)

    @property
    def encoder_shapes(self) -> tuple[Shape, Shape]:
        return self.likelihood.read_shape, (self.width,)

    def encode(self, x: Tensor, c: Tensor | None = None) -> Distribution:  # noqa: ARG002
        features = self.features(x)
        return Hierarchical(self.upper(features), [partial(self.lower, features)], self.latent_dims)

    def prior(self, c: Tensor | None = None) -> Distribution:
        top = self.latent_prior(c) if self.pseudo is None else Mixture(self.upper(self.features(self.pseudo_inputs)))
        return Hierarchical(top, [self.lower_prior], self.latent_dims)

    def divergence(self, q: Any, p: Any, z: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        rates = kl_of_layers(q, p, z)
        return joined(rates, self.latent_dims), {f"kl_{n + 1}": rate.sum(1) for n, rate in enumerate(rates)}

    def initialise(self, x: Tensor) -> None:
        if self.pseudo is not None:
            super().initialise(x)

    def features(self, x: Tensor) -> Tensor:
        """Features that both posteriors start from, (B, width)."""
        self.check_examples(x)
        return leaky_relu(self.run_encoder(x, gives=(self.width,)))

    def upper(self, features: Tensor) -> Distribution:
        """Posterior of the upper level, q(z₂|x)."""
        return self.families[1](apply_batched(self.top, features))

    def lower(self, features: Tensor, above: Tensor) -> Distribution:
        """Posterior of the lower level, q(z₁|x, z₂), given latents of the upper one, (..., B, D above)."""
        both = torch.cat([features.expand(*above.shape[:-1], -1), above.to(features.dtype)], -1)
        gives = (2, self.latent_dims[0])
        return self.families[0](apply_batched(self.inference, both, gives=gives, name="layer"))

    def lower_prior(self, above: Tensor) -> Distribution:
        """Prior of the lower level, p(z₁|z₂), given latents of the upper one, (..., D above)."""
        gives = (2, self.latent_dims[0])
        return self.families[0](apply_batched(self.generative, above, gives=gives, name="layer"))
