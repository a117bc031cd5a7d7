from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.io import savemat

from vae_zoo.data import FreyFaces
from vae_zoo.data.base.paths import data_root


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "FreyFace").mkdir()
    return tmp_path / "FreyFace" / "frey_rawface.mat"


def faces(path: Path) -> FreyFaces:
    return FreyFaces(root=str(path.parent.parent))


def test_splits(path: Path) -> None:
    ff = np.zeros((560, 1965), np.uint8)
    ff[0], ff[1] = np.arange(1965) % 256, np.arange(1965) // 256
    ff[20] = 7  # first pixel of the second row
    savemat(path, {"ff": ff})
    data = faces(path)
    assert (data.shape, data.num_train, data.num_classes) == ((1, 28, 20), 1565, None)
    x = [data.load(split).x for split in ("train", "val", "test")]
    assert [len(part) for part in x] == [1565, 200, 200]
    numbers = torch.cat(x)[:, 0, 0, 0].int() + 256 * torch.cat(x)[:, 0, 0, 1].int()
    assert sorted(numbers.tolist()) == list(range(1965))
    assert (torch.cat(x)[:, 0, 1, 0] == 7).all()
    assert torch.equal(faces(path).load("val").x, x[1])


def test_missing_file(path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=rf"^There is no {path}: put [^\n]*VAE_ZOO_DATA[^\n]*$"):
        faces(path).setup("fit")


def test_missing_key(path: Path) -> None:
    savemat(path, {"faces": np.zeros((2, 2)), "b": np.zeros(1)})
    with pytest.raises(ValueError, match=r"must hold the faces under the key ff, but it holds b, faces\.$"):
        faces(path).setup("fit")


def test_wrong_shape(path: Path) -> None:
    savemat(path, {"ff": np.zeros((1965, 560), np.uint8)})
    with pytest.raises(ValueError, match=r"must be 560 x 1965, one face a column, got \(1965, 560\)\.$"):
        faces(path).setup("fit")


@pytest.mark.parametrize("size", [0, 50, 400, 10_000])
def test_truncated_file(path: Path, size: int) -> None:
    savemat(path, {"ff": np.random.default_rng(0).integers(0, 255, (560, 1965), np.uint8)})
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(ValueError, match=rf"^{path} is truncated or not a Matlab file\.$"):
        faces(path).setup("fit")


@pytest.mark.skipif("VAE_ZOO_DATA" not in os.environ, reason="VAE_ZOO_DATA says where the real file is")
def test_real_file() -> None:
    if not (data_root() / "FreyFace").is_dir():
        pytest.skip("VAE_ZOO_DATA has no Frey faces")
    data = FreyFaces()
    data.setup()
    x = data.load("train").x.float()
    mixed_up = x.reshape(-1, 1, 20, 28)
    assert x.diff(dim=2).abs().mean() < 0.7 * mixed_up.diff(dim=2).abs().mean()
