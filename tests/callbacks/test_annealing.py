from __future__ import annotations

import re
import warnings
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from helpers import Record, Spy, quiet_trainer, tiny, tiny_data
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import EarlyStopping
from short import few
from torch.optim.lr_scheduler import ReduceLROnPlateau

from vae_zoo.callbacks import BestCheckpoint, CyclicalAnnealing, LastCheckpoint, LinearAnnealing
from vae_zoo.models import AE, VAE


def weights(callback: Any, folder: Path, **kwargs: Any) -> list[float]:
    """The weights of each step of a fit with 5 steps an epoch."""
    spy = Spy(lambda _, model: float(model.kl_weight))
    quiet_trainer(folder, callbacks=[callback, spy], **{"max_epochs": 2, **kwargs}).fit(tiny(VAE), tiny_data())
    return spy.seen


def test_linear() -> None:
    schedule = LinearAnnealing(num_steps=10, start=0.2)
    assert [schedule.weight(step, 0) for step in (0, 5, 10, 1000)] == pytest.approx([0.2, 0.6, 1, 1])
    assert [LinearAnnealing(num_epochs=2).weight(0, e) for e in (0, 0.5, 2, 9)] == pytest.approx([0, 0.25, 1, 1])


def test_cyclical() -> None:
    schedule = CyclicalAnnealing(num_steps=10, ratio=0.5)
    expected = [0, 0.4, 0.8, 1, 1, 0, 0.4]
    assert [schedule.weight(step, 0) for step in (0, 2, 4, 5, 9, 10, 12)] == pytest.approx(expected)
    whole = CyclicalAnnealing(num_epochs=1, ratio=1, start=0.5)
    assert [whole.weight(0, e) for e in (0, 0.5, 1.5)] == pytest.approx([0.5, 0.75, 0.75])


def test_steps_of_a_fit(tmp_path: Path) -> None:
    assert weights(LinearAnnealing(num_steps=4), tmp_path) == pytest.approx([0, 0.25, 0.5, 0.75, *[1] * 6])
    assert weights(LinearAnnealing(num_epochs=2), tmp_path) == pytest.approx([n / 10 for n in range(10)])
    # Steps are the optimizer's: two batches each.
    accumulated = weights(LinearAnnealing(num_steps=4), tmp_path, max_epochs=1, accumulate_grad_batches=2)
    assert accumulated == pytest.approx([0, 0, 0.25, 0.25, 0.5])


def test_is_gone_after_the_fit(tmp_path: Path) -> None:
    model = tiny(VAE)
    quiet_trainer(tmp_path, max_epochs=1, callbacks=[LinearAnnealing(num_steps=100)]).fit(model, tiny_data())
    assert model.kl_weight is None


def test_is_gone_after_a_fit_that_fails(tmp_path: Path) -> None:
    class Failing(VAE):
        def on_train_epoch_end(self) -> None:
            raise RuntimeError("stop")

    model = tiny(Failing)
    with pytest.raises(RuntimeError, match="stop"):
        quiet_trainer(tmp_path, callbacks=[LinearAnnealing(num_steps=9)]).fit(model, tiny_data())
    assert model.kl_weight is None


def test_validation_reports_the_unweighted_bound(tmp_path: Path) -> None:
    logger = Record()
    trainer = quiet_trainer(tmp_path, max_epochs=1, callbacks=[LinearAnnealing(num_steps=1000)], logger=logger)
    model = tiny(VAE)
    trainer.fit(model, tiny_data())
    (fitted,) = logger.curve("val/elbo").values()
    (again,) = trainer.validate(model, tiny_data(), verbose=False)
    assert fitted == again["val/elbo"]


def test_a_model_without_a_bound(tmp_path: Path) -> None:
    trainer = quiet_trainer(tmp_path, callbacks=[LinearAnnealing(num_steps=5)])
    with pytest.raises(ValueError, match="LinearAnnealing needs a model with a bound, AE has none"):
        trainer.fit(tiny(AE), tiny_data())


