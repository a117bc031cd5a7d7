"""What the Trainer would take and only stumble over later, or not at all."""

from __future__ import annotations

import math
import os
from typing import Any

from vae_zoo.cli.errors import nearest

_LEAST = {"accumulate_grad_batches": 1, "check_val_every_n_epoch": 1, "gradient_clip_val": 0, "log_every_n_steps": 0}
_NOTHING = ("max_epochs", "max_steps", "limit_train_batches", "max_time")
_CLUSTER = ("MASTER_ADDR", "SLURM_JOB_ID", "TORCHELASTIC_RUN_ID", "LSB_JOBID", "OMPI_COMM_WORLD_SIZE")


def check_trainer(config: Any, verb: str) -> None:
    """Refuse settings of a run that would train nothing, divide by zero, or wait for processes nobody starts.

    Args:
        config: Configuration of the verb.
        verb: ``fit``, ``validate``, ``test`` or ``predict``.

    Raises:
        ValueError: With the setting, what came and what to do.
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
    """Refuse a value of the user's own where the data say another one, which would win without a word.

    Args:
        asked: What was asked for as the model, class and arguments.
        model: The model as it is built.
        names: Arguments that follow from the data.

    Raises:
        ValueError: If there is such a value.
    """
    for name in names:
        given, used = (asked.get("init_args") or {}).get(name), model.recorded()["init_args"].get(name)
        given = list(given) if isinstance(given, (list, tuple)) else given
        if given is not None and given != used:
            raise ValueError(f"model.{name} follows from the data, which say {used}, not {given}: leave it out.")
