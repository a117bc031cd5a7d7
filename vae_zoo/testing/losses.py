"""Checks of losses: gradients, scales, shapes, one graph, precision."""

from __future__ import annotations

import copy
import math
from typing import Any

import torch
from torch import Tensor
from torch.distributions import constraints
from torch.nn.utils.parametrize import is_parametrized

from vae_zoo.testing.noise import RowNoise, seed_cpu
from vae_zoo.testing.subject import SHAPE, Found, SkipCheck, Subject, curves_of

ONE_GRAPH = torch.__version__ >= "2.11"
"""Whether this torch compiles one graph: 2.10 breaks it at properties of named tuples, with the same results."""

SHAPES = ((1, 28, 28), (1, 28, 20), (3, 33, 47), (1, 64, 64), (784,), (17,))
STEPS = (20, 40, 80, 120, 160)
"""Numbers of steps after which a model is asked whether it has learned."""

DRAWS = 8
"""Losses that are averaged, under the same noise before and after."""


def gradients(subject: Subject) -> Found:
    """every parameter has a finite gradient other than 0"""
    model = subject.build()
    values = subject.losses(model, subject.images())
    if not all(v.ndim == 0 and bool(v.isfinite()) for v in values.values()):
        return Found(False, f"not finite scalars: {sorted(values)}", "finite scalars")
    values["loss"].backward()
    grads = {name: p.grad for name, p in model.named_parameters() if p.requires_grad}
    without = [n for n, g in grads.items() if g is None or not bool(g.isfinite().all()) or not bool(g.any())]
    named = f": {', '.join(without[:4])}" if without else ""
    return Found(not without, f"{len(without)} of {len(grads)} without{named}", "0")


def learning(subject: Subject) -> Found:
    """the model's own optimizer lowers the loss of six examples, and raises their log p(x|z)"""
    model, x = subject.build(), subject.images()
    if model.game:
        raise SkipCheck("networks work against each other, and the loss need not fall")
    chosen = model.configure_optimizers()
    optimizer = chosen["optimizer"] if isinstance(chosen, dict) else chosen
    if not isinstance(optimizer, torch.optim.Optimizer):
        return Found(False, f"configure_optimizers gives a {type(optimizer).__name__}", "one optimizer")
    before, seen = _averages(subject, model, x), []
    for step in range(1, STEPS[-1] + 1):
        optimizer.zero_grad()
        subject.losses(model, x, seed=step)["loss"].backward()
        optimizer.step()
        if step in STEPS:
            seen.append(_averages(subject, model, x))
            if _has_learned(before, seen[-1]):
                break
    after = min(seen, key=lambda row: row["loss"])  # codes that are revived set a model back for a while
    said = "; ".join(f"{n} {before[n]:.4g} to {after[n]:.4g}" for n in ("loss", "reconstruction") if n in before)
    return Found(_has_learned(before, after), f"{said} in {step} steps", "falls; rises")


def determinism(subject: Subject) -> Found:
    """the same seed gives the same result: all noise comes from torch's generator"""
    model, x = subject.build().eval(), subject.images()
    first, again = subject.losses(model, x), subject.losses(model, x)
    differ = [name for name in first if not torch.equal(first[name], again[name])]
    return Found(not differ, f"{len(differ)} of {len(first)} differ", "0")


def tiling(subject: Subject) -> Found:
    """log p(x|z) is a sum over pixels: tiling an image twice doubles it"""
    totals = []
    for times in (1, 2, 3):
        shape = (SHAPE[0], SHAPE[1], SHAPE[2] * times)
        model, x = subject.build(shape=shape).eval(), subject.images().repeat(1, 1, 1, times)
        if model.game:
            raise SkipCheck("the loss is no density of the pixels")
        if getattr(getattr(model, "likelihood", None), "support", constraints.real).event_dim:
            raise SkipCheck("the pixels of p(x|z) are not independent")
        if any(is_parametrized(module) for module in model.modules()):
            raise SkipCheck("weights that are normalised cannot be 0")
        with torch.no_grad():
            for p in model.parameters():  # then no latent tells one pixel from another
                p.zero_()
        values = subject.losses(model, x)
        totals.append(torch.stack([values["loss"], -values.get("reconstruction", -values["loss"])]).detach().double())
    first, second = totals[1] - totals[0], totals[2] - totals[1]
    zeros = torch.zeros(len(x), *model.likelihood.param_shape)
    size = -model.likelihood(zeros).log_prob(x).detach().double().mean() / 3
    grown, expected = second.tolist(), size.item()
    steady = bool(torch.allclose(first, second, rtol=1e-3, atol=1e-2))
    # A rate that grows with the image, such as that of a grid of codes, adds to the loss.
    right = math.isclose(grown[1], expected, rel_tol=0.02) and grown[0] > 0.98 * expected
    said = f"-log p(x|z) grows by {grown[1]:.4g}, the loss by {grown[0]:.4g}"
    return Found(steady and right, said, f"{expected:.4g} a tile")


