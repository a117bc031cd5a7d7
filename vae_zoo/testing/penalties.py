"""The check of penalties."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution, constraints

from vae_zoo.distributions.normal import Normal, PointMass, independent
from vae_zoo.distributions.supports import core
from vae_zoo.models.base.penalised import metric_name
from vae_zoo.penalties import Penalty
from vae_zoo.testing.noise import seed_cpu
from vae_zoo.testing.subject import Found, SkipCheck, Subject

NUM = 200
"""Number of latents: enough to distinguish draws of the prior from others."""

SHIFT = 3.0


def penalty_sign(subject: Subject) -> Found:
    """a step on a penalty alone does not raise it, it is lowest at the prior, and its adversary works against it"""
    model, x = subject.build().double(), subject.images(NUM).double()
    penalties: Any = getattr(model, "penalties", ())
    if not len(penalties):
        raise SkipCheck("no penalties")
    said = []
    for number, penalty in enumerate(penalties):
        fault = _raised(subject, model, x, number) or _misplaced(model, penalty) or _helped(model, penalty)
        if fault:
            return Found(False, f"{metric_name(penalty)} {fault}", "none")
        said.append(metric_name(penalty))
    return Found(True, f"{', '.join(said)} lowered by a step", "not raised")


def _raised(subject: Subject, model: Any, x: Tensor, number: int) -> str:
    """The fault of a penalty that rises in a small step along its gradient in the loss."""
    name, own = metric_name(model.penalties[number]), {id(p) for p in model.penalties[number].parameters()}
    values = _losses(subject, model, x)
    name = f"{name}_{number + 1}" if f"{name}_{number + 1}" in values else name
    (weight,) = torch.autograd.grad(values["loss"], values[name], retain_graph=True, allow_unused=True)
    if weight is None:
        return "has no part in the loss"
    params = [p for p in model.parameters() if p.requires_grad and id(p) not in own]
    grads = torch.autograd.grad(weight * values[name], params, allow_unused=True)
    norm = sum(g.square().sum().item() for g in grads if g is not None)
    if not norm:
        return "has no gradient"
    before = values[name].item()
    length = 1e-3 * max(abs(before), 1e-3) * weight.abs().item() / norm  # for a change of a thousandth
    with torch.no_grad():
        for p, g in zip(params, grads, strict=True):
            p.sub_(torch.zeros_like(p) if g is None else length * g)
        after = _losses(subject, model, x)[name].item()
        for p, g in zip(params, grads, strict=True):
            p.add_(torch.zeros_like(p) if g is None else length * g)
    return f"rises from {before:.6g} to {after:.6g}" if after > before + 1e-9 * abs(before) else ""


def _misplaced(model: Any, penalty: Penalty) -> str:
    """The fault of a penalty, without networks to be trained, that is higher at the prior than far from it."""
    if penalty.uses_labels or list(penalty.parameters()) or model.prior(None).batch_shape:
        return ""
    p = model.prior(None)
    with torch.no_grad():
        near, far = (_value(penalty, z, p) for z in _latents(p))
    if near is None or far is None or far >= near - 1e-9:
        return ""
    return f"is {near:.4g} at the prior, {far:.4g} far from it"


def _helped(model: Any, penalty: Penalty) -> str:
    """The fault of an adversary whose loss falls where the penalty does."""
    p = model.prior(None)
    if p.batch_shape or penalty.uses_labels:
        return ""
    z = _latents(p)[1].requires_grad_()
    seed_cpu(2)
    own, value = penalty.own_loss(z, p), _value(penalty, z, p)
    if own is None or value is None:
        return ""
    grads = [torch.autograd.grad(term, z, allow_unused=True)[0] for term in (own, value) if term.requires_grad]
    if len(grads) < 2 or grads[0] is None or grads[1] is None:
        return ""
    return "and the loss of its adversary fall together" if (grads[0] * grads[1]).sum() > 0 else ""


def _losses(subject: Subject, model: Any, x: Tensor) -> dict[str, Tensor]:
    seed_cpu(1)
    return model.losses(x, subject.labels(len(x)))


def _latents(p: Distribution) -> tuple[Tensor, Tensor]:
    """Draws from the prior, and others: all dimensions equal and far away, or one draw repeated where z is not real."""
    seed_cpu(6)
    near = p.sample((NUM,))
    far = near[:1].expand_as(near).clone()
    if core(p.support) is constraints.real:
        far = (SHIFT + near.flatten(1)[:, :1]).expand(-1, near[0].numel()).reshape(near.shape).clone()
    return near, far


def _value(penalty: Penalty, z: Tensor, p: Distribution) -> Tensor | None:
    """The penalty of latents under a posterior of almost no width; None if it is not defined for such."""
    dims = len(p.event_shape)
    for q in (independent(PointMass(z), dims), independent(Normal(z, torch.full_like(z, -4.0)), dims)):
        try:
            penalty.check(q, p)
        except ValueError:
            continue
        seed_cpu(4)
        return penalty(z, q, p)[0]
    return None


CHECKS = (penalty_sign,)
