"""The sliced Wasserstein autoencoder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from vae_zoo.distributions import Family, SquaredError
from vae_zoo.models.plain.prior_ae import PriorAE
from vae_zoo.penalties import Penalty, SlicedWasserstein
from vae_zoo.typing import Shape


class SWAE(PriorAE):
    r"""Autoencoder whose latents match the prior as a whole, by the sliced Wasserstein distance.

    .. math:: \mathcal{L} = \mathbb{E} \| x - \hat x \|^2 + \lambda \, \mathrm{SW}_2^2(q(z), p(z))

    The paper adds an absolute error to the squared one; here the likelihood defines the error.

    When to use it:
        As ``WAE``, without a kernel to choose and with a cost that grows slowly with the batch. Directions at random
        see little of a space of many dimensions.

    References:
        | Sliced Wasserstein Auto-Encoders (Kolouri et al., 2019)
        | https://arxiv.org/abs/1804.01947

    Args:
        weight: Weight λ of the distance.
        num_projections: Number of directions, drawn anew at every step.
        likelihood: Family of p(x|z).
        penalties: Further penalties.
        kwargs: Arguments of :class:`PriorAE`.
    """

    def __init__(
        self,
        *,
        weight: float = 10.0,
        num_projections: int = 50,
        likelihood: Callable[[Shape], Family] | None = SquaredError,
        penalties: Sequence[Callable[[Shape], Penalty]] = (),
        **kwargs: Any,
    ) -> None:
        penalties = [partial(SlicedWasserstein, weight=weight, num_projections=num_projections), *penalties]
        super().__init__(likelihood=likelihood, penalties=penalties, **kwargs)
