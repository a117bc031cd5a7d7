"""The VAE with a denoising criterion."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor
from torch.distributions import Distribution

from vae_zoo.models.base.components import make
from vae_zoo.models.plain.vae import VAE
from vae_zoo.nn import Corruption, NormalNoise


class DenoisingVAE(VAE):
    r"""VAE whose encoder sees corrupted examples in training, and whose decoder reconstructs the clean ones.

    .. math:: \mathcal{L}(x) = \mathbb{E}_{p(\tilde x|x)} \big[ \mathbb{E}_{q(z|\tilde x)}[\log p(x|z)]
        - \mathrm{KL}(q(z|\tilde x) \,\|\, p(z)) \big]

    This is a lower bound on log p(x): the posterior of x is the mixture over corruptions, and its divergence is at most
    the mean of theirs. Nothing is corrupted in evaluation, so the metrics are those of the VAE.

    When to use it:
        If the encoder has to cope with noise or missing parts later on. On clean and plentiful data it only makes
        training harder.

    References:
        | Denoising Criterion for Variational Auto-Encoding Framework (Im et al., 2017)
        | https://arxiv.org/abs/1511.06406

    Args:
        corruption: Module that makes x̃ from x.
        kwargs: Arguments of :class:`VAE`.
    """

    def __init__(self, *, corruption: Callable[[], Corruption] = NormalNoise, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.corruption = make("corruption", corruption, Corruption)  # type: ignore[type-abstract]

    def encode(self, x: Tensor, c: Tensor | None = None) -> Distribution:
        self.check_examples(x)
        if self.training:
            x = self.likelihood.unscaled(self.corruption(self.likelihood.scaled(x)))
        return super().encode(x, c)
