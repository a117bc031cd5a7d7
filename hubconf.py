"""Entry points of ``torch.hub``, one for each of the packaged weights."""

from __future__ import annotations

from collections.abc import Callable as _Callable  # every other callable of this file is an entry point
from typing import Any as _Any

from vae_zoo import from_pretrained, weights

dependencies = ["torch", "torchvision", "lightning", "torchmetrics", "jsonargparse", "numpy", "safetensors"]


def _entry(name: str) -> _Callable[..., _Any]:
    def load(*, verify: bool = False) -> _Any:
        return from_pretrained(name, verify=verify)

    load.__doc__ = f"{weights.find(name).model_name}: {weights.find(name).what}. verify measures its bound again."
    return load


globals().update({name: _entry(name) for name in weights.names()})
