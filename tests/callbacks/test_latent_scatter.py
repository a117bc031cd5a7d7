from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import MODELS, Batches, quiet_trainer, tiny, tiny_data
from lightning.pytorch.loggers import TensorBoardLogger
from matplotlib.axes import Axes
from PIL import Image
from short import few

from vae_zoo.callbacks import LatentScatter
from vae_zoo.callbacks.pictures.latent_scatter import scatter
from vae_zoo.models import VAE


@pytest.mark.exhaustive
def test_files_and_tensorboard(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    callback = LatentScatter(every_n_epochs=2, num=7)
    logger = TensorBoardLogger(tmp_path, name="", version="")
    trainer = quiet_trainer(tmp_path, max_epochs=3, callbacks=[callback], logger=logger)
    trainer.fit(tiny(VAE), tiny_data(eval_batch_size=3))
    files = sorted(tmp_path.rglob("*.png"))
    assert [file.name for file in files] == ["latents_0002.png", "latents_0003.png"]
    assert callback.path == files[-1]
    with Image.open(files[-1]) as image:
        assert image.size == (640, 600)
        assert np.asarray(image).std() > 1
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    assert events.Tags()["images"] == ["latents"]


def test_examples_of_several_batches(tmp_path: Path) -> None:
    data, callback = tiny_data(eval_batch_size=3), LatentScatter(every_n_epochs=9, num=7)
    quiet_trainer(tmp_path, max_epochs=1, callbacks=[callback]).fit(tiny(VAE), data)
    assert callback._batch is not None
    x, c = callback._batch
    torch.testing.assert_close(x, data.examples("val")[:7])
    assert torch.equal(c, data.load("val").y[:7])


@pytest.mark.parametrize("cls", few(MODELS, 1), ids=lambda cls: cls.__name__)
def test_of_every_model(cls: type, images: torch.Tensor) -> None:
    model = tiny(cls)
    picture = LatentScatter().draw(model, images, torch.arange(len(images)) % 3)
    assert (picture is None) == (not model.continuous)
    if picture is not None:
        pixels = picture.pixels()
        assert pixels.shape == (3, 600, 640)
        assert 0 <= pixels.min() < pixels.max() <= 1


def test_the_two_that_vary_most(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = []
    monkeypatch.setattr(Axes, "scatter", lambda self, x, y, **kwargs: drawn.append((x, y)) or _Nothing())
    z = torch.randn(50, 4) * torch.tensor([0.1, 3.0, 1.0, 2.0])
    scatter(z)
    scatter(z, layers=(1, 3))
    assert torch.equal(torch.from_numpy(np.stack(drawn[0])), z[:, [1, 3]].T)
    assert torch.equal(torch.from_numpy(drawn[1][0]), z[:, 0])


class _Nothing:
    pass


@pytest.mark.parametrize(
    "labels", few([None, torch.zeros(50), torch.rand(50), torch.rand(50, 2), torch.arange(50) % 15], 2)
)
def test_labels(labels: torch.Tensor | None) -> None:
    z = torch.randn(50, 3)
    coloured = not torch.equal(scatter(z, labels).pixels(), scatter(z).pixels())
    assert coloured == (labels is not None and labels.ndim == 1 and len(labels.unique()) > 1)


def test_of_vectors_and_only_when_asked(tmp_path: Path) -> None:
    for num, every in enumerate((0, 1)):
        trainer = quiet_trainer(tmp_path, max_epochs=1, callbacks=[LatentScatter(every_n_epochs=every)])
        trainer.fit(tiny(VAE, shape=(5,)), Batches(torch.rand(4, 5)), Batches(torch.rand(4, 5)))
        assert len(list(tmp_path.rglob("*.png"))) == num


def test_leaves_the_run_as_it_is(tmp_path: Path) -> None:
    weights = []
    for callbacks in ([], [LatentScatter(every_n_epochs=1)]):
        torch.manual_seed(1)
        model = tiny(VAE)
        quiet_trainer(tmp_path, max_epochs=2, callbacks=callbacks).fit(model, tiny_data())
        weights.append(torch.cat([p.flatten() for p in model.parameters()]))
    assert torch.equal(*weights)
