"""The base class of penalties."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn
from torch.distributions import Distribution

from vae_zoo.typing import Shape


class Penalty(nn.Module, ABC):
    r"""A term that is added to what a model minimises.

    .. math:: \mathcal{L} \mathrel{+}= \lambda \, R(z, q, p) + A(\bar z)

    The second term trains networks of the penalty's own, such as an adversary. It is computed from detached latents,
    and the first term with these networks held fixed, so that each term trains its own parameters.

    Args:
        shape: Shape of one latent; supplied by the model.
        weight: Weight λ of the penalty.

    Raises:
        ValueError: If weight is negative or not finite.
    """

    units: Mapping[str, str] = {}
    """Units of the metrics, by name."""

    min_batch_size = 1
    """Smallest number of examples that it is defined for: more than 1 if it compares them."""

    uses_labels = False
    """Whether :meth:`forward` takes the labels of the examples; one that does not need not have the argument."""

    def __init__(self, shape: Shape, *, weight: float = 1.0) -> None:
        super().__init__()
        if not (weight >= 0 and math.isfinite(weight)):
            raise ValueError(f"weight must be at least 0 and finite, got {weight}.")
        self.shape, self.weight = tuple(shape), weight

    @abstractmethod
    def forward(
        self, z: Tensor, q: Distribution, p: Distribution, c: Tensor | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The penalty before its weight, a scalar, and further metrics.

        Args:
            z: One latent of each example, (B, \\*latent).
            q: Posterior q(z|x), batch shape (B,); a point mass for deterministic encoders.
            p: Prior p(z), batch shape () or (B,).
            c: Labels of the examples, (B,) or (B, A), if :attr:`uses_labels`.
        """

    def own_loss(self, z: Tensor, p: Distribution, c: Tensor | None = None) -> Tensor | None:  # noqa: ARG002
        """Loss of the penalty's own networks, a scalar, given detached latents; None without networks.

        Labels are given if :attr:`uses_labels`; a penalty that does not use them need not have the argument.
        """
        return None

    def param_groups(self) -> list[dict[str, Any]]:
        """Parameter groups of the penalty's own networks, with their settings of the optimizer."""
        return [{"params": params}] if (params := list(self.parameters())) else []

    def check(self, q: Distribution, p: Distribution) -> None:
        """Refuse a posterior or a prior that the penalty is not defined for, at construction of the model.

        Raises:
            ValueError: If it is not, with the reason.
        """


def draws_like(z: Tensor, p: Distribution) -> Tensor:
    """As many draws from a prior as there are latents (B, \\*latent), of their shape and precision."""
    num = () if p.batch_shape.numel() == len(z) else (len(z),)
    y = p.rsample(num) if p.has_rsample else p.sample(num)
    return y.view_as(z).to(z.dtype)
