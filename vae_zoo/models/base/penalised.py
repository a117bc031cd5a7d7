"""Models whose objective can be extended by penalties."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from vae_zoo.distributions import Prior
from vae_zoo.models.base.autoencoder import Autoencoder
from vae_zoo.models.base.components import make
from vae_zoo.models.base.groups import split_off
from vae_zoo.penalties import Penalty
from vae_zoo.system.docstrings import snake_case
from vae_zoo.typing import Shape


class Penalised(Autoencoder):
    """Base of models with a prior, to whose objective any number of penalties can be added.

    Args:
        penalties: Penalties on the latents.
        kwargs: Arguments of :class:`Autoencoder`.
    """

    def __init__(self, *, penalties: Sequence[Callable[[Shape], Penalty]] = (), **kwargs: Any) -> None:
        super().__init__(**kwargs)
        made = [make("penalties", factory, Penalty, self.latent_shape) for factory in penalties]  # type: ignore[type-abstract]
        self.penalties: Sequence[Penalty] = nn.ModuleList(made)  # type: ignore[assignment]
        self.units = {**{name: unit for penalty in made for name, unit in penalty.units.items()}, **type(self).units}
        self.min_batch_size = max([type(self).min_batch_size, *(penalty.min_batch_size for penalty in made)])

    @torch.no_grad()
    def check_penalties(self, prior: Prior) -> None:
        """Refuse penalties that are not defined for the posterior and the prior of the model.

        Raises:
            ValueError: If a penalty is not, with the reason.
        """
        for penalty in self.penalties:
            penalty.check(self.posterior.at_zeros(2), prior())

    def penalised(
        self,
        values: dict[str, Tensor],
        z: Tensor,
        q: Distribution,
        p: Distribution,
        annealing: Tensor | float = 1.0,
        c: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """The values of :meth:`losses` with the penalties added to ``loss`` and logged beside it.

        Args:
            values: The loss without penalties, and metrics.
            z: One latent of each example, (B, \\*latent).
            q: Posterior of the batch.
            p: Prior.
            annealing: Weight of the divergence from annealing, which applies to penalties too.
            c: Labels of the batch, for penalties that use them.
        """
        for number, penalty in enumerate(self.penalties):
            value, metrics = penalty(z, q, p, c) if penalty.uses_labels else penalty(z, q, p)
            loss = values["loss"] + annealing * penalty.weight * value
            own = penalty.own_loss(z.detach(), p, c) if penalty.uses_labels else penalty.own_loss(z.detach(), p)
            found = {metric_name(penalty): value, **metrics} | (
                {} if own is None else {f"{metric_name(penalty)}_loss": own}
            )
            suffix = f"_{number + 1}" * bool(found.keys() & values.keys())
            values = values | {f"{name}{suffix}": metric for name, metric in found.items()}
            values["loss"] = loss if own is None else loss + own
        return values

    def param_groups(self) -> list[dict[str, Any]]:
        return split_off(super().param_groups(), *(g for penalty in self.penalties for g in penalty.param_groups()))

    def routes(self) -> dict[str, dict[str, float]]:
        routes, others = super().routes(), {"loss": 1.0}
        for number, penalty in enumerate(self.penalties):
            if penalty.param_groups():
                alike = any(type(other) is type(penalty) for other in self.penalties[:number])
                own = f"{metric_name(penalty)}_loss" + f"_{number + 1}" * alike
                routes[f"penalties.{number}"], others[own] = {own: 1.0}, -1.0
        return {**routes, "": {**routes.get("", {}), **others}} if len(others) > 1 else routes


def metric_name(penalty: Penalty) -> str:
    """The name of a class as that of a metric: ``sliced_wasserstein`` for ``SlicedWasserstein``."""
    return snake_case(type(penalty).__name__)
