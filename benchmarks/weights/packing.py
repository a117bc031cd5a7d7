"""Weights of a checkpoint as a packaged file of 16 bits, and its description, measured from that file."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

import vae_zoo
from benchmarks.common import hardware, versions
from benchmarks.weights.plan import Plan
from vae_zoo.elbo import ELBOMixin, depends_on_condition
from vae_zoo.export.pretrained import portable
from vae_zoo.models import Autoencoder
from vae_zoo.system.seeding import forked
from vae_zoo.system.writing import write_text
from vae_zoo.weights import Measured, Weights
from vae_zoo.weights.files import EXAMPLE, bound, built, read
from vae_zoo.weights.registry import packaged

NUM_EXAMPLES, NUM_DRAWS, NUM_SAMPLES = 1000, 10, 300
"""Test examples at most, draws for the bound, and importance samples for the evidence of each."""

NUM_STORED, BATCH = 8, 50
"""Examples that are stored in the file, and examples measured at once."""

LARGE = 1000
"""Values from which on a tensor is rounded: scales, counts and biases take little room as they are."""

Examples = list[tuple[Tensor, Tensor | None]]


def pack(name: str, plan: Plan, checkpoint: Path, fit: dict[str, Any]) -> Weights:
    """Write ``NAME.safetensors`` and ``NAME.json`` into the package.

    Args:
        name: Name of the weights.
        plan: How they were made.
        checkpoint: Last checkpoint of the fit.
        fit: Commit and time of the fit.
    """
    model = vae_zoo.load(checkpoint)
    described = vae_zoo.hub.read(checkpoint)["vae_zoo"]["data"]
    examples, mean = test_examples(model, described)
    x, c = examples[0][0][:NUM_STORED], None if examples[0][1] is None else examples[0][1][:NUM_STORED]
    kept = {f"{EXAMPLE}x": smallest(x)} | (
        {f"{EXAMPLE}c": c} if c is not None and depends_on_condition(model, c) else {}
    )
    path = packaged(name, "safetensors")
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({key: rounded(value) for key, value in model.state_dict().items()} | kept, path)
    path.chmod(0o644)  # which the format keeps to its owner
    weights = Weights(
        name=name,
        what=plan.what,
        file=path.name,
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        num_bytes=path.stat().st_size,
        num_parameters=sum(p.numel() for p in model.parameters()),
        model=model.recorded(),
        data=portable(described),
        transforms=plan.transforms,
        metrics={},
        protocol={"split": "test", "num_examples": sum(len(x) for x, _ in examples), "num_samples": NUM_SAMPLES},
        stored={},
        fit={"command": f"vae-zoo fit {plan.options}", "hardware": hardware(), **versions("torch", "lightning"), **fit},
        licence={"weights": "MIT", "data": plan.data_licence},
    )
    again = built(weights, read(weights))
    weights.metrics.update(measured(again, examples, mean))
    value, error = bound(again, x, c)
    weights.stored.update(num=len(x), bound=value, error=error)
    write_text(packaged(name, "json"), json.dumps(asdict(weights), indent=1, ensure_ascii=False) + "\n")
    return weights


def test_examples(model: Autoencoder, described: dict[str, Any]) -> tuple[Examples, Tensor]:
    """The first test examples as the model takes them, and the mean of the training examples."""
    data = made(described)
    data.prepare_data()
    data.setup("fit")
    train = data.examples("train").float()
    data.setup("test")
    xs, cs, num = [], [], 0
    for batch in data.test_dataloader():
        x, c = model.unpack(data.on_after_batch_transfer(batch))
        xs.append(x)
        cs += [] if c is None else [c]
        if (num := num + len(x)) >= NUM_EXAMPLES:
            break
    parts = [torch.cat(part)[:NUM_EXAMPLES].split(BATCH) for part in (xs, cs) if part]
    found = list(zip(*parts, strict=True)) if cs else [(x, None) for x in parts[0]]
    return found, train.mode(0).values if is_text(model) else train.nanmean(0)


def made(described: dict[str, Any]) -> Any:
    """A data module, which may hold another one."""
    module, _, name = described["class_path"].rpartition(".")
    args = {k: made(v) if k == "data" else v for k, v in described["init_args"].items()}
    return getattr(import_module(module), name)(**args)


def is_text(model: Autoencoder) -> bool:
    """Whether examples are strings of tokens."""
    return hasattr(model.likelihood, "vocabulary")


@torch.no_grad()
def measured(model: Any, examples: Examples, mean: Tensor) -> dict[str, Measured]:
    """Metrics with the standard errors that come from the choice of examples."""
    rows: dict[str, list[Tensor]] = {}
    errors = []
    with forked(0, model.device):
        for x, c in examples:
            for key, value in bounds(model, x, c).items():
                rows.setdefault(key, []).append(value.reshape(-1).double())
            wrong = [(x != y) & (x > 0) if is_text(model) else (x - y) ** 2 for y in (model.reconstruct(x, c), mean)]
            known = (x > 0) if is_text(model) else wrong[1]
            errors.append(torch.stack([wrong[0].double().flatten(1).sum(1), known.double().flatten(1).sum(1)]))
    found = {key: with_error(torch.cat(values), "nats") for key, values in rows.items()}
    return found | {"wrong_tokens" if is_text(model) else "unexplained": ratio(*torch.cat(errors, 1))}


def bounds(model: Any, x: Tensor, c: Tensor | None) -> dict[str, Tensor]:
    """Bound, rate and evidence of each example; of codes, means of the batch."""
    if not isinstance(model, ELBOMixin):
        losses = model.losses(x, c)
        return {key: losses[key].detach() for key in ("elbo", "kl")}
    terms = model.elbo(x, c, num_samples=NUM_DRAWS)
    return {"log_evidence": model.log_evidence(x, c, NUM_SAMPLES), "elbo": terms.value, "kl": terms.kl}


def with_error(values: Tensor, unit: str = "") -> Measured:
    """Mean of independent values and its standard error."""
    return Measured(round(float(values.mean()), 3), round(float(values.std()) / math.sqrt(len(values)), 3), unit)


def ratio(a: Tensor, b: Tensor) -> Measured:
    """Ratio of two sums over examples, and its standard error."""
    value = a.sum() / b.sum()
    error = (a - value * b).square().sum().sqrt() / b.sum()
    return Measured(round(float(value), 4), round(float(error), 4))


def rounded(value: Tensor) -> Tensor:
    """A tensor in 16 bits if it is large."""
    value = value.detach().cpu().contiguous().clone()
    half = value.half() if value.is_floating_point() and value.numel() >= LARGE else value
    return half if bool(half.isfinite().all()) else value


def smallest(x: Tensor) -> Tensor:
    """Examples in the smallest type that holds them exactly."""
    for kind in (torch.uint8, torch.float16):
        if torch.equal(x.to(kind).to(x.dtype), x):
            return x.to(kind).contiguous().clone()
    return x.contiguous().clone()
