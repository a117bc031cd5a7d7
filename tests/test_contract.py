"""What every model of the zoo must do. It runs over ``models.__all__``: a new one adds its name to nothing."""

from __future__ import annotations

import copy
import math
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import BOUNDS, MODELS, SHAPE, Record, build, quiet_trainer, same_weights, tiny_data
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor, nn

from vae_zoo import hub
from vae_zoo.callbacks import CyclicalAnnealing, LinearAnnealing
from vae_zoo.data import Digits, Sprites
from vae_zoo.distributions import Bernoulli, FixedNormal, SharedNormal
from vae_zoo.elbo import ELBOMixin
from vae_zoo.models import AE, IWAE, MLPVAE, VAE, Autoencoder, BetaVAE, ConvVAE
from vae_zoo.models.steps import Steps, compiled
from vae_zoo.nn import ConvEncoder, Dense
from vae_zoo.seeding import seed_all

every_model = pytest.mark.parametrize("cls", MODELS)
every_bound = pytest.mark.parametrize("cls", BOUNDS)


def losses(model: Autoencoder, x: Tensor, seed: int = 1, **kwargs: Any) -> dict[str, Tensor]:
    torch.manual_seed(seed)
    return model.losses(x, **kwargs)


@every_model
class TestLosses:
    def test_finite_with_a_gradient_for_every_parameter(self, cls: type[Autoencoder], images: Tensor) -> None:
        model = build(cls)
        values = losses(model, images)
        assert all(v.ndim == 0 and v.isfinite() for v in values.values()), values
        values["loss"].backward()
        without = [
            name
            for name, p in model.named_parameters()
            if p.grad is None or not p.grad.isfinite().all() or not (p.grad != 0).any()
        ]
        assert not without, f"no gradient for {without}"

    def test_falls_on_a_tiny_set(self, cls: type[Autoencoder], images: Tensor) -> None:
        model = build(cls)
        optimizer = model.configure_optimizers()
        before = losses(model, images)["loss"].item()
        for step in range(30):
            optimizer.zero_grad()
            losses(model, images, seed=step)["loss"].backward()
            optimizer.step()
        assert losses(model, images)["loss"].item() < 0.7 * before

    def test_one_seed_one_result(self, cls: type[Autoencoder], images: Tensor) -> None:
        model = build(cls)
        first, again, other = losses(model, images), losses(model, images), losses(model, images, seed=2)
        assert all(torch.equal(first[name], again[name]) for name in first)
        if isinstance(model, ELBOMixin):
            assert not torch.equal(first["loss"], other["loss"])

    def test_does_not_grow_with_the_batch(self, cls: type[Autoencoder], images: Tensor) -> None:
        model = build(cls)
        one = torch.stack([losses(model, images, seed)["loss"] for seed in range(40)])
        two = torch.stack([losses(model, torch.cat([images] * 2), seed)["loss"] for seed in range(40)])
        error = (one.var() / 40 + two.var() / 40).sqrt()
        assert (one.mean() - two.mean()).abs() <= 4 * error + 1e-5 * one.mean().abs()

    def test_compiles_into_one_graph(self, cls: type[Autoencoder], images: Tensor) -> None:
        model = build(cls)
        whole = torch.compile(cls.losses, fullgraph=True, backend="eager")
        torch.manual_seed(1)
        values = whole(model, images)
        for name, expected in losses(model, images).items():
            torch.testing.assert_close(values[name], expected)
        if hasattr(model, "kl_weight"):
            model.kl_weight = torch.tensor(0.5)
            torch.manual_seed(1)
            torch.testing.assert_close(whole(model, images)["loss"], losses(model, images)["loss"])

    @pytest.mark.parametrize("shape", [(28, 28), (28, 20), (33, 47), (64, 64), (3, 5)])
    @pytest.mark.parametrize("channels", [1, 3])
    def test_images_of_any_shape(self, cls: type[Autoencoder], shape: tuple[int, int], channels: int) -> None:
        model, x = build(cls, shape=(channels, *shape)), torch.rand(2, channels, *shape)
        losses(model, x)["loss"].backward()
        assert model.reconstruct(x).shape == x.shape
        assert model.embed(x).shape == (2, 4)

    @pytest.mark.parametrize("shape", [(784,), (17,), (1,), (2, 3)])
    def test_vectors(self, cls: type[Autoencoder], shape: tuple[int, ...]) -> None:
        if cls is ConvVAE:
            with pytest.raises(ValueError, match="use Dense"):
                build(cls, shape=shape)
            return
        model, x = build(cls, shape=shape), torch.rand(3, *shape)
        losses(model, x)["loss"].backward()
        assert model.reconstruct(x).shape == x.shape

    def test_refuses_examples_it_cannot_take(self, cls: type[Autoencoder], images: Tensor) -> None:
        model = build(cls)
        for x in (images[:, 0], images.expand(-1, 3, -1, -1), images[..., :4]):
            for method in (model.losses, model.embed, model.reconstruct):
                with pytest.raises(ValueError, match=r"the model is for examples of shape \(1, 8, 8\), the data have"):
                    method(x)
        with pytest.raises(ValueError, match=r"examples must be floating point, got torch\.uint8"):
            model.losses((images * 255).to(torch.uint8))

    @pytest.mark.parametrize("likelihood", [Bernoulli, FixedNormal, SharedNormal])
    def test_half_precision(self, cls: type[Autoencoder], images: Tensor, likelihood: type) -> None:
        """Densities and divergences stay in float32: what is left is the rounding of the networks."""
        model = build(cls, likelihood=likelihood)
        exact = losses(copy.deepcopy(model).double(), images.double())["loss"]
        with torch.autocast("cpu", torch.bfloat16):
            mixed = losses(model, images)["loss"]
        half = losses(model.bfloat16(), images.bfloat16())["loss"]
        assert mixed.dtype == half.dtype == torch.float32
        assert exact.dtype == torch.float64
        torch.testing.assert_close(mixed.double(), exact, rtol=0.02, atol=1)
        torch.testing.assert_close(half.double(), exact, rtol=0.04, atol=1)


