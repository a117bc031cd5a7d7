"""Checks of a run before it starts: its devices, the settings of its Trainer, the metrics that it monitors."""

from __future__ import annotations

import math
import os
import re
from typing import Any

import torch

from vae_zoo.cli.errors import nearest


def check_devices(accelerator: Any, devices: Any) -> None:
    """Refuse missing devices before a process is started for them, which would hang or fail later.

    Args:
        accelerator: The argument of the Trainer.
        devices: The argument of the Trainer: a number, a list of numbers, either as text, or ``auto``.

    Raises:
        ValueError: With the requested and the available devices.
    """
    if devices == "auto" or not (accelerator == "auto" or accelerator in ("cpu", "gpu", "cuda", "mps")):
        return
    if accelerator == "cpu" or not torch.accelerator.is_available():
        _check_cores(devices)
    else:
        _check_cards(devices, torch.accelerator.device_count())


def _check_cores(devices: Any) -> None:
    cores = os.cpu_count() or 1
    if not (str(devices).isdecimal() and 1 <= int(devices) <= cores):
        raise ValueError(f"trainer.devices must be between 1 and the {cores} CPU cores there are, got {devices}.")


def _check_cards(devices: Any, count: int) -> None:
    try:
        asked = _parsed(devices)
    except ValueError:
        raise ValueError(f"trainer.devices must be auto, a number or a list of numbers, got {devices}.") from None
    there = "is 1 device, 0" if count == 1 else f"are {count} devices, 0 to {count - 1}"
    if isinstance(asked, list):
        wrong = not asked or len(set(asked)) < len(asked) or not all(0 <= index < count for index in asked)
    else:
        wrong = asked != -1 and not 1 <= asked <= count
    if wrong:
        raise ValueError(f"trainer.devices: there {there}, got {devices}.")


def _parsed(devices: Any) -> int | list[int]:
    """A number of devices, -1 for all, or their numbers; as text, ``2`` is a number and ``2,`` a list."""
    if isinstance(devices, (list, tuple)):
        return [int(index) for index in devices]
    if isinstance(devices, str) and "," in devices:
        return [int(index) for index in devices.strip("[]").split(",") if index.strip()]
    return int(devices)


_LEAST = {"accumulate_grad_batches": 1, "check_val_every_n_epoch": 1, "gradient_clip_val": 0, "log_every_n_steps": 0}
_NOTHING = ("max_epochs", "max_steps", "limit_train_batches", "max_time")
_CLUSTER = ("MASTER_ADDR", "SLURM_JOB_ID", "TORCHELASTIC_RUN_ID", "LSB_JOBID", "OMPI_COMM_WORLD_SIZE")


def check_trainer(config: Any, verb: str) -> None:
    """Refuse settings of a run that would train nothing, divide by zero, or wait for processes that are not started.

    Args:
        config: Configuration of the verb.
        verb: ``fit``, ``validate``, ``test`` or ``predict``.

    Raises:
        ValueError: With the setting, its value and what to do.
    """
    trainer = config.trainer
    for name, least in _LEAST.items():
        value = trainer.get(name)
        if value is not None and not least <= value < math.inf:
            raise ValueError(f"trainer.{name} must be at least {least} and finite, got {value}.")
    interval = trainer.get("val_check_interval")
    if isinstance(interval, (int, float)) and not 0 < interval < math.inf:
        raise ValueError(f"trainer.val_check_interval must be positive and finite, got {interval}.")
    for name in _NOTHING if verb == "fit" else ():
        if trainer.get(name) == 0:
            raise ValueError(f"trainer.{name} 0 trains nothing: leave it out, or give at least 1.")
    if config.checkpoint.mode not in ("min", "max"):
        raise ValueError(f"checkpoint.mode must be min or max, got {config.checkpoint.mode}.")
    if isinstance(trainer.num_nodes, int) and trainer.num_nodes > 1 and not any(map(os.environ.get, _CLUSTER)):
        raise ValueError(
            f"trainer.num_nodes {trainer.num_nodes} would wait for ever: no launcher has set MASTER_ADDR; start the "
            "command on every node by torchrun or srun."
        )
    _check_accelerator(trainer.accelerator)


