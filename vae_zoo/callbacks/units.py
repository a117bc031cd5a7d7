"""Active units of each layer of a model's latents."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from vae_zoo.metrics import ActiveUnits


class LayerUnits:
    """One :class:`ActiveUnits` for each layer: a model with several says their sizes in ``latent_dims``."""

    def __init__(self) -> None:
        self._metrics: list[ActiveUnits] = []

    def update(self, model: Any, z: Tensor) -> None:
        """Add latents of a batch, (B, \\*latent)."""
        dims = getattr(model, "latent_dims", None)
        parts = [z] if dims is None else z.split(dims, -1)
        self._metrics = self._metrics or [ActiveUnits().to(z.device) for _ in parts]
        for metric, part in zip(self._metrics, parts, strict=True):
            metric.update(part)

    def compute(self) -> list[Tensor]:
        """Active units of each layer, the lowest first, which are then forgotten."""
        counts = [metric.compute() for metric in self._metrics]
        self._metrics = []
        return counts


def curves(counts: list[Tensor]) -> dict[str, Tensor]:
    """``active_units`` in all, and ``active_units_1`` and so on of each layer where there are several."""
    layers = {f"active_units_{n + 1}": count.float() for n, count in enumerate(counts)}
    return {"active_units": sum(counts[1:], counts[0]).float(), **(layers if len(counts) > 1 else {})}