@every_bound
def test_elbo_is_below_the_log_evidence(cls: type[VAE], images: Tensor) -> None:
    model = build(cls)
    terms = model.elbo(images, num_samples=400)
    one = terms.log_px + terms.log_pz - terms.log_qz
    error = one.std(0) / 20
    assert (terms.value <= model.log_evidence(images, num_samples=500) + 4 * error).all()
    values = model.losses(images)
    torch.testing.assert_close(values["elbo"], values["reconstruction"] - values["kl"])


@pytest.mark.slow
@pytest.mark.parametrize("cls", [VAE])
def test_inductor(cls: type[VAE], images: Tensor) -> None:
    model = build(cls, encoder=partial(Dense, hidden=[8]), decoder=partial(Dense, hidden=[8]))
    values = torch.compile(cls.losses, fullgraph=True)(model, images)
    values["loss"].backward()
    assert all(p.grad is not None for p in model.parameters())
    # The compiled noise is another stream: only what is free of noise can be compared.
    torch.testing.assert_close(values["kl"], model.losses(images)["kl"])


@every_model
class TestCopies:
    def test_a_copy_of_a_compiled_model_computes_with_its_own_weights(
        self, cls: type[Autoencoder], images: Tensor, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        eager = torch.compile(cls.losses, backend="eager", fullgraph=True)
        monkeypatch.setattr("vae_zoo.models.steps.compiled", lambda _: eager)
        model = build(cls, compiled=True)
        step = partial(model._update, "train", (images, None))
        seed_all(1, model.device)
        before = step()
        other = copy.deepcopy(model)
        with torch.no_grad():
            for p in other.parameters():
                p.zero_()
        seed_all(1, model.device)
        torch.testing.assert_close(other._update("train", (images, None)), losses(other, images)["loss"])
        seed_all(1, model.device)
        torch.testing.assert_close(step(), before)

    def test_compiled_once_a_class(self, cls: type[Autoencoder], images: Tensor) -> None:
        assert compiled(cls) is compiled(cls)
        assert not build(cls).compiled


def fit(
    folder: Path, cls: type[Autoencoder] = VAE, *, data: Any = None, seed: int = 3, kwargs: Any = None, **trainer: Any
) -> Any:
    """Fit a new model, and give it and its trainer."""
    torch.manual_seed(seed)
    model = build(cls, **(kwargs or {"encoder": SMALL, "decoder": SMALL}))
    ckpt_path = trainer.pop("ckpt_path", None)
    fitter = quiet_trainer(folder, **{"max_epochs": 2, **trainer})
    fitter.fit(model, tiny_data() if data is None else data, ckpt_path=ckpt_path)
    return model, fitter


SMALL = partial(Dense, hidden=[8])


@every_model
class TestCheckpoint:
    def test_survives_three_rounds(self, cls: type[Autoencoder], tmp_path: Path, images: Tensor) -> None:
        torch.manual_seed(5)
        model = build(cls, likelihood=partial(FixedNormal, scale=0.3))
        expected, path = model.reconstruct(images), tmp_path / "0.ckpt"
        trainer = quiet_trainer(tmp_path)
        trainer.strategy.connect(model)
        trainer.save_checkpoint(path)
        for n in range(3):
            torch.load(path, weights_only=True)
            for again in (
                cls.load_from_checkpoint(path),
                cls.load_from_checkpoint(path, weights_only=True),
                hub.load(path),
            ):
                assert type(again) is cls
                assert torch.equal(again.reconstruct(images), expected)
                given, full = model.recorded(), again.recorded()  # the defaults have been filled in
                assert full["class_path"] == given["class_path"]
                assert {name: full["init_args"][name] for name in given["init_args"]} == given["init_args"]
                assert dict(again.hparams) == full["init_args"]
            assert not hub.load(path).training
            path = tmp_path / f"{n + 1}.ckpt"
            trainer = quiet_trainer(tmp_path)
            trainer.strategy.connect(again)
            trainer.save_checkpoint(path)

    def test_of_a_fit(self, cls: type[Autoencoder], tmp_path: Path, images: Tensor) -> None:
        model, trainer = fit(tmp_path, cls, kwargs={"latent_dim": 3})
        trainer.save_checkpoint(tmp_path / "a.ckpt")
        again = hub.load(tmp_path / "a.ckpt")
        assert same_weights(model, again)
        assert torch.equal(again.reconstruct(images), model.eval().reconstruct(images))
        saved = hub.read(tmp_path / "a.ckpt")["vae_zoo"]
        assert saved["model"] == {
            "class_path": f"vae_zoo.models.{cls.__name__}",
            "init_args": {"shape": [1, 8, 8], "latent_dim": 3},
        }
        assert saved["data"]["class_path"] == "vae_zoo.data.Sprites"

    def test_refuses_another_class(self, cls: type[Autoencoder], tmp_path: Path) -> None:
        other = next(m for m in MODELS if m is not cls and not issubclass(cls, m))
        trainer = quiet_trainer(tmp_path, max_epochs=1)
        trainer.strategy.connect(build(cls))
        trainer.save_checkpoint(tmp_path / "a.ckpt")
        with pytest.raises(
            ValueError, match=f"^the checkpoint holds a vae_zoo.models.{cls.__name__}, the model is a "
        ) as error:
            quiet_trainer(tmp_path, max_epochs=1).fit(build(other), tiny_data(), ckpt_path=tmp_path / "a.ckpt")
        assert "\n" not in str(error.value)
        if not issubclass(cls, other):
            with pytest.raises(
                ValueError, match=f"'vae_zoo.models.{cls.__name__}'.* subclass of {other.__name__}"
            ) as error:
                other.load_from_checkpoint(tmp_path / "a.ckpt")
            assert "\n" not in str(error.value)


@every_model
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
        x = data.load("test").x.float() / 255
        for name, expected in (("z", model.embed(x)), ("reconstruction", model.reconstruct(x))):
            torch.testing.assert_close(torch.cat([p[name] for p in predictions]), expected)
        assert (torch.cat([p["z_scale"] for p in predictions]) >= 0).all()


MID_EPOCH, END_OF_EPOCH, LATER = 3, 5, 7  # of 5 steps an epoch


@pytest.mark.parametrize("cls", [AE, VAE, IWAE])
@pytest.mark.parametrize("step", [MID_EPOCH, END_OF_EPOCH, LATER])
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
    optimizer, loader = model.configure_optimizers(), data.train_dataloader()
    train, val = [], []
    for epoch in range(num_epochs):
        loader.set_epoch(epoch)
        optimizer.zero_grad()
        for n, batch in enumerate(loader):
            seed_all(batch.key, model.device)
            values = model.losses(data.on_after_batch_transfer(batch).x, batch.y)
            train.append((len(batch.x), {k: v.item() for k, v in values.items()}))
            (values["loss"] / accumulate).backward()
            if (n + 1) % accumulate == 0 or n + 1 == len(loader):
                optimizer.step()
                optimizer.zero_grad()
        with torch.no_grad():
            rows = []
            for batch in data.val_dataloader():
                seed_all(batch.key, model.device)
                values = model.losses(data.on_after_batch_transfer(batch).x, batch.y)
                rows.append((len(batch.x), {k: v.item() for k, v in values.items()}))
            val.append(mean(rows))
    return train, val


def mean(rows: list[tuple[int, dict[str, float]]]) -> dict[str, float]:
    total = sum(num for num, _ in rows)
    return {name: sum(num * values[name] for num, values in rows) / total for name in rows[0][1]}


@every_model
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
        expected = {step: mean(train[step - 1 : step + 1])[name] for step in (1, 3, 5, 7, 9)}
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
        expected = {step: mean(group)["loss"] for step, group in enumerate(groups)}
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
        kwargs = {"scheduler": scheduler, "encoder": SMALL, "decoder": SMALL}
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


@pytest.mark.parametrize(
    ("cls", "kwargs", "message"),
    [
        *[(cls, {"latent_dim": 0}, "latent_dim must be at least 1, got 0.") for cls in MODELS],
        *[(cls, {"shape": ()}, "shape must hold the sides of one example, each at least 1, got ().") for cls in MODELS],
        *[(cls, {"shape": (1, 0, 8)}, "each at least 1, got (1, 0, 8).") for cls in MODELS],
        *[(cls, {"num_samples": 0}, "num_samples must be at least 1, got 0.") for cls in BOUNDS],
        (BetaVAE, {"beta": -1.0}, "beta must be at least 0 and finite, got -1.0."),
        (BetaVAE, {"beta": math.nan}, "beta must be at least 0 and finite, got nan."),
        (BetaVAE, {"beta": math.inf}, "beta must be at least 0 and finite, got inf."),
        (VAE, {"likelihood": partial(FixedNormal, scale=0.0)}, "scale must be positive and finite, got 0.0."),
        (VAE, {"encoder": partial(Dense, hidden=[0])}, "hidden widths must be at least 1, got [0]."),
        (VAE, {"encoder": ConvEncoder, "shape": (17,)}, "needs images (C, H, W), got shape (17,): use Dense."),
    ],
)
def test_bad_values(cls: type[Autoencoder], kwargs: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match="got") as error:
        build(cls, **kwargs)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@every_model
@pytest.mark.parametrize("name", ["encoder", "likelihood"])
def test_an_instance_in_place_of_a_class(cls: type[Autoencoder], name: str) -> None:
    for value in (nn.Linear(1, 1), lambda *a: None):
        with pytest.raises(TypeError, match="must be plain data, a class or a partial of one, got") as error:
            build(cls, **{name: value})
        assert "\n" not in str(error.value)


class BetaIW(BetaVAE, IWAE):
    """Two variants, combined as anyone would."""


class ConvBeta(BetaVAE, ConvVAE):
    pass


class TestCombination:
    def test_has_the_arguments_of_both(self, images: Tensor) -> None:
        model = build(BetaIW, beta=2.0, num_samples=3)
        assert (model.beta, model.num_samples) == (2.0, 3)
        assert build(BetaIW).num_samples == 5
        values = losses(model, images)
        torch.testing.assert_close(values["loss"], 2 * values["kl"] - values["reconstruction"])
        assert any(isinstance(m, nn.Conv2d) for m in build(ConvBeta).modules())

    @pytest.mark.parametrize("cls", [BetaIW, ConvBeta])
    def test_survives_a_checkpoint(self, cls: type[VAE], tmp_path: Path, images: Tensor) -> None:
        model, trainer = fit(tmp_path, cls, kwargs={"beta": 2.0, "latent_dim": 3})
        trainer.save_checkpoint(tmp_path / "a.ckpt")
        for again in (cls.load_from_checkpoint(tmp_path / "a.ckpt"), hub.load(tmp_path / "a.ckpt")):
            assert type(again) is cls
            assert again.beta == 2
            assert torch.equal(again.eval().reconstruct(images), model.eval().reconstruct(images))


@every_model
def test_unknown_arguments(cls: type[Autoencoder]) -> None:
    with pytest.raises(TypeError, match="unexpected keyword argument 'latent_dims'"):
        build(cls, latent_dims=3)


def test_the_base_is_abstract() -> None:
    for cls in (Autoencoder, Steps):
        with pytest.raises(TypeError, match="abstract"):
            cls(shape=SHAPE) if cls is Autoencoder else cls()


def test_variants_of_the_vae_differ_where_they_should(images: Tensor) -> None:
    torch.manual_seed(1)
    vae = build(VAE)
    for cls, kwargs in ((BetaVAE, {"beta": 1.0}), (IWAE, {"num_samples": 1}), (MLPVAE, {})):
        other = build(cls, **kwargs)
        other.load_state_dict(vae.state_dict())
        first, second = losses(vae, images), losses(other, images)
        assert torch.equal(first["elbo"], second["elbo"])
        if cls is not IWAE:  # whose estimator of the divergence is a sample
            assert torch.equal(first["loss"], second["loss"])
