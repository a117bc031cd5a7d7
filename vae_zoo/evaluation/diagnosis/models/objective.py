"""Diagnoses of the objective: the effective weight of the divergence, and what the posterior loses."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from vae_zoo.distributions import mean_of, score
from vae_zoo.distributions.families import LocationScale
from vae_zoo.elbo import ELBOMixin, has_density
from vae_zoo.evaluation.diagnosis.finding import Finding, judge
from vae_zoo.evaluation.diagnosis.models.examined import Examined
from vae_zoo.evaluation.diagnosis.models.latents import LEAST_RATE
from vae_zoo.evaluation.diagnosis.statistics import Estimate, mean_of_rows, ratio
from vae_zoo.evaluation.gaps import Gaps, inference_gaps
from vae_zoo.models.base.autoencoder import Autoencoder
from vae_zoo.system.seeding import forked

HEAVY, LIGHT = 1.6, 0.6
"""Effective weights of the divergence beyond which it is too strong or too weak: packaged VAEs have 0.86 to 1.16, and
β-VAEs of digits with β = 0.1, 2 and 8 have 0.11, 1.67 and 7.84."""
GAP, LEAST_GAP = 0.3, 1.0
"""Share of the rate, and nats, above which a gap is large: both gaps are 0.06 to 0.29 of the rate in
packaged models of digits and counts; the encoder of a table of 455 rows loses 0.59."""
HEAVY_TAILS = 0.8
"""Share of examples with heavy tails from which log p(x) is far too low: in a linear model with correlated latents,
where all have them, the gap of 6.6 nats is measured as 2.5."""
NUM_GAPS = 32
"""Examples whose posteriors are optimised, which takes a second or two."""


@torch.enable_grad()
def effective_weight(model: Any, x: Tensor, *, num_samples: int = 8, seed: int = 0) -> Estimate:
    r"""The weight of the divergence at which the width of these posteriors would be optimal.

    .. math:: \hat \beta = \frac{\mathbb{E} \, [\nabla_z \log p(x|z) \cdot (z - \mu)]}
        {\mathbb{E} \, [-D - \nabla_z \log p(z) \cdot (z - \mu)]}, \quad z \sim q(z|x)

    Scaling all posteriors by :math:`e^t` changes log p(x|z) by the numerator and the divergence by the denominator,
    times t: where the objective has its maximum, their ratio is β. The error is that of a ratio of means over examples.

    Args:
        model: A model whose posterior has a location and a scale.
        x: Examples, (N, \*shape).
        num_samples: Samples of each posterior.
        seed: Seed of the samples.
    """
    with torch.inference_mode(False), forked(seed, x.device):
        x = x.clone()  # of a tensor that allows no gradients
        with torch.no_grad():
            q = model.encode(x)
            away = q.sample((num_samples,)) - mean_of(q, x.device)
        z = (mean_of(q, x.device) + away).detach().requires_grad_()
        log_px = score(model.decode(z), x, z.shape[:2])
        (slope,) = torch.autograd.grad(log_px.sum(), z)
        z = z.detach().requires_grad_()
        (prior,) = torch.autograd.grad(model.prior().log_prob(z).sum(), z)
    gain = (slope * away).flatten(2).sum(2).mean(0)
    cost = -float(away[0, 0].numel()) - (prior * away).flatten(2).sum(2).mean(0)
    return ratio(gain.cpu(), cost.cpu())


def _weight(examined: Examined) -> Estimate | None:
    model = examined.model
    family = getattr(model, "posterior", None)
    plain = isinstance(model, ELBOMixin) and type(model).elbo is ELBOMixin.elbo and has_density(model)
    plain = plain and not getattr(model, "uses_weights", False)  # by which the posterior is meant to be wider
    if not (plain and isinstance(family, LocationScale) and type(model).encode is Autoencoder.encode):
        return None
    if examined.rate is None or float(examined.rate.mean()) < LEAST_RATE or getattr(model, "num_classes", None):
        return None
    found = effective_weight(model, examined.train.x[:256].to(model.device), seed=examined.seed)
    return found if found.error < 1 else None


def divergence_too_strong(examined: Examined) -> Finding | None:
    """Posteriors are as wide as a weight of the divergence well above 1 would make them: reconstructions suffer.

    The effective weight of :func:`effective_weight` exceeds 1.6 by two standard errors. The remedy is a smaller β.
    """
    if (weight := examined.once(_weight)) is None:
        return None
    own = f", beta is {examined.model.beta:g}" if isinstance(getattr(examined.model, "beta", None), float) else ""
    return judge(
        "divergence_too_strong",
        "warning" if weight.low > HEAVY else "fine",
        f"the effective weight of the divergence is {weight}{own}",
        f"1, and up to {HEAVY}",
        "lower the weight: --model.beta 1 maximises the bound; keep it if you want fewer, more independent latents",
    )


def divergence_too_weak(examined: Examined) -> Finding | None:
    """Posteriors are narrower than the bound asks for: samples suffer, since latents leave holes in the prior.

    The effective weight of :func:`effective_weight` is below 0.6 by two standard errors. The remedy is a larger β, or
    to fit on until the warm-up of the divergence has ended.
    """
    if (weight := examined.once(_weight)) is None:
        return None
    return judge(
        "divergence_too_weak",
        "warning" if weight.high < LIGHT else "fine",
        f"the effective weight of the divergence is {weight}",
        f"1, and from {LIGHT} on",
        "raise the weight to 1 (--model.beta 1), wait for the end of a warm-up, or fit longer: the scale of "
        "posteriors is learned last",
    )


def _gaps(examined: Examined) -> Gaps | None:
    model = examined.model
    if examined.rate is None or float(examined.rate.mean()) < LEAST_RATE or getattr(model, "num_classes", None):
        return None
    if getattr(model, "uses_weights", False):  # its encoder maximises another bound
        return None
    try:
        found = inference_gaps(model, examined.test.x[:NUM_GAPS].to(model.device), seed=examined.seed)
    except ValueError:  # a bound or a posterior of its own
        return None
    return Gaps(*(each.cpu() for each in found))


def _large(examined: Examined, gap: Estimate) -> bool:
    assert examined.rate is not None
    return gap.low > max(LEAST_GAP, GAP * float(examined.rate.mean()))


def amortisation_gap(examined: Examined) -> Finding | None:
    """The encoder gives worse posteriors than the best of their family: by more than 1 nat and 30 % of the rate.

    Measured on 32 test examples by optimising the posterior of each (:func:`~vae_zoo.evaluation.inference_gaps`), with
    the standard error over examples; not where the weight of the divergence is the cause. The remedy is a larger
    encoder, or more training.
    """
    weight = examined.once(_weight)
    other = weight is not None and (weight.low > HEAVY or weight.high < LIGHT)  # it maximises something else
    if other or (gaps := examined.once(_gaps)) is None:
        return None
    gap = mean_of_rows(gaps.amortisation)
    return judge(
        "amortisation_gap",
        "warning" if _large(examined, gap) else "fine",
        f"the best posteriors gain {gap} nats over those of the encoder",
        f"up to {LEAST_GAP:g} nat, or {GAP:.0%} of the rate",
        "take a larger encoder, fit longer, or with more data; impute and predict with more importance samples "
        "(--predictions.num_importance)",
    )


def approximation_gap(examined: Examined) -> Finding | None:
    """Even the best posterior of the family is far from the true one: by more than 1 nat and 30 % of the rate.

    Measured as the log evidence (1000 importance samples) less the bound of the best posterior, on 32 test examples,
    with the standard error over examples; a lower bound of the gap. Where the weights have heavy tails (k above 0.7) in
    more than 80 % of the examples, it is far below the gap, and 1 nat is enough for a warning. The remedy is a richer
    posterior, or a tighter bound.
    """
    if (gaps := examined.once(_gaps)) is None:
        return None
    gap, heavy = mean_of_rows(gaps.approximation), float((gaps.pareto_k > 0.7).double().mean())
    tail = f" (importance weights with heavy tails in {heavy:.0%} of the examples)" if heavy > 0.2 else ""
    missed = heavy > HEAVY_TAILS and gap.low > LEAST_GAP
    return judge(
        "approximation_gap",
        "warning" if missed or _large(examined, gap) else "fine",
        f"log p(x) is {gap} nats above the bound of the best posteriors{tail}",
        f"up to {LEAST_GAP:g} nat, or {GAP:.0%} of the rate",
        "take a richer posterior (--model.posterior FullNormal or AutoregressiveFlow), or a tighter bound (IWAE)",
    )
