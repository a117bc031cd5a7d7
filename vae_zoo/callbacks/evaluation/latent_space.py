"""Metrics of the space of latents, as a model of them would find it."""

from __future__ import annotations

from typing import Any

import torch
from lightning.pytorch import Trainer

from vae_zoo.callbacks.evaluation.passes import TestMetrics
from vae_zoo.evaluation.latents import check_scalable
from vae_zoo.metrics import Continuity, EquivarianceError, HighFrequency
from vae_zoo.metrics.space.grids import zoomed


class LatentSpace(TestMetrics):
    """Logs how easy latents are for a model of them: fine detail, equivariance to scale, continuity.

    ``test/continuity`` is :class:`vae_zoo.metrics.Continuity` of posterior means. For latents on a grid,
    ``test/high_frequency`` is :class:`vae_zoo.metrics.HighFrequency` of the means; ``test/zoom_error`` is
    :class:`vae_zoo.metrics.EquivarianceError` for the middle of examples and latents at twice the size, if all sides
    are divisible by 4. What a linear classifier finds in latents is logged by :class:`~vae_zoo.callbacks.Probes`.

    Args:
        neighbours: Neighbours that continuity compares.
        num: Largest number of examples for the continuity, on each process; its memory grows with the square.

    Raises:
        ValueError: If a number is less than 1; at the start of the test, if latents are discrete.
    """

    units = {
        "continuity": "about 0.5 to 1",
        "high_frequency": "0 to 1, share of the variance",
        "zoom_error": "0 up, 1 for no relation",
    }

    def __init__(self, *, neighbours: int = 10, num: int = 2000) -> None:
        if num < 1:
            raise ValueError(f"num must be at least 1, got {num}.")
        self.num = num
        self._continuity = Continuity(neighbours=neighbours)

    def start(self, trainer: Trainer, model: Any) -> None:  # noqa: ARG002
        check_scalable(model)
        shape = model.latent_shape
        self._left = self.num
        self._metrics = {"continuity": self._continuity}
        if len(shape) > 1 and max(shape[1:]) > 1:
            self._metrics["high_frequency"] = HighFrequency()
        sides = [*model.shape[1:], *shape[1:]]
        if len(shape) == len(model.shape) and not any(side % 4 for side in sides):
            self._metrics["zoom_error"] = EquivarianceError(shape[0])
        self.reset(model)

    @torch.no_grad()
    def add(self, model: Any, batch: Any) -> None:
        x, c = model.unpack(batch)
        z = model.embed(x, c)
        self._continuity.update(x[: self._left], z[: self._left])
        self._left = max(0, self._left - len(x))
        if "high_frequency" in self._metrics:
            self._metrics["high_frequency"].update(z)
        if "zoom_error" in self._metrics:
            self._metrics["zoom_error"].update(model.embed(zoomed(x), c), zoomed(z))
