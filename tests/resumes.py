"""Fits that a signal stops at any of their events, and that are resumed: for the tests and the benchmark of faults."""

from __future__ import annotations

import signal
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import torch
from helpers import Record, tiny, tiny_data
from lightning.pytorch import Callback, LightningDataModule, Trainer
from lightning.pytorch.callbacks import EMAWeightAveraging
from torch import Tensor
from torch.optim.lr_scheduler import ReduceLROnPlateau
from torch.utils.data import Dataset

from vae_zoo.callbacks import BestCheckpoint, CyclicalAnnealing, LastCheckpoint
from vae_zoo.callbacks.checkpointing.stopping import Stopped
from vae_zoo.checkpoints.files import CheckpointFiles
from vae_zoo.data import WorkerLoader
from vae_zoo.testing.subject import quiet_trainer

POINTS = 32  # of 4 epochs, each of 5 training and 3 validation batches


class Noisy(Dataset):
    """A user's own data set, whose examples are changed at random by the worker that fetches them."""

    def __init__(self, split: str) -> None:
        self.x = tiny_data().load(split).x.float() / 255

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, index: int) -> Tensor:
        return (self.x[index] + 0.1 * torch.rand(())).clamp(0, 1)


class Workers(LightningDataModule):
    """A user's own data module with two workers."""

    def train_dataloader(self) -> WorkerLoader:
        return WorkerLoader(Noisy("train"), batch_size=10, training=True, num_workers=2)

    def val_dataloader(self) -> WorkerLoader:
        return WorkerLoader(Noisy("val"), batch_size=3, num_workers=2)


SETTINGS: dict[str, Callable[[], dict[str, Any]]] = {
    "plain": dict,
    "rows that span a stop": lambda: {"log_every_n_steps": 3},
    "mid-epoch and plateau": lambda: {"val_check_interval": 3},
    "accumulation and plateau": lambda: {"accumulate_grad_batches": 2},
    "two workers": lambda: {"data": Workers()},
    "annealing and EMA": lambda: {
        "extra": [CyclicalAnnealing(num_epochs=1.5), EMAWeightAveraging(decay=0.9, use_buffers=False)]
    },
}


class StopAt(Callback):
    """Sends a signal at an event, a batch of training or of validation, counted from the start of this fit."""

    def __init__(self, event: int, signum: int = signal.SIGTERM) -> None:
        self.left, self.signum = event, signum

    def on_train_batch_start(self, *_: Any) -> None:
        if self.left == 0:
            signal.raise_signal(self.signum)
        self.left -= 1

    on_validation_batch_start = on_train_batch_start


def fit(folder: Path, setting: str, *, stop: int = -1, resume: bool = False, seed: int = 3) -> Record:
    """Fit in a setting, stopped at an event or not, anew or from the last checkpoint in the folder."""
    torch.manual_seed(seed)
    options = SETTINGS[setting]()
    data, extra = options.pop("data", None) or tiny_data(), options.pop("extra", [])
    plateau = partial(ReduceLROnPlateau, patience=0, factor=0.5, threshold=0.05)
    model = tiny(scheduler=plateau if "plateau" in setting else None)
    best = BestCheckpoint(dirpath=folder, monitor="val/elbo", mode="max")
    last, logger = LastCheckpoint(dirpath=folder), Record()
    trainer: Trainer = quiet_trainer(
        folder,
        callbacks=[StopAt(stop), *extra, best, last],
        plugins=[CheckpointFiles()],
        enable_checkpointing=True,
        logger=logger,
        max_epochs=4,
        **options,
    )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Checkpoint directory .* exists")
        path = folder / "last.ckpt" if resume else None
        if stop < 0:
            trainer.fit(model, data, ckpt_path=path, weights_only=True)
        else:
            with suppress(Stopped):  # the run may be over before the event
                trainer.fit(model, data, ckpt_path=path, weights_only=True)
    return logger


def chain(folder: Path, setting: str, stops: Sequence[int]) -> dict[str, dict[int, float]]:
    """Curves of a fit that is stopped and resumed again and again, each stop so many events after the last."""
    folder.mkdir(parents=True, exist_ok=True)
    curves: dict[str, dict[int, float]] = {"train/loss": {}, "val/loss": {}}
    for number, stop in enumerate([*stops, -1]):
        logger = fit(folder, setting, stop=stop, resume=number > 0, seed=3 if number == 0 else 99)
        for name in curves:
            curves[name] |= logger.curve(name)
    return curves


def differences(one: Path, other: Path, curves: Sequence[dict[str, dict[int, float]]]) -> list[str]:
    """What is not bitwise the same about the last checkpoints in two folders, and the curves of their runs."""
    a, b = (torch.load(folder / "last.ckpt", weights_only=True) for folder in (one, other))
    names = ("state_dict", "current_model_state", "averaging_state", "optimizer_states", "lr_schedulers", "pending")
    found = [name for name in names if not same(a.get(name), b.get(name))]
    places = [saved["loops"]["fit_loop"]["state_dict"]["combined_loader"] for saved in (a, b)]
    found += ["place"] if places[0] != places[1] or a["global_step"] != b["global_step"] else []
    found += [name for name in curves[0] if curves[0][name] != curves[1][name]]
    best = [
        [state["best_model_score"] for state in saved["callbacks"].values() if "best_model_score" in state]
        for saved in (a, b)
    ]
    return found + ([] if same(*best) else ["best"])


def same(a: Any, b: Any) -> bool:
    """Whether nested data are equal to the last bit."""
    if isinstance(a, Tensor):
        return isinstance(b, Tensor) and torch.equal(a, b)
    if isinstance(a, dict):
        return isinstance(b, dict) and a.keys() == b.keys() and all(same(v, b[k]) for k, v in a.items())
    if isinstance(a, (list, tuple)):
        return isinstance(b, (list, tuple)) and len(a) == len(b) and all(map(same, a, b))
    return bool(a == b)
