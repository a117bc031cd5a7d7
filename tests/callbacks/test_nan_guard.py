"""A loss that is not finite ends the run, or its step is skipped."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import SHAPE, Batches, Record, fit, quiet_trainer, same_weights, tiny, tiny_data
from lightning.pytorch import LightningModule
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor

from vae_zoo.callbacks import BestCheckpoint, LastCheckpoint, NaNGuard
from vae_zoo.callbacks.nan_guard import NonFiniteLossError
from vae_zoo.distributions import DiscretizedLogistic
from vae_zoo.models import VAE
from vae_zoo.training import guard


class Breaks(VAE):
    """A model one of whose terms is no number at some calls of ``losses``; 5 of training, then 3 of validation."""

    at: tuple[int, ...] = ()
    term, value = "kl", float("nan")
    calls = 0

    def losses(self, x: Tensor, c: Tensor | None = None) -> dict[str, Tensor]:
        values = super().losses(x, c)
        self.calls += 1
        if self.calls in self.at:
            values[self.term] = values[self.term] * self.value
            values["loss"] = values["loss"] * self.value
        return values


def breaking(*at: int, **attributes: Any) -> type[Breaks]:
    return type("Breaks", (Breaks,), {"at": at, "__module__": __name__, **attributes})


@pytest.mark.parametrize(("value", "said"), [(float("nan"), "nan"), (float("inf"), "inf")])
@pytest.mark.parametrize("term", ["kl", "reconstruction"])
def test_the_step_the_term_and_the_last_good_checkpoint_are_named(
    tmp_path: Path, value: float, said: str, term: str
) -> None:
    callbacks = [NaNGuard(), LastCheckpoint(dirpath=tmp_path / "saved")]
    with pytest.raises(NonFiniteLossError) as caught:
        fit(
            tmp_path,
            breaking(10, term=term, value=value),
            callbacks=callbacks,
            enable_checkpointing=True,
            max_epochs=3,
        )
    error = str(caught.value)
    assert "the loss is not finite at step 7: " in error
    assert f"{term} is " in error
    assert said in error
    assert error.endswith(f"last good checkpoint: {tmp_path}/saved/last.ckpt")
    assert torch.load(tmp_path / "saved" / "last.ckpt", weights_only=True)["global_step"] == 5


def test_a_loss_alone_is_named_and_that_there_is_no_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(NonFiniteLossError, match=r"at step 1: loss is nan; last good checkpoint: none$"):
        fit(tmp_path, breaking(1, term="loss"), callbacks=[NaNGuard()])


def test_the_weights_are_those_before_the_step(tmp_path: Path) -> None:
    models: list[Any] = []

    class Keep(NaNGuard):
        def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
            models.append(pl_module)

    with pytest.raises(NonFiniteLossError):
        fit(tmp_path, breaking(5), callbacks=[Keep()])
    whole, _ = fit(tmp_path, VAE, limit_train_batches=4, max_epochs=1)
    assert same_weights(models[0], whole)


def test_an_accelerator_is_asked_every_few_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Several steps at once say which of them it was."""
    looks = []
    real = guard._first_broken
    monkeypatch.setattr(guard, "_first_broken", lambda rows, names: (looks.append(len(rows)), real(rows, names))[1])
    monkeypatch.setattr(guard, "_at_once", lambda trainer, row: False)
    with pytest.raises(NonFiniteLossError, match="at step 8: kl is nan"):
        fit(tmp_path, breaking(11), log_every_n_steps=4, max_epochs=3)
    assert looks == [4, 1, 4]  # before a validation those that are left


def test_a_plain_trainer_and_a_foreign_loader(tmp_path: Path) -> None:
    """The guard is the model's own: nobody needs to ask for it, and switching it off is on the model."""
    batches = [torch.rand(6, *SHAPE), torch.rand(6, *SHAPE).masked_fill(torch.rand(6, *SHAPE) > 0.9, torch.nan)]
    with pytest.raises(ValueError, match=r"Bernoulli needs finite data, got NaN or infinity: .* in step 2;"):
        quiet_trainer(tmp_path).fit(model := tiny(), Batches(*batches), Batches(batches[0]))
    assert all(torch.isfinite(p).all() for p in model.parameters())
    with pytest.raises(NonFiniteLossError, match="at step 1: loss is nan; last good checkpoint: none"):
        fit(tmp_path, breaking(1, term="loss"))
    off = tiny()
    off.guard.active = False
    quiet_trainer(tmp_path).fit(off, Batches(*batches), Batches(batches[0]))
    assert not all(torch.isfinite(p).all() for p in off.parameters())


