"""A second variational autoencoder over the latents."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor
from torch.distributions import Distribution

from vae_zoo.distributions import TwoStageDistribution, TwoStagePrior
from vae_zoo.samplers.learned import LearnedDensity
from vae_zoo.typing import Shape


class TwoStage(LearnedDensity):
    """Second stage of a two-stage VAE, fitted afterwards: :class:`~vae_zoo.distributions.TwoStagePrior`.

    Log-densities are draws of a bound, so that bounds and importance weights of the model are those of both stages
    together.

    References:
        | Diagnosing and Enhancing VAE Models (Dai and Wipf, 2019)
        | https://arxiv.org/abs/1903.05789

    Args:
        shape: Shape of one latent.
        hidden: Widths of the hidden layers of both networks.
        kwargs: Settings of the fit: max_epochs, batch_size, lr, patience and seed.

    Raises:
        ValueError: If a number is out of range.
    """

    def __init__(self, shape: Shape, *, hidden: Sequence[int] = (128, 128), **kwargs: Any) -> None:
        super().__init__(shape, **kwargs)
        self.hidden = list(hidden)
        self.base = self.make()

    def make(self) -> TwoStagePrior:
        return TwoStagePrior((self.num_dims,), hidden=self.hidden)

    def scaled(self, p: Any, loc: Tensor, log_scale: Tensor) -> Distribution:
        return TwoStageDistribution(p.prior, loc, log_scale, self.shape)

    @property
    def settings(self) -> dict[str, Any]:
        return {"hidden": self.hidden, **super().settings}

    def _log_prob(self, z: Tensor) -> Tensor:
        base: Any = self.base
        return -base.loss(z)
