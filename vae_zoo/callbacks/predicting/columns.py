"""What is computed of each batch of predict."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from vae_zoo.callbacks.predicting.shards import drawn_latents
from vae_zoo.distributions import observing
from vae_zoo.evaluation.regret import check_regret, likelihood_regret
from vae_zoo.evaluation.sampling import require_draws
from vae_zoo.evaluation.scores import scores, scores_per_feature
from vae_zoo.system.seeding import forked


class Columns(NamedTuple):
    """Columns of the examples of a batch.

    Args:
        num_importance: Importance samples for the log evidence; 0 for none.
        num_regret: Steps of the search for the regret; 0 for none.
        per_feature: Whether log p(x_d|z) of every feature is among them.
        drawn: Whether reconstructions are drawn from p(x|z), and not its means.
        latent: Whether a draw from the posterior is among them.
    """

    num_importance: int
    num_regret: int
    per_feature: bool
    drawn: bool
    latent: bool

    def check(self, model: Any) -> None:
        """Refuse a model that does not have them.

        Raises:
            ValueError: With the reason.
        """
        if self.drawn:
            require_draws(model)
        if self.num_regret:
            check_regret(model)

    def of(
        self, model: Any, x: Tensor, c: Tensor | None, prediction: Mapping[str, Tensor], seed: int
    ) -> dict[str, Tensor]:
        """Examples, predictions, scores and labels by the names of their columns, (B, ...).

        Args:
            model: The model.
            x: Examples.
            c: Labels or conditions.
            prediction: What the model's ``predict_step`` gave.
            seed: Seed of the draws.
        """
        found = {"x": x, **prediction, **scores(model, x, c, seed=seed, num_samples=self.num_importance)}
        if self.num_regret:
            found["regret"] = likelihood_regret(model, x, num_steps=self.num_regret, seed=seed)
        if self.per_feature:
            found["log_px_per_feature"] = scores_per_feature(model, x, c)
        if self.drawn and "reconstruction" in prediction:
            with torch.no_grad(), forked(seed, model.device):
                found["reconstruction"] = observing(model.decode(model.embed(x, c), c), x).sample()
        if self.latent:
            found["latent"] = drawn_latents(model, x, c, seed=seed)
        return found if c is None else {**found, "y": c}
