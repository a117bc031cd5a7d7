"""Regularised autoencoders."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.func import vjp
from torch.nn.utils.parametrizations import spectral_norm

from vae_zoo.distributions import Family, SquaredError, score
from vae_zoo.models.plain.ae import AE
from vae_zoo.nn.conv import LINEAR
from vae_zoo.typing import Shape


class RAE(AE):
    r"""Autoencoder with small latents and a smooth decoder, to be sampled from a density fitted to its latents.

    .. math:: \mathcal{L} = \| x - D(z) \|^2 + \beta \tfrac{1}{2} \| z \|^2 + \lambda \, R(D)

    This class has no R; the regularisers of the paper are :class:`RAEL2`, :class:`RAEGP` and :class:`RAESN`. The
    authors' β of 1e-4 for MNIST is 1.25e-5 here with 16 dimensions; the default is 80 times as much, so that latents
    shrink in short fits too.

    When to use it:
        For close reconstructions whose latents are given a density afterwards, by ``fit-density``. Not for samples
        before that.

    References:
        | From Variational to Deterministic Autoencoders (Ghosh et al., 2020)
        | https://arxiv.org/abs/1903.12436

    Args:
        beta: Weight β of the latents' norm. The authors' code takes the mean over dimensions: their β is this one times
            half the number of dimensions.
        weight: Weight λ of the decoder's regulariser.
        likelihood: Family of p(x|z).
        kwargs: Arguments of :class:`AE`.

    Raises:
        ValueError: If a weight is negative or not finite.
    """

    units = {"latent_norm": "half of the squared norm"}

    def __init__(
        self,
        *,
        beta: float = 1e-3,
        weight: float = 0.0,
        likelihood: Callable[[Shape], Family] | None = SquaredError,
        **kwargs: Any,
    ) -> None:
        super().__init__(likelihood=likelihood, **kwargs)
        for name, value in (("beta", beta), ("weight", weight)):
            if not (value >= 0 and math.isfinite(value)):
                raise ValueError(f"{name} must be at least 0 and finite, got {value}.")
        self.beta, self.weight = beta, weight

    def losses(self, x: Tensor, c: Tensor | None = None) -> dict[str, Tensor]:
        z = self.encode(x, c).mean
        log_px = score(self.decode(z, c), x, x.shape[:1]).mean()
        norm = 0.5 * z.square().flatten(1).sum(1).mean()
        roughness = self.roughness(z, c)
        loss = self.beta * norm + self.weight * roughness - log_px
        return {"loss": loss, "reconstruction": log_px, "latent_norm": norm, "roughness": roughness}

    def roughness(self, z: Tensor, c: Tensor | None) -> Tensor:  # noqa: ARG002
        """The regulariser R of the decoder, a scalar."""
        return z.new_zeros(())


class RAEL2(RAE):
    r"""RAE whose decoder has small weights.

    .. math:: R(D) = \| \theta_D \|^2

    As a term of the loss it is the same under any optimizer, unlike weight decay.

    When to use it:
        As ``RAE``, as the cheapest way to a smooth decoder. Set its weight with the size of the decoder in mind: it
        sums over all parameters.

    References:
        | From Variational to Deterministic Autoencoders (Ghosh et al., 2020)
        | https://arxiv.org/abs/1903.12436

    Args:
        weight: Weight λ of R.
        kwargs: Arguments of :class:`RAE`.
    """

    def __init__(self, *, weight: float = 1e-4, **kwargs: Any) -> None:
        super().__init__(weight=weight, **kwargs)

    def roughness(self, z: Tensor, c: Tensor | None) -> Tensor:  # noqa: ARG002
        return torch.stack([p.float().square().sum() for p in self.decoder.parameters()]).sum()


class RAEGP(RAE):
    r"""RAE whose decoder has a small Jacobian at the latents.

    .. math:: R(D) = \mathbb{E} \Big\| \frac{\partial D(z)}{\partial z} \Big\|_F^2
        = \mathbb{E} \, \| J_D^\top v \|^2, \quad v_i = \pm 1

    The norm is estimated without bias by one random v for each example. (The authors' code takes the gradient of the
    sum of squared outputs.) The latents are held fixed in it, so that R only smooths the decoder.

    When to use it:
        As ``RAE``, if smoothness is to hold where the latents are. Each step takes one more pass back through the
        decoder.

    References:
        | From Variational to Deterministic Autoencoders (Ghosh et al., 2020)
        | https://arxiv.org/abs/1903.12436

    Args:
        weight: Weight λ of R.
        kwargs: Arguments of :class:`RAE`.
    """

    def __init__(self, *, weight: float = 1e-3, **kwargs: Any) -> None:
        super().__init__(weight=weight, **kwargs)

    def roughness(self, z: Tensor, c: Tensor | None) -> Tensor:
        with torch.autocast(z.device.type, enabled=False):
            mean, pull_back, *_ = vjp(lambda z: self.decode(z, c).mean, z.detach())
            (gradient,) = pull_back(torch.randint_like(mean, 2) * 2 - 1)
        return gradient.square().flatten(1).sum(1).mean()


class RAESN(RAE):
    """RAE whose decoder has layers with a spectral norm of at most 1, without R.

    These are all dense layers and convolutions; biases and the gains of normalisations are free.

    When to use it:
        As ``RAE``, without a weight to choose. The bound on each layer may be too tight for a small decoder.

    References:
        | From Variational to Deterministic Autoencoders (Ghosh et al., 2020)
        | https://arxiv.org/abs/1903.12436

    Args:
        kwargs: Arguments of :class:`RAE`.

    Raises:
        ValueError: If the decoder has weights with several dimensions outside of dense layers and convolutions.
    """

    fixed = {"weight": "the layers of its decoder are normalised instead"}

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        layers = [layer for layer in self.decoder.modules() if isinstance(layer, LINEAR)]
        bounded = {p for layer in layers for p in layer.parameters()}
        for name, p in self.decoder.named_parameters():
            if p.ndim > 1 and p not in bounded:
                raise ValueError(
                    f"{type(self).__name__} bounds dense layers and convolutions alone, and {name} of the decoder "
                    f"{type(self.decoder).__name__} is in none: choose another decoder, or RAEGP."
                )
        for layer in layers:
            spectral_norm(layer)
