"""Scores of single examples, for anomaly detection."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from vae_zoo.distributions import score
from vae_zoo.elbo import ELBOMixin, has_density
from vae_zoo.system.seeding import forked


@torch.no_grad()
def scores(model: Any, x: Tensor, c: Tensor | None = None, *, seed: int = 0, num_samples: int = 0) -> dict[str, Tensor]:
    """Scores of examples in nats, (B,) each; all but the rate are lower for more anomalous examples.

    Args:
        model: An autoencoder.
        x: Examples, (B, \\*shape).
        c: Conditions, (B, ...).
        seed: Seed of the latents that are drawn.
        num_samples: Importance samples of the log evidence; 0 for none.

    Returns:
        ``log_px``, log p(x|z) at the posterior's mean; for models with a bound, ``elbo`` from one sample and its rate
        ``kl``; with importance samples, ``log_evidence`` if the likelihood is a density.
    """
    found = {"log_px": score(model.decode(model.embed(x, c), c), x, x.shape[:1])}
    if isinstance(model, ELBOMixin):
        with forked(seed, x.device):
            terms = model.elbo(x, c)
            found |= {"elbo": terms.value, "kl": terms.kl}
            if num_samples and has_density(model):
                found["log_evidence"] = model.log_evidence(x, c, num_samples)
    return found
