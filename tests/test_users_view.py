"""A variant outside the package, with data, loaders and a trainer that do not depend on it."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import Batches, Record, quiet_trainer, same_weights
from lightning.pytorch import LightningDataModule, seed_everything
from short import few
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from vae_zoo import hub
from vae_zoo.callbacks import CyclicalAnnealing, LinearAnnealing, PredictionWriter
from vae_zoo.distributions import FixedNormal
from vae_zoo.elbo import ELBO
from vae_zoo.models import VAE, VQVAE, BetaVAE, ConditionalVAE, VampVAE
from vae_zoo.nn import Dense

# Tests of a few batches with the loaders of torch, whose worker processes are not what is tested.
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not have many workers:UserWarning"),
    pytest.mark.filterwarnings("ignore:You defined a `validation_step`:UserWarning"),
]


class Small(nn.Module):
    """A network of the user's own."""

    def __init__(self, in_shape: tuple[int, ...], out_shape: tuple[int, ...], width: int = 8) -> None:
        super().__init__()
        self.net = Dense(in_shape, out_shape, hidden=[width])

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


class Capacity(VAE):
    """Holds the divergence at a target."""

    def __init__(self, *, target: float = 1.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.target = target

    def objective(self, elbo: ELBO) -> dict[str, Tensor]:
        gap = (elbo.kl - self.target).abs().mean()
        return {"loss": gap - elbo.log_px.mean(), "gap": gap}


def model(**kwargs: Any) -> Capacity:
    make = partial(Small, width=6)
    likelihood = partial(FixedNormal, scale=0.5)
    return Capacity(
        **{"shape": (5,), "latent_dim": 2, "encoder": make, "decoder": Small, "likelihood": likelihood, **kwargs}
    )


X, Y = torch.randn(20, 5, generator=torch.Generator().manual_seed(0)), torch.arange(20)


def loader(kind: str, **kwargs: Any) -> DataLoader:
    source: Any = {"tuples": TensorDataset(X, Y), "single": TensorDataset(X), "tensors": X}[kind]
    return DataLoader(source, **{"batch_size": 6, **kwargs})


@pytest.mark.parametrize("kind", few(["tuples", "single", "tensors"], 1))
def test_plain_loaders(kind: str, tmp_path: Path) -> None:
    mine, logger = model(target=0.5), Record()
    trainer = quiet_trainer(tmp_path, max_epochs=2, logger=logger, log_every_n_steps=1)
    trainer.fit(mine, loader(kind, shuffle=True), loader(kind))
    assert {"train/loss", "train/gap", "train/elbo", "val/elbo", "val/gap"} <= {
        n for _, row in logger.rows for n in row
    }
    predictions = trainer.predict(mine, loader(kind))
    torch.testing.assert_close(torch.cat([p["z"] for p in predictions]), mine.embed(X))
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    for again in (Capacity.load_from_checkpoint(tmp_path / "a.ckpt"), hub.load(tmp_path / "a.ckpt")):
        assert type(again) is Capacity
        assert again.target == 0.5
        assert same_weights(again, mine)
        assert torch.equal(again.reconstruct(X), mine.reconstruct(X))


def test_two_runs_with_one_seed(tmp_path: Path) -> None:
    runs = []
    for seed in (1, 1, 2):
        seed_everything(seed, verbose=False)
        mine = model()
        quiet_trainer(tmp_path, max_epochs=2).fit(mine, loader("tuples", shuffle=True), loader("tuples"))
        runs.append(mine)
    assert same_weights(runs[0], runs[1])
    assert not same_weights(runs[0], runs[2])


def test_fits_one_after_the_other_differ(tmp_path: Path) -> None:
    """Steps draw noise by their own seeds, and a fit leaves the generator as it found it."""
    seed_everything(1, verbose=False)
    weights, drawn = [], []
    for _ in range(3):
        mine = model()
        before = torch.get_rng_state()
        quiet_trainer(tmp_path, max_epochs=1).fit(mine, loader("tuples", shuffle=True))
        assert torch.equal(torch.get_rng_state(), before)
        weights.append(next(mine.parameters()).sum().item())
        drawn.append(torch.rand(()).item())
    assert len(set(weights)) == len(set(drawn)) == 3


class Endless(IterableDataset):
    """Examples without a known number."""

    def __iter__(self) -> Iterator[Tensor]:
        return iter(X)


@pytest.mark.parametrize("limit", [{"max_epochs": 1}, {"max_steps": 4}])
def test_a_stream_without_a_length(limit: dict[str, int], tmp_path: Path) -> None:
    schedule = partial(torch.optim.lr_scheduler.StepLR, step_size=2)
    mine = VAE(shape=(5,), latent_dim=2, encoder=Small, decoder=Small, likelihood=FixedNormal, scheduler=schedule)
    annealing = LinearAnnealing(num_steps=100)
    trainer = quiet_trainer(tmp_path, callbacks=[annealing], **limit)
    trainer.fit(mine, DataLoader(Endless(), batch_size=5))
    assert trainer.global_step == 4


def test_loaded_weights_are_not_initialised_from_the_data(tmp_path: Path) -> None:
    kwargs = {"shape": (5,), "encoder": Small, "decoder": Small, "likelihood": FixedNormal}
    mine, other = (VampVAE(**kwargs, num_pseudo=4, in_unit_interval=False) for _ in range(2))
    quiet_trainer(tmp_path, max_epochs=1).fit(mine, loader("single"))
    with torch.no_grad():
        mine.pseudo.add_(100)
    other.load_state_dict(mine.state_dict())
    other.lr = 1e-12
    quiet_trainer(tmp_path, max_steps=1).fit(other, loader("single"))
    torch.testing.assert_close(other.pseudo, mine.pseudo)


def test_a_component_that_was_replaced_is_not_saved(tmp_path: Path) -> None:
    mine, trainer = deepcopy(model()), quiet_trainer(tmp_path)
    trainer.strategy.connect(mine)
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    mine.likelihood = FixedNormal((5,), scale=2.0)
    for save in (lambda: trainer.save_checkpoint(tmp_path / "b.ckpt"), lambda: mine.save_pretrained(tmp_path / "b")):
        with pytest.raises(ValueError, match=r"^likelihood was replaced after the model had been built"):
            save()
    assert not list(tmp_path.glob("b*"))


def test_a_module_hidden_by_a_method_is_refused() -> None:
    mine = model()
    with pytest.raises(TypeError, match=r"^Capacity\.prior is a method, which would hide a module of this name"):
        mine.prior = nn.Linear(1, 1)


class Rows(LightningDataModule):
    """A data module of the user's own, whose methods are named as ours are and mean something else."""

    def load(self) -> Tensor:
        return X

    def train_dataloader(self) -> DataLoader:
        return DataLoader(TensorDataset(self.load(), Y), batch_size=5)


def test_a_data_module_of_the_users_own(tmp_path: Path) -> None:
    mine = ConditionalVAE(
        shape=(5,), num_classes=int(Y.max()) + 1, encoder=Small, decoder=Small, likelihood=FixedNormal
    )
    quiet_trainer(tmp_path, max_epochs=1).fit(mine, datamodule=Rows())


class Slow(VAE):
    """Takes nothing but a rate."""

    def __init__(self, *, lr: float = 1e-4) -> None:
        super().__init__(shape=(5,), likelihood=FixedNormal, encoder=Small, decoder=Small)
        self.lr = lr


def test_a_rate_that_the_constructor_sets_is_not_recorded_twice(tmp_path: Path) -> None:
    trainer = quiet_trainer(tmp_path, max_epochs=1)
    trainer.fit(Slow(lr=1e-5), loader("single"))
    trainer.save_checkpoint(tmp_path / "slow.ckpt")
    again = hub.load(tmp_path / "slow.ckpt")
    assert again.lr == 1e-5


class Order(Capacity):
    """Notes the labels of the training batches."""

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        super().on_train_batch_start(batch, batch_idx)
        self.order = [*getattr(self, "order", []), *batch[1].tolist()]


def test_every_epoch_has_an_order_of_its_own(tmp_path: Path) -> None:
    """A plain loader draws its order from the global generator, which noise of validation must leave alone."""
    seed_everything(0, verbose=False)
    mine = Order(shape=(5,), latent_dim=2, encoder=Small, decoder=Small, likelihood=FixedNormal)
    quiet_trainer(tmp_path, max_epochs=4).fit(mine, loader("tuples", shuffle=True), loader("tuples"))
    epochs = {tuple(mine.order[n : n + 20]) for n in range(0, 80, 20)}
    assert len(epochs) == 4
    assert all(sorted(epoch) == list(range(20)) for epoch in epochs)


def test_validation_leaves_the_generator_alone(tmp_path: Path) -> None:
    trainer, mine, batches = quiet_trainer(tmp_path), model(), Batches((X, Y), (X[:3], Y[:3]))
    before = torch.get_rng_state()
    for run in (trainer.validate, trainer.test):
        first = run(mine, batches, verbose=False)
        assert torch.equal(torch.get_rng_state(), before)
        torch.randn(1)
        assert run(mine, batches, verbose=False) == first
        torch.set_rng_state(before)


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (torch.randn(6, 4), r"the model is for examples of shape \(5,\), the data have \(4,\)"),
        (torch.randn(6, 5) * torch.nan, "FixedNormal needs finite data, got NaN or infinity"),
        (torch.zeros(6, 5, dtype=torch.uint8), "examples must be floating point, got torch.uint8"),
    ],
)
def test_data_that_the_model_cannot_take(x: Tensor, message: str, tmp_path: Path) -> None:
    trainer = quiet_trainer(tmp_path, max_epochs=1)
    batches = DataLoader(x, batch_size=3)
    for run in (partial(trainer.fit, val_dataloaders=batches), trainer.validate, trainer.test, trainer.predict):
        with pytest.raises(ValueError, match=message):
            run(model(), batches)


