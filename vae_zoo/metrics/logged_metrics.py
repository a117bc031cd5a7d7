"""Means of logged values, accumulated on the device."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


class LoggedMetrics:
    """Means over examples of named scalars and vectors, accumulated without a host sync.

    Handing every value of every step to Lightning costs more than a small model's whole step; this costs one addition
    per step. The sums and the counts are float64, except on devices without it, so that means over many batches, and
    over ranks with shares of different size, are exact. A name that only some batches have is a mean over these.
    ``names`` and ``last`` are the names and values added last, with ``name[0]`` and so on for entries of a vector.
    """

    def __init__(self) -> None:
        self.names: list[str] = []
        self.last: Tensor | None = None
        self._sum: Tensor | None = None
        self._count = 0
        self._aside: dict[str, tuple[Tensor, int]] = {}  # sums and counts of batches with other names

    def update(self, values: dict[str, Tensor], count: int) -> None:
        """Add means over ``count`` examples."""
        if self.names != (names := [entry for name, v in values.items() for entry in _entries(name, v)]):
            self._set_aside()
            self.names = names
        self.last = torch.cat([v.detach().reshape(-1) for v in values.values()]).float()
        total = self.last.to(_exact_type(self.last.device)) * count
        self._sum = total if self._sum is None else self._sum.to(total) + total
        self._count += count

    def _set_aside(self) -> None:
        if self._sum is not None:
            for name, total in zip(self.names, self._sum.unbind(), strict=True):
                before, count = self._aside.get(name, (torch.zeros_like(total), 0))
                self._aside[name] = before.to(total) + total, count + self._count
        self._sum, self._count = None, 0

    def compute(self, reduce: Callable[[Tensor], Tensor] | None = None) -> dict[str, Tensor]:
        """Return the means and clear them.

        Args:
            reduce: Sums a tensor over all ranks.

        Returns:
            One tensor for each name, in the shape of the added values; empty if nothing was added.
        """
        if self._aside:
            self._set_aside()
            names, totals = list(self._aside), torch.stack([total for total, _ in self._aside.values()])
            counts = totals.new_tensor([count for _, count in self._aside.values()])
        elif self._sum is not None:
            names, totals, counts = self.names, self._sum, torch.full_like(self._sum, self._count)
        else:
            return {}
        sums = torch.cat([totals, counts])
        totals, counts = (sums if reduce is None else reduce(sums)).chunk(2)
        self._sum, self._count, self._aside = None, 0, {}
        known = set(names)
        means: dict[str, list[Tensor]] = {}
        for name, mean in zip(names, (totals / counts).float(), strict=True):
            whole = name.partition("[")[0]
            means.setdefault(whole if f"{whole}[0]" in known else name, []).append(mean)
        return {name: torch.stack(rows) if f"{name}[0]" in known else rows[0] for name, rows in means.items()}

    def state_dict(self) -> dict[str, Any]:
        """The sums since :meth:`compute`, as plain data."""
        return {
            "names": self.names,
            "sums": None if self._sum is None else self._sum.tolist(),
            "count": self._count,
            "aside": {name: [total.item(), count] for name, (total, count) in self._aside.items()},
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
            total = None if sums is None else torch.tensor([float(x) for x in sums], dtype=torch.float64)
            aside = {
                str(name): (torch.tensor(float(x), dtype=torch.float64), int(num))
                for name, (x, num) in state.get("aside", {}).items()
            }
        except (TypeError, KeyError, ValueError, AttributeError):
            raise ValueError("the checkpoint is damaged: its curves are not what a fit writes.") from None
        self.names, self._sum, self._count, self._aside = names, total, count, aside


def _exact_type(device: torch.device) -> torch.dtype:
    return torch.float32 if device.type == "mps" else torch.float64


def _entries(name: str, value: Tensor) -> list[str]:
    return [f"{name}[{n}]" for n in range(len(value))] if value.ndim else [name]
