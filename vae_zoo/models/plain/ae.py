"""The plain autoencoder."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from vae_zoo.distributions import score
from vae_zoo.models.base.autoencoder import Autoencoder
from vae_zoo.models.base.components import check_point


class AE(Autoencoder):
    r"""Plain autoencoder, the baseline of a latent space without regularisation.

    .. math:: \mathcal{L}(x) = \log p(x \,|\, f(x))

    It has neither a prior nor a bound, and random latents do not decode to meaningful examples.

    When to use it:
        For reconstructions at no cost of the latents, as a baseline that shows what regularisation changes, or before a
        density is fitted by ``fit-density``. Not for samples or likelihoods as it is: nothing shapes its latents.

    References:
        | Reducing the Dimensionality of Data with Neural Networks (Hinton and Salakhutdinov, 2006)
        | https://doi.org/10.1126/science.1127647

    Args:
        kwargs: Arguments of :class:`Autoencoder`.

    Raises:
        ValueError: If the posterior has a density, which would have no effect.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        check_point(self)

    def losses(self, x: Tensor, c: Tensor | None = None) -> dict[str, Tensor]:
        log_px = score(self.decode(self.encode(x, c).mean, c), x, x.shape[:1]).mean()
        return {"loss": -log_px, "reconstruction": log_px}

    def __getattr__(self, name: str) -> Any:
        if name == "sample":  # missing as an attribute, for code that asks whether a model can generate
            raise AttributeError(
                "AE has no prior to sample from: a random latent decodes to nothing in particular. Fit a VAE with the "
                "same networks, or decode latents of your own."
            )
        return super().__getattr__(name)
