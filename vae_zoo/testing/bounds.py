"""Checks of a bound against its own terms and the prior."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from vae_zoo.testing.evidence import SIGMAS, elbo_below_evidence, evidence_exact, evidence_grows, objective
from vae_zoo.testing.noise import seed_cpu
from vae_zoo.testing.subject import Found, Subject

SHAKEN = 0.15
"""Standard deviation of what is added to each weight, so that latents matter to the reconstruction and have a rate."""

WIDE = 64
"""Number of inputs of a unit above which less is added, so that what passes many layers does not grow without limit."""


def unweighted(subject: Subject) -> Found:
    """the logged elbo is E[log p(x|z) + log p(z) - log q(z|x)], regardless of the objective"""
    model, x = subject.bound(), subject.images()
    c = subject.labels(len(x))
    perturb(model, SHAKEN)
    if hasattr(model, "kl_weight"):
        model.kl_weight = torch.tensor(0.5)
    with torch.no_grad():
        many = x.repeat(10, *[1] * (x.ndim - 1))  # as good as ten times the number of batches, and much faster
        logged = torch.stack([subject.losses(model, many, seed)["elbo"] for seed in range(20)]).double()
        seed_cpu(7)
        terms = model.elbo(x, c, 300)
        z = terms.z
        value = model.decode(z, c).log_prob(x) + model.prior(c).log_prob(z) - terms.q.log_prob(z)
    value = value.double().mean(1)
    error = (logged.var() / len(logged) + value.var() / len(value)).sqrt().item()
    return _close(logged.mean().item() - value.mean().item(), error, floor=1e-4 * abs(value.mean().item()))


def divergence(subject: Subject) -> Found:
    """the KL of the bound is the Monte Carlo mean of log q(z|x) - log p(z), and at least 0"""
    model, x = subject.bound(), subject.images(3)
    perturb(model, SHAKEN)
    with torch.no_grad():
        seed_cpu(3)
        kls, ratios = [], []
        for _ in range(max(10, 40 // getattr(model, "decodings", 1))):
            terms = model.elbo(x, subject.labels(len(x)), 100)
            kls.append(terms.kl.double())
            ratios.append((terms.log_qz - terms.log_pz).double())
    kl, ratio = torch.stack(kls), torch.cat(ratios)
    error = (kl.var(0) / len(kl) + ratio.var(0) / len(ratio)).sqrt()
    gap = (kl.mean(0) - ratio.mean(0)).abs()
    allowed = SIGMAS * error + 1e-4 * ratio.mean(0).abs() + 1e-4
    at = (gap - allowed).argmax()
    negative = bool((kl.mean(0) < -SIGMAS * error - 1e-4).any())
    return Found(bool((gap <= allowed).all()) and not negative, f"off by {gap[at]:.2g} nats", f"{allowed[at]:.2g}")


def samples_used(subject: Subject) -> Found:
    """the evidence decodes K samples of each example, for any K and any chunk"""
    model, x = subject.bound(), subject.images(3)
    each, num_axes = getattr(model, "decodings", 1), len(model.prior(subject.labels(3)).event_shape)
    counts = []
    for num_samples, chunk in ((1, None), (2, None), (7, 3), (7, 7)):
        count = 0

        def decode(z: Tensor, c: Tensor | None = None, original: Any = model.decode, **given: Any) -> Any:
            nonlocal count
            count += z.shape[: z.ndim - num_axes].numel()
            return original(z, c, **given)

        model.decode = decode
        value = model.log_evidence(x, subject.labels(3), num_samples, chunk)
        del model.decode
        used = count / (3 * each)
        counts.append((used == num_samples and value.shape == (3,), f"{used:g} of {num_samples}"))
    return Found(all(ok for ok, _ in counts), ", ".join(text for _, text in counts), "all of them")


def own_prior(subject: Subject) -> Found:
    """sample() decodes draws from the model's own prior"""
    model = subject.bound().eval()
    perturb(model, SHAKEN)
    if hasattr(model, "latent_prior"):
        perturb(model.latent_prior, 0.2)  # a flow far from the identity cannot be inverted in float32
    num, seen = 3000, []

    def decode(z: Tensor, c: Tensor | None = None, original: Any = model.decode) -> Any:
        seen.append(z.reshape(-1, *p.event_shape))
        return original(z, c)

    c = subject.conditions(num)
    p = model.prior(c)
    model.decode = decode
    seed_cpu(4)
    x = model.sample(num, c)
    del model.decode
    with torch.no_grad():
        fresh = p.sample(() if p.batch_shape else (num,))
        drawn = torch.cat(seen)[-num:]
        statistics = [
            torch.cat([p.log_prob(z)[:, None], z.flatten(1), z.flatten(1).square()], 1).double() for z in (drawn, fresh)
        ]
    error = (sum(f.var(0) / num for f in statistics) + 1e-12).sqrt()  # type: ignore[union-attr]
    score = ((statistics[0].mean(0) - statistics[1].mean(0)).abs() / error).max().item()
    right = tuple(x.shape) == (num, *model.shape) and len(drawn) == num
    return Found(
        right and score <= SIGMAS + 1, f"log p(z) and moments {score:.1f} standard errors apart", f"{SIGMAS + 1:g}"
    )


def _close(gap: float, error: float, floor: float) -> Found:
    allowed = SIGMAS * error + floor
    return Found(abs(gap) <= allowed, f"off by {abs(gap):.2g} nats", f"{allowed:.2g}")


@torch.no_grad()
def perturb(module: torch.nn.Module, scale: float) -> None:
    """Add noise to all weights."""
    seed_cpu(5)
    for p in module.parameters():
        fan_in = p[0].numel() if p.ndim > 1 else 1
        p.add_(scale * min(1.0, math.sqrt(WIDE / fan_in)) * torch.randn_like(p))


CHECKS = (
    unweighted,
    divergence,
    elbo_below_evidence,
    evidence_exact,
    evidence_grows,
    samples_used,
    objective,
    own_prior,
)
