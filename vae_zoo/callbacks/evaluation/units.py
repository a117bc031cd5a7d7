"""Active and informative units of a model, in total and for each layer."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torchmetrics import MeanMetric

from vae_zoo.elbo import ELBOMixin
from vae_zoo.metrics import ActiveUnits, InformativeUnits
from vae_zoo.system.seeding import forked, mix


class Units(NamedTuple):
    """Units of each layer, the lowest first.

    Args:
        active: Latent dimensions whose posterior mean varies.
        informative: Latent dimensions whose rate is above the floor; empty if the rate is not a sum over dimensions.
        rate: Total rate in nats; None for a model without a bound.
    """

    active: list[Tensor]
    informative: list[Tensor]
    rate: Tensor | None

    def curves(self) -> dict[str, Tensor]:
        """Logged metrics: total counts, and with ``_1`` and so on those of each layer if there are several."""
        found = {}
        for name, counts in (("active_units", self.active), ("informative_units", self.informative)):
            if counts:
                found[name] = sum(counts[1:], counts[0]).float()
            if len(counts) > 1:
                found |= {f"{name}_{n + 1}": count.float() for n, count in enumerate(counts)}
        return found


class LayerUnits:
    """Counts the units of each layer; models with several layers have their sizes in ``latent_dims``."""

    def __init__(self) -> None:
        self._active: list[ActiveUnits] = []
        self._rates: list[InformativeUnits] = []
        self._whole = MeanMetric(nan_strategy="disable")

    def update(self, model: Any, x: Tensor, c: Tensor | None, seed: int) -> None:
        """Add examples of a batch, (B, \\*shape).

        Args:
            model: The model.
            x: Examples.
            c: Conditions.
            seed: Seed of the samples of the bound, if its rate needs any.
        """
        z = model.embed(x, c)
        dims = list(getattr(model, "latent_dims", [z[0].numel()]))
        self._active = self._active or [ActiveUnits().to(z.device) for _ in dims]
        for active, part in zip(self._active, z.flatten(1).split(dims, 1), strict=True):
            active.update(part)
        if not isinstance(model, ELBOMixin):
            return
        with torch.no_grad(), forked(mix(seed, 2), z.device):  # the noise of neither the bound nor the evidence
            terms = model.elbo(x, c, 1)
        rates = terms.kl[:, None] if terms.rates is None else terms.rates
        self._whole.to(z.device).update(terms.kl)
        if rates.shape[1] == sum(dims):
            self._rates = self._rates or [InformativeUnits().to(z.device) for _ in dims]
            for informative, part in zip(self._rates, rates.split(dims, 1), strict=True):
                informative.update(part)

    def compute(self) -> Units:
        """Units of all examples added so far."""
        rate = self._whole.compute() if self._whole.update_called else None
        return Units([m.compute() for m in self._active], [m.compute() for m in self._rates], rate)
