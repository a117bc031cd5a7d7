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
_RATE = 1e-3
"""Learning rate of an optimizer that is not given."""


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


def override_states(checkpoint: dict[str, Any], saved: Any, asked: Any) -> None:
    """Let what a resumed run asks of its optimizer win over what the checkpoint remembers of the old one.

    Lightning restores the settings of the old optimizer with its state, the learning rate among them, so that a new
    one would be taken without a word and not used. What is asked for as before keeps its place in a schedule.

    Args:
        checkpoint: What is being loaded; its states of optimizer and scheduler are changed.
        saved: Arguments of the model of the checkpoint, as plain data.
        asked: Arguments of the model of this run, as plain data.
    """
    states = checkpoint.get("optimizer_states") or []
    old, new = ({"optimizer": None, "scheduler": None, **arguments} for arguments in (saved, asked))
    if _class(old["optimizer"]) != _class(new["optimizer"]):
        checkpoint["optimizer_states"], checkpoint["lr_schedulers"] = [], []
        return
    was, now = (_settings(arguments["optimizer"]) for arguments in (old, new))
    changed = {name: value for name, value in now.items() if name not in was or was[name] != value}
    if old["scheduler"] != new["scheduler"]:  # it starts anew, from the rate that is asked for
        checkpoint["lr_schedulers"] = []
        changed["lr"] = now.get("lr", _RATE)
    for group in [group for state in states for group in state["param_groups"]]:
        shared = math.isclose(group.get("initial_lr", group["lr"]), was["lr"])  # a discriminator's is its own
        if "lr" in changed and shared:
            _set_rate(group, checkpoint.get("lr_schedulers") or [], changed["lr"])
        group.update({name: value for name, value in changed.items() if name in group and name != "lr"})


def _set_rate(group: dict[str, Any], schedulers: list[dict[str, Any]], rate: float) -> None:
    start = group.pop("initial_lr", group["lr"])
    group["lr"] = group["lr"] * rate / start if schedulers else rate
    for scheduler in schedulers:
        group["initial_lr"] = rate
        for name in ("base_lrs", "_last_lr"):
            if name in scheduler:
                scheduler[name] = [value * rate / start for value in scheduler[name]]


def _class(recorded: Any) -> str:
    return str(recorded["class_path"]) if isinstance(recorded, dict) else "torch.optim.Adam"


def _settings(recorded: Any) -> dict[str, Any]:
    settings = dict((recorded or {}).get("init_args") or {}) if isinstance(recorded, dict) or recorded is None else {}
    return {"lr": _RATE, **settings}
