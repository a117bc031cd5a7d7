"""Posteriors whose samples move along the gradient of the joint density, with the density of their own draws only."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution, constraints


class OwnDraws(Distribution, ABC):
    """Distribution whose density is known only for the tensor that it has just returned.

    The density may include auxiliary variables, divided by their conditional density given the draw: importance weights
    keep the right mean.

    Args:
        batch_shape: Shape of the batch.
        event_shape: Shape of one event.
    """

    has_rsample = True
    arg_constraints: dict[str, constraints.Constraint] = {}

    def __init__(self, batch_shape: torch.Size, event_shape: torch.Size) -> None:
        self._drawn: tuple[Tensor, Tensor] | None = None
        super().__init__(batch_shape, event_shape, validate_args=False)

    @abstractmethod
    def draw(self, sample_shape: torch.Size) -> tuple[Tensor, Tensor]:
        """Reparameterised draws, (\\*sample_shape, \\*batch_shape, \\*event_shape), and their log-densities."""

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        self._drawn = self.draw(torch.Size(sample_shape))
        return self._drawn[0]

    def log_prob(self, value: Tensor) -> Tensor:
        if self._drawn is None or value is not self._drawn[0]:
            raise ValueError(f"{type(self).__name__} knows the density of its last draw alone, got another tensor.")
        return self._drawn[1]


class HamiltonianPosterior(OwnDraws):
    r"""Draws of a distribution after leapfrog steps with a random momentum, which is cooled step by step.

    .. math::
        \rho \leftarrow \rho + \tfrac{\epsilon}{2} \nabla \log p(x, z), \quad z \leftarrow z + \epsilon \rho, \quad
        \rho \leftarrow \alpha_k (\rho + \tfrac{\epsilon}{2} \nabla \log p(x, z))

    From :math:`z_0 \sim q_0, \rho_0 = \sqrt{T} \gamma, \gamma \sim \mathcal{N}(0, I)` with
    :math:`\prod_k \alpha_k = T^{-1/2}`. The steps preserve volume up to the cooling, which cancels the temperature, so
    that :math:`\log q = \log q_0(z_0) - \|\gamma\|^2 / 2 + \|\rho_K\|^2 / 2`. ``mean`` and ``stddev`` are those of the
    distribution that the draws start from.

    Args:
        start: Distribution q₀ of z₀, batch shape (B,), event shape (D,).
        log_joint: Function from latents (..., B, D) to log p(x, z), (..., B).
        step_size: Step sizes ε, of a shape that broadcasts with (D,).
        cooling: Factors of the momentum: √T, which it starts with, and α of each step.
    """

    def __init__(
        self, start: Distribution, log_joint: Callable[[Tensor], Tensor], step_size: Tensor, cooling: list[Tensor]
    ) -> None:
        self.start, self.log_joint, self.step_size, self.cooling = start, log_joint, step_size, cooling
        super().__init__(start.batch_shape, start.event_shape)

    @property
    def support(self) -> constraints.Constraint | None:
        return self.start.support

    @property
    def mean(self) -> Tensor:
        return self.start.mean

    @property
    def variance(self) -> Tensor:
        return self.start.variance

    def draw(self, sample_shape: torch.Size) -> tuple[Tensor, Tensor]:
        z = self.start.rsample(sample_shape)
        log_q, momentum = self.start.log_prob(z), self.momentum(z)
        energy = self.kinetic(z, momentum)
        z, momentum = self.move(z, momentum * self.cooling[0])
        return z, log_q + (self.kinetic(z, momentum) - energy)

    def momentum(self, z: Tensor) -> Tensor:
        """A draw of the momentum before it is heated, the shape of z."""
        return torch.randn_like(z)

    def kinetic(self, z: Tensor, momentum: Tensor) -> Tensor:  # noqa: ARG002
        """Negative log-density of a momentum at temperature 1, up to a constant."""
        return 0.5 * momentum.square().sum(-1)

    def move(self, z: Tensor, momentum: Tensor) -> tuple[Tensor, Tensor]:
        """The latents and momenta after all steps, from those before."""
        half = 0.5 * self.step_size
        slope = self.slope(z)
        for alpha in self.cooling[1:]:
            momentum = momentum + half * slope
            z, momentum = self.drift(z, momentum)
            slope = self.slope(z)
            momentum = alpha * (momentum + half * slope)
        return z, momentum

    def drift(self, z: Tensor, momentum: Tensor) -> tuple[Tensor, Tensor]:
        """The latents and momenta after a step without the slope of log p(x, z)."""
        return z + self.step_size * momentum, momentum

    def slope(self, z: Tensor) -> Tensor:
        """Gradient of log p(x, z) with respect to z, the shape of z: in any mode, and with gradients of its own."""
        return torch.func.grad(lambda z: self.log_joint(z).sum())(z)
