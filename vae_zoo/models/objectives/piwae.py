"""The partially importance-weighted autoencoder."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from vae_zoo.distributions import score
from vae_zoo.elbo import ELBO
from vae_zoo.functional import log_mean_exp
from vae_zoo.models.objectives.miwae import MIWAE


class PIWAE(MIWAE):
    r"""IWAE whose decoder is trained on the tightest bound, and whose encoder on several looser ones.

    .. math:: \nabla_\theta \mathcal{L} = \nabla_\theta \mathcal{L}_{1, M K}(x), \quad
        \nabla_\phi \mathcal{L} = \nabla_\phi \mathcal{L}_{M, K}(x)

    :math:`\mathcal{L}_{M,K}` is the bound of :class:`MIWAE`: tight bounds suit decoder and prior (θ), while the
    gradient of the encoder (φ) drowns in noise as K grows. Samples are decoded twice, the second time without a
    gradient at the latents: MIWAE of the first, less MIWAE and plus IWAE of the second, whose value is that of IWAE.

    When to use it:
        For a tight bound and a well trained encoder at once. A step takes longer than one of ``MIWAE``, which decodes
        once.

    References:
        | Tighter Variational Bounds are Not Necessarily Better (Rainforth et al., 2018)
        | https://arxiv.org/abs/1802.04537

    Args:
        kwargs: Arguments of :class:`MIWAE`.
    """

    def objective(self, elbo: ELBO) -> dict[str, Tensor]:
        values = super().objective(elbo)
        log_w = self.weights_of_decoder(elbo)
        return values | {"loss": values["loss"] + self.mean_of_bounds(log_w) - log_mean_exp(log_w).mean()}

    def weights_of_decoder(self, elbo: ELBO) -> Tensor:
        """Importance weights with gradients for decoder and prior only, (K, B)."""
        if elbo.x is None:
            raise ValueError(f"{type(self).__name__} needs the examples in the ELBO: pass x on in your own elbo().")
        z = elbo.z.detach()
        log_px = score(self.decode(z, elbo.c), elbo.x, z.shape[:2])
        penalty: Any = elbo.penalty.detach() if isinstance(elbo.penalty, Tensor) else elbo.penalty
        return log_px + elbo.weight * (elbo.p.log_prob(z) - elbo.log_qz.detach() - penalty)
