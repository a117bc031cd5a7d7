"""Checks before a fit: foreign loaders and networks, optimizers and schedulers that cannot work."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import SHAPE, Batches, quiet_trainer, saved, tiny, tiny_data
from lightning.pytorch.callbacks import EMAWeightAveraging
from lightning.pytorch.tuner import Tuner
from torch import Tensor, nn
from torch.optim import lr_scheduler as schedulers

from vae_zoo.distributions import OptimalNormal
from vae_zoo.models import VAE, BetaTCVAE, BetaVAE
from vae_zoo.nn import Dense
from vae_zoo.training import preflight
from vae_zoo.training.optimizers import override_states, rehearse

X = torch.rand(6, *SHAPE)


class Normed(nn.Module):
    """A network with batch norm."""

    def __init__(self, in_shape: Any, out_shape: Any) -> None:
        super().__init__()
        self.layers = nn.Sequential(Dense(in_shape, (8,), hidden=[]), nn.BatchNorm1d(8), Dense((8,), out_shape))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


class Bare(VAE):
    def losses(self, x: Tensor, c: Tensor | None = None) -> Any:
        return super().losses(x, c)["loss"]


def fit(folder: Path, model: Any, data: Any) -> None:
    quiet_trainer(folder, max_epochs=1).fit(model, data)


@pytest.mark.parametrize(
    ("batch", "said"),
    [
        ((X * 255).byte(), r"got torch.uint8: convert them by x.float\(\) / 255"),
        ((X * 255).long(), "must be floating point, got torch.int64"),
        (X.movedim(1, -1), r"examples of shape \(1, 8, 8\), the data have \(8, 8, 1\)"),
        ([torch.zeros(6), X], "come second in a batch"),
        ([torch.zeros(6, 3), X], r"come second in a batch: give \(examples, labels\)"),
        ({"x": X[:, 0]}, "a batch must begin with a tensor, or be a dictionary with one tensor of shape"),
        ([], "got list"),
        ([X.tolist()], "got list of list"),
        (X * 2 - 1, r"Bernoulli needs data in \[0, 1\]"),
        (X.masked_fill(X > 0.9, torch.nan), "needs finite data"),
    ],
)
def test_batches_of_ones_own_loader(tmp_path: Path, batch: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        quiet_trainer(tmp_path, max_epochs=1).fit(tiny(), Batches(batch), Batches(batch))


def test_a_loss_that_is_no_dictionary(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"Bare.losses must give a dictionary with a scalar tensor `loss`"):
        fit(tmp_path, tiny(Bare), tiny_data())


def test_averages_of_whole_numbers(tmp_path: Path) -> None:
    """Of 10 batches the average would say 1, and a fit that goes on from it weighs what it has learned by that."""
    with pytest.raises(ValueError, match=r"would average the whole numbers of likelihood.count: set use_buffers to"):
        average(tmp_path, EMAWeightAveraging(decay=0.9), likelihood=OptimalNormal)
    model = average(tmp_path, EMAWeightAveraging(decay=0.9, use_buffers=False), likelihood=OptimalNormal)
    assert int(model.likelihood.count) == 10
    average(tmp_path, EMAWeightAveraging(decay=0.9))


def average(folder: Path, callback: Any, **kwargs: Any) -> Any:
    model = tiny(**kwargs)
    quiet_trainer(folder, max_epochs=2, callbacks=[callback]).fit(model, tiny_data())
    return model


def test_batches_of_one_example(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="BatchNorm1d compares the examples of a batch, but batch_size is 1"):
        fit(tmp_path, tiny(encoder=Normed), tiny_data(batch_size=1))
    with pytest.raises(ValueError, match=r"the last batch of an epoch, 1 example of 48: set drop_last"):
        fit(tmp_path, tiny(encoder=Normed), tiny_data(batch_size=47))
    with pytest.raises(ValueError, match="BetaTCVAE compares the examples of a batch"):
        fit(tmp_path, tiny(BetaTCVAE), tiny_data(batch_size=1))
    fit(tmp_path, tiny(encoder=Normed), tiny_data(batch_size=47, drop_last=True))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"latent_dim": 2.5}, "latent_dim must be a whole number, got 2.5"),
        ({"latent_dim": True}, "latent_dim must be a whole number, got True"),
        ({"latent_dim": None}, "latent_dim must be a whole number, got None"),
        ({"num_samples": "3"}, "num_samples must be a whole number, got '3'"),
        ({"free_bits": float("nan")}, "free_bits must be at least 0 and finite"),
        ({"encoder": None}, "encoder must be given, got None"),
        ({"optimizer": partial(torch.optim.Adam, lr=0.0)}, "lr of Adam must be positive, got 0.0"),
        ({"optimizer": partial(torch.optim.Adam, lr=float("nan"))}, "lr of Adam must be finite, got nan"),
        ({"scheduler": partial(torch.optim.lr_scheduler.StepLR, step_size=1, gamma=float("inf"))}, "gamma of StepLR"),
    ],
)
def test_values_at_construction(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        tiny(VAE, **given)


@pytest.mark.parametrize(
    ("make", "schedule", "said"),
    [
        (torch.optim.SparseAdam, None, "SparseAdam cannot take a step with these settings"),
        (torch.optim.Adam, partial(torch.optim.lr_scheduler.StepLR, step_size=0), "StepLR cannot take a step"),
        (partial(torch.optim.SGD, lr=torch.tensor(torch.inf)), None, "SGD has the learning rate inf"),
    ],
)
def test_an_optimizer_that_cannot_work(make: Any, schedule: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        rehearse(make, schedule, [{"params": []}])


@pytest.mark.parametrize(
    ("schedule", "said"),
    [
        (partial(schedulers.OneCycleLR, max_lr=0.1, total_steps=2), "OneCycleLR with total_steps 2 fails within the 3"),
        (partial(schedulers.OneCycleLR, max_lr=0.1, total_steps=3), ""),
        (partial(schedulers.MultiStepLR, milestones=[2, 80]), ""),
        (partial(schedulers.CosineAnnealingWarmRestarts, T_0=2), ""),
    ],
)
@pytest.mark.filterwarnings("ignore:A `OneCycleLR` scheduler is using:RuntimeWarning")  # steps would be usual
def test_a_scheduler_that_cannot_last_the_run(tmp_path: Path, schedule: Any, said: str) -> None:
    model, trainer = tiny(scheduler=schedule), quiet_trainer(tmp_path, max_epochs=3)
    if not said:
        trainer.fit(model, tiny_data())
        return
    with pytest.raises(ValueError, match=f"model.scheduler: {said} epochs of the run, one step each: Tried to step 3"):
        trainer.fit(model, tiny_data())
    assert trainer.global_step == 0
    quiet_trainer(tmp_path, max_epochs=-1, max_steps=10).fit(tiny(scheduler=schedule), tiny_data())  # of 5 an epoch


@pytest.mark.parametrize(
    ("schedule", "said"),
    [
        (partial(schedulers.MultiStepLR, milestones=[80, 120]), "once an epoch, 1 times; after the end: miles"),
        (partial(schedulers.CosineAnnealingLR, T_max=500), "after the end: T_max 500"),
        (partial(schedulers.LinearLR, total_iters=40), "after the end: total_iters 40"),
    ],
)
def test_a_scheduler_whose_change_comes_after_the_run(
    tmp_path: Path, logged: list[str], schedule: Any, said: str
) -> None:
    quiet_trainer(tmp_path).fit(tiny(scheduler=schedule), tiny_data())
    assert said in "\n".join(logged)


def test_a_plateau_is_looked_for_where_there_is_a_validation(tmp_path: Path) -> None:
    schedule = partial(schedulers.ReduceLROnPlateau, patience=0, threshold=1e9, factor=0.5)
    trainer = quiet_trainer(tmp_path, max_epochs=5, check_val_every_n_epoch=2)
    trainer.fit(tiny(scheduler=schedule), tiny_data())
    assert trainer.optimizers[0].param_groups[0]["lr"] == 2.5e-4  # two validations
    with pytest.raises(ValueError, match="ReduceLROnPlateau watches val/elbo, but the run has no validation"):
        quiet_trainer(tmp_path, limit_val_batches=0).fit(tiny(scheduler=partial(schedule, mode="max")), tiny_data())


def test_a_rehearsal_changes_nothing() -> None:
    model = tiny(optimizer=partial(torch.optim.AdamW, lr=0.1))
    before = [p.clone() for p in model.parameters()]
    noise = torch.get_rng_state()
    optimizer = model.configure_optimizers()
    assert not optimizer.state
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
    assert torch.equal(noise, torch.get_rng_state())


@pytest.mark.parametrize("optimizer", [None, torch.optim.SGD, partial(torch.optim.AdamW, lr=0.5, weight_decay=0.1)])
def test_the_learning_rate_is_exposed_and_what_is_set_counts(tmp_path: Path, optimizer: Any) -> None:
    model = tiny(optimizer=optimizer)
    assert model.lr == {None: 1e-3, torch.optim.SGD: 1e-3}.get(optimizer, 0.5)
    model.lr = 0.25
    made = model.configure_optimizers()
    assert [group["lr"] for group in made.param_groups] == [0.25]
    assert type(made) is getattr(optimizer, "func", optimizer or torch.optim.Adam)
    again = type(model).load_from_checkpoint(saved(tmp_path, model))
    assert again.lr == 0.25
    if isinstance(optimizer, partial):
        assert again.configure_optimizers().param_groups[0]["weight_decay"] == 0.1
    with pytest.raises(ValueError, match=r"lr of \w+ must be positive, got -1.0"):
        model.lr = -1


@pytest.mark.exhaustive
def test_finders_find_what_they_set(tmp_path: Path) -> None:
    model, trainer = tiny(), quiet_trainer(tmp_path, max_epochs=9)
    found = Tuner(trainer).lr_find(model, tiny_data(), num_training=20, max_lr=0.1)
    assert model.lr == found.suggestion()
    assert model.lr != 1e-3
    data = tiny_data(num_examples=200)
    Tuner(quiet_trainer(tmp_path)).scale_batch_size(model, data, init_val=4, max_trials=2, steps_per_trial=1)
    assert data.batch_size == 8
    assert len(data.train_dataloader()) == 19
    assert data.recorded()["init_args"]["batch_size"] == 8


class TestAttributesSetLater:
    def test_they_are_recorded(self, tmp_path: Path) -> None:
        model = tiny(BetaVAE, beta=2.0)
        model.beta, model.free_bits = 7.0, 0.5
        again = BetaVAE.load_from_checkpoint(saved(tmp_path, model))
        assert (again.beta, again.free_bits) == (7.0, 0.5)

    def test_what_the_weights_do_not_fit_is_refused(self, tmp_path: Path) -> None:
        model = tiny(BetaVAE)
        model.latent_dim = 7
        with pytest.raises(ValueError, match=r"changed since the model was built: latent_dim 7 \(was 4\): its weights"):
            saved(tmp_path, model)
        model.latent_dim, model.beta = 4, -1.0
        with pytest.raises(ValueError, match=r"beta -1.0 \(was 4.0\)"):
            saved(tmp_path, model)


def test_a_processor_without_bfloat16(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, logged: list[str]) -> None:
    for there, precision, told in ((True, "bf16-mixed", 0), (None, "bf16-mixed", 0), (False, "bf16-mixed", 1)):
        monkeypatch.setattr(preflight, "has_bfloat16", lambda there=there: there)
        logged.clear()
        quiet_trainer(tmp_path, precision=precision, limit_train_batches=1).fit(tiny(), tiny_data())
        assert (
            sum("This processor has no bfloat16 instructions: bf16-mixed is slower" in line for line in logged) == told
        )


@pytest.mark.parametrize(
    ("flags", "there"), [("fpu avx2 avx512f", False), ("fpu avx512_bf16", True), ("Features : asimd bf16", True)]
)
def test_the_flags_of_a_processor(monkeypatch: pytest.MonkeyPatch, flags: str, there: bool) -> None:
    monkeypatch.setattr(Path, "read_text", lambda *_, **__: flags)
    assert preflight.has_bfloat16.__wrapped__() is there


def asked(rate: float, scheduler: Any = None) -> dict[str, Any]:
    """Arguments of a model as a checkpoint records them."""
    return {"optimizer": {"class_path": "torch.optim.Adam", "init_args": {"lr": rate}}, "scheduler": scheduler}


class TestANewLearningRateOfAResumedFit:
    def test_moves_the_schedule_of_each_group_once_and_not_that_of_a_discriminator(self) -> None:
        halving = {"class_path": "torch.optim.lr_scheduler.StepLR", "init_args": {"step_size": 1, "gamma": 0.5}}
        groups = [{"lr": rate / 2, "initial_lr": rate} for rate in (1e-3, 1e-3, 2e-4)]
        schedule = {"base_lrs": [1e-3, 1e-3, 2e-4], "_last_lr": [5e-4, 5e-4, 1e-4]}
        checkpoint = {"optimizer_states": [{"param_groups": groups}], "lr_schedulers": [schedule]}
        override_states(checkpoint, asked(1e-3, halving), asked(1e-2, halving))
        assert [group["lr"] for group in groups] == pytest.approx([5e-3, 5e-3, 1e-4])
        assert schedule["base_lrs"] == pytest.approx([1e-2, 1e-2, 2e-4])
        assert schedule["_last_lr"] == pytest.approx([5e-3, 5e-3, 1e-4])

    def test_is_that_of_a_resting_group_once_it_goes_on(self) -> None:
        groups = [{"lr": 0.0, "rested": 1e-3}, {"lr": 1e-3}]
        checkpoint = {"optimizer_states": [{"param_groups": groups}], "lr_schedulers": []}
        override_states(checkpoint, asked(1e-3), asked(1e-2))
        assert groups == [{"lr": 0.0, "rested": 1e-2}, {"lr": 1e-2}]
