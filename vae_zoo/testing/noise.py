"""Noise that is a function of the row of an example, so that losses can be compared without its variance."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map

from vae_zoo.system.seeding import seed_all

_HALF = (torch.bfloat16, torch.float16)


def seed_cpu(seed: int) -> None:
    """Seed the generator of the CPU, on which models are checked, and no other: see :func:`seed_all`."""
    seed_all(seed, torch.device("cpu"))


class RowNoise(TorchDispatchMode):
    """Give an example the same noise for any precision and number of copies, within this context.

    The seed of a draw follows from its number within the context. A draw for a batch of several copies, alone or
    behind samples as (K, B), also flattened, is made for one copy and repeated. Draws in half precision are rounded
    from float32.

    Args:
        seed: Seed of the first draw.
        rows: Number of examples of one copy.
        times: Number of copies. No size other than that of the batch may be a multiple of ``times * rows``.
    """

    def __init__(self, seed: int, rows: int, times: int = 1) -> None:
        super().__init__()
        self.seed, self.rows, self.times = seed, rows, times

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if torch.Tag.nondeterministic_seeded not in func.tags or "attention" in str(func):
            return func(*args, **kwargs)
        half = next((a.dtype for a in args if isinstance(a, Tensor) and a.dtype in _HALF), kwargs.get("dtype"))
        if kwargs.get("dtype") in _HALF:
            kwargs["dtype"] = torch.float32
        self.seed += 1
        with torch.random.fork_rng(devices=[]):
            seed_all(self.seed, self._device(args, kwargs))
            given = [self._one(arg) for arg in args]
            drawn = func(*given, **kwargs)
        out = tree_map(lambda x: self._all(x.to(half) if half in _HALF and x.is_floating_point() else x), drawn)
        return args[0].copy_(out) if given and drawn is given[0] else out

    @staticmethod
    def _device(args: Any, kwargs: dict[str, Any]) -> torch.device:
        """Where a draw is made."""
        given = next((arg.device for arg in args if isinstance(arg, Tensor)), kwargs.get("device"))
        return torch.device(given or "cpu")

    def _one(self, arg: Any) -> Any:
        """An argument of a draw, a tensor or a shape, for one copy."""
        if isinstance(arg, (list, tuple, torch.Size)):
            dim = self._batch(arg)
            return arg if dim is None else [size // self.times if n == dim else size for n, size in enumerate(arg)]
        if not isinstance(arg, Tensor):
            return arg
        arg = arg.float() if arg.dtype in _HALF else arg.clone()
        dim = self._batch(arg.shape)
        if dim is None:
            return arg
        parts = arg.unflatten(dim, (-1, self.times * self.rows)).narrow(dim + 1, 0, self.rows)
        return parts.flatten(dim, dim + 1).contiguous()

    def _all(self, x: Tensor) -> Tensor:
        """What has been drawn for one copy, for all."""
        dim = self._batch([size * self.times for size in x.shape])
        if dim is None or self.times == 1:
            return x
        parts = x.unflatten(dim, (-1, self.rows))
        return torch.cat([parts] * self.times, dim + 1).flatten(dim, dim + 1)

    def _batch(self, shape: Any) -> int | None:
        """The dimension of the batch, if there is one."""
        whole = self.times * self.rows
        return next((n for n, size in enumerate(shape) if isinstance(size, int) and size and size % whole == 0), None)
