"""Means of logged values, kept on the device until they are asked for."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


class Curves:
    """Means over examples of named scalars and vectors, without a host sync on the way.

    Handing every value of every step to Lightning costs more than a small model's whole step; this costs one addition
    a step. The sums and the count are float, so that means over ranks with shares of different size come out exact.
    ``names`` and ``last`` are what was added last, an entry of a vector as ``name[0]`` and so on.
    """

    def __init__(self) -> None:
        self.names: list[str] = []
        self.last: Tensor | None = None
        self._sum: Tensor | None = None
        self._count = 0

    def update(self, values: dict[str, Tensor], count: int) -> None:
        """Add means over ``count`` examples."""
        self.names = [entry for name, v in values.items() for entry in _entries(name, v)]
        self.last = torch.cat([v.detach().reshape(-1) for v in values.values()]).float()
        total = self.last * count
        self._sum = total if self._sum is None else self._sum + total
        self._count += count

    def compute(self, reduce: Callable[[Tensor], Tensor] | None = None) -> dict[str, Tensor]:
        """The means so far, which are then forgotten.

        Args:
            reduce: Sums a tensor over all ranks.

        Returns:
            One tensor a name, of the shape of what was added; none if nothing was.
        """
        if self._sum is None:
            return {}
        sums = torch.cat([self._sum, self._sum.new_tensor([self._count])])
        sums = sums if reduce is None else reduce(sums)
        self._sum, self._count = None, 0
        known = set(self.names)
        means: dict[str, list[Tensor]] = {}
        for name, mean in zip(self.names, sums[:-1] / sums[-1], strict=True):
            whole = name.partition("[")[0]
            means.setdefault(whole if f"{whole}[0]" in known else name, []).append(mean)
        return {name: torch.stack(rows) if f"{name}[0]" in known else rows[0] for name, rows in means.items()}


def _entries(name: str, value: Tensor) -> list[str]:
    return [f"{name}[{n}]" for n in range(len(value))] if value.ndim else [name]
