"""The contenders that run under Lightning's Trainer: vae_zoo's models, and what its users write without them."""

from __future__ import annotations

import contextlib
import logging
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from benchmarks.contenders import WARM, ByHand, Run, torchvision_loader
from benchmarks.work import Clock, Work
from vae_zoo.data import DataModule, Split
from vae_zoo.models import MLPVAE, ConvVAE


class Timer(Callback):
    """Starts the clock after the first steps and stops it after the last."""

    def __init__(self, num: int) -> None:
        self.num, self.clock = num, Clock()

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if batch_idx + 1 == WARM:
            self.clock.start()
        elif batch_idx + 1 == WARM + self.num:
            self.clock.stop()

    def on_validation_start(self, trainer: Trainer, pl_module: Any) -> None:
        self.clock.start()

    def on_validation_end(self, trainer: Trainer, pl_module: Any) -> None:
        self.clock.stop()


def fit(model: LightningModule, num: int, device: torch.device, *, precision: Any = "32-true", **data: Any) -> Clock:
    """Train for some steps under the Trainer, with its logger and without what draws and saves."""
    timer = Timer(num)
    with trainer(device, timer, precision=precision, max_steps=WARM + num) as runner:
        runner.fit(model, **data)
    return timer.clock


def validate(model: LightningModule, device: torch.device, *, precision: Any = "32-true", **data: Any) -> Clock:
    """One pass over a split under the Trainer."""
    timer = Timer(0)
    with trainer(device, timer, precision=precision) as runner:
        runner.validate(model, verbose=False, **data)
    return timer.clock


@contextlib.contextmanager
def trainer(device: torch.device, *callbacks: Callback, **kwargs: Any) -> Iterator[Trainer]:
    """A Trainer that says nothing, with the logger a run has by default."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield Trainer(
            default_root_dir=folder,
            accelerator="cpu" if device.type == "cpu" else "gpu",
            devices=kwargs.pop("devices", 1),
            callbacks=list(callbacks),
            enable_progress_bar=False,
            enable_model_summary=False,
            enable_checkpointing=False,
            limit_val_batches=kwargs.pop("limit_val_batches", 1.0 if "max_steps" not in kwargs else 0),
            **kwargs,
        )


class Grey(DataModule):
    """Images that are in memory already, by default in batches of one size for training and evaluation."""

    def __init__(self, *, x: Tensor, batch_size: int, **kwargs: Any) -> None:
        super().__init__(batch_size=batch_size, **{"eval_batch_size": batch_size, **kwargs})
        self.x = x

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.x.shape[1:])

    def dataset(self, split: Any) -> Split:
        return Split(self.x)


def zoo(
    work: Work,
    device: torch.device,
    *,
    precision: str = "32-true",
    matmul: str = "highest",
    data: Mapping[str, Any] = {},  # only read
    **options: Any,
) -> Run:
    """vae_zoo's model and data module under the stock Trainer."""
    module = model(work, **options)
    loaded = Grey(x=work.images(), batch_size=work.batch_size, **data)

    def run(num: int) -> Clock:
        with matmul_precision(matmul):
            return fit(module, num, device, precision=precision, datamodule=loaded)

    return run


def zoo_evaluation(work: Work, device: torch.device, **batches: Any) -> Run:
    """The bound of a test set, by vae_zoo."""
    module, data = model(work), Grey(x=work.images("test"), batch_size=work.batch_size, **batches)
    return lambda _: validate(module, device, datamodule=data)


def model(work: Work, **options: Any) -> Any:
    """vae_zoo's model of the work."""
    cls = ConvVAE if work.conv else MLPVAE
    return cls(shape=work.shape, latent_dim=work.latent_dim, **work.networks(), **options)


@contextlib.contextmanager
def matmul_precision(precision: str) -> Iterator[None]:
    """Precision of float32 matrix products, put back afterwards."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(precision)
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


class Stock(LightningModule):
    """What Lightning's users write: the loss by hand, three log calls a step."""

    def __init__(self, work: Work) -> None:
        super().__init__()
        self.vae = ByHand(work)

    def step(self, batch: Any, stage: str) -> Tensor:
        reconstruction, divergence = self.vae.terms(batch[0])
        loss = reconstruction + divergence
        self.log(f"{stage}/loss", loss, prog_bar=True)
        self.log(f"{stage}/reconstruction", reconstruction)
        self.log(f"{stage}/kl", divergence)
        return loss

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return self.step(batch, "train")

    def validation_step(self, batch: Any, batch_idx: int) -> Tensor:
        return self.step(batch, "val")

    def configure_optimizers(self) -> Any:
        return torch.optim.Adam(self.parameters(), lr=1e-3)


def stock_torchvision(work: Work, device: torch.device) -> Run:
    """Stock Lightning over torchvision's data set and transforms."""
    model, loader = Stock(work), torchvision_loader(work)
    return lambda num: fit(model, num, device, train_dataloaders=loader)


def stock_tensors(work: Work, device: torch.device) -> Run:
    """Stock Lightning over a TensorDataset."""
    model, loader = Stock(work), _tensors(work, "train")
    return lambda num: fit(model, num, device, train_dataloaders=loader)


def stock_evaluation(work: Work, device: torch.device) -> Run:
    """The bound of a test set, by stock Lightning over a TensorDataset with three log calls a step."""
    model, loader = Stock(work), _tensors(work, "test")
    return lambda _: validate(model, device, dataloaders=loader)


def _tensors(work: Work, split: str) -> Any:
    x = work.images(split).float() / 255
    return DataLoader(TensorDataset(x), work.batch_size, shuffle=split == "train")
