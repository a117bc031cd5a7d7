"""What the axes of the arrays of a file mean."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import load_arrays

from vae_zoo.data import Arrays
from vae_zoo.distributions import OptimalNormal
from vae_zoo.models import ConvVAE

from .array_cases import check_one_line

RANDOM = np.random.default_rng(0)


def file(folder: Path, shape: tuple[int, ...], dtype: str = "float32", **more: Any) -> str:
    """Examples whose values tell their places."""
    x = np.arange(np.prod(shape)).reshape(shape) % 251
    np.savez(folder / "a.npz", x=x.astype(dtype), **more)
    return str(folder / "a.npz")


@pytest.mark.parametrize(
    ("shape", "layout", "channels_last", "expected"),
    [
        ((20, 12), None, None, (12,)),
        ((20, 12), "sequence", None, (1, 12)),
        ((20, 3, 256), "sequence", None, (3, 256)),
        ((20, 256, 3), "sequence", None, (3, 256)),
        ((20, 6, 9), "sequence", True, (9, 6)),
        ((20, 6, 9), "sequence", False, (6, 9)),
        ((20, 3, 256), "image", None, (1, 3, 256)),
        ((20, 3, 256), "vector", None, (768,)),
        ((20, 28, 20), None, None, (1, 28, 20)),
        ((20, 16, 16, 16), "volume", None, (1, 16, 16, 16)),
        ((20, 3, 16, 16), "volume", None, (1, 3, 16, 16)),
        ((20, 2, 5, 6, 7), None, None, (2, 5, 6, 7)),
        ((20, 5, 6, 7, 2), "volume", None, (2, 5, 6, 7)),
        ((20, 5, 6, 7, 9), None, True, (9, 5, 6, 7)),
        ((20, 5, 5, 16), "image", True, (16, 5, 5)),
    ],
)
def test_layouts(
    tmp_path: Path, shape: tuple[int, ...], layout: Any, channels_last: bool | None, expected: tuple[int, ...]
) -> None:
    data = Arrays(path=file(tmp_path, shape), layout=layout, channels_last=channels_last)
    assert data.shape == expected
    x, given = data.load("val"), load_arrays(tmp_path / "a.npz")["x"]
    moved = np.moveaxis(given, -1, 1) if expected not in (shape[1:], (1, *shape[1:]), (768,)) else given
    assert np.array_equal(x.x.numpy().reshape(len(x.x), -1), moved[x.rows.numpy()].reshape(len(x.x), -1))


@pytest.mark.parametrize(
    ("shape", "given", "message"),
    [
        ((20, 3, 256), {}, r"has examples of shape \(3, 256\): set layout to sequence .* image .* or to vector\."),
        ((20, 256, 3), {}, r"has examples of shape \(256, 3\): set layout to sequence .* image .* or to vector\."),
        ((20, 16, 16, 16), {}, r"has examples of shape \(16, 16, 16\): set layout to volume .* give channels_last\."),
        ((20, 6, 9), {"layout": "sequence"}, r"has sequences of shape \(6, 9\), where .* by x.transpose\(0, 2, 1\)\."),
        ((20, 5, 6, 7, 8), {}, r"has volumes of shape \(5, 6, 7, 8\), where .* \(N, C, D, H, W\)\."),
        ((20, 9), {"layout": "image"}, r"must have rank 3 \(N, H, W\) or 4 .* as images, got shape \(20, 9\)\."),
        ((20, 9, 9, 1), {"layout": "sequence"}, r"must have rank 2 .* as sequences, got shape \(20, 9, 9, 1\)\."),
        ((20, 9), {"layout": "volume"}, r"must have rank 4 .* as volumes, got shape \(20, 9\)\."),
    ],
)
def test_shapes_with_several_meanings_are_asked_about(
    tmp_path: Path, shape: tuple[int, ...], given: dict[str, Any], message: str
) -> None:
    check_one_line(ValueError, rf".*a\.npz {message}", path=file(tmp_path, shape), **given)


def test_an_unknown_layout(tmp_path: Path) -> None:
    message = r"layout must be vector, sequence, image, volume or none, got 'signal'\."
    check_one_line(ValueError, message, path=tmp_path / "a.npy", layout="signal")


def test_integers_and_large_values_of_signals(tmp_path: Path) -> None:
    """Only images have a range by which values that were not divided by 255 are told."""
    data = Arrays(path=file(tmp_path, (20, 2, 60), "int32"), layout="sequence")
    assert data.load("train").x.dtype == torch.float32
    assert data.likelihood is OptimalNormal


def unequal(folder: Path, dtype: str = "float32") -> tuple[Arrays, np.ndarray]:
    lengths = np.arange(5, 25)
    path = file(folder, (20, 2, 24), dtype, lengths=lengths)
    return Arrays(path=path, layout="sequence", channels_last=False), lengths


def test_unequal_lengths_are_missing_values(tmp_path: Path) -> None:
    data, lengths = unequal(tmp_path)
    assert data.missing
    x, rows = data.load("train").x, data.load("train").rows
    assert torch.equal((~x.isnan()).sum(-1)[:, 0], torch.from_numpy(lengths)[rows])
    assert torch.equal(x.isnan(), torch.arange(24).expand_as(x) >= torch.from_numpy(lengths)[rows][:, None, None])
    scaled = unequal(tmp_path, "uint8")[0].load("train").x
    assert torch.equal(scaled.nan_to_num(-1.0), (x / 255).nan_to_num(-1.0))


def test_what_is_behind_the_end_has_no_term(tmp_path: Path) -> None:
    """Neither in the likelihood nor in what the encoder sees: padding with other values changes nothing."""
    data, lengths = unequal(tmp_path)
    torch.manual_seed(0)
    model = ConvVAE(shape=data.shape, latent_dim=2, missing=data.missing, likelihood=OptimalNormal).eval()
    x = data.load("train").x[:4]
    torch.manual_seed(1)
    terms = model.elbo(x)
    content = load_arrays(tmp_path / "a.npz")
    behind = np.arange(24) >= lengths[:, None, None]
    np.savez(tmp_path / "b.npz", x=np.where(behind, -7, content["x"]), lengths=lengths)
    other = Arrays(path=str(tmp_path / "b.npz"), layout="sequence", channels_last=False).load("train").x[:4]
    torch.manual_seed(1)
    assert torch.equal(model.elbo(other).value, terms.value)
    whole = model.decode(terms.z).log_prob_per_entry(x)[0]
    assert torch.equal(whole == 0, x.isnan())
    assert model.sample(3).isfinite().all()


@pytest.mark.parametrize(
    ("lengths", "message"),
    [
        (np.arange(20), r"lengths in .*a\.npz must lie in 1 \.\. 24, got 0 in row 0\."),
        (np.full(20, 25), r"lengths in .*a\.npz must lie in 1 \.\. 24, got 25 in row 0\."),
        (np.full(20, 2.5), r"lengths in .*a\.npz must be whole numbers of the shape \(20,\), .* float64 of .*\."),
        (np.full(3, 2), r"lengths in .*a\.npz must be whole numbers of the shape \(20,\), .* shape \(3,\)\."),
    ],
)
def test_wrong_lengths(tmp_path: Path, lengths: np.ndarray, message: str) -> None:
    path = file(tmp_path, (20, 2, 24), lengths=lengths)
    check_one_line(ValueError, message, path=path, layout="sequence", channels_last=False)


def test_lengths_by_another_name(tmp_path: Path) -> None:
    path = file(tmp_path, (20, 2, 24), ends=np.full(20, 7))
    assert not Arrays(path=path, layout="sequence", channels_last=False).missing
    assert Arrays(path=path, layout="sequence", channels_last=False, length_key="ends").missing
    message = r"length_key: only sequences have lengths, set layout to sequence to read .*a\.npz\."
    check_one_line(ValueError, message, path=path, layout="image", length_key="ends")


def test_splits_of_a_file_that_stays_on_disk(tmp_path: Path) -> None:
    x = RANDOM.random((20, 256, 3), np.float32)
    np.save(tmp_path / "a.npy", x)
    data = Arrays(path=str(tmp_path / "a.npy"), layout="sequence", in_memory_limit=0.0)
    split = data.load("train")
    assert torch.equal(split.x[:], torch.from_numpy(x).transpose(1, 2)[split.rows])
