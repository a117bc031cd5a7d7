"""Base of densities whose parameters are trained."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution

from vae_zoo.distributions import Prior
from vae_zoo.distributions.estimation.moments import scales
from vae_zoo.functional import exact
from vae_zoo.samplers.density import Density
from vae_zoo.samplers.likelihood import check_steps, maximise
from vae_zoo.system.seeding import forked, mix
from vae_zoo.typing import Shape


class LearnedDensity(Density):
    """Prior with parameters, trained by maximum likelihood on standardised latents.

    A refit starts from new weights of the same seed.

    Args:
        shape: Shape of one latent.
        max_epochs: Largest number of epochs.
        batch_size: Latents in a batch.
        lr: Learning rate of Adam.
        patience: Number of epochs without a higher likelihood of a held-out tenth, after which training ends.
        seed: Seed of weights and order.

    Raises:
        ValueError: If a number is out of range.
    """

    base: Prior
    """The trained part, of standardised latents (D,)."""

    loc: Tensor
    log_scale: Tensor

    def __init__(
        self,
        shape: Shape,
        *,
        max_epochs: int = 100,
        batch_size: int = 256,
        lr: float = 2e-3,
        patience: int = 10,
        seed: int = 0,
    ) -> None:
        super().__init__(shape, seed=seed)
        check_steps(max_epochs, batch_size, lr, patience)
        self.max_epochs, self.batch_size, self.lr, self.patience = max_epochs, batch_size, lr, patience
        self.register_buffer("loc", torch.zeros(self.num_dims))
        self.register_buffer("log_scale", torch.zeros(self.num_dims))

    @abstractmethod
    def make(self) -> Prior:
        """The trained part, with new weights: a prior over latents (D,)."""

    @abstractmethod
    def scaled(self, p: Any, loc: Tensor, log_scale: Tensor) -> Distribution:
        """The distribution of loc + exp(log_scale) z for z of p, with this density's shape of events."""

    @property
    def settings(self) -> dict[str, Any]:
        names = ("max_epochs", "batch_size", "lr", "patience")
        return {**{name: getattr(self, name) for name in names}, **super().settings}

    @property
    def least(self) -> int:
        return 10

    def forward(self, c: Tensor | None = None) -> Distribution:  # noqa: ARG002
        return self.scaled(self.base(), exact(self.loc), exact(self.log_scale))

    def _fit(self, z: Tensor) -> None:
        loc, scale = scales(z)
        like = next(self.base.parameters())
        rows = ((z - loc) / scale).to(torch.promote_types(like.dtype, torch.float32))
        with forked(mix(self.seed, 0), torch.device("cpu")):
            self.base = self.make().to(rows.dtype)
            maximise(
                self.base,
                self._log_prob,
                rows,
                max_epochs=self.max_epochs,
                batch_size=self.batch_size,
                lr=self.lr,
                patience=self.patience,
                seed=mix(self.seed, 1),
            )
        self.base.to(like.device, like.dtype)
        self.loc.copy_(loc)
        self.log_scale.copy_(scale.log())

    def _log_prob(self, z: Tensor) -> Tensor:
        return self.base().log_prob(z)
