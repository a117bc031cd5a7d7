"""Means of logged values, kept on the device until they are asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


class LoggedMetrics:
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
        """Add means over ``count`` examples; what was added under other names is forgotten."""
        if self.names != (names := [entry for name, v in values.items() for entry in _entries(name, v)]):
            self.names, self._sum, self._count = names, None, 0
        self.last = torch.cat([v.detach().reshape(-1) for v in values.values()]).float()
        total = self.last * count
        self._sum = total if self._sum is None else self._sum.to(total.device) + total
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

    def state_dict(self) -> dict[str, Any]:
        """What has been added since :meth:`compute`, as plain data."""
        return {
            "names": self.names,
            "sums": None if self._sum is None else self._sum.tolist(),
            "count": self._count,
        }

    def load_state_dict(self, state: Any) -> None:
        """Go on from what had been added elsewhere.

        Raises:
            ValueError: If that is not what :meth:`state_dict` gives.
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
