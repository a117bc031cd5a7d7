from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import Batches, quiet_trainer, tiny, tiny_data
from lightning.pytorch.loggers import TensorBoardLogger
from PIL import Image

from vae_zoo.callbacks import ReconstructionGrid, SampleGrid, TraversalGrid, drawing
from vae_zoo.models import AE, VAE

GRIDS = [SampleGrid, ReconstructionGrid, TraversalGrid]


def run(folder: Path, model: Any, callbacks: list[Any], data: Any = None, **kwargs: Any) -> list[str]:
    quiet_trainer(folder, **{"max_epochs": 3, "callbacks": callbacks, **kwargs}).fit(model, data or tiny_data())
    return sorted(path.name for path in folder.rglob("*.png"))


def side(num: int) -> int:
    """Pixels of a row of so many sprites, enlarged to 32 pixels, with a border of 2."""
    return num * 34 + 2


@pytest.mark.parametrize(
    ("make", "size"),
    [
        (SampleGrid(every_n_epochs=2, num=9), (side(3), side(3))),
        (ReconstructionGrid(every_n_epochs=2, num=8), (side(8), side(2))),
        (TraversalGrid(every_n_epochs=2, num=8), (side(11), side(4))),
    ],
    ids=lambda v: getattr(v, "name", ""),
)
def test_files(make: Any, size: tuple[int, int], tmp_path: Path) -> None:
    data = tiny_data(eval_batch_size=9)
    without_labels = data.load("val")._replace(y=None)  # a sample grid takes as many as there are labels
    data._splits["val"] = without_labels
    files = run(tmp_path, tiny(VAE), [make], data)
    assert files == [f"{make.name}_0002.png", f"{make.name}_0003.png"]
    with Image.open(tmp_path / "images" / files[-1]) as image:
        assert image.size == size
        assert np.asarray(image).std() > 1
    assert make.path == tmp_path / "images" / files[-1]


def test_tensorboard(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    logger = TensorBoardLogger(tmp_path, name="", version="")
    run(tmp_path, tiny(VAE), [cls(every_n_epochs=1) for cls in GRIDS], max_epochs=1, logger=logger)
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    assert set(events.Tags()["images"]) == {"samples", "reconstructions", "traversals"}


@pytest.mark.parametrize("cls", GRIDS)
def test_none_asked_for(cls: type, tmp_path: Path) -> None:
    assert run(tmp_path, tiny(VAE), [cls(every_n_epochs=0)], max_epochs=1) == []


def test_nothing_of_vectors(tmp_path: Path) -> None:
    model = tiny(VAE, shape=(5,))
    trainer = quiet_trainer(tmp_path, max_epochs=1, callbacks=[cls(every_n_epochs=1) for cls in GRIDS])
    trainer.fit(model, Batches(torch.rand(4, 5)), Batches(torch.rand(4, 5)))
    assert not list(tmp_path.rglob("*.png"))


def test_a_plain_autoencoder_has_no_samples(tmp_path: Path) -> None:
    files = run(tmp_path, tiny(AE), [cls(every_n_epochs=1) for cls in GRIDS], max_epochs=1)
    assert {name.split("_")[0] for name in files} == {"reconstructions", "traversals"}


def test_pictures_leave_the_run_as_it_is(tmp_path: Path) -> None:
    weights = []
    for callbacks in ([], [cls(every_n_epochs=1) for cls in GRIDS]):
        torch.manual_seed(1)
        model = tiny(VAE)
        run(tmp_path, model, callbacks)
        weights.append(torch.cat([p.flatten() for p in model.parameters()]))
    assert torch.equal(*weights)


@pytest.mark.parametrize("kwargs", [{"every_n_epochs": -1}, {"num": 0}])
def test_errors(kwargs: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="every_n_epochs must be at least 0 and num at least 1, got"):
        SampleGrid(**kwargs)


class TestDrawing:
    def test_drawable(self) -> None:
        assert drawing.drawable((1, 8, 8))
        assert drawing.drawable((3, 8, 8))
        assert not any(map(drawing.drawable, [(5,), (8, 8), (2, 8, 8), (1, 1, 8, 8)]))

    def test_reconstructions_in_pairs(self, images: torch.Tensor) -> None:
        model = tiny(VAE)
        pairs = drawing.reconstructions(model, images)
        assert torch.equal(pairs[::2], images)
        assert torch.equal(pairs[1::2], model.reconstruct(images))

    @pytest.mark.parametrize("c", [None, torch.arange(16), torch.randn(16, 3)], ids=["none", "labels", "vectors"])
    def test_paths(self, images: torch.Tensor, c: torch.Tensor | None) -> None:
        model = tiny(VAE)
        paths = drawing.interpolations(model, images, c, 5)
        assert paths.shape == (8, 5, 1, 8, 8)
        torch.testing.assert_close(paths[:, 0], model.reconstruct(images[:8]))
        torch.testing.assert_close(paths[:, -1], model.reconstruct(images[8:]))
        dims, rows = drawing.traversals(model, images, c, num_dims=3, num_steps=7)
        assert rows.shape == (3, 7, 1, 8, 8)
        z = model.embed(images)
        assert dims.tolist() == z.var(0).argsort(descending=True)[:3].tolist()
        moved = z[0].clone()
        moved[dims[1]] = 3.0
        torch.testing.assert_close(rows[1, -1], model.decode(moved[None]).mean[0])
