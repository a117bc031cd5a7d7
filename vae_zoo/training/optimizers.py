"""Checks of the user's optimizer and scheduler before the first step."""

from __future__ import annotations

import inspect
import math
import warnings
from collections.abc import Callable
from typing import Any

import torch
from lightning.pytorch.utilities.rank_zero import rank_zero_info
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau

from vae_zoo.checkpoints.hyperparameters import plain
from vae_zoo.training.trainers import steps_of_epoch

_SOON = 3
_LONGEST = 10_000
"""Largest number of rehearsed steps of a scheduler."""

_LENGTHS = ("total_steps", "total_iters", "T_max", "T_0", "step_size", "step_size_up", "milestones")
"""Arguments of schedulers that are numbers of steps."""

_RATE = 1e-3
"""Default learning rate."""


def check_rates(recorded: Any) -> None:
    """Refuse a learning rate of 0 or less, and settings that are not finite.

    Args:
        recorded: Optimizer or scheduler as given: a class or a partial of one.

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


def rate_of(recorded: Any) -> float | None:
    """The learning rate of an optimizer as given, or the default of its class; None if it has none."""
    if recorded is None:
        return _RATE
    settings = plain(recorded)
    if not isinstance(settings, dict):
        return None
    rate = (settings.get("init_args") or {}).get("lr")
    if rate is None:
        cls = recorded.args[-1] if getattr(recorded, "args", ()) else getattr(recorded, "func", recorded)
        rate = getattr(inspect.signature(cls).parameters.get("lr"), "default", None)
    return None if rate is None or rate is inspect.Parameter.empty else float(rate)


def rehearse(
    make: Callable[..., Optimizer],
    make_scheduler: Callable[..., Any] | None,
    groups: list[Any],
    num_epochs: int = 1,
) -> None:
    """Take trial steps with a dummy parameter, so that invalid settings fail before training.

    Args:
        make: Makes the optimizer.
        make_scheduler: Makes the scheduler.
        groups: Parameter groups of the model.
        num_epochs: Steps of the scheduler.

    Raises:
        ValueError: If the optimizer or the scheduler cannot work.
    """
    with warnings.catch_warnings(), torch.enable_grad():
        warnings.simplefilter("ignore")
        optimizer = make([{**group, "params": [nn.Parameter(torch.zeros(2, 2))]} for group in groups])
        scheduler = make_scheduler(optimizer) if make_scheduler else None
        metric = [0.0] if isinstance(scheduler, ReduceLROnPlateau) else []
        try:
            for _ in range(_SOON):
                optimizer.step(lambda: float(_loss(optimizer)))
            for _ in range(num_epochs if scheduler is not None else 0):
                scheduler.step(*metric)  # type: ignore[union-attr]
        except (ArithmeticError, RuntimeError) as error:
            what = type(optimizer if scheduler is None else scheduler).__name__
            raise ValueError(f"{what} cannot take a step with these settings: {error}.") from error
    for group in optimizer.param_groups:
        if not 0 <= float(group["lr"]) < math.inf:
            raise ValueError(f"{type(optimizer).__name__} has the learning rate {float(group['lr'])}.")


def check_length(trainer: Any, make: Any, make_scheduler: Any, groups: list[Any]) -> None:
    """Refuse a scheduler that fails before the end of the run, and warn of one whose first change comes after it.

    Args:
        trainer: The trainer, which is about to train.
        make: Makes the optimizer.
        make_scheduler: Makes the scheduler; None if there is none.
        groups: Parameter groups of the model.

    Raises:
        ValueError: If it fails.
    """
    per_epoch = steps_of_epoch(trainer)
    limits = [trainer.max_epochs, math.ceil(trainer.max_steps / per_epoch)]
    epochs = min((limit for limit in limits if limit is not None and limit > 0), default=0)
    if make_scheduler is None or not epochs or getattr(trainer, "fast_dev_run", False):
        return
    settings: Any = plain(make_scheduler)
    given = (settings.get("init_args") if isinstance(settings, dict) else None) or {}
    lengths = {name: given[name] for name in _LENGTHS if given.get(name)}
    name = _name(settings) if isinstance(settings, dict) else str(settings)
    try:
        rehearse(make or torch.optim.Adam, make_scheduler, groups, min(epochs, _LONGEST))
    except ValueError as error:
        said = " and ".join(f"{key} {value}" for key, value in lengths.items()) or "its settings"
        raise ValueError(
            f"model.scheduler: {name} with {said} fails within the {epochs} epochs of the run, one step each: {error}"
        ) from error
    late = {key: min(value) if isinstance(value, list) else value for key, value in lengths.items()}
    if beyond := [f"{key} {value:g}" for key, value in late.items() if value > epochs]:
        rank_zero_info(f"{name} is stepped once an epoch, {epochs} times; after the end: {' and '.join(beyond)}.")


def check_plateaus(trainer: Any) -> None:
    """Refuse a scheduler that monitors a validation in a fit without validation.

    Args:
        trainer: The trainer, which is about to train.

    Raises:
        ValueError: If there is one.
    """
    for config in trainer.lr_scheduler_configs:
        if config.reduce_on_plateau and str(config.monitor).startswith("val/") and not trainer.enable_validation:
            name = type(config.scheduler).__name__
            raise ValueError(f"model.scheduler: {name} watches {config.monitor}, but the run has no validation.")


def annealings(trainer: Any) -> list[Any]:
    """Callbacks that anneal the weight of the divergence."""
    return [callback for callback in trainer.callbacks if hasattr(callback, "rising")]


def _loss(optimizer: Optimizer) -> torch.Tensor:
    optimizer.zero_grad()
    loss = sum(p.square().sum() for group in optimizer.param_groups for p in group["params"])
    assert isinstance(loss, torch.Tensor)
    loss.backward()
    return loss


def _name(settings: dict[str, Any]) -> str:
    return str(settings["class_path"]).rpartition(".")[2]


def override_states(checkpoint: dict[str, Any], saved: Any, asked: Any) -> None:
    """Let new optimizer settings of a resumed run override those in the checkpoint.

    Lightning restores the settings of the old optimizer with its state, including the learning rate, so that new
    settings would be silently ignored. Unchanged settings keep their position in a schedule.

    Args:
        checkpoint: Loaded checkpoint; its states of optimizer and scheduler are changed.
        saved: Arguments of the model in the checkpoint, as plain data.
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
    for position, group in [place for state in states for place in enumerate(state["param_groups"])]:
        start = group.get("initial_lr", group.get("rested", group["lr"]))  # "rested" is that of FitCodePrior
        if "lr" in changed and math.isclose(start, was["lr"]):  # a discriminator's is its own
            _set_rate(group, position, checkpoint.get("lr_schedulers") or [], changed["lr"])
        group.update({name: value for name, value in changed.items() if name in group and name != "lr"})


def _set_rate(group: dict[str, Any], position: int, schedulers: list[dict[str, Any]], rate: float) -> None:
    now = "rested" if group.get("rested") else "lr"
    start = group.pop("initial_lr", group[now])
    group[now] = group[now] * rate / start if schedulers else rate
    for scheduler in schedulers:
        group["initial_lr"] = rate
        for name in ("base_lrs", "_last_lr"):
            if name in scheduler:
                own = {position: rate / start}  # and no other group's
                scheduler[name] = [value * own.get(n, 1.0) for n, value in enumerate(scheduler[name])]


def _class(recorded: Any) -> str:
    return str(recorded["class_path"]) if isinstance(recorded, dict) else "torch.optim.Adam"


def _settings(recorded: Any) -> dict[str, Any]:
    settings = dict((recorded or {}).get("init_args") or {}) if isinstance(recorded, dict) or recorded is None else {}
    return {"lr": _RATE, **settings}
