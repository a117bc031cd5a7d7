"""Means of logged values, kept on the device until they are asked for."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


class Curves:
    """Means over examples of named scalars, without a host sync on the way.

    Handing every value of every step to Lightning costs more than a small model's whole step; this costs one addition
    a step. The sums and the count are float, so that means over ranks with shares of different size come out exact.
    ``names`` and ``last`` are what was added last.
    """

    def __init__(self) -> None:
        self.names: list[str] = []
        self.last: Tensor | None = None
        self._sum: Tensor | None = None
        self._count = 0

    def update(self, values: dict[str, Tensor], count: int) -> None:
        """Add means over ``count`` examples."""
        self.names = list(values)
        self.last = torch.stack([v.detach() for v in values.values()]).float()
        total = self.last * count
        self._sum = total if self._sum is None else self._sum + total
        self._count += count

    def compute(self, reduce: Callable[[Tensor], Tensor] | None = None) -> dict[str, Tensor]:
        """The means so far, which are then forgotten.

        Args:
            reduce: Sums a tensor over all ranks.

        Returns:
            One 0-dimensional tensor a name; none if nothing was added.
        """
        if self._sum is None:
            return {}
        sums = torch.cat([self._sum, self._sum.new_tensor([self._count])])
        sums = sums if reduce is None else reduce(sums)
        means = dict(zip(self.names, sums[:-1] / sums[-1], strict=True))
        self._sum, self._count = None, 0
        return means
