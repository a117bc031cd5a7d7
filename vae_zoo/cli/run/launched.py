"""Processes of one run that another program has started: torchrun, or srun of SLURM."""

from __future__ import annotations

import os
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

_RUNS = count()


def torchrun() -> bool:
    """Whether torchrun has started this process, with others."""
    return "TORCHELASTIC_RUN_ID" in os.environ and int(os.environ.get("WORLD_SIZE", 1)) > 1


def srun() -> bool:
    """Whether srun has started this process, with others, and not for a shell to work in."""
    interactive = os.environ.get("SLURM_JOB_NAME") in ("bash", "interactive")
    return "SLURM_PROCID" in os.environ and int(os.environ.get("SLURM_NTASKS", 1)) > 1 and not interactive


def rank() -> int:
    """Number of this process among those that another program has started; 0 without one."""
    return int(os.environ["RANK"]) if torchrun() else int(os.environ["SLURM_PROCID"]) if srun() else 0


def agreed(root: Path, name: str, claim: Callable[[Path, str], Path]) -> Path:
    """The folder of a run, the same in all of its processes; the first of them makes it.

    Args:
        root: Folder of runs.
        name: What its name begins with.
        claim: Makes a new folder under the one, whose name begins with the other.

    Raises:
        FileExistsError: If a job of SLURM has run in the folder before.
    """
    if torchrun():
        return _by_store(root, name, claim)
    if srun():  # before its processes can speak to each other: a name that all of them know
        job = (os.environ.get(f"SLURM_{key}") for key in ("JOB_ID", "STEP_ID", "RESTART_COUNT"))
        path = root / "_".join([name, *filter(None, job)])
        if rank() == 0:
            path.mkdir(parents=True)
        return path
    return claim(root, name)


def _by_store(root: Path, name: str, claim: Callable[[Path, str], Path]) -> Path:
    from torch.distributed import TCPStore

    store = TCPStore(os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]), is_master=False)
    key = f"vae_zoo/folder/{os.environ.get('TORCHELASTIC_RESTART_COUNT', 0)}/{next(_RUNS)}"
    if rank() == 0:
        path = claim(root, name)
        store.set(key, str(path.absolute()))
        return path
    return Path(store.get(key).decode())


def fit_in(trainer: Any) -> None:
    """Use the devices and nodes that torchrun has started processes for, unless the trainer's settings name others.

    Args:
        trainer: Settings of the trainer, which are changed.
    """
    if torchrun() and trainer.devices == "auto":
        local = int(os.environ["LOCAL_WORLD_SIZE"])
        trainer.devices = local
        if trainer.num_nodes == 1:
            trainer.num_nodes = int(os.environ["WORLD_SIZE"]) // local
