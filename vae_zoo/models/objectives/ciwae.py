"""The combination importance-weighted autoencoder."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from vae_zoo.elbo import ELBO
from vae_zoo.models.objectives.iwae import IWAE


class CIWAE(IWAE):
    r"""IWAE whose objective keeps a share of the ELBO, for the sake of the encoder's gradient.

    .. math:: \mathcal{L}(x) = \beta \, \mathrm{ELBO}(x) + (1 - \beta) \, \mathcal{L}_K(x)

    It is a bound for any β: the ELBO at 1, that of :class:`IWAE` at 0.

    When to use it:
        If ``IWAE`` with many samples trains its encoder badly and a mixture with the ELBO is acceptable. Otherwise
        ``IWAEDReG`` keeps the whole tight bound.

    References:
        | Tighter Variational Bounds are Not Necessarily Better (Rainforth et al., 2018)
        | https://arxiv.org/abs/1802.04537

    Args:
        beta: Share β of the ELBO.
        kwargs: Arguments of :class:`IWAE`.

    Raises:
        ValueError: If beta does not lie between 0 and 1.
    """

    def __init__(self, *, beta: float = 0.5, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not 0 <= beta <= 1:
            raise ValueError(f"beta must lie between 0 and 1, got {beta}.")
        self.beta = beta

    def objective(self, elbo: ELBO) -> dict[str, Tensor]:
        values = super().objective(elbo)
        rest = (elbo.kl - elbo.log_px.mean(0)).mean()
        return {**values, "loss": self.beta * rest + (1 - self.beta) * values["loss"]}
