"""Latents with a continuous and a discrete part."""

from __future__ import annotations

import math
from collections.abc import Callable

from torch import Tensor
from torch.distributions import Distribution

from vae_zoo.distributions.families import DiagonalNormal, Family
from vae_zoo.distributions.latents.categories import Gumbel, UniformCategorical
from vae_zoo.distributions.latents.parts import Parts
from vae_zoo.distributions.priors import Prior, StandardNormal
from vae_zoo.typing import Shape


class Joint(Family):
    r"""A continuous vector and categorical variables, concatenated into one vector.

    .. math:: q(z_c, z_d|x) = q(z_c|x) \, q(z_d|x)

    References:
        | Learning Disentangled Joint Continuous and Discrete Representations (Dupont, 2018)
        | https://arxiv.org/abs/1804.00104

    Args:
        shape: Shape of one event, a vector of more than num_variables · num_categories numbers; the others are
            continuous.
        continuous: Family of the first part.
        discrete: Family of the second part, of shape (num_variables, num_categories).
        num_variables: Number N of categorical variables.
        num_categories: Number K of categories of each.

    Raises:
        ValueError: If num_variables is less than 1, or the shape is not that of a long enough vector.
    """

    def __init__(
        self,
        shape: Shape,
        *,
        continuous: Callable[[Shape], Family] = DiagonalNormal,
        discrete: Callable[[Shape], Family] = Gumbel,
        num_variables: int = 1,
        num_categories: int = 10,
    ) -> None:
        super().__init__(shape)
        shapes = shapes_of(self, num_variables, num_categories)
        self.continuous, self.discrete = continuous(shapes[0]), discrete(shapes[1])
        self.weights_valid = self.continuous.weights_valid and self.discrete.weights_valid

    @property
    def param_shape(self) -> Shape:
        return (sum(math.prod(part.param_shape) for part in (self.continuous, self.discrete)),)

    def distribution(self, params: Tensor) -> Distribution:
        families = self.continuous, self.discrete
        rows = params.split([math.prod(family.param_shape) for family in families], -1)
        pairs = zip(families, rows, strict=True)
        return Parts([family(row.unflatten(-1, family.param_shape)) for family, row in pairs])


class JointPrior(Prior):
    """Independent priors of a continuous vector and of categorical variables.

    Args:
        shape: Shape of one latent, as that of :class:`Joint`.
        continuous: Prior of the first part.
        discrete: Prior of the second part.
        num_variables: Number N of categorical variables.
        num_categories: Number K of categories of each.

    Raises:
        ValueError: If num_variables is less than 1, or the shape is not that of a long enough vector.
    """

    def __init__(
        self,
        shape: Shape,
        *,
        continuous: Callable[[Shape], Prior] = StandardNormal,
        discrete: Callable[[Shape], Prior] = UniformCategorical,
        num_variables: int = 1,
        num_categories: int = 10,
    ) -> None:
        super().__init__(shape)
        shapes = shapes_of(self, num_variables, num_categories)
        self.continuous, self.discrete = continuous(shapes[0]), discrete(shapes[1])

    def forward(self, c: Tensor | None = None) -> Distribution:  # noqa: ARG002
        return Parts([self.continuous(), self.discrete()])


def shapes_of(module: Family | Prior, num_variables: int, num_categories: int) -> tuple[Shape, Shape]:
    """Shapes of the continuous and of the discrete part of a latent.

    Raises:
        ValueError: If there are no such parts.
    """
    name, size = type(module).__name__, num_variables * num_categories
    if num_variables < 1:
        raise ValueError(f"num_variables must be at least 1, got {num_variables}.")
    if len(module.shape) != 1 or module.shape[0] <= size:
        raise ValueError(f"{name} needs a vector of more than {size} numbers, those of categories, got {module.shape}.")
    return (module.shape[0] - size,), (num_variables, num_categories)
