"""Mistakes with data that come from elsewhere: exit code 2, one line, and nothing written."""

from __future__ import annotations

import os
import pickle
import shlex
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from short import few

from vae_zoo.cli.errors import WIDTH


class Call:
    """Unpickled, it makes a folder."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, ("executed",)


RINGS = """
import torch
from torch.utils.data import Dataset


class Rings(Dataset):
    def __init__(self, num: int = 50) -> None:
        angle = torch.arange(num) * 0.1
        self.x = torch.stack([angle.cos(), angle.sin()], 1)

    def __len__(self):
        return len(self.x)

    def __getitem__(self, index):
        return self.x[index], int(index > 20)
"""
FIT = "fit --model MLPVAE --data "
OWN = FIT + "FromDataset --data.train "
DATASETS = [
    (OWN + "torch.nn.Linear", "data.train: torch.nn.Linear is no Dataset"),
    (OWN + "my_rings.Nothing", "data.train: my_rings has no Nothing"),
    (OWN + "nowhere.Rings", "data.train: there is no module nowhere"),
    (OWN + "os.system", "data.train: os.system is not allowed here"),
    (OWN + "my_rings.Rings --data.train.nmu 3", "data.train: unknown key nmu, did you mean num?"),
    (OWN + "my_rings.Rings --data.num_workers -1", "num_workers must be at least 0, got -1."),
    (OWN + "my_rings.Rings --data.x_key a", "the train data set gives a tuple and no dictionary: leave the keys out."),
    (OWN + "my_rings.Rings --data.train.num 0", "There are no examples in the train data set."),
]
VISION = FIT + "TorchVision --data.name "
BY_NAME = [
    (VISION + "CIFAR", "TorchVision has no CIFAR, did you mean CIFAR10?"),
    (VISION + "Food", "TorchVision has no Food: there is MNIST, FashionMNIST, KMNIST, EMNIST, CIFAR10, CIFAR100, SVHN"),
    (
        VISION + "EMNIST --data.variant words",
        "data.variant: expected 'balanced' or 'byclass' or 'bymerge' or 'letters'",
    ),
    (
        VISION + "CIFAR10 --data.root nowhere --data.download false",
        "CIFAR10 is not there: put cifar-10-batches-py/data_",
    ),
    (
        VISION + "CelebA --data.root nowhere",
        "CelebA is not downloaded: put celeba/img_align_celeba, celeba/",
    ),
    (
        VISION + "CIFAR10 --data.root evil",
        "evil/cifar-10-batches-py/data_batch_1 names posix.mkdir, where arrays",
    ),
]


HUGGING = FIT + "HuggingFace --data.path "
FOLDERS = [
    (HUGGING + "nowhere", "There is no folder nowhere of a data set: write one by save_to_disk, or set hub to true to"),
    (HUGGING + "saved", "saved (train) has several columns: choose the example among a, b."),
    (HUGGING + "saved --data.x_key c", "saved (train) has no column c: there is a, b."),
    (HUGGING + "saved --data.x_key [a,c]", "saved (train) has no column c: there is a, b."),
    (HUGGING + "empty", "empty is no folder that save_to_disk has written, or damaged: Directory empty is neither a"),
]


HDF5 = FIT + "Arrays --data.path "
ARRAYS = [
    (HDF5 + "two.h5", "two.h5 has no x: give one of its keys, labels, measured/a, measured/b, as key."),
    (HDF5 + "two.h5 --data.key c", "two.h5 has no c: its keys are labels, measured/a, measured/b."),
    (
        HDF5 + "two.h5 --data.key measured/a --data.label_key z",
        "two.h5 has no z: its keys are labels, measured/a, measu",
    ),
    (HDF5 + "two.h5 --data.key labels", "two.h5 must hold numbers, got an array of object."),
    (HDF5 + "two.h5 --data.key measured/b", "two.h5 has images of int64: save them as uint8 if they lie in 0 .. 255"),
    (HDF5 + "torn.h5", "torn.h5 is truncated or no HDF5 file."),
    (HDF5 + "text.hdf5", "text.hdf5 is truncated or no HDF5 file."),
    (HDF5 + "nan.h5", "1 values in nan.h5 are not finite, the first at index (3, 1)"),
    (HDF5 + "nothing.h5", "There is no file nothing.h5."),
    (HDF5 + "huge.h5", "huge.h5 unpacks from"),
    (HDF5 + "outside.h5", "outside.h5 has x in another file, two.h5: refused."),
]


def check(run: Callable, line: str, said: str) -> None:
    before = sorted(Path().rglob("*"))
    outcome = run(*shlex.split(line))
    assert outcome.code == 2
    lines = outcome.err.strip().splitlines()
    assert len(lines) == 1, outcome.err
    assert lines[0].startswith("vae-zoo: error: ")
    assert said in lines[0]
    assert len(lines[0]) <= WIDTH
    assert [path for path in sorted(Path().rglob("*")) if "__pycache__" not in path.parts] == before


@pytest.mark.parametrize(("line", "said"), few(DATASETS, 1), ids=[line.partition("--data ")[2] for line, _ in DATASETS])
def test_a_data_set_of_torch(run: Callable, line: str, said: str) -> None:
    Path("my_rings.py").write_text(RINGS)
    check(run, line, said)


@pytest.mark.exhaustive
def test_a_data_set_by_class_path(run: Callable) -> None:
    """It is trusted where the command names it, and asked for where a checkpoint does."""
    Path("my_rings.py").write_text(RINGS)
    short = " --trainer.max_epochs 1 --model.latent_dim 2 --model.encoder.hidden [8]"
    assert run(*shlex.split(OWN + "my_rings.Rings --data.train.num 60" + short)).code == 0
    ckpt = "results/MLPVAE_FromDataset/fit_0/checkpoints/last.ckpt"
    outcome = run("predict", "--ckpt_path", ckpt)
    assert outcome.code == 2
    assert "my_rings.Rings is not trusted: add --trust my_rings if you trust its code" in outcome.err
    outcome = run("predict", "--ckpt_path", ckpt, "--trust", "my_rings")
    assert outcome.code == 0
    assert "predict: 6 of 60 examples, split test" in outcome.err
    outcome = run("predict", "--ckpt_path", ckpt, "--trust", "my_rings", "--data.train.num", "30")
    assert outcome.code == 0
    assert "predict: 30 of 30 examples, split all" in outcome.err


@pytest.mark.parametrize(("line", "said"), few(BY_NAME, 1), ids=[line.partition("--data ")[2] for line, _ in BY_NAME])
def test_a_data_set_of_torchvision(run: Callable, line: str, said: str) -> None:
    folder = Path("evil/cifar-10-batches-py")
    folder.mkdir(parents=True)
    for name in (*(f"data_batch_{n}" for n in range(1, 6)), "test_batch"):
        (folder / name).write_bytes(pickle.dumps(Call()))
    check(run, line, said)


@pytest.mark.parametrize(("line", "said"), few(FOLDERS, 1), ids=[line.partition("--data ")[2] for line, _ in FOLDERS])
def test_a_folder_of_hugging_face(run: Callable, line: str, said: str) -> None:
    datasets = pytest.importorskip("datasets")
    datasets.disable_progress_bars()
    datasets.Dataset.from_dict({"a": [1.0] * 20, "b": [2.0] * 20}).save_to_disk("saved")
    Path("empty").mkdir()
    check(run, line, said)


@pytest.mark.parametrize(("line", "said"), few(ARRAYS, 1), ids=[line.partition("--data ")[2] for line, _ in ARRAYS])
def test_an_hdf5_file(run: Callable, line: str, said: str) -> None:
    h5py = pytest.importorskip("h5py")
    with h5py.File("two.h5", "w") as file:
        file["measured/a"], file["measured/b"] = np.zeros((20, 3)), np.zeros((20, 8, 8), int)
        file["labels"] = ["a"] * 20
    with h5py.File("nan.h5", "w") as file:
        file["x"] = np.where(np.arange(40).reshape(20, 2) == 7, np.nan, 1.0)
    with h5py.File("huge.h5", "w") as file:
        file.create_dataset("x", (2**40, 4), "f4", chunks=(1024, 4))
    with h5py.File("outside.h5", "w") as file:
        file.create_dataset("x", (20, 3), "f4", external=[("two.h5", 0, h5py.h5f.UNLIMITED)])
    Path("torn.h5").write_bytes(Path("two.h5").read_bytes()[:900])
    Path("text.hdf5").write_text("a,b")
    check(run, line, said)


def test_a_model_tested_on_other_rows_is_told_of(run: Callable) -> None:
    """Splits of a file to which rows were added are others, and mix those of the training with the rest."""
    rows = [f"{n % 7},{n % 5}" for n in range(100)]
    short = ["--trainer.logger=false", "--trainer.enable_progress_bar=false"]
    Path("a.csv").write_text("\n".join(["a,b", *rows]))
    run("fit", "--model=MLPVAE", "--data=Arrays", "--data.path=a.csv", "--trainer.max_epochs=1", *short)
    for more in ([], ["1,2"]):
        Path("a.csv").write_text("\n".join(["a,b", *rows, *more]))
        tested = run("validate", "--ckpt_path=results/MLPVAE_Arrays/fit_0", *short)
        assert tested.code == 0
        said = "warning: the training split has 81 examples, and the model was fitted to 80" in tested.err
        assert said == bool(more)
