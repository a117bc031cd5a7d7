"""Foreign loaders and batches: several loaders at once, dictionaries, tuples of any length."""

from __future__ import annotations

from collections import namedtuple
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from helpers import SHAPE, Batches, Record, load_arrays, quiet_trainer, tiny, tiny_data
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from lightning.pytorch.utilities import CombinedLoader
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from vae_zoo.callbacks import (
    AIS,
    CollapseWarning,
    Evidence,
    LatentScatter,
    PredictionWriter,
    RateDecomposition,
    ReconstructionGrid,
    Reconstructions,
    Report,
    SampleGrid,
)
from vae_zoo.callbacks.evaluation import annealed_sampling
from vae_zoo.data import Sprites
from vae_zoo.models import VAE, ConditionalVAE

pytestmark = pytest.mark.filterwarnings("ignore:.*does not have many workers:UserWarning")

X, Y = torch.rand(11, *SHAPE, generator=torch.Generator().manual_seed(0)), torch.arange(11) % 3
FIRST, SECOND = DataLoader(TensorDataset(X, Y), batch_size=4), DataLoader(1 - X[:5], batch_size=3)


class Stream(IterableDataset):
    """Examples whose number nobody knows."""

    def __init__(self, x: Tensor) -> None:
        self.x = x

    def __iter__(self) -> Any:
        return iter(self.x)