def test_numpy_doubles(tmp_path: Path) -> None:
    doubles = DataLoader(X.double(), batch_size=6)
    quiet_trainer(tmp_path, max_epochs=1).fit(model(), doubles, doubles)


class Hooked(Capacity):
    """Hooks as they are written for modules whose own are empty."""

    def setup(self, stage: str) -> None:
        self.called = [stage]

    def on_fit_start(self) -> None:
        self.called.append("fit")

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        self.called.append("batch")

    def on_before_optimizer_step(self, optimizer: Any) -> None:
        self.called.append("step")

    def on_validation_epoch_end(self) -> None:
        self.called.append("val/elbo" if "val/elbo" in self.trainer.callback_metrics else "nothing")

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["mine"] = 3

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.mine = checkpoint["mine"]


class Mixin:
    def on_fit_start(self) -> None:
        self.mixed = True


class Mixed(Mixin, Hooked):
    pass


class TestHooks:
    """What a subclass overrides without ``super()`` is added to what the models do themselves."""

    @pytest.mark.parametrize("cls", few([Hooked, Mixed], 1))
    def test_all_of_them(self, cls: type[Hooked], tmp_path: Path) -> None:
        logger, mine = Record(), cls(**model()._init_args)
        trainer = quiet_trainer(tmp_path, max_epochs=1, logger=logger, log_every_n_steps=1, num_sanity_val_steps=0)
        trainer.fit(mine, loader("tuples"), loader("tuples"))
        fit = ["fit"] if cls is Hooked else []  # which the mixin stands before
        assert mine.called == ["fit", *fit, *["batch", "step"] * 4, "val/elbo"]
        assert mine._initialised
        assert {"train/loss", "val/elbo"} <= {name for _, row in logger.rows for name in row}
        trainer.save_checkpoint(tmp_path / "a.ckpt")
        assert cls.load_from_checkpoint(tmp_path / "a.ckpt").mine == 3
        assert hasattr(mine, "mixed") == (cls is Mixed)
        with pytest.raises(ValueError, match="the model is for examples of shape"):
            quiet_trainer(tmp_path, max_epochs=1).fit(mine, DataLoader(X[:, :3], batch_size=3), loader("tuples"))

    def test_one_that_calls_them_runs_them_once(self, tmp_path: Path) -> None:
        class Counts(Capacity):
            num = 0

            def check_batch(self, batch: Any, batch_idx: int = 0) -> None:
                self.num += 1

            def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
                super().on_train_batch_start(batch, batch_idx)

        mine = Counts(**model()._init_args)
        quiet_trainer(tmp_path, max_epochs=1, limit_val_batches=0).fit(mine, loader("tuples"), loader("tuples"))
        assert mine.num == 4

    def test_codes_move_under_an_optimizer_of_ones_own(self, tmp_path: Path) -> None:
        class Own(VQVAE):
            moves = 0

            def configure_optimizers(self) -> Any:
                return torch.optim.SGD(self.parameters(), lr=1e-4)

            def move_codes(self) -> None:
                self.moves += 1

        for cls in (Own, type("Ours", (Own,), {"configure_optimizers": VQVAE.configure_optimizers})):
            mine = cls(shape=(5,), latent_dim=4, encoder=Small, decoder=Small, likelihood=FixedNormal)
            quiet_trainer(tmp_path, max_epochs=1).fit(mine, loader("tuples"), loader("tuples"))
            assert mine.moves == 4


