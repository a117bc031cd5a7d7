"""The two-stage VAE."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor
from torch.distributions import Distribution

from vae_zoo.distributions import Family, Prior, SharedNormal, StandardNormal, TwoStagePrior, kl
from vae_zoo.elbo import ELBO
from vae_zoo.models.base.groups import split_off
from vae_zoo.models.plain.vae import VAE
from vae_zoo.typing import Shape


class TwoStageVAE(VAE):
    r"""VAE whose latents are modelled by a second VAE, from which samples are drawn.

    .. math:: \mathcal{L}_1(x) = \mathbb{E}_{q(z|x)}[\log p(x|z)] - \mathrm{KL}(q(z|x) \,\|\, \mathcal{N}(0, I))

    .. math:: \mathcal{L}_2(z) = \mathbb{E}_{q(u|z)}[\log p(z|u)] - \mathrm{KL}(q(u|z) \,\|\, \mathcal{N}(0, I))

    The second stage is trained on draws of z along with the first, without influence on it, so that every checkpoint
    can sample; the paper fits it afterwards, as the callback ``FitSecondStage`` does in the last epochs. ``elbo`` is
    the bound of both stages together, with :math:`\mathcal{L}_2` in place of log p(z), and ``first_loss`` is
    :math:`-\mathcal{L}_1`. Both stages learn the σ of their normal likelihoods.

    When to use it:
        For samples of a VAE whose latents do not fill the prior. If the first stage is trained already, ``fit-density``
        does the like for any model.

    References:
        | Diagnosing and Enhancing VAE Models (Dai and Wipf, 2019)
        | https://arxiv.org/abs/1903.05789

    Args:
        prior: The second stage.
        likelihood: Family of p(x|z).
        kwargs: Arguments of :class:`VAE`.

    Raises:
        TypeError: If prior is not a :class:`~vae_zoo.distributions.TwoStagePrior`.
    """

    fixed = {"free_bits": "the divergence that it would floor is that of both stages"}

    def __init__(
        self,
        *,
        prior: Callable[[Shape], Prior] = TwoStagePrior,
        likelihood: Callable[[Shape], Family] | None = SharedNormal,
        **kwargs: Any,
    ) -> None:
        super().__init__(prior=prior, likelihood=likelihood, **kwargs)
        if not isinstance(self.latent_prior, TwoStagePrior):
            raise TypeError(f"prior must make a TwoStagePrior, got {type(self.latent_prior).__name__}.")
        self.first_prior = StandardNormal(self.latent_shape)

    def divergence(self, q: Distribution, p: Distribution, z: Tensor) -> tuple[Tensor, dict[str, Tensor]]:  # noqa: ARG002
        first, stage = self.first_prior(), self.second_stage
        # In closed form, so that the only noise is that of the difference between the stages.
        rate = kl(q, first, z)
        return (rate + (first.log_prob(z) + stage.loss(z)).mean(0)).unsqueeze(1), {"first_kl": rate}

    def objective(self, elbo: ELBO) -> dict[str, Tensor]:
        rate = elbo.weight * elbo.curves["first_kl"]
        first = super().objective(elbo._replace(p=self.first_prior(), kl=rate, rates=None))
        second = self.second_stage.loss(elbo.z.detach()).mean()
        return {**first, "first_loss": first["loss"], "second_loss": second, "loss": first["loss"] + second}

    @property
    def second_stage(self) -> TwoStagePrior:
        """The second stage, which is the prior."""
        stage: Any = self.latent_prior
        return stage

    def param_groups(self) -> list[dict[str, Any]]:
        return split_off(super().param_groups(), {"params": list(self.latent_prior.parameters())})

    def routes(self) -> dict[str, dict[str, float]]:
        return {**super().routes(), "latent_prior": {"second_loss": 1.0}, "": {"first_loss": 1.0}}
