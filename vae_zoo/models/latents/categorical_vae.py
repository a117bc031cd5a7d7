"""The VAE with categorical latents."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from vae_zoo.distributions import Family, Gumbel, Prior, UniformCategorical
from vae_zoo.models.base.components import make
from vae_zoo.models.plain.vae import VAE
from vae_zoo.nn import Exponential, Schedule
from vae_zoo.typing import Shape


class CategoricalVAE(VAE):
    r"""VAE whose latents are N variables of K categories, relaxed by the Gumbel-softmax in training.

    .. math:: \mathrm{KL} = \sum_n \log K - \mathrm{H}(q(z_n|x))

    In training, latents are relaxed one-hot vectors and the divergence is that of the categories, so ``train/elbo`` is
    a surrogate and not a bound. In evaluation, latents are drawn as one-hot vectors: ``val/elbo``, ``test/elbo`` and
    the evidence are exact for the discrete model. The temperature falls with the optimizer's steps, by default as in
    the first paper: from 1 to ½ at a rate of 3e-5.

    When to use it:
        If the latents are switches or clusters. Not for smooth paths between examples, which categories do not have.
        Judge it by the metrics of evaluation: those of training are of relaxed latents.

    References:
        | Categorical Reparameterization with Gumbel-Softmax (Jang et al., 2017)
        | https://arxiv.org/abs/1611.01144
        | The Concrete Distribution (Maddison et al., 2017)
        | https://arxiv.org/abs/1611.00712

    Args:
        latent_dim: Number N of categorical variables.
        num_categories: Number K of categories of each variable.
        temperature: Schedule of the temperature; that of the posterior itself has no effect.
        posterior: Family of q(z|x), :class:`~vae_zoo.distributions.Gumbel` with or without ``straight_through``.
        prior: Distribution p(z).
        kwargs: Arguments of :class:`VAE`.

    Raises:
        ValueError: If num_categories is less than 2, or the posterior has no temperature.
    """

    units = {"elbo": "nats, of one-hot latents"}

    def __init__(
        self,
        *,
        latent_dim: int = 20,
        num_categories: int = 10,
        temperature: Callable[[], Schedule] = Exponential,
        posterior: Callable[[Shape], Family] = Gumbel,
        prior: Callable[[Shape], Prior] = UniformCategorical,
        **kwargs: Any,
    ) -> None:
        if num_categories < 2:
            raise ValueError(f"num_categories must be at least 2, got {num_categories}.")
        self.num_categories = num_categories  # the shape of the latents follows from it
        super().__init__(latent_dim=latent_dim, posterior=posterior, prior=prior, **kwargs)
        anneal = getattr(self.posterior, "anneal", None)
        if not callable(anneal):
            raise ValueError(
                f"{type(self).__name__} sets the temperature of its posterior, and {type(self.posterior).__name__} has "
                "none: use Gumbel, or the model VAE."
            )
        anneal(make("temperature", temperature, Schedule))  # type: ignore[type-abstract]

    @property
    def latent_shape(self) -> Shape:
        return (self.latent_dim, self.num_categories)
