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
        max_epochs: Largest number of epochs.
        lr: Learning rate of Adam.
        patience: Number of epochs without a higher bound on a held-out tenth, after which training ends.
        kwargs: Further settings of the fit: batch_size and seed.

    Raises:
        ValueError: If a number is out of range.
    """

    def __init__(
        self,
        shape: Shape,
        *,
        hidden: Sequence[int] = (128, 128),
        max_epochs: int = 200,
        lr: float = 3e-3,
        patience: int = 30,  # the bound stays constant for a while before u is used
        **kwargs: Any,
    ) -> None:
        super().__init__(shape, max_epochs=max_epochs, lr=lr, patience=patience, **kwargs)
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
