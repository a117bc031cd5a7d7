"""Drawn volumes."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from vae_zoo.data.base.checks import check_positive
from vae_zoo.data.drawn.base import Drawn
from vae_zoo.distributions import Bernoulli
from vae_zoo.typing import Shape

KINDS = ("ellipsoid", "box", "cylinder")


class Solids(Drawn):
    """Filled ellipsoids, boxes and cylinders in a cube of voxels, with the kind of solid as label.

    Centre and three half-axes are drawn for each example. Voxels are 0 or 1.

    Args:
        side: Voxels along each side of the cube.
        kwargs: Arguments of :class:`Drawn`.

    Raises:
        ValueError: If side is less than 1.
    """

    num_classes = len(KINDS)
    likelihood = Bernoulli

    def __init__(self, *, side: int = 16, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.side = check_positive("side", side)

    @property
    def shape(self) -> Shape:
        return (1, self.side, self.side, self.side)

    def draw(self) -> tuple[Tensor, Tensor]:
        return draw_solids(self.num_examples, self.side, self.split_seed)


def draw_solids(num: int, side: int = 16, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Volumes, uint8 of 0 or 255, (N, 1, side, side, side), and their kinds, (N,), the same for the same numbers.

    Args:
        num: Number N of volumes.
        side: Voxels along each side.
        seed: Seed of the draw.
    """
    generator = torch.Generator().manual_seed(seed)
    kind = torch.randint(len(KINDS), (num,), generator=generator)
    centre = -0.35 + 0.7 * torch.rand(num, 3, generator=generator)
    half = 0.25 + 0.35 * torch.rand(num, 3, generator=generator)
    places = (torch.arange(side) + 0.5) * 2 / side - 1
    x, y, z = (
        ((places - centre[:, axis : axis + 1]) / half[:, axis : axis + 1])
        .abs()
        .reshape(num, *[side if n == axis else 1 for n in range(3)])
        for axis in range(3)
    )
    inside = [
        x.square() + y.square() + z.square() <= 1,
        torch.maximum(torch.maximum(x, y), z) <= 1,
        (x <= 1) & (y.square() + z.square() <= 1),
    ]
    volumes = torch.zeros(num, side, side, side, dtype=torch.uint8)
    for number, found in enumerate(inside):
        volumes[kind == number] = found[kind == number].to(torch.uint8) * 255
    return volumes.unsqueeze(1), kind
