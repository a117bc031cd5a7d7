"""Checks of a user's optimizer and scheduler, before a step is taken with them."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from vae_zoo.hparams import plain

_SOON = 3


def check_rates(recorded: Any) -> None:
    """Refuse a learning rate that learns nothing, or gives NaN, and any other setting that is no number.

    Args:
        recorded: Optimizer or scheduler as it was given: a class or a partial of one.

    Raises:
        ValueError: If the learning rate is not positive, or a number is not finite.
    """
    settings = plain(recorded) if recorded is not None else None
    if not isinstance(settings, dict):
        return
    for name, value in (settings.get("init_args") or {}).items():
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"{name} of {_name(settings)} must be finite, got {value}.")
        if name in ("lr", "max_lr", "base_lr") and isinstance(value, (int, float)) and value <= 0:
            raise ValueError(f"{name} of {_name(settings)} must be positive, got {value}.")


def rehearse(make: Callable[..., Optimizer], make_scheduler: Callable[..., Any] | None, groups: list[Any]) -> None:
    """Take some steps with a parameter that does not matter: what cannot work fails before training, not in it.

    Args:
        make: Makes the optimizer.
        make_scheduler: Makes the scheduler.
        groups: Parameter groups of the model.

    Raises:
        ValueError: If the optimizer or the scheduler cannot work.
    """
    with warnings.catch_warnings(), torch.enable_grad():
        warnings.simplefilter("ignore")
        optimizer = make([{**group, "params": [nn.Parameter(torch.zeros(2, 2))]} for group in groups])
        scheduler = make_scheduler(optimizer) if make_scheduler else None
        try:
            for _ in range(_SOON):
                optimizer.step(lambda: float(_loss(optimizer)))
                if isinstance(scheduler, torch.optim.lr_scheduler.ReduceLROnPlateau):
                    scheduler.step(0.0)
                elif scheduler is not None:
                    scheduler.step()
        except (ArithmeticError, RuntimeError) as error:
            what = type(optimizer if scheduler is None else scheduler).__name__
            raise ValueError(f"{what} cannot take a step with these settings: {error}.") from error
    for group in optimizer.param_groups:
        if not 0 <= float(group["lr"]) < math.inf:
            raise ValueError(f"{type(optimizer).__name__} has the learning rate {float(group['lr'])}.")


def _loss(optimizer: Optimizer) -> torch.Tensor:
    optimizer.zero_grad()
    loss = sum(p.square().sum() for group in optimizer.param_groups for p in group["params"])
    assert isinstance(loss, torch.Tensor)
    loss.backward()
    return loss


def _name(settings: dict[str, Any]) -> str:
    return str(settings["class_path"]).rpartition(".")[2]
