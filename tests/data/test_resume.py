"""Runs of a real Trainer: their batches, and that a resumed run has those of the uninterrupted one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer, seed_everything
from short import few

from vae_zoo.data import Digits
from vae_zoo.typing import Batch

NUM_BATCHES = 7  # 1397 digits in batches of 200


class Recorder(LightningModule):
    """A model of one weight that notes what it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(64, 1)
        self.seen: list[tuple[int, list[int], float]] = []
        self.evaluated: list[int] = []

    def training_step(self, batch: Batch, batch_idx: int) -> torch.Tensor:
        self.seen.append((batch.key, batch.index.tolist(), float(batch.x.double().sum())))
        return self.layer(batch.x.flatten(1)).square().mean()

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        self.evaluated += batch.index.tolist()

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        self.evaluated += batch.index.tolist()

    def predict_step(self, batch: Batch, batch_idx: int) -> torch.Tensor:
        return batch.index

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters())


class SaveAlways(Callback):
    """Saves after every step, every validation and every epoch."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def on_train_batch_end(self, trainer: Trainer, *args: Any) -> None:
        trainer.save_checkpoint(self.folder / f"step{trainer.global_step}.ckpt")

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not trainer.sanity_checking:
            trainer.save_checkpoint(self.folder / f"val{trainer.current_epoch}.ckpt")

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        trainer.save_checkpoint(self.folder / f"epoch{trainer.current_epoch}.ckpt")


def trainer(folder: Path, **kwargs: Any) -> Trainer:
    defaults = {"max_epochs": 3, "accelerator": "cpu", "devices": 1, "logger": False, "default_root_dir": folder}
    quiet = {"enable_progress_bar": False, "enable_model_summary": False}
    return Trainer(**{**defaults, "enable_checkpointing": False, **quiet, **kwargs})


def digits(**kwargs: Any) -> Digits:
    return Digits(**{"batch_size": 200, "binarization": "dynamic", **kwargs})


def run(folder: Path, *, ckpt_path: Path | None = None, **kwargs: Any) -> Recorder:
    seed_everything(3, verbose=False)
    model = Recorder()
    trainer(folder, **kwargs).fit(model, datamodule=digits(), ckpt_path=ckpt_path, weights_only=True)
    return model


@pytest.fixture(autouse=True)
def forget_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PL_GLOBAL_SEED", "0")
    monkeypatch.setenv("PL_SEED_WORKERS", "0")


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> tuple[Recorder, Path]:
    """An uninterrupted run, and its checkpoints after every step and every epoch."""
    folder = tmp_path_factory.mktemp("run")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PL_GLOBAL_SEED", "0")
        return run(folder, callbacks=[SaveAlways(folder)]), folder


def test_epochs_are_orders_of_all_examples(saved: tuple[Recorder, Path]) -> None:
    seen = saved[0].seen
    epochs = [seen[start : start + NUM_BATCHES] for start in range(0, len(seen), NUM_BATCHES)]
    orders = [[number for _, index, _ in epoch for number in index] for epoch in epochs]
    assert len(orders) == 3
    assert all(sorted(order) == list(range(1397)) for order in orders)
    assert orders[0] != orders[1] != orders[2]
    assert len({key for key, *_ in seen}) == len(seen)


@pytest.mark.parametrize("length", [{"max_epochs": 3}, {"max_epochs": -1, "max_steps": 21}])
@pytest.mark.parametrize("step", few([1, 3, 6, 7, 8, 13, 14, 15, 20], 3))
def test_resumes_after_any_step(
    saved: tuple[Recorder, Path], tmp_path: Path, step: int, length: dict[str, int]
) -> None:
    whole, folder = saved
    resumed = run(tmp_path, ckpt_path=folder / f"step{step}.ckpt", **length)
    assert resumed.seen == whole.seen[step:]
    assert torch.equal(resumed.layer.weight, whole.layer.weight)


@pytest.mark.parametrize("length", [{"max_epochs": 3}, {"max_epochs": -1, "max_steps": 21}])
@pytest.mark.parametrize("kind", ["epoch", "val"])
@pytest.mark.parametrize("epoch", [0, 1])
def test_resumes_at_the_end_of_an_epoch(
    saved: tuple[Recorder, Path], tmp_path: Path, kind: str, epoch: int, length: dict[str, int]
) -> None:
    whole, folder = saved
    resumed = run(tmp_path, ckpt_path=folder / f"{kind}{epoch}.ckpt", **length)
    assert resumed.seen == whole.seen[(epoch + 1) * NUM_BATCHES :]


# Not from an epoch's last step: Lightning miscounts the epochs after such a resume, whatever the loader does.
@pytest.mark.parametrize("length", [{"max_epochs": 3}, {"max_epochs": -1, "max_steps": 21}])
@pytest.mark.parametrize(("first", "second"), [("step4", 11), ("epoch0", 11), ("epoch0", 14)])
def test_resumes_twice(
    saved: tuple[Recorder, Path], tmp_path: Path, first: str, second: int, length: dict[str, int]
) -> None:
    whole, folder = saved
    run(tmp_path, ckpt_path=folder / f"{first}.ckpt", callbacks=[SaveAlways(tmp_path)], **length)
    assert run(tmp_path, ckpt_path=tmp_path / f"step{second}.ckpt", **length).seen == whole.seen[second:]


@pytest.mark.parametrize(
    ("limits", "num_steps"),
    [({"limit_train_batches": 2}, 6), ({"limit_train_batches": 0.5}, 9), ({"fast_dev_run": 2}, 2)],
)
def test_limits(tmp_path: Path, limits: dict[str, Any], num_steps: int) -> None:
    seen = run(tmp_path, **limits).seen
    assert len(seen) == num_steps
    assert len({key for key, *_ in seen}) == num_steps


def test_overfitting_repeats_the_same_examples(tmp_path: Path) -> None:
    model = run(tmp_path, overfit_batches=2)
    orders = [index for _, index, _ in model.seen]
    assert orders[0:2] == orders[2:4] == orders[4:6]
    assert orders[0] == list(range(200))


def test_overfitting_resumes(tmp_path: Path) -> None:
    whole = run(tmp_path, overfit_batches=2, callbacks=[SaveAlways(tmp_path)])
    for step in (2, 3):
        resumed = run(tmp_path, overfit_batches=2, ckpt_path=tmp_path / f"step{step}.ckpt")
        assert resumed.seen == whole.seen[step:]


def test_evaluation_sees_each_example_once(tmp_path: Path) -> None:
    model, data = Recorder(), digits(eval_batch_size=64)
    trainer(tmp_path).validate(model, datamodule=data, verbose=False)
    trainer(tmp_path).test(model, datamodule=data, verbose=False)
    assert model.evaluated == [*range(200), *range(200)]
    predicted = trainer(tmp_path).predict(model, datamodule=data)
    assert torch.cat(predicted).tolist() == list(range(200))


def test_validation_is_the_same_at_every_epoch(tmp_path: Path) -> None:
    assert run(tmp_path, num_sanity_val_steps=0, val_check_interval=3).evaluated == [*range(200)] * 6
