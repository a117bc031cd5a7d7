from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from helpers import Batches, Record, quiet_trainer, tiny, tiny_data
from lightning.pytorch.loggers import TensorBoardLogger
from PIL import Image
from short import few

from vae_zoo.callbacks import ReconstructionGrid, SampleGrid, TraversalGrid
from vae_zoo.callbacks.pictures import drawing
from vae_zoo.callbacks.pictures.folders import save_picture
from vae_zoo.callbacks.pictures.traversals import traversals
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
    few(
        [
            (SampleGrid(every_n_epochs=2, num=9, labels=False), (side(3), side(3))),
            (ReconstructionGrid(every_n_epochs=2, num=8, labels=False), (side(8), side(2))),
            (TraversalGrid(every_n_epochs=2, num=8, labels=False), (side(11), side(4))),
        ],
        1,
    ),
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


@pytest.mark.exhaustive
def test_tensorboard(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    logger = TensorBoardLogger(tmp_path, name="", version="")
    run(tmp_path, tiny(VAE), [cls(every_n_epochs=1) for cls in GRIDS], max_epochs=1, logger=logger)
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    assert set(events.Tags()["images"]) == {"samples", "reconstructions", "traversals"}


class Notes:
    """An experiment that takes pictures in one of the ways that there are, and notes them."""

    def __init__(self, **methods: Any) -> None:
        self.taken: list[Any] = []
        for name in methods:
            setattr(self, name, lambda *args, **kwargs: self.taken.append((args, kwargs)))


class Uploads(dict):
    """A run that files are uploaded to by their place in it."""

    def __missing__(self, key: str) -> Any:
        return SimpleNamespace(upload=lambda path: self.update({key: path}))


class TestLoggersOfOthers:
    def keep(self, folder: Path, **logger: Any) -> Path:
        mine = type("Mine", (Record,), logger)()
        trainer = quiet_trainer(folder, logger=mine)
        return save_picture(trainer, "samples", torch.full((3, 4, 5), 0.5))

    def test_as_tensorboard(self, tmp_path: Path) -> None:
        experiment = Notes(add_image=True)
        self.keep(tmp_path, experiment=experiment)
        (((name, picture, step), _),) = experiment.taken
        assert (name, picture.shape, step) == ("samples", (3, 4, 5), 0)

    def test_as_comet(self, tmp_path: Path) -> None:
        experiment = Notes(log_image=True)
        self.keep(tmp_path, experiment=experiment)
        (((pixels,), options),) = experiment.taken
        assert (pixels.shape, pixels.dtype, options) == ((4, 5, 3), np.uint8, {"name": "samples", "step": 0})

    def test_as_mlflow(self, tmp_path: Path) -> None:
        experiment = Notes(log_image=True)
        self.keep(tmp_path, experiment=experiment, run_id="7")
        (((run, pixels), options),) = experiment.taken
        assert (run, pixels.shape, options) == ("7", (4, 5, 3), {"key": "samples", "step": 0})

    def test_as_neptune(self, tmp_path: Path) -> None:
        experiment = Uploads()
        path = self.keep(tmp_path, experiment=experiment, run=experiment)
        assert experiment == {"images/samples_0001": str(path)}

    def test_with_no_way(self, tmp_path: Path) -> None:
        assert self.keep(tmp_path, experiment=object()).is_file()
        assert self.keep(tmp_path).is_file()

    def test_one_that_fails_is_asked_once(self, tmp_path: Path) -> None:
        def fails(*args: Any, **kwargs: Any) -> None:
            calls.append(args)
            raise ConnectionError("the server is\naway")

        calls: list[Any] = []
        trainer = quiet_trainer(tmp_path, logger=type("Mine", (Record,), {"log_image": fails})())
        with pytest.warns(
            UserWarning, match=r"Mine does not take pictures, which are in .*images: ConnectionError"
        ) as said:
            paths = [save_picture(trainer, name, torch.rand(3, 4, 5)) for name in ("a", "b")]
        assert len(said) == len(calls) == 1
        assert "server is away" in str(said[0].message)
        assert all(path.is_file() for path in paths)


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
        assert all(map(drawing.drawable, [(3, 256), (8, 8), (1, 16, 16, 16), (2, 4, 8, 8)]))
        assert not any(map(drawing.drawable, [(5,), (2, 8, 8), (1, 1, 1, 8, 8)]))

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
        dims, _, rows, _ = traversals(model, images, c, num_dims=3, num_steps=7)
        assert rows.shape == (3, 7, 1, 8, 8)
        z = model.embed(images)
        assert dims.tolist() == z.var(0).argsort(descending=True)[:3].tolist()
        moved = z[0].clone()
        moved[dims[1]] = 3.0
        torch.testing.assert_close(rows[1, -1], model.decode(moved[None]).mean[0])
