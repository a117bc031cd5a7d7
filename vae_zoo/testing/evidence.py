"""Checks of a bound and of the estimated evidence against the exact evidence of a linear-Gaussian model."""

from __future__ import annotations

import itertools
from typing import Any

import torch
from torch import Tensor

from vae_zoo.testing import oracle
from vae_zoo.testing.noise import seed_cpu
from vae_zoo.testing.subject import Found, Subject

SIGMAS = 4.5
"""Allowed error of a Monte Carlo estimate, in standard errors."""

ROWS = 400
"""Repetitions of an estimate, fewer where each draw takes several decodings."""

NUMBERS = (1, 4, 32)
"""Samples K of estimates of the evidence, from the bound on."""

MOST = 20
"""Examples whose exact evidence is computed, once for all checks."""

FITTED = 60
"""Training steps on its own bound before a model is compared with the evidence, so that a wrong bound can exceed it."""


def elbo_below_evidence(subject: Subject) -> Found:
    """the elbo is at most the exact evidence of a linear-Gaussian model"""
    model, x, c, exact, exact_error = _linear(subject)
    with torch.no_grad():
        values = torch.stack([model.elbo(x, c, 100).value for _ in range(20)])
    error = (values.var(0) / len(values) + exact_error.square()).sqrt()
    over = (values.mean(0) - exact - SIGMAS * error).max().item()
    gap = (values.mean(0) - exact).mean().item()
    return Found(over <= 1e-6, f"elbo - log p(x) = {gap:.3g} nats", f"at most 0, to {SIGMAS:g} standard errors")


def evidence_exact(subject: Subject) -> Found:
    """the importance-weighted estimate of p(x) averages to the exact one"""
    model, x, c, exact, exact_error = _linear(subject)
    log_p = _evidence(model, x, c, num_samples=64)
    ratio = torch.exp(log_p - exact)
    error = (ratio.var(0) / len(ratio) + exact_error.square()).sqrt()
    gap = (ratio.mean(0) - 1).abs()
    worst = int((gap / error).argmax())
    said = f"{ratio.mean(0)[worst]:.4f} of it"
    return Found(bool((gap <= SIGMAS * error + 1e-6).all()), said, f"1 ± {SIGMAS * error[worst]:.2g}")


def evidence_grows(subject: Subject) -> Found:
    """the estimate of log p(x) is the elbo at K = 1, and does not decrease with K"""
    model, x, c, exact, _ = _linear(subject)
    one = _evidence(model, x, c, num_samples=NUMBERS[0])
    with torch.no_grad():
        elbo = model.elbo(x, c, 2000).value.mean().item()
    values = [one, *(_evidence(model, x, c, num_samples=k) for k in NUMBERS[1:])]
    means = [v.mean().item() - exact.mean().item() for v in values]
    errors = [(v.std() / v.numel() ** 0.5).item() for v in values]
    falls = any(b < a - SIGMAS * (e + f) for a, b, e, f in zip(means, means[1:], errors, errors[1:], strict=False))
    starts = abs(one.mean().item() - elbo) <= SIGMAS * errors[0] * 1.5 + 1e-6
    said = ", ".join(f"{m:.3f}" for m in means) + f" from log p(x), K = {', '.join(map(str, NUMBERS))}"
    return Found(starts and not falls, said, "starts at the elbo, grows")


def objective(subject: Subject) -> Found:
    """logged bounds are at most the evidence; an objective that is a bound does not decrease with K"""
    model, x, c, exact, exact_error = _linear(subject, rows=MOST)
    numbers = (1, 4, 16) if subject.takes("num_samples") else (getattr(model, "num_samples", 1),)
    top = exact.mean().item()
    copies = 3 if model.min_batch_size > 1 else 10  # what compares examples takes the square of their number
    x = x.repeat(max(2, copies // getattr(model, "decodings", 1)), 1)
    found: dict[str, list[tuple[float, float]]] = {}
    for k in numbers:
        model.num_samples = k
        with torch.no_grad():
            rows = [_labelled(model, x, c, seed) for seed in range(12)]
        for name in {"elbo", "bound", "loss"} & set(rows[0]):
            values = torch.stack([row[name] for row in rows]) * (-1 if name == "loss" else 1)
            found.setdefault(name, []).append((values.mean().item(), (values.std() / len(rows) ** 0.5).item()))
    (elbo, spread), minus = found["elbo"][0], found["loss"][0][0]
    if abs(minus - elbo) > SIGMAS * spread * 2 + 1e-4 * abs(elbo):
        del found["loss"]  # it is not the bound at K = 1, and so it claims nothing
    slack = SIGMAS * exact_error.mean().item()
    over = [n for n, v in found.items() if any(m > top + SIGMAS * e + slack + 1e-6 for m, e in v)]
    falls = [n for n, v in found.items() if any(b[0] < a[0] - SIGMAS * (a[1] + b[1]) for a, b in itertools.pairwise(v))]
    said = "; ".join(f"{n} " + ", ".join(f"{m - top:.3f}" for m, _ in v) for n, v in sorted(found.items()))
    bad = [f"{n} above log p(x)" for n in over] + [f"{n} falls with K" for n in falls]
    return Found(not bad, "; ".join([*bad, said]), "at most 0 from log p(x)")


def _linear(subject: Subject, rows: int = 4) -> tuple[Any, Tensor, Tensor | None, Tensor, Tensor]:
    """A model near the optimum of its own bound, examples of it, labels, their evidence and its standard error."""
    model = subject.linear_gaussian()
    if "fitted" not in subject.kept:
        subject.kept["fitted"] = _fit(subject, model)
    model.load_state_dict(subject.kept["fitted"])
    if "evidence" not in subject.kept:
        seed_cpu(12)
        with torch.no_grad():
            c = subject.labels(MOST)
            x = model.sample(MOST, subject.conditions(MOST), mean=False)
        subject.kept["evidence"] = x, c, *oracle.evidence(model, x, c)
    x, c, exact, error = subject.kept["evidence"]
    return model, x[:rows], None if c is None else c[:rows], exact[:rows], error[:rows]


def _fit(subject: Subject, model: Any) -> dict[str, Tensor]:
    """Weights after some steps on the model's own bound, which several checks share."""
    seed_cpu(11)
    with torch.no_grad():
        c = subject.labels(64)
        x = model.sample(64, subject.conditions(64), mean=False)
    optimizer = torch.optim.Adam(model.train().parameters(), lr=0.03)
    for _ in range(FITTED // (2 if getattr(model, "decodings", 1) > 1 else 1)):
        optimizer.zero_grad()
        (-model.elbo(x, c, 2).value.mean()).backward()
        optimizer.step()
    model.eval()
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


def _evidence(model: Any, x: Tensor, c: Tensor | None, num_samples: int) -> Tensor:
    """Independent estimates for each example, (rows, B)."""
    rows = max(100, ROWS // getattr(model, "decodings", 1))
    seed_cpu(num_samples)
    many = model.log_evidence(x.repeat(rows, 1), None if c is None else c.repeat(rows), num_samples)
    return many.reshape(rows, len(x)).double()


def _labelled(model: Any, x: Tensor, c: Tensor | None, seed: int) -> dict[str, Tensor]:
    seed_cpu(seed)
    return model.losses(x, None if c is None else c.repeat(len(x) // len(c)))
