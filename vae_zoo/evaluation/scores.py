"""Scores of single examples, for anomaly detection."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from vae_zoo.distributions import score
from vae_zoo.distributions.likelihoods.observed import Observed, log_prob_per_entry, per_entry
from vae_zoo.elbo import ELBOMixin, has_density
from vae_zoo.system.seeding import forked

_NUM_LATENTS = 64


@torch.no_grad()
def column_scores(model: Any, x: Tensor, c: Tensor | None = None, *, num_samples: int = 1000) -> Tensor:
    r"""How likely each value of a vector is, given its other values: low for anomalous cells.

    .. math:: \log p(x_j | x_{-j}) \approx \log \sum_k w_k \, p(x_j | z_k) - \log \sum_k w_k, \quad
        w_k = \frac{p(x_{-j}, z_k)}{q(z_k | x_{-j})}, \quad z_k \sim q(z | x_{-j})

    Latents are drawn with the value hidden, so that it does not vouch for itself; importance weights of latents of the
    whole example would not reach those that an anomalous value excludes.

    Args:
        model: A model with a bound, of vectors with missing values.
        x: Examples, (B, D).
        c: Conditions, (B, ...).
        num_samples: Number of latents for each value.

    Returns:
        Nats, (B, D); NaN for missing values.

    Raises:
        ValueError: If the model is of complete examples, or not of vectors.
    """
    if not model.likelihood.missing or len(model.shape) != 1:
        raise ValueError(f"{type(model).__name__} must be of vectors with missing values, to hide one after another.")
    found = torch.full_like(x, torch.nan)
    for place in range(x.shape[1]):
        hidden = x.clone()
        hidden[:, place] = torch.nan
        terms = model.elbo(hidden, c, num_samples)
        px = model.decode(terms.z, c) if terms.px is None else terms.px
        own = px.log_prob_per_entry(x)[..., place]
        found[:, place] = torch.logsumexp(terms.log_w + own, 0) - torch.logsumexp(terms.log_w, 0)
    return torch.where(x.isnan(), torch.nan, found)


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
        ``kl``; with importance samples, ``log_evidence`` if the likelihood is a density; for models of tables also
        ``log_p_columns``, (B, D), of :func:`column_scores`.
    """
    found = {"log_px": score(model.decode(model.embed(x, c), c), x, x.shape[:1])}
    if hasattr(model.likelihood, "columns") and isinstance(model, ELBOMixin):
        with forked(seed, x.device):
            found["log_p_columns"] = column_scores(model, x, c, num_samples=num_samples or _NUM_LATENTS)
    if isinstance(model, ELBOMixin):
        with forked(seed, x.device):
            terms = model.elbo(x, c)
            found |= {"elbo": terms.value, "kl": terms.kl}
            if num_samples and has_density(model):
                found["log_evidence"] = model.log_evidence(x, c, num_samples)
    return found


@torch.no_grad()
def scores_per_feature(model: Any, x: Tensor, c: Tensor | None = None) -> Tensor:
    """log p(x_d|z) of every feature at the posterior's mean, whose sum is ``log_px``; 0 for missing values.

    Args:
        model: An autoencoder.
        x: Examples, (B, \\*shape).
        c: Conditions, (B, ...).

    Returns:
        Nats, (B, \\*shape).

    Raises:
        ValueError: If the log-density is not known to be a sum over features.
    """
    px: Any = model.decode(model.embed(x, c), c)
    if isinstance(px, Observed):
        return px.log_prob_per_entry(x)
    if not per_entry(px, tuple(model.shape)):
        name = type(model.likelihood).__name__
        raise ValueError(f"per_feature: the log-density of {name} is not known to be a sum over features.")
    return log_prob_per_entry(px, x)
