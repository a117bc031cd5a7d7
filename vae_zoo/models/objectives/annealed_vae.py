"""The VAE of controlled capacity."""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor

from vae_zoo.elbo import ELBO
from vae_zoo.models.plain.vae import VAE
from vae_zoo.nn import Ramp


class AnnealedVAE(VAE):
    r"""VAE whose rate is held at a capacity C that grows during training.

    .. math:: \mathcal{L} = -\mathbb{E}[\log p(x|z)] + \gamma \, \Big| \mathrm{KL}(q(z|x) \,\|\, p(z)) - C(t) \Big|

    The rate is the mean over the batch, as in the usual code; in the paper's formula it is that of each example. With
    several processes, the loss is the mean of their distances.

    When to use it:
        If the rate itself is to be chosen, in nats, rather than a weight. Not if the data should decide on it: above
        what the decoder can use, the capacity is filled with nothing useful.

    References:
        | Understanding Disentangling in β-VAE (Burgess et al., 2018)
        | https://arxiv.org/abs/1804.03599

    Args:
        gamma: Weight γ of the distance from the capacity.
        capacity: Capacity C in nats, at the end.
        num_steps: Steps of the optimizer in which it grows from 0.
        per_example: Whether to take the distance of each example instead of that of the mean.
        kwargs: Arguments of :class:`VAE`.

    Raises:
        ValueError: If gamma or capacity is negative or not finite, or num_steps is less than 1.
    """

    units = {"capacity": "nats"}
    own_schedule = "its capacity"
    fixed = {"free_bits": "its capacity sets the rate"}

    def __init__(
        self,
        *,
        gamma: float = 1000.0,
        capacity: float = 25.0,
        num_steps: int = 100_000,
        per_example: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        for name, value in (("gamma", gamma), ("capacity", capacity)):
            if not (value >= 0 and math.isfinite(value)):
                raise ValueError(f"{name} must be at least 0 and finite, got {value}.")
        self.gamma, self.per_example = gamma, per_example
        self.capacity = Ramp(0.0, capacity, num_steps)

    def objective(self, elbo: ELBO) -> dict[str, Tensor]:
        capacity = self.capacity()
        gap = (elbo.kl if self.per_example else elbo.kl.mean()) - capacity
        return {"loss": self.gamma * gap.abs().mean() - elbo.log_px.mean(), "capacity": capacity}
