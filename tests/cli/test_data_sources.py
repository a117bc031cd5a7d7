"""Mistakes with data that come from elsewhere: exit code 2, one line, and nothing written."""

from __future__ import annotations

import os
import pickle
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

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


@pytest.mark.parametrize(("line", "said"), DATASETS, ids=[line.partition("--data ")[2] for line, _ in DATASETS])
def test_a_data_set_of_torch(run: Callable, line: str, said: str) -> None:
    Path("my_rings.py").write_text(RINGS)
    check(run, line, said)


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


@pytest.mark.parametrize(("line", "said"), BY_NAME, ids=[line.partition("--data ")[2] for line, _ in BY_NAME])
def test_a_data_set_of_torchvision(run: Callable, line: str, said: str) -> None:
    folder = Path("evil/cifar-10-batches-py")
    folder.mkdir(parents=True)
    for name in (*(f"data_batch_{n}" for n in range(1, 6)), "test_batch"):
        (folder / name).write_bytes(pickle.dumps(Call()))
    check(run, line, said)


@pytest.mark.parametrize(("line", "said"), FOLDERS, ids=[line.partition("--data ")[2] for line, _ in FOLDERS])
def test_a_folder_of_hugging_face(run: Callable, line: str, said: str) -> None:
    datasets = pytest.importorskip("datasets")
    datasets.disable_progress_bars()
    datasets.Dataset.from_dict({"a": [1.0] * 20, "b": [2.0] * 20}).save_to_disk("saved")
    Path("empty").mkdir()
    check(run, line, said)