class TestSeveralLoaders:
    @pytest.mark.parametrize("second", [SECOND, DataLoader(Stream(1 - X[:5]), batch_size=3)], ids=["sized", "stream"])
    def test_each_has_its_figures(self, second: Any, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
        model, trainer = tiny(), quiet_trainer(tmp_path, callbacks=[Evidence(num_samples=3), Reconstructions()])
        alone = [trainer.test(model, loader, verbose=False)[0] for loader in (FIRST, SECOND)]
        both = trainer.test(model, [FIRST, second], verbose=True)
        assert {"test/elbo", "test/log_evidence", "test/active_units", "test/psnr"} <= set(alone[0])
        for n, metrics in enumerate(alone):
            for name, value in metrics.items():
                if name not in ("test/psnr", "test/ssim", "test/evidence_images_per_second"):
                    assert both[n][f"{name}/dataloader_idx_{n}"] == pytest.approx(value, rel=1e-5), name
        assert both[0]["test/psnr"] == pytest.approx(alone[0]["test/psnr"])
        if second is SECOND:
            rows = [line for line in capsys.readouterr().out.splitlines() if " test/elbo " in line]
            shown = [float(cell) for row in rows for cell in row.replace("│", " ").split()[1:]]
            assert shown == pytest.approx([metrics["test/elbo"] for metrics in alone])

    def test_monitors_see_the_first(self, tmp_path: Path) -> None:
        best = ModelCheckpoint(tmp_path, monitor="val/elbo", mode="max", filename="best")
        stop = EarlyStopping(monitor="val/elbo/dataloader_idx_1", mode="max", min_delta=1e9, patience=2)
        logger, quiet = Record(), CollapseWarning()
        pictures = [cls(every_n_epochs=1) for cls in (ReconstructionGrid, SampleGrid, LatentScatter)]
        options = {"max_epochs": 9, "enable_checkpointing": True, "logger": logger, "log_every_n_steps": 1}
        trainer = quiet_trainer(tmp_path, callbacks=[best, stop, quiet, *pictures], **options)
        trainer.fit(tiny(), FIRST, [FIRST, SECOND])
        assert trainer.current_epoch == 3
        curves = [list(logger.curve(f"val/elbo/dataloader_idx_{n}").values()) for n in (0, 1)]
        assert [len(curve) for curve in curves] == [3, 3]
        assert float(best.best_model_score) == pytest.approx(max(curves[0]))
        assert {"val/active_units/dataloader_idx_0", "val/active_units/dataloader_idx_1"} <= set(
            trainer.callback_metrics
        )
        assert torch.equal(pictures[0]._batch[0], X[:4])
        assert torch.equal(pictures[2]._batch[0], X)

    def test_of_a_data_module(self, tmp_path: Path) -> None:
        class Two(Sprites):
            def val_dataloader(self) -> Any:
                return [super().val_dataloader(), super().test_dataloader()]

        data, trainer = Two(num_examples=64, image_size=8), quiet_trainer(tmp_path)
        first, second = trainer.validate(tiny(), data, verbose=False)
        assert "val/elbo/dataloader_idx_0" in first
        assert first["val/elbo/dataloader_idx_0"] != second["val/elbo/dataloader_idx_1"]

    def test_callbacks_of_a_test_look_at_the_first(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def ais(model: VAE, x: Tensor, c: Tensor | None, **options: Any) -> Any:
            return SimpleNamespace(value=x.mean((1, 2, 3)), error=x[:, 0, 0, 0])

        monkeypatch.setattr(annealed_sampling, "ais", ais)
        model, metrics = tiny(), []
        for loaders in (FIRST, [FIRST, SECOND]):
            torch.manual_seed(0)
            callbacks = [AIS(num_images=20, num_samples=2), RateDecomposition(num_samples=1)]
            quiet_trainer(tmp_path, callbacks=callbacks).test(model, loaders, verbose=False)
            names = ("test/ais_log_evidence", "test/ais_gain", "test/mutual_information")
            metrics.append([float(model.trainer.callback_metrics[name]) for name in names])
        assert metrics[0] == pytest.approx(metrics[1])

    def test_the_report_has_a_row_for_each(self, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
        quiet_trainer(tmp_path, callbacks=[Report()]).test(tiny(), [FIRST, SECOND], verbose=False)
        cells = [line.replace("│", " ").split() for line in capsys.readouterr().out.splitlines()]
        rows = [row for row in cells if row and row[0].startswith("elbo")]
        assert [row[0] for row in rows] == ["elbo/dataloader_idx_0", "elbo/dataloader_idx_1"]
        assert all(row[2] == "nats" for row in rows)

    def test_predictions(self, tmp_path: Path) -> None:
        model, writer = tiny(), PredictionWriter(num_samples=0)
        first, second = quiet_trainer(tmp_path, callbacks=[writer]).predict(model, [FIRST, SECOND])
        for folder, x, found in ((tmp_path, X, first), (tmp_path / "dataloader_idx_1", 1 - X[:5], second)):
            rows = load_arrays(folder / "reconstructions.npz")
            assert np.array_equal(rows["x"], x.numpy())
            torch.testing.assert_close(
                torch.from_numpy(rows["reconstruction"]), torch.cat([p["reconstruction"] for p in found])
            )
            assert not (folder / "parts").exists()

    def test_to_train_on(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match="takes the list for 2 training loaders, whose batches come together"):
            quiet_trainer(tmp_path, max_epochs=1).fit(tiny(), [FIRST, SECOND], SECOND)

        class Joined(VAE):
            def unpack(self, batch: Any) -> Any:
                return torch.cat([super(Joined, self).unpack(part)[0] for part in batch]), None

        trainer = quiet_trainer(tmp_path, max_epochs=1)
        trainer.fit(tiny(Joined), [FIRST, SECOND], CombinedLoader([FIRST, SECOND], "max_size_cycle"))
        assert "val/elbo" in trainer.callback_metrics
        assert not any("dataloader_idx" in name for name in trainer.callback_metrics)


Pair = namedtuple("Pair", ["image", "label"])
FORMS: dict[str, Any] = {
    "tensor": X,
    "list": [X],
    "tuple": (X, Y, torch.ones(11)),
    "named tuple": Pair(X, Y),
    "dictionary": {"index": Y, "image": X, "label": Y, "name": ["a"] * 11},
    "targets": (X, {"boxes": torch.ones(11, 4), "labels": Y}),
    "names": (X, ["a"] * 11),
}


@pytest.mark.parametrize("form", FORMS)
def test_forms_of_batches(form: str, tmp_path: Path) -> None:
    """A fit, a test and a predict are those of the plain tuple, to the last digit."""
    labelled = form not in ("tensor", "list", "names")
    runs = []
    for batch in ((X, Y) if labelled else X, FORMS[form]):
        torch.manual_seed(0)
        model, loader = tiny(ConditionalVAE if labelled else VAE), Batches(batch, batch)
        trainer = quiet_trainer(tmp_path, max_epochs=2, callbacks=[CollapseWarning(), Evidence(num_samples=2)])
        trainer.fit(model, loader, loader)
        (metrics,) = trainer.test(model, loader, verbose=False)
        metrics.pop("test/evidence_images_per_second")
        runs.append((metrics, trainer.predict(model, loader)[0]["z"]))
    assert runs[0][0] == runs[1][0]
    assert torch.equal(runs[0][1], runs[1][1])


def test_a_hook_for_every_other_form(tmp_path: Path) -> None:
    """Images as the libraries of others keep them, without a channel and as bytes."""

    class Bytes(VAE):
        def unpack(self, batch: Any) -> tuple[Tensor, Tensor | None]:
            return batch["image"].float().unsqueeze(1) / 255, batch["label"]

    images = (X[:, 0] * 255).to(torch.uint8)
    loader = Batches({"image": images, "label": Y})
    pictures = [ReconstructionGrid(every_n_epochs=1, num=4), CollapseWarning(), PredictionWriter(num_samples=0)]
    trainer = quiet_trainer(tmp_path, max_epochs=1, callbacks=pictures)
    trainer.fit(tiny(Bytes), loader, loader)
    trainer.test(tiny(Bytes), loader, verbose=False)
    trainer.predict(tiny(Bytes), loader)
    assert load_arrays(tmp_path / "latents.npz")["y"].tolist() == Y.tolist()
    assert (tmp_path / "images" / "reconstructions_0001.png").exists()


@pytest.mark.parametrize(
    ("batch", "got"),
    [
        ({"image": X[:, 0], "label": Y}, "got dict of image: tensor (11, 8, 8), label: tensor (11,)"),
        ({"a": X, "b": X}, "got dict of a: tensor (11, 1, 8, 8), b: tensor (11, 1, 8, 8)"),
        ({}, "got dict of nothing"),
        (["a", "b"], "got list of str"),
        ((), "got tuple"),
        (({"image": X}, Y), "got tuple of dict"),
        (7, "got int"),
        (X.numpy(), "got ndarray"),
    ],
)
def test_batches_with_nothing_usable(batch: Any, got: str, tmp_path: Path) -> None:
    trainer = quiet_trainer(tmp_path, max_epochs=1)
    for run in (partial(trainer.fit, val_dataloaders=Batches(batch)), trainer.test, trainer.predict):
        with pytest.raises(ValueError, match="a batch must begin with a tensor") as error:
            run(tiny(), Batches(batch))
        assert str(error.value).endswith(got + ": override unpack(batch) to give (examples, labels).")
        assert "\n" not in str(error.value)


def test_data_of_the_zoo_are_taken_as_before() -> None:
    data = tiny_data()
    batch = next(iter(data.val_dataloader()))
    assert tiny().unpack(batch)[0] is batch.x
    assert tiny().unpack(batch)[1] is batch.y
