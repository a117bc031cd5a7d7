"""Every model of the zoo under the Trainer: seeds, resumes, curves, options and optimizers."""

from __future__ import annotations

import math
import os
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import (
    MODELS,
    SHAPE,
    Batches,
    Record,
    build,
    fit,
    quiet_trainer,
    same_weights,
    small,
    tiny,
    tiny_data,
)
from lightning.pytorch.callbacks import ModelCheckpoint
from short import few
from torch import Tensor

from vae_zoo.callbacks import CyclicalAnnealing, LinearAnnealing
from vae_zoo.data import Digits, Sprites
from vae_zoo.models import AE, IWAE, NVAE, VAE, VQVAE, Autoencoder, ConditionalVAE, ConvVAE, ExemplarVAE, VaDE
from vae_zoo.nn import Schedule
from vae_zoo.system.devices import SEARCH, look_for_devices_cheaply
from vae_zoo.system.seeding import seed_all

some_models = pytest.mark.parametrize("cls", few(MODELS, 2, VQVAE))


@some_models
class TestFit:
    def test_two_runs_with_one_seed(
        self, cls: type[Autoencoder], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        runs = []
        for seed in (1, 1, 2):
            monkeypatch.setenv("PL_GLOBAL_SEED", str(seed))
            runs.append(
                fit(tmp_path, cls)[0] if cls is not ConvVAE else fit(tmp_path, cls, kwargs={"latent_dim": 3})[0]
            )
        assert same_weights(runs[0], runs[1])
        assert not same_weights(runs[0], runs[2])  # the same initial weights, but other noise and another order

    def test_validate_test_and_predict(self, cls: type[Autoencoder], tmp_path: Path, data: Sprites) -> None:
        model, trainer = build(cls), quiet_trainer(tmp_path)
        (val,) = trainer.validate(model, data, verbose=False)
        (test,) = trainer.test(model, data, verbose=False)
        assert {k.removeprefix("val/") for k in val} == {k.removeprefix("test/") for k in test}
        assert cls.monitor in val
        assert trainer.validate(model, data, verbose=False) == [val]
        predictions = trainer.predict(model, data)
        model.eval()
        x = data.load("test").x.float() / 255
        c = data.load("test").y
        for name, expected in (("z", model.embed(x, c)), ("reconstruction", model.reconstruct(x, c))):
            torch.testing.assert_close(torch.cat([p[name] for p in predictions]), expected)
        assert (torch.cat([p["z_scale"] for p in predictions]) >= 0).all()


MID_EPOCH, END_OF_EPOCH, LATER = 3, 5, 7  # of 5 steps an epoch


@pytest.mark.parametrize("cls", few([AE, VAE, IWAE], 1, VAE))
@pytest.mark.parametrize("step", few([MID_EPOCH, END_OF_EPOCH, LATER], 1, MID_EPOCH))
@pytest.mark.parametrize("annealed", [False, True], ids=["plain", "annealed"])
def test_a_resumed_run_is_the_uninterrupted_one(
    cls: type[Autoencoder], step: int, annealed: bool, tmp_path: Path
) -> None:
    if annealed and cls is AE:
        pytest.skip("it has no divergence to anneal")

    def callbacks() -> list[Any]:
        anneal = [LinearAnnealing(num_steps=12), CyclicalAnnealing(num_epochs=1.5)][step % 2]
        save = ModelCheckpoint(
            tmp_path / "saved", filename="{step}", every_n_train_steps=1, save_top_k=-1, auto_insert_metric_name=False
        )
        return [anneal, save] if annealed else [save]

    logger = Record()
    options = {"max_epochs": 3, "enable_checkpointing": True, "log_every_n_steps": 1}
    whole, _ = fit(tmp_path, cls, callbacks=callbacks(), logger=logger, **options)
    again = Record()
    resumed, trainer = fit(
        tmp_path,
        cls,
        callbacks=callbacks(),
        ckpt_path=tmp_path / "saved" / f"{step}.ckpt",
        seed=99,
        logger=again,
        **options,
    )
    assert trainer.global_step == 15
    assert same_weights(whole, resumed)
    curve = logger.curve("train/loss")
    assert len(curve) == 15
    assert again.curve("train/loss") == {s: v for s, v in curve.items() if s >= step}
    assert again.curve("val/loss") == {s: v for s, v in logger.curve("val/loss").items() if s >= step}


def test_resume_within_an_epoch_of_digits(tmp_path: Path) -> None:
    def run(**kwargs: Any) -> VAE:
        save = ModelCheckpoint(
            tmp_path, filename="{step}", every_n_train_steps=3, save_top_k=-1, auto_insert_metric_name=False
        )
        on = {"callbacks": [save], "enable_checkpointing": True, "max_epochs": 2, "limit_val_batches": 0}
        return fit(tmp_path, VAE, data=Digits(batch_size=300, binarization="dynamic"), **{**on, **kwargs})[0]

    whole = run()
    assert same_weights(whole, run(ckpt_path=tmp_path / "3.ckpt", seed=8))


def plain_loop(model: Autoencoder, data: Sprites, num_epochs: int, accumulate: int = 1) -> tuple[list[Any], list[Any]]:
    """What a fit should do, without Lightning: losses of every batch, and those of each validation."""
    model.likelihood.initialise(data.examples("train"))
    model.initialise(data.examples("train"))
    optimizer, loader = model.configure_optimizers(), data.train_dataloader()
    model.initialise(data.examples("train"))
    if isinstance(model, ConditionalVAE):
        counts = data.load("train").y.bincount()
        model.class_shares.copy_(counts / counts.sum())
    schedules = [module for module in model.modules() if isinstance(module, Schedule)]
    train, val, step = [], [], 0
    for epoch in range(num_epochs):
        loader.set_epoch(epoch)
        optimizer.zero_grad()
        model.train()
        for n, batch in enumerate(loader):
            seed_all(batch.key, model.device)
            for schedule in schedules:
                schedule.set(step)
            if isinstance(model, ExemplarVAE):
                model.left_out.copy_(torch.isin(model.rows, batch.index))
            if isinstance(model, NVAE):
                model.spectral.step()
            if isinstance(model, VaDE) and not model.found:
                model.fit_clusters(data.examples("train"))
            values = model.losses(data.on_after_batch_transfer(batch).x, batch.y)
            train.append((len(batch.x), {k: v.detach() for k, v in values.items()}))
            (values["loss"] / accumulate).backward()
            if (n + 1) % accumulate == 0 or n + 1 == len(loader):
                optimizer.step()
                optimizer.zero_grad()
                step += 1
        model.eval()
        with torch.no_grad():
            rows = []
            for batch in data.val_dataloader():
                seed_all(batch.key, model.device)
                values = model.losses(data.on_after_batch_transfer(batch).x, batch.y)
                rows.append((len(batch.x), values))
            val.append(mean(model, rows))
    return train, val


def mean(model: Autoencoder, rows: list[tuple[int, dict[str, Tensor]]]) -> dict[str, float]:
    total = sum(num for num, _ in rows)
    means = {name: sum(num * values[name] for num, values in rows) / total for name in rows[0][1]}
    return {name: value.item() for name, value in model.curves(means).items()}


@pytest.mark.parametrize("cls", few(MODELS, 1, VAE))
def test_logged_curves_are_those_of_a_plain_loop(cls: type[Autoencoder], tmp_path: Path) -> None:
    logger = Record()
    fitted, _ = fit(tmp_path, cls, kwargs={"latent_dim": 3}, logger=logger, log_every_n_steps=2, max_epochs=2)
    torch.manual_seed(3)
    model = build(cls, latent_dim=3)
    train, val = plain_loop(model, tiny_data(), 2)
    assert same_weights(fitted, model)
    assert len(train) == 10
    assert train[4][0] == 8  # the last batch is smaller
    for name in val[0]:
        assert logger.curve(f"val/{name}") == pytest.approx({4: val[0][name], 9: val[1][name]}, rel=1e-5)
        expected = {step: mean(model, train[step - 1 : step + 1])[name] for step in (1, 3, 5, 7, 9)}
        assert logger.curve(f"train/{name}") == pytest.approx(expected, rel=1e-5)


class TestTrainerOptions:
    def test_accumulation(self, tmp_path: Path) -> None:
        logger = Record()
        fitted, trainer = fit(
            tmp_path,
            logger=logger,
            log_every_n_steps=1,
            accumulate_grad_batches=2,
            max_epochs=2,
            kwargs={"latent_dim": 3},
        )
        torch.manual_seed(3)
        model = build(VAE, latent_dim=3)
        train, _ = plain_loop(model, tiny_data(), 2, accumulate=2)
        assert trainer.global_step == 6
        for p, q in zip(fitted.parameters(), model.parameters(), strict=True):
            torch.testing.assert_close(p, q, rtol=1e-5, atol=1e-6)
        groups = [train[0:2], train[2:4], train[4:5], train[5:7], train[7:9], train[9:10]]
        expected = {step: mean(model, group)["loss"] for step, group in enumerate(groups)}
        assert logger.curve("train/loss") == pytest.approx(expected, rel=1e-4)

    def test_limits(self, tmp_path: Path) -> None:
        logger = Record()
        _, trainer = fit(
            tmp_path, logger=logger, log_every_n_steps=1, limit_train_batches=2, limit_val_batches=1, max_epochs=3
        )
        assert trainer.global_step == 6
        assert len(logger.curve("train/loss")) == 6
        assert len(logger.curve("val/loss")) == 3

    @pytest.mark.parametrize(
        "options",
        few(
            [
                {"log_every_n_steps": 0},
                {"fast_dev_run": True},
                {"limit_val_batches": 0},
                {"overfit_batches": 1},
                {"precision": "bf16-mixed", "gradient_clip_val": 1.0},
                {"precision": "bf16-true"},
                {"precision": "64-true"},
                {"val_check_interval": 2},
                {"gradient_clip_val": 1.0},
            ],
            4,
        ),
        ids=str,
    )
    def test_options(self, options: dict[str, Any], tmp_path: Path) -> None:
        _, trainer = fit(tmp_path, logger=Record(), **{"log_every_n_steps": 1, "max_epochs": 1, **options})
        assert trainer.global_step > 0
        assert math.isfinite(trainer.callback_metrics.get("train/loss", 0.0))

    def test_max_steps(self, tmp_path: Path) -> None:
        _, trainer = fit(tmp_path, max_steps=7, max_epochs=-1)
        assert trainer.global_step == 7


class TestOptimizer:
    def test_given(self) -> None:
        make = partial(torch.optim.SGD, lr=0.5)
        assert isinstance(build(VAE, optimizer=make).configure_optimizers(), torch.optim.SGD)
        assert isinstance(build(VAE).configure_optimizers(), torch.optim.Adam)

    @pytest.mark.parametrize(("mode", "monitor"), [("min", "val/loss"), ("max", "val/elbo")])
    def test_plateau(self, mode: str, monitor: str, tmp_path: Path) -> None:
        scheduler = partial(torch.optim.lr_scheduler.ReduceLROnPlateau, mode=mode, patience=0)
        kwargs = {"scheduler": scheduler, "encoder": small, "decoder": small}
        assert build(VAE, **kwargs).configure_optimizers()["lr_scheduler"]["monitor"] == monitor
        _, trainer = fit(tmp_path, kwargs=kwargs)
        assert trainer.global_step == 10
        assert build(AE, scheduler=scheduler).configure_optimizers()["lr_scheduler"]["monitor"] == "val/loss"

    def test_scheduler_steps_each_epoch(self, tmp_path: Path) -> None:
        scheduler = partial(torch.optim.lr_scheduler.StepLR, step_size=1, gamma=0.1)
        _, trainer = fit(tmp_path, kwargs={"scheduler": scheduler}, max_epochs=2)
        assert trainer.optimizers[0].param_groups[0]["lr"] == pytest.approx(1e-5)

    def test_own_settings_of_some_parameters(self) -> None:
        class Slow(VAE):
            def param_groups(self) -> list[dict[str, Any]]:
                return [
                    {"params": list(self.encoder.parameters()), "lr": 1e-5},
                    {"params": list(self.decoder.parameters())},
                ]

        assert [g["lr"] for g in build(Slow).configure_optimizers().param_groups] == [1e-5, 1e-3]


class TestInitialise:
    """What starts from the data is set once, from all of them, and not when a model is restored."""

    class Keeps(VAE):
        seen: int = 0

        def initialise(self, x: Tensor) -> None:
            self.seen += len(x)

    def test_once_from_the_training_split(self, tmp_path: Path) -> None:
        model, trainer = fit(tmp_path, self.Keeps, max_epochs=2)
        assert model.seen == tiny_data().num_train
        quiet_trainer(tmp_path, max_epochs=1).fit(model, tiny_data())
        assert model.seen == tiny_data().num_train
        trainer.save_checkpoint(tmp_path / "a.ckpt")

    def test_a_foreign_loader_gives_its_first_batch(self, tmp_path: Path) -> None:
        model = tiny(self.Keeps)
        loader = Batches(torch.rand(5, *SHAPE), torch.rand(4, *SHAPE))
        quiet_trainer(tmp_path).fit(model, loader, loader)
        assert model.seen == 5

    def test_not_when_restored(self, tmp_path: Path) -> None:
        _, trainer = fit(tmp_path, self.Keeps, max_epochs=1)
        trainer.save_checkpoint(tmp_path / "a.ckpt")
        model, _ = fit(tmp_path, self.Keeps, max_epochs=2, ckpt_path=tmp_path / "a.ckpt")
        assert model.seen == 0


def test_a_machine_without_devices_does_not_search_for_them_at_every_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(SEARCH, "1")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    look_for_devices_cheaply()
    assert SEARCH in os.environ
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    quiet_trainer(tmp_path, max_steps=1).fit(tiny(), tiny_data())
    assert SEARCH not in os.environ
