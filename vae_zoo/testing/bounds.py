"""Checks of a bound: against the evidence, its own terms, and the prior it samples from."""

from __future__ import annotations

import itertools
from typing import Any

import torch
from torch import Tensor

from vae_zoo.testing import oracle
from vae_zoo.testing.subject import Found, Subject

SIGMAS = 4.5
"""Standard errors that a Monte Carlo figure may be off."""

ROWS = 400
FITTED = 100
"""Steps on its own bound before a model is compared with the evidence: a wrong bound then shows itself."""


def unweighted(subject: Subject) -> Found:
    """the logged elbo is E[log p(x|z) + log p(z) - log q(z|x)], whatever is minimised"""
    model, x = subject.bound(), subject.images()
    c = subject.labels(len(x))
    _perturb(model, 0.05)
    if hasattr(model, "kl_weight"):
        model.kl_weight = torch.tensor(0.5)
    with torch.no_grad():
        logged = torch.stack([subject.losses(model, x, seed)["elbo"] for seed in range(200)]).double()
        torch.manual_seed(7)
        terms = model.elbo(x, c, 500)
        z = terms.z
        value = model.decode(z, c).log_prob(x) + model.prior(c).log_prob(z) - terms.q.log_prob(z)
    value = value.double().mean(1)
    error = (logged.var() / len(logged) + value.var() / len(value)).sqrt().item()
    return _close(logged.mean().item() - value.mean().item(), error, floor=1e-4 * abs(value.mean().item()))


def divergence(subject: Subject) -> Found:
    """the KL of the bound is the Monte Carlo mean of log q(z|x) - log p(z), and at least 0"""
    model, x = subject.bound(), subject.images()
    _perturb(model, 0.05)
    with torch.no_grad():
        torch.manual_seed(3)
        kls, ratios = [], []
        for _ in range(40):
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
    error = (ratio.var(0) / ROWS + exact_error.square()).sqrt()
    gap = (ratio.mean(0) - 1).abs()
    worst = int((gap / error).argmax())
    said = f"{ratio.mean(0)[worst]:.4f} of it"
    return Found(bool((gap <= SIGMAS * error + 1e-6).all()), said, f"1 ± {SIGMAS * error[worst]:.2g}")


def evidence_grows(subject: Subject) -> Found:
    """the estimate of log p(x) is the elbo at K = 1, and does not fall as K grows"""
    model, x, c, exact, _ = _linear(subject)
    one = _evidence(model, x, c, num_samples=1)
    with torch.no_grad():
        elbo = model.elbo(x, c, 2000).value.mean().item()
    values = [one, *(_evidence(model, x, c, num_samples=k) for k in (4, 16, 64))]
    means = [v.mean().item() - exact.mean().item() for v in values]
    errors = [(v.std() / v.numel() ** 0.5).item() for v in values]
    falls = any(b < a - SIGMAS * (e + f) for a, b, e, f in zip(means, means[1:], errors, errors[1:], strict=False))
    starts = abs(one.mean().item() - elbo) <= SIGMAS * errors[0] * 1.5 + 1e-6
    said = ", ".join(f"{m:.3f}" for m in means)
    return Found(starts and not falls, f"{said} from log p(x), K = 1, 4, 16, 64", "starts at the elbo, grows")


def samples_used(subject: Subject) -> Found:
    """the evidence decodes K samples of each example, for any K and any chunk"""
    model, x = subject.bound(), subject.images(3)
    counts = []
    for num_samples, chunk in ((1, None), (2, None), (7, 3), (7, 7)):
        count = 0

        def decode(z: Tensor, c: Tensor | None = None, original: Any = model.decode) -> Any:
            nonlocal count
            count += z.shape[:-1].numel()
            return original(z, c)

        model.decode = decode
        value = model.log_evidence(x, subject.labels(3), num_samples, chunk)
        del model.decode
        counts.append((count == 3 * num_samples and value.shape == (3,), f"{count / 3:g} of {num_samples}"))
    return Found(all(ok for ok, _ in counts), ", ".join(text for _, text in counts), "all of them")


def objective(subject: Subject) -> Found:
    """what is logged as a bound is at most the evidence; an objective that is a bound does not fall with K"""
    model, x, c, exact, exact_error = _linear(subject, rows=100)
    numbers = (1, 4, 16) if subject.takes("num_samples") else (getattr(model, "num_samples", 1),)
    top = exact.mean().item()
    x = x.repeat(100, 1)
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


def own_prior(subject: Subject) -> Found:
    """sample() decodes draws from the model's own prior"""
    model = subject.bound().eval()
    _perturb(model, 0.05)
    if hasattr(model, "latent_prior"):
        _perturb(model.latent_prior, 0.5)
    num, seen = 3000, []

    def decode(z: Tensor, c: Tensor | None = None, original: Any = model.decode) -> Any:
        seen.append(z.reshape(-1, z.shape[-1]))
        return original(z, c)

    model.decode, c = decode, subject.labels(num)
    torch.manual_seed(4)
    x = model.sample(num, c)
    del model.decode
    p = model.prior(c)
    with torch.no_grad():
        fresh = p.sample(() if p.batch_shape else (num,))
        drawn = torch.cat(seen)[-num:]
        figures = [torch.cat([p.log_prob(z)[:, None], z, z.square()], 1).double() for z in (drawn, fresh)]
    error = (sum(f.var(0) / num for f in figures) + 1e-12).sqrt()  # type: ignore[union-attr]
    score = ((figures[0].mean(0) - figures[1].mean(0)).abs() / error).max().item()
    right = tuple(x.shape) == (num, *model.shape) and len(drawn) == num
    return Found(
        right and score <= SIGMAS + 1, f"log p(z) and moments {score:.1f} standard errors apart", f"{SIGMAS + 1:g}"
    )


def _linear(subject: Subject, rows: int = 4) -> tuple[Any, Tensor, Tensor | None, Tensor, Tensor]:
    """A model near the optimum of its own bound, examples of it, labels, their evidence and its standard error."""
    model = subject.linear_gaussian()
    torch.manual_seed(11)
    with torch.no_grad():
        c = subject.labels(64)
        x = model.sample(64, c, mean=False)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    for _ in range(FITTED):
        optimizer.zero_grad()
        (-model.elbo(x, c, 2).value.mean()).backward()
        optimizer.step()
    with torch.no_grad():
        c = subject.labels(rows)
        x = model.sample(rows, c, mean=False)
    exact, error = oracle.evidence(model, x, c)
    return model, x, c, exact, error


def _evidence(model: Any, x: Tensor, c: Tensor | None, num_samples: int) -> Tensor:
    """ROWS estimates of each example, (ROWS, B)."""
    torch.manual_seed(num_samples)
    many = model.log_evidence(x.repeat(ROWS, 1), None if c is None else c.repeat(ROWS), num_samples)
    return many.reshape(ROWS, len(x)).double()


def _labelled(model: Any, x: Tensor, c: Tensor | None, seed: int) -> dict[str, Tensor]:
    torch.manual_seed(seed)
    return model.losses(x, None if c is None else c.repeat(len(x) // len(c)))


def _close(gap: float, error: float, floor: float) -> Found:
    allowed = SIGMAS * error + floor
    return Found(abs(gap) <= allowed, f"off by {abs(gap):.2g} nats", f"{allowed:.2g}")


@torch.no_grad()
def _perturb(module: torch.nn.Module, scale: float) -> None:
    torch.manual_seed(5)
    for p in module.parameters():
        p.add_(scale * torch.randn_like(p))


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