class Kept(Callback):
    """Names of the checkpoints that are there after each validation."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.seen = folder, []

    def on_validation_start(self, *_: Any) -> None:
        self.seen.append(sorted(path.name for path in self.folder.glob("*.ckpt")))


class Worse(VAE):
    """A model whose bound falls from one validation to the next."""

    def curves(self, means: dict[str, Any]) -> dict[str, Any]:
        return {**means, "elbo": means["elbo"].new_tensor(-float(self.current_epoch))}


@pytest.mark.parametrize("resumed", few([False, True], 1))
def test_patience_and_the_best_count_from_the_end_of_the_schedule(tmp_path: Path, resumed: bool) -> None:
    folder, schedule = tmp_path / "saved", LinearAnnealing(num_epochs=3)

    def fit(max_epochs: int, path: Any = None) -> Any:
        stop = EarlyStopping("val/elbo", mode="max", patience=2)
        best = BestCheckpoint(dirpath=folder, monitor="val/elbo", mode="max")
        kept = Kept(folder)
        callbacks = [stop, LinearAnnealing(num_epochs=3) if resumed else schedule, best, kept]
        callbacks += [LastCheckpoint(dirpath=tmp_path / "last")] if resumed else []
        trainer = quiet_trainer(tmp_path, max_epochs=max_epochs, callbacks=callbacks, enable_checkpointing=True)
        trainer.fit(tiny(Worse), tiny_data(), ckpt_path=path)
        return trainer, best, kept.seen

    if resumed:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of folders that are there
            fit(2)
            trainer, best, seen = fit(9, tmp_path / "last" / "last.ckpt")
    else:
        trainer, best, seen = fit(9)
        assert seen[:4] == [[], ["0001.ckpt"], ["0001.ckpt"], ["0003.ckpt"]]
    assert Path(best.best_model_path).name == "0003.ckpt"  # the first after three epochs
    assert trainer.current_epoch == 5  # two validations without a gain
    assert seen[-1] == ["0003.ckpt"]


def test_cycles_count_at_their_top() -> None:
    half, whole = CyclicalAnnealing(num_epochs=4), CyclicalAnnealing(num_epochs=4, ratio=1)
    assert [half.full(n / 4) for n in range(1, 9)] == [False, True, True, True] * 2
    assert [whole.full(n / 4) for n in (1, 3, 4, 5)] == [False, False, True, True]
    assert not LinearAnnealing(num_steps=9).full(0.99)


@pytest.mark.exhaustive
def test_a_plateau_is_told_nothing_while_the_weight_rises(tmp_path: Path) -> None:
    plateau = partial(ReduceLROnPlateau, patience=0, threshold=1e9, factor=0.5)
    for epochs, rate in ((2, 1.25e-4), (20, 1e-3)):
        trainer = quiet_trainer(tmp_path, max_epochs=4, callbacks=[LinearAnnealing(num_epochs=epochs)])
        trainer.fit(tiny(VAE, scheduler=plateau), tiny_data())
        assert trainer.optimizers[0].param_groups[0]["lr"] == rate


@pytest.mark.parametrize(
    ("schedule", "said"),
    few(
        [
            (
                LinearAnnealing(num_epochs=80),
                "LinearAnnealing takes 80 epochs, which .* ends at 0.013",
            ),
            (LinearAnnealing(num_steps=6), "takes 6 steps"),
            (CyclicalAnnealing(num_steps=11), "CyclicalAnnealing takes 11 steps"),
            (LinearAnnealing(num_steps=5), ""),
            (CyclicalAnnealing(num_epochs=2), ""),
        ],
        2,
    ),
)
def test_a_schedule_longer_than_the_run(tmp_path: Path, logged: list[str], schedule: Any, said: str) -> None:
    weights(schedule, tmp_path, max_epochs=1)
    text = "\n".join(logged)
    assert re.search(said, text) if said else "does not last" not in text


@pytest.mark.parametrize(
    ("cls", "kwargs", "message"),
    [
        (LinearAnnealing, {}, "give either num_steps or num_epochs, got None and None"),
        (LinearAnnealing, {"num_steps": 1, "num_epochs": 1}, "give either num_steps or num_epochs, got 1 and 1"),
        (LinearAnnealing, {"num_steps": 0}, "must be longer than 0, got"),
        (LinearAnnealing, {"num_epochs": -1.0}, "must be longer than 0, got -1.0"),
        (LinearAnnealing, {"num_epochs": float("nan")}, "must be longer than 0, got nan"),
        (LinearAnnealing, {"num_steps": 5, "start": 1.5}, "start must be between 0 and 1, got 1.5"),
        (CyclicalAnnealing, {"num_steps": 5, "ratio": 0.0}, "ratio must be above 0 and at most 1, got 0.0"),
    ],
)
def test_errors(cls: type, kwargs: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        cls(**kwargs)