@pytest.mark.parametrize("given", [X, TensorDataset(X, Y)], ids=["tensor", "data set"])
def test_examples_without_a_loader(given: Any, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"a batch must be \(B, 5\), got one example: wrap the data in a DataLoader"):
        quiet_trainer(tmp_path, max_epochs=1).fit(model(), given, loader("tuples"))


def test_a_checkpoint_loaded_as_what_it_is_not(tmp_path: Path) -> None:
    trainer = quiet_trainer(tmp_path)
    trainer.strategy.connect(model())
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    assert type(VAE.load_from_checkpoint(tmp_path / "a.ckpt", target=2.0)) is Capacity
    with pytest.raises(ValueError, match=r"a\.ckpt holds a Capacity, which is no BetaVAE: load it by its own class\.$"):
        BetaVAE.load_from_checkpoint(tmp_path / "a.ckpt")
    with pytest.raises(ValueError, match=r"a\.ckpt holds a Capacity, which has no argument nonsense\.$"):
        Capacity.load_from_checkpoint(tmp_path / "a.ckpt", nonsense=3)


class TestHub:
    def test_no_such_file(self, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError, match=r"no checkpoint at .*: give the path of a \.ckpt file"):
            hub.load(tmp_path / "a.ckpt")

    def test_not_a_checkpoint(self, tmp_path: Path) -> None:
        path = tmp_path / "a.ckpt"
        path.write_bytes(b"nonsense")
        with pytest.raises(ValueError, match=r"is no checkpoint: torch\.save has not written it"):
            hub.load(path)
        torch.save({"state_dict": {}}, path)
        with pytest.raises(ValueError, match="is not a checkpoint of vae_zoo: it names no model"):
            hub.load(path)

    def test_truncated(self, tmp_path: Path) -> None:
        path = tmp_path / "a.ckpt"
        trainer = quiet_trainer(tmp_path)
        trainer.strategy.connect(model())
        trainer.save_checkpoint(path)
        path.write_bytes(path.read_bytes()[:-500])
        with pytest.raises(ValueError, match="is torn: its end is missing") as error:
            hub.load(path)
        assert "\n" not in str(error.value)

    def test_code_is_not_executed(self, tmp_path: Path) -> None:
        class Evil:
            def __reduce__(self) -> Any:
                return (Path.touch, (tmp_path / "executed",))

        torch.save({"vae_zoo": Evil()}, tmp_path / "a.ckpt")
        with pytest.raises(ValueError, match="or a damaged one"):
            hub.load(tmp_path / "a.ckpt")
        assert not (tmp_path / "executed").exists()

    def test_a_class_of_a_module_that_is_not_imported(self, tmp_path: Path) -> None:
        trainer = quiet_trainer(tmp_path)
        trainer.strategy.connect(model())
        trainer.save_checkpoint(tmp_path / "a.ckpt")
        content = torch.load(tmp_path / "a.ckpt", weights_only=True)
        content["hyper_parameters"]["_class_path"] = "no_such_module.Model"
        content["vae_zoo"]["model"]["class_path"] = "no_such_module.Model"
        torch.save(content, tmp_path / "a.ckpt")
        with pytest.raises(ValueError, match=r"no_such_module\.Model"):
            hub.load(tmp_path / "a.ckpt")


