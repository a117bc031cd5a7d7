"""A model at its optimum, examples of it, and a look at what a diagnosis finds."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import torch

from vae_zoo.distributions import FixedNormal
from vae_zoo.evaluation.diagnosis.finding import Finding, examine
from vae_zoo.evaluation.diagnosis.models.examined import Examined, Examples
from vae_zoo.models import VAE
from vae_zoo.nn import Dense

DIM, LATENT, SCALE = 12, 4, 0.3

linear = partial(Dense, hidden=[])


def optimal(cls: type[VAE] = VAE, weights: torch.Tensor | None = None, weight: float = 1.0, **kwargs: Any) -> VAE:
    """Probabilistic principal components with the best encoder: without any gap if the loadings are orthogonal.

    Args:
        cls: Class of the model.
        weights: Loadings, (DIM, LATENT); by default orthogonal ones.
        weight: Weight of the divergence at which the width of the posteriors is optimal.
        kwargs: Arguments of the model.
    """
    given = {"likelihood": partial(FixedNormal, scale=SCALE), "encoder": linear, "decoder": linear, **kwargs}
    model: Any = cls(shape=(DIM,), latent_dim=LATENT, **given)
    if weights is None:
        weights = torch.linalg.qr(torch.randn(DIM, LATENT, generator=torch.Generator().manual_seed(1)))[0]
    with torch.no_grad():
        model.decoder.layers[1].weight.copy_(weights)
        model.decoder.layers[1].bias.fill_(1.0)
        precision = weights.T @ weights / SCALE**2 + weight * torch.eye(LATENT)
        to_mean = torch.linalg.solve(precision, weights.T) / SCALE**2
        layer = model.encoder.layers[1]
        layer.weight.copy_(torch.cat([to_mean, torch.zeros_like(to_mean)]))
        layer.bias.copy_(torch.cat([-to_mean.sum(1), 0.5 * (math.log(weight) - precision.diagonal().log())]))
    return model.eval()


def drawn(model: Any, num: int, seed: int) -> Examples:
    torch.manual_seed(seed)
    return Examples(model.sample(num, mean=False))


def examined(model: Any, source: Any = None, *, num: int = 400, **kwargs: Any) -> Examined:
    """A model with examples that another one has drawn."""
    source = source or optimal()
    given = {"train": drawn(source, num, 10), "test": drawn(source, num, 11), **kwargs}
    return Examined(model, given.pop("train"), given.pop("test"), **given)


def named(found: Iterable[Finding], *severities: str) -> set[str]:
    """Names of findings of some severities, by default of faults and warnings."""
    return {finding.name for finding in found if finding.severity in (severities or ("fault", "warning"))}


def one(diagnosis: Callable[..., Finding | None], subject: Any) -> Finding:
    (found,) = examine([diagnosis], subject)
    assert found.name == diagnosis.__name__
    assert bool(found.remedy) == (found.severity != "fine")
    assert found.measured
    assert found.normal
    return found