@pytest.mark.parametrize("at_once", [True, False])
def test_values_outside_of_the_support_in_any_batch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_once: bool
) -> None:
    if not at_once:
        monkeypatch.setattr(guard, "_at_once", lambda trainer, row: False)
    fine = torch.rand(6, *SHAPE)
    wrong = fine.clone().index_fill_(0, torch.tensor(1), 1.5)
    with pytest.raises(ValueError, match=r"Bernoulli needs data in \[0, 1\], got from .* to 1.5: .* in step 3"):
        quiet_trainer(tmp_path).fit(tiny(), Batches(fine, fine, wrong), Batches(fine))
    with pytest.raises(ValueError, match=r"in \[0, 1\], got from -0.5 .* in batch 1\.$"):
        quiet_trainer(tmp_path).test(tiny(), Batches(fine, -0.5 * fine.round()), verbose=False)
    levels = (fine * 255).round() / 255
    wrong = levels.clone().index_fill_(0, torch.tensor(2), 0.3)
    model = tiny(likelihood=DiscretizedLogistic)
    with pytest.raises(ValueError, match=r"multiples of 1/255, got 0.3: .* in step 2"):
        quiet_trainer(tmp_path).fit(model, Batches(levels, wrong), Batches(levels))


@pytest.mark.parametrize("sanity", [False, True])
def test_a_validation_ends_the_run_before_it_is_the_best(tmp_path: Path, sanity: bool) -> None:
    best = BestCheckpoint(dirpath=tmp_path / "saved", monitor="val/elbo", mode="max")
    where = "before the first step" if sanity else "after step 5"
    with pytest.raises(NonFiniteLossError, match=rf"validation loss is not finite {where}: kl is nan; last good"):
        fit(
            tmp_path,
            breaking(1 if sanity else 6),
            callbacks=[NaNGuard(), best],
            enable_checkpointing=True,
            num_sanity_val_steps=2 if sanity else 0,
        )
    assert best.best_model_path == ""


def test_a_figure_that_is_no_number_is_never_the_best(tmp_path: Path) -> None:
    best = BestCheckpoint(dirpath=tmp_path / "ours", monitor="val/loss")
    stock = ModelCheckpoint(tmp_path / "stock", monitor="val/loss", filename="{epoch}")
    fit(tmp_path, breaking(6, 7, 8), callbacks=[NaNGuard(skip=True), best, stock], enable_checkpointing=True)
    assert [path.name for path in (tmp_path / "ours").iterdir()] == ["0002.ckpt"]
    assert torch.isfinite(best.best_model_score)


class TestSkip:
    def test_a_step_is_as_if_it_were_not_there(self, tmp_path: Path) -> None:
        logger, guard = Record(), NaNGuard(skip=True)
        with pytest.warns(UserWarning, match="Step 5 is skipped"):
            model, trainer = fit(
                tmp_path, breaking(5, term="loss"), callbacks=[guard], logger=logger, log_every_n_steps=1, max_epochs=1
            )
        whole, _ = fit(tmp_path, VAE, limit_train_batches=4, max_epochs=1)
        assert same_weights(model, whole)
        assert trainer.global_step == 5
        assert guard.skipped == 1
        assert logger.curve("train/skipped") == {4: 1.0}
        assert all(torch.isfinite(torch.tensor(v)) for v in logger.curve("train/loss").values())

    def test_only_the_gradient_is_no_number(self, tmp_path: Path) -> None:
        class Root(VAE):
            def losses(self, x: Tensor, c: Tensor | None = None) -> dict[str, Tensor]:
                values = super().losses(x, c)
                weight = next(self.parameters())
                return {**values, "loss": values["loss"] + ((weight - weight.detach()) ** 2).sum().sqrt()}

        guard = NaNGuard(skip=True)
        with pytest.warns(UserWarning, match="is skipped"):
            model, _ = fit(tmp_path, Root, callbacks=[guard], max_epochs=1)
        assert guard.skipped == 5
        assert all(torch.isfinite(p).all() for p in model.parameters())

    def test_the_count_survives_a_resume(self) -> None:
        guard = NaNGuard(skip=True)
        guard.skipped = 3
        again = NaNGuard(skip=True)
        again.load_state_dict(guard.state_dict())
        assert again.skipped == 3

    def test_all_is_well(self, tmp_path: Path) -> None:
        guards = [NaNGuard(), NaNGuard(skip=True)]
        first, second = (fit(tmp_path, VAE, callbacks=[guard], accumulate_grad_batches=2)[0] for guard in guards)
        assert same_weights(first, second)
        assert guards[1].skipped == 0


def test_a_model_of_others_has_only_its_loss(tmp_path: Path) -> None:
    class Plain(LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(1, 1)

        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            return self.layer(torch.ones(1, 1)).sum() * (float("nan") if batch_idx == 2 else 1)

        def configure_optimizers(self) -> Any:
            return torch.optim.Adam(self.parameters())

    with pytest.raises(NonFiniteLossError, match="at step 3: loss is nan"):
        quiet_trainer(tmp_path, callbacks=[NaNGuard()]).fit(Plain(), tiny_data().train_dataloader())