class TestCallbacksTwice:
    @pytest.mark.parametrize(
        ("callbacks", "said"),
        [
            (
                [LinearAnnealing(num_steps=3), CyclicalAnnealing(num_steps=3)],
                "and CyclicalAnnealing would",
            ),
            ([PredictionWriter(), PredictionWriter(num_samples=0)], "PredictionWriter is given twice"),
        ],
        ids=["annealing", "predictions"],
    )
    def test_refused(self, callbacks: list[Any], said: str, tmp_path: Path) -> None:
        trainer = quiet_trainer(tmp_path, max_epochs=1, callbacks=callbacks)
        with pytest.raises(ValueError, match=said):
            (trainer.predict if "Writer" in said else partial(trainer.fit, val_dataloaders=loader("tuples")))(
                model(), loader("tuples")
            )

    def test_predictions_of_another_form(self, tmp_path: Path) -> None:
        class Bare(Capacity):
            def predict_step(self, batch: Any, batch_idx: int) -> Tensor:  # type: ignore[override]
                return self.embed(batch[0])

        trainer = quiet_trainer(tmp_path, callbacks=[PredictionWriter()])
        with pytest.raises(ValueError, match="a predict_step that gives a dictionary of tensors, got a Tensor"):
            trainer.predict(Bare(**model()._init_args), loader("tuples"))