def shapes(subject: Subject) -> Found:
    """losses, embeddings and reconstructions work for any example shape"""
    done, refused = [], []
    for shape in SHAPES:
        try:
            model = subject.build(shape=shape)
        except ValueError:
            refused.append(shape)  # a model for images refuses vectors
            continue
        x, c = subject.images(3, shape), subject.labels(3)
        subject.losses(model, x)["loss"].backward()
        if model.reconstruct(x, c).shape != x.shape or len(model.embed(x, c)) != len(x):
            return Found(False, f"{shape} reconstructed as {tuple(model.reconstruct(x, c).shape[1:])}", "its own shape")
        done.append(shape)
    vectors = all(len(shape) == 1 for shape in refused)
    return Found(
        bool(done) and vectors, f"{len(done)} shapes" + (", no vectors" * bool(refused)), "all images at least"
    )


def mismatch(subject: Subject) -> Found:
    """examples of another shape or type, and NaN, are refused, without broadcasting"""
    model, x = subject.build(), subject.images()
    wrong = {
        "without channels": x[:, 0],
        "3 channels": x.expand(-1, 3, -1, -1),
        "another size": x[..., :4],
        "uint8": (x * 255).to(torch.uint8),
        "NaN": x * math.nan,
    }
    taken = [name for name, bad in wrong.items() if not _refuses(model, bad, subject.labels(len(bad)))]
    named = f": {', '.join(taken)}" if taken else ""
    return Found(not taken, f"{len(taken)} of {len(wrong)} taken{named}", "0")


def one_graph(subject: Subject) -> Found:
    """losses compile into one graph without a break, with the same values"""
    torch._dynamo.reset()
    model, x = subject.build(), subject.images()
    if not getattr(model, "compilable", True):
        raise SkipCheck(f"torch {torch.__version__} does not compile it, and so it is not compiled")
    eager = copy.deepcopy(model)
    seed_cpu(1)
    try:
        whole = torch.compile(type(model).losses, fullgraph=ONE_GRAPH, backend="eager")
        values = curves_of(model, whole(model, x, subject.labels(len(x))))
    finally:
        torch._dynamo.reset()
    expected = subject.losses(eager, x)
    gap = max(((values[n] - v).abs() / v.abs().clamp(min=1)).item() for n, v in expected.items())
    graphs = "one graph" if ONE_GRAPH else "several graphs, as torch 2.10 makes them"
    return Found(gap < 1e-4, f"{graphs}, values differ by {gap:.1g}", "1e-4")


def autocast(subject: Subject) -> Found:
    """losses in bfloat16 agree with float32 under the same noise, and densities of a network's output with float64"""
    model, x = subject.build().eval(), subject.images()
    if not hasattr(model, "likelihood") or not getattr(model.likelihood, "is_density", True):
        raise SkipCheck("no likelihood that is a density")
    generator = torch.Generator().manual_seed(2)
    params = (3 * torch.randn(len(x), *model.likelihood.param_shape, generator=generator)).bfloat16()
    exact = copy.deepcopy(model.likelihood).double()(params.double()).log_prob(x.double())
    with RowNoise(1, len(x)):
        expected = subject.losses(model, x)
    with RowNoise(1, len(x)), torch.autocast("cpu", torch.bfloat16):
        values = subject.losses(model, x)
        log_px = model.likelihood(params).log_prob(x)
    half = [name for name, v in values.items() if v.dtype != torch.float32]
    gap = ((log_px.double() - exact).abs() / exact.abs()).max().item()
    off = ((values["loss"] - expected["loss"]).abs() / expected["loss"].abs().clamp(min=1)).item()
    said = f"relative error {gap:.1g}, of the loss {off:.1g}" + (
        f"; {', '.join(half)} in half precision" if half else ""
    )
    return Found(gap < 1e-5 and off < 0.01 and not half, said, "1e-5, 0.01, float32")


def extremes(subject: Subject) -> Found:
    """densities at outputs from -1000 to 1000 agree with float64, with finite gradients"""
    model, x = subject.build(), subject.images()
    if not hasattr(model, "likelihood"):
        raise SkipCheck("no likelihood")
    span = torch.linspace(-1000, 1000, len(x) * math.prod(model.likelihood.param_shape))
    params = span.reshape(len(x), *model.likelihood.param_shape).requires_grad_()
    value = model.likelihood(params).log_prob(x)
    (grad,) = torch.autograd.grad(value.sum(), params)
    exact = copy.deepcopy(model.likelihood).double()(params.detach().double()).log_prob(x.double())
    gap = ((value.double() - exact).abs() / exact.abs().clamp(min=1)).max().item()
    bad = int((~value.isfinite()).sum() + (~grad.isfinite()).sum())
    return Found(bad == 0 and gap < 1e-4, f"{bad} not finite, relative error {gap:.1g}", "0, 1e-4")


def _refuses(model: Any, x: Tensor, c: Tensor | None) -> bool:
    try:
        model.check_batch((x, c))
        model.losses(x, c)
    except ValueError:
        return True
    except Exception:
        return False
    return False


def _has_learned(before: dict[str, float], after: dict[str, float]) -> bool:
    risen = after.get("reconstruction", 0.0) >= before.get("reconstruction", 0.0)
    return after["loss"] < before["loss"] and risen


def _averages(subject: Subject, model: Any, x: Tensor) -> dict[str, float]:
    with torch.no_grad():
        rows = [subject.losses(model, x, seed) for seed in range(100, 100 + DRAWS)]
    return {name: sum(row[name].item() for row in rows) / len(rows) for name in rows[0]}


CHECKS = (gradients, learning, determinism, tiling, shapes, mismatch, one_graph, autocast, extremes)
