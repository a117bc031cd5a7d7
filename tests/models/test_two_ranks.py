"""Models under plain DDP in two processes: all parameters used, equal weights, different noise."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch
from forked import ranks
from helpers import MODELS, Batches, Spy, quiet_trainer, tiny, tiny_data
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, distributed

from vae_zoo.callbacks import CollapseWarning, Evidence, NaNGuard, RateDecomposition
from vae_zoo.distributions import OptimalNormal
from vae_zoo.distributions.divergence import kl_per_dim
from vae_zoo.models import (
    AE,
    M2,
    VAE,
    VQVAE,
    Autoencoder,
    FactorVAE,
    LadderVAE,
    VampVAE,
)
from vae_zoo.nn import EMACodebook

pytestmark = pytest.mark.slow

SOME: list[type[Autoencoder]] = [VAE, FactorVAE, M2, LadderVAE]
"""Models with state that processes could disagree on; the others are in the exhaustive case."""


def same_everywhere(value: Tensor) -> bool:
    both = [torch.empty_like(value) for _ in range(2)]
    distributed.all_gather(both, value.contiguous())
    return torch.equal(*both)


def fit(folder: Path, model: Autoencoder, data: Any, **kwargs: Any) -> None:
    """Fit under the strategy that Lightning takes by itself, and compare the processes."""
    spy = Spy(lambda trainer, model: torch.get_rng_state())
    trainer = quiet_trainer(folder, devices=2, max_epochs=2, callbacks=[spy], **kwargs)
    trainer.fit(model, data)
    assert trainer.world_size == 2
    assert trainer.global_step > 2
    for name, value in model.state_dict().items():
        assert same_everywhere(value), f"{type(model).__name__}: {name} differs"
    assert not same_everywhere(spy.seen[-1]), f"{type(model).__name__}: one noise for all"


def fit_all(rank: int, folder: Path, models: list[type[Autoencoder]]) -> None:
    for cls in models:
        torch.manual_seed(0)
        fit(folder, tiny(cls), tiny_data(num_examples=56, batch_size=12))
    own = Batches(*torch.rand(3, 7, 1, 8, 8, generator=torch.Generator().manual_seed(rank)))  # a foreign loader's
    torch.manual_seed(0)
    fit(folder, tiny(VampVAE), own)
    fit(folder, tiny(FactorVAE), tiny_data(num_examples=56, batch_size=12), gradient_clip_val=1.0)
    fit(folder, tiny(VAE, likelihood=OptimalNormal), own)
    fit(folder, tiny(VQVAE, codebook=EMACodebook), tiny_data(num_examples=56), accumulate_grad_batches=2)
    (folder / f"done{rank}").touch()


@pytest.mark.parametrize("models", [SOME, pytest.param(MODELS, marks=pytest.mark.exhaustive)], ids=["some", "all"])
def test_every_model_trains_to_the_same_weights_on_both_ranks(models: list[type[Autoencoder]], tmp_path: Path) -> None:
    with ranks(tmp_path, fit_all, tmp_path, models) as running:
        assert running.codes(500) == [0, 0], "\n".join(running.said()[-30:])
    assert len(list(tmp_path.glob("done*"))) == 2


def alone() -> Any:
    """As if there were no other process."""
    return mock.patch.object(distributed, "is_initialized", return_value=False)


def gradients(model: Autoencoder, x: Tensor) -> Tensor:
    model.zero_grad()
    model.losses(x)["loss"].backward()
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


def compare(rank: int, folder: Path) -> None:
    distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    x = torch.rand(8, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    half = x[rank::2]

    models = [tiny(AE, likelihood=OptimalNormal) for _ in range(2)]
    models[1].load_state_dict(models[0].state_dict())
    distributed.broadcast_object_list(states := [models[0].state_dict()])
    for model in models:
        model.load_state_dict(states[0])
    mean = gradients(models[0], half)
    distributed.all_reduce(mean)
    with alone():
        whole = gradients(models[1], x)
        other = gradients(models[1], half)
    assert (mean / 2 - whole).norm() < 1e-5 * whole.norm(), (mean / 2 - whole).norm()
    assert (other - whole).norm() > 1e-3 * whole.norm()
    models[1].load_state_dict(states[0])
    with alone():
        gradients(models[1], x)
    assert torch.isclose(models[0].likelihood.square, models[1].likelihood.square, rtol=1e-6)

    torch.manual_seed(0)
    books = [EMACodebook(6, 4, revive_after=0) for _ in range(2)]
    books[1].load_state_dict(books[0].state_dict())
    z = torch.randn(8, 4, 5, generator=torch.Generator().manual_seed(1))
    books[0].accumulate(z[rank::2], books[0](z[rank::2]).codes)
    books[0].update()
    with alone():
        books[1].accumulate(z, books[1](z).codes)
        books[1].update()
    assert torch.allclose(books[0].vectors, books[1].vectors, atol=1e-6)
    assert same_everywhere(books[0].vectors)


def test_sigma_and_codes_are_those_of_the_batch_of_all_ranks(tmp_path: Path) -> None:
    with ranks(tmp_path, compare, tmp_path, store=False) as running:
        assert running.codes() == [0, 0], running.said()[-30:]


def test_a_floor_of_each_ranks_own_batch_lies_no_lower() -> None:
    """What docs/devices.md says of free bits: a mean of maxima is at least the maximum of means."""
    model, x = tiny(VAE), torch.rand(16, 1, 8, 8)
    with torch.no_grad():
        model.encoder.layers[-1].weight.mul_(5)
        floor = kl_per_dim(*model.elbo(x)[:3]).mean(0).median().item()  # some dimensions below, some above
        penalties = [model.elbo(part).floored(floor).penalty for part in (x, x[::2], x[1::2])]
    whole, *halves = [float(p) for p in penalties]
    assert whole > 0
    assert sum(halves) / 2 > whole


class BreaksOnTheSecond(VAE):
    """A loss that is no number on the second process at its third step."""

    def losses(self, x: Tensor, c: Tensor | None = None) -> dict[str, Tensor]:
        values = super().losses(x, c)
        if self.training and self.global_rank == 1 and self.trainer.global_step == 2:
            values["kl"], values["loss"] = values["kl"] * torch.nan, values["loss"] * torch.nan
        return values


def break_one(rank: int, folder: Path) -> None:
    trainer = quiet_trainer(folder, devices=2, max_epochs=2, callbacks=[NaNGuard()])
    trainer.fit(tiny(BreaksOnTheSecond), tiny_data(num_examples=56, batch_size=4))


def test_a_loss_that_breaks_on_one_rank_is_reported_by_all_as_it_is_there(tmp_path: Path) -> None:
    with ranks(tmp_path, break_one, tmp_path) as running:
        assert running.codes(120) == [1, 1], running.said()[-30:]
    said = [line for line in running.said() if line.startswith("vae_zoo.training.guard.NonFiniteLossError")]
    what = "the loss is not finite at step 3: kl is nan (process 1 of 2); last good checkpoint: none"
    assert said == [f"vae_zoo.training.guard.NonFiniteLossError: {what}"] * 2


def evaluate(rank: int, folder: Path) -> None:
    """Metrics of the zoo are the same in both processes; one of a user's own is averaged if the user asks for it."""
    callbacks = [CollapseWarning(), Evidence(num_samples=3), RateDecomposition(), OwnMetric()]
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        trainer = quiet_trainer(folder, devices=2, max_epochs=1, callbacks=callbacks)
        trainer.fit(tiny(VAE), tiny_data())
        trainer.test(tiny(VAE), tiny_data(), verbose=False)
    advised = [str(warning.message) for warning in heard if "sync_dist" in str(warning.message)]
    assert [advice.split("'")[1] for advice in advised] == ["val/own"] * (rank == 0), advised
    (folder / f"evaluated{rank}").touch()


class OwnMetric(Callback):
    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        pl_module.log("val/own", torch.tensor(float(trainer.global_rank)))


def test_lightning_advises_to_average_nothing_that_is_the_same(tmp_path: Path) -> None:
    with ranks(tmp_path, evaluate, tmp_path) as running:
        assert running.codes(200) == [0, 0], "\n".join(running.said()[-30:])
    assert len(list(tmp_path.glob("evaluated*"))) == 2