def _check_accelerator(name: Any) -> None:
    from lightning.pytorch.accelerators import AcceleratorRegistry

    if not isinstance(name, str) or name == "auto":
        return
    known = {key: AcceleratorRegistry[key]["accelerator"] for key in AcceleratorRegistry.available_accelerators()}
    there = [key for key, cls in known.items() if cls.is_available()]
    if name != "gpu" and name not in known:
        raise ValueError(f"trainer.accelerator: there is no {name}{nearest(name, known) or f', but {_list(there)}.'}")
    if name not in there and not (name == "gpu" and {"cuda", "mps"} & set(there)):
        raise ValueError(f"trainer.accelerator {name} is not available here: there is {_list(there)}.")


def _list(names: list[str]) -> str:
    return ", ".join(["auto", *names])


def check_linked(asked: Any, model: Any, names: tuple[str, ...]) -> None:
    """Refuse a given value that differs from that of the data, which would silently win.

    Args:
        asked: Requested class and arguments of the model.
        model: The model as built.
        names: Arguments linked from the data.

    Raises:
        ValueError: If there is such a value.
    """
    for name in names:
        given, used = (asked.get("init_args") or {}).get(name), model.recorded()["init_args"].get(name)
        given = list(given) if isinstance(given, (list, tuple)) else given
        if given is not None and given != used:
            raise ValueError(f"model.{name} follows from the data, which say {used}, not {given}: leave it out.")


_LATE = {"val/active_units", "val/informative_units", "epoch", "step"}
"""Metrics that are logged, but not by the sanity check before training."""


def check_monitors(trainer: Any, model: Any) -> None:
    """Refuse a monitor that nothing logs, before an epoch is spent.

    The training metrics of foreign classes are unknown: with those, only ``val/…`` is checked.

    Args:
        trainer: Trainer, after its sanity check.
        model: The model.

    Raises:
        ValueError: If a callback or the scheduler monitors a metric that is not logged.
    """
    validated = set(trainer.callback_metrics) | {
        name for callback in trainer.callbacks for name in getattr(callback, "val_curves", ())
    }
    trained = {name.replace("val/", "train/", 1) for name in validated}
    known, closed = sorted(validated | _LATE | trained), _closed(trainer, model)
    for watcher, monitor in _watched(trainer):
        if monitor not in known and (closed or monitor.startswith("val/")):
            there = nearest(monitor, known) or f": there are {', '.join(sorted(validated))}"
            raise ValueError(f"{watcher} monitors {monitor}, which nothing logs{there.rstrip('?')}.")


def check_intervals(trainer: Any, model: Any) -> None:
    """Refuse a monitor of a training metric whose first value would come after the first epoch, and with it the error.

    Args:
        trainer: Trainer, about to train.
        model: The model.

    Raises:
        ValueError: If a callback or the scheduler monitors such a metric.
    """
    every, num = trainer.log_every_n_steps, trainer.num_training_batches / trainer.accumulate_grad_batches
    if num > every - 1 or not _closed(trainer, model):
        return
    for watcher, monitor in _watched(trainer):
        if monitor.startswith("train/"):
            raise ValueError(
                f"{watcher} monitors {monitor}, which is logged every {every} steps, and an epoch has "
                f"{math.ceil(num)}: set trainer.log_every_n_steps to 1."
            )


def _watched(trainer: Any) -> list[tuple[str, str]]:
    found = [(type(callback).__name__, getattr(callback, "monitor", None)) for callback in trainer.callbacks]
    for callback in trainer.checkpoint_callbacks:
        name = getattr(callback, "filename", None) or ""
        found += [(f"the file name {name}", field) for field in re.findall(r"\{([^:}]+)", name)]
    for config in trainer.lr_scheduler_configs:
        if config.reduce_on_plateau:
            found.append((type(config.scheduler).__name__, config.monitor))
    return [(watcher, monitor) for watcher, monitor in found if isinstance(monitor, str)]


def _closed(trainer: Any, model: Any) -> bool:
    """Whether everything that logs belongs to the zoo or to Lightning."""
    parts = [model, *trainer.callbacks]
    return all(type(part).__module__.split(".")[0] in ("vae_zoo", "lightning") for part in parts)
