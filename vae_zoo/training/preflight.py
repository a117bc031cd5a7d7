"""Checks that a model can be trained on some data, before the fit starts."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.callbacks import BackboneFinetuning, WeightAveraging
from lightning.pytorch.utilities.rank_zero import rank_zero_info
from torch import nn

from vae_zoo.distributions import stddev_of
from vae_zoo.distributions.likelihoods.scaled import unscaled
from vae_zoo.elbo import post_hoc_prior
from vae_zoo.training.trainers import is_ours

BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)


def check_fit(model: Any, data: Any, world_size: int = 1) -> None:
    """Refuse batches of one example if the model needs several, data outside the support of the likelihood, and a prior
    that is fitted afterwards.

    Args:
        model: The model.
        data: Its data module; checked only if it is one of ours.
        world_size: Number of processes.

    Raises:
        ValueError: In any of these cases.
    """
    if prior := post_hoc_prior(model):
        raise ValueError(f"{prior} is fitted after training: fit with another prior, and then run vae-zoo fit-density.")
    if not is_ours(data):
        return
    size = getattr(data, "batch_size", None)
    if size is not None:
        _check_batches(model, size, data.num_train, world_size, bool(getattr(data, "drop_last", False)))
    say_if_unscaled(model, data)
    for split in ("train", "val"):
        x = data.load(split).x
        if x.is_floating_point() and tuple(x.shape[1:]) == model.shape:
            for part in data.chunks(split):
                model.likelihood.check(part)


_FAR = 100.0
"""Standard deviations of a likelihood that data may lie from 0, or apart, before a line is printed."""


def say_if_unscaled(model: Any, data: Any) -> None:
    """Name columns of vectors whose units make nonsense of the likelihood.

    A network starts with outputs around 0. Values that are more standard deviations of the likelihood from 0 than in
    reach cost most of the bound for most of the fit; columns that are small against a shared σ are not learned at all.

    Args:
        model: The model, before training.
        data: Its data module; checked only if it is one of ours.
    """
    likelihood = model.likelihood
    if len(model.shape) != 1 or not (is_ours(data) and likelihood.is_density) or likelihood.is_discrete:
        return
    with torch.no_grad():
        x = likelihood.scaled(data.examples("train"))
        sigma = stddev_of(unscaled(likelihood.at_zeros()), x.device)[0].cpu()
    centre = x.nanmean(0)
    spread = (x - centre).square().nanmean(0).sqrt()
    size = (spread.square() + centre.square()).sqrt()
    if not bool(size.isfinite().all()):
        return
    name, remedy = type(likelihood).__name__, "set the data's scaling to standard"
    far, varied = size / sigma, spread[spread > 0]
    if float(far.max()) > _FAR:
        worst = int(far.argmax())
        rank_zero_info(
            f"Column {worst}, counted from 0, has values of size {size[worst]:.3g} and {int((far > _FAR).sum())} of "
            f"{len(size)} columns are that far out, where {name} begins with mean 0 and σ {sigma[worst]:.3g}: such "
            f"columns will dominate the bound; {remedy}."
        )
    elif likelihood.shares_scale and len(varied) and float(varied.max() / varied.min()) > _FAR:
        rank_zero_info(
            f"The columns' standard deviations range from {varied.min():.3g} to {varied.max():.3g}, and {name} has "
            f"one σ for all: the small ones will not be learned; {remedy}."
        )


def check_averages(model: nn.Module, callbacks: Iterable[Any]) -> None:
    """Refuse moving averages of integer buffers, such as counts, which they would corrupt.

    Args:
        model: The model.
        callbacks: Those of the Trainer.

    Raises:
        ValueError: If there is one.
    """
    whole = [name for name, buffer in model.named_buffers() if not buffer.dtype.is_floating_point]
    for callback in callbacks:
        if isinstance(callback, WeightAveraging) and callback._use_buffers and whole:
            raise ValueError(
                f"{type(callback).__name__} would average the whole numbers of {whole[0]}: set use_buffers to false."
            )


def check_backbone(model: nn.Module, callbacks: Iterable[Any]) -> None:
    """Refuse to finetune the backbone of a model without one.

    Args:
        model: The model.
        callbacks: Those of the Trainer.

    Raises:
        ValueError: If there is none.
    """
    if any(isinstance(callback, BackboneFinetuning) for callback in callbacks) and not hasattr(model, "backbone"):
        raise ValueError(
            f"BackboneFinetuning needs a module named backbone, which {type(model).__name__} lacks: leave the callback "
            "out, or give the part of the model that starts frozen this name."
        )


def say_if_emulated(trainer: Any, device: torch.device) -> None:
    """Warn if a run in bfloat16 is on a processor that emulates it in float32.

    Args:
        trainer: The trainer, which is about to train.
        device: Device of the model.
    """
    if device.type == "cpu" and str(trainer.precision).startswith("bf16") and has_bfloat16() is False:
        rank_zero_info(
            f"This processor has no bfloat16 instructions: {trainer.precision} is slower here than 32-true, by ten "
            "times and more; see the page on speed."
        )


@functools.cache
def has_bfloat16() -> bool | None:
    """Whether the processor has bfloat16 instructions; None if the system does not tell."""
    with suppress(OSError):
        flags = set(re.findall(r"[a-z0-9_]+", Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")))
        return bool(flags & {"avx512_bf16", "amx_bf16", "avx_ne_convert", "bf16"})
    return None


def _check_batches(model: Any, size: int, num: int, world_size: int, drop_last: bool) -> None:
    norm = next((type(part).__name__ for part in model.modules() if isinstance(part, BATCH_NORMS)), None)
    coupled = norm or (type(model).__name__ if model.min_batch_size > 1 else None)
    if coupled and size < max(2, model.min_batch_size):
        raise ValueError(f"{coupled} compares the examples of a batch, but batch_size is {size}: take at least 2.")
    last = -(-num // world_size) % size
    if last == 1 and not drop_last and any(isinstance(part, nn.BatchNorm1d) for part in model.modules()):
        raise ValueError(
            f"BatchNorm1d cannot take the last batch of an epoch, 1 example of {num}: set drop_last to true."
        )
