"""Means of logged values, accumulated on the device."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


class LoggedMetrics:
    """Means over examples of named scalars and vectors, accumulated without a host sync.

    Handing every value of every step to Lightning costs more than a small model's whole step; this costs one addition
    per step. The sums and the count are float, so means over ranks with shares of different size are exact.
    ``names`` and ``last`` are the names and values added last, with ``name[0]`` and so on for entries of a vector.
    """

    def __init__(self) -> None:
        self.names: list[str] = []
        self.last: Tensor | None = None
        self._sum: Tensor | None = None
        self._count = 0

    def update(self, values: dict[str, Tensor], count: int) -> None:
        """Add means over ``count`` examples; clears the sums if the names have changed."""
        if self.names != (names := [entry for name, v in values.items() for entry in _entries(name, v)]):
            self.names, self._sum, self._count = names, None, 0
        self.last = torch.cat([v.detach().reshape(-1) for v in values.values()]).float()
        total = self.last * count
        self._sum = total if self._sum is None else self._sum.to(total.device) + total
        self._count += count

    def compute(self, reduce: Callable[[Tensor], Tensor] | None = None) -> dict[str, Tensor]:
        """Return the means and clear them.

        Args:
            reduce: Sums a tensor over all ranks.

        Returns:
            One tensor for each name, in the shape of the added values; empty if nothing was added.
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

    def state_dict(self) -> dict[str, Any]:
        """The sums since :meth:`compute`, as plain data."""
        return {
            "names": self.names,
            "sums": None if self._sum is None else self._sum.tolist(),
            "count": self._count,
        }

    def load_state_dict(self, state: Any) -> None:
        """Restore sums.

        Raises:
            ValueError: If the state is not one of :meth:`state_dict`.
        """
        try:
            names, sums, count = [str(name) for name in state["names"]], state["sums"], int(state["count"])
            if sums is not None and len(sums) != len(names):
                raise ValueError
            total = None if sums is None else torch.tensor([float(x) for x in sums])
        except (TypeError, KeyError, ValueError):
            raise ValueError("the checkpoint is damaged: its curves are not what a fit writes.") from None
        self.names, self._sum, self._count = names, total, count


def _entries(name: str, value: Tensor) -> list[str]:
    return [f"{name}[{n}]" for n in range(len(value))] if value.ndim else [name]
