"""``vae-zoo compress`` and ``vae-zoo decompress``: what comes back, and what is refused in one line."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import load_arrays, saved, tiny
from PIL import Image

from vae_zoo.data import Digits
from vae_zoo.distributions import DiscretizedLogistic, FixedNormal
from vae_zoo.models import AE, VAE


@pytest.fixture
def ckpt(tmp_path: Path) -> str:
    torch.manual_seed(0)
    return str(saved(tmp_path, tiny(VAE), Digits(binarization="threshold")))


def test_a_split_comes_back(run: Callable, ckpt: str, tmp_path: Path) -> None:
    outcome = run("compress", "--ckpt_path", ckpt, "--num", "20", "--file", "x.vz")
    assert (outcome.code, outcome.out) == (0, "x.vz\n")
    lines = outcome.err.splitlines()
    assert lines[0].startswith("20 examples: ")
    assert "the bound: " in lines[1]
    outcome = run("decompress", "--ckpt_path", ckpt, "--file", "x.vz", "--images", "pictures")
    assert (outcome.code, outcome.out, outcome.err) == (0, "x.npz\npictures\n", "")
    data = Digits(binarization="threshold")
    expected = data.examples("test")[:20].numpy()
    found = load_arrays("x.npz")["x"]
    assert found.dtype == np.float32
    assert np.array_equal(found, expected)
    pictures = sorted((tmp_path / "pictures").iterdir())
    assert [path.name for path in pictures] == [f"{n:02}.png" for n in range(20)]
    assert np.array_equal(np.asarray(Image.open(pictures[3])), 255 * expected[3, 0])
    assert run("compress", "--ckpt_path", ckpt, "--input", *map(str, pictures[:3]), "--file", "p.vz").code == 0
    assert run("decompress", "--ckpt_path", ckpt, "--file", "p.vz").code == 0
    again = run("decompress", "--ckpt_path", ckpt, "--file", "p.vz")
    assert (again.code, "p.npz is there already" in again.err) == (2, True)
    found = load_arrays("p.npz")["x"]
    assert found.dtype == np.uint8
    assert np.array_equal(found, (255 * expected[:3]).astype(np.uint8))


def test_an_array_of_8_bit_images_comes_back(run: Callable, tmp_path: Path) -> None:
    path = str(saved(tmp_path, tiny(VAE, likelihood=partial(DiscretizedLogistic, shared=True))))
    x = np.random.default_rng(0).integers(0, 256, (5, 8, 8), dtype=np.uint8)
    np.save(tmp_path / "grey.npy", x)
    assert run("compress", "--ckpt_path", path, "--input", "grey.npy", "--file", "g.vz", "--batch_size", "2").code == 0
    assert run("decompress", "--ckpt_path", path, "--file", "g.vz", "--out", "again.npz").code == 0
    assert np.array_equal(load_arrays(tmp_path / "again.npz")["x"][:, 0], x)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("--file x.zip", "--file must end in .vz, got x.zip"),
        ("--file no/x.vz", "there is no folder no to write x.vz to"),
        ("--file x.vz --num 0", "--num must be at least 1, got 0"),
        ("--file x.vz --batch_size 0", "--batch_size must be at least 1, got 0"),
        ("--file x.vz --split all", "argument --split: invalid choice: 'all'"),
        ("--file x.vz --split val --input a.npy", "--split is of the model's data, and --input of other files"),
        ("--file x.vz --input none.npy", "There is no file none.npy"),
        ("--file x.vz --input none.png", "there is no file none.png"),
        ("--file x.vz --input a.npy b.npy", "give one array file, or several images, got a.npy b.npy"),
        ("--file x.vz --input small.png", "small.png is 4 by 6 pixels, the model is of 8 by 8: resize it first"),
        ("--file x.vz --input colour.png", "colour.png is of mode RGB, and L is what the model codes"),
        ("--file x.vz --input text.png", "text.png is truncated or no image"),
        ("--file x.vz --input grey.png", "grey.png has 0.392157 at index [0, 0, 0], and 0 or 1 are coded"),
        ("--file x.vz --input grey.npy", "example 3 of grey.npy has 0.5 at index [0, 1, 2], and 0 or 1 are coded"),
        ("--file x.vz --input empty.npy", "there are no examples"),
        ("--file x.vz --input wide.npy", "wide.npy has examples of shape (1, 8, 9), and the model is of (1, 8, 8)"),
    ],
)
def test_mistakes_are_one_line(run: Callable, ckpt: str, tmp_path: Path, options: str, said: str) -> None:
    for name, shape in {"small": (4, 6), "colour": (8, 8, 3), "grey": (8, 8)}.items():
        Image.fromarray(np.full(shape, 100, np.uint8)).save(tmp_path / f"{name}.png")
    (tmp_path / "text.png").write_text("no picture")
    grey = np.zeros((4, 8, 8), np.float32)
    grey[2, 1, 2] = 0.5
    np.save(tmp_path / "grey.npy", grey)
    np.save(tmp_path / "empty.npy", grey[:0])
    np.save(tmp_path / "wide.npy", np.zeros((2, 8, 9), np.float32))
    outcome = run("compress", "--ckpt_path", ckpt, *options.split())
    assert (outcome.code, outcome.err.count("\n"), outcome.out) == (2, 1, "")
    assert said in outcome.err
    assert not list(tmp_path.rglob("*.vz"))


@pytest.mark.parametrize(
    ("cls", "kwargs", "said"),
    [
        (AE, {}, "AE has no bound, which would be the length of its code"),
        (VAE, {"likelihood": FixedNormal}, "FixedNormal is a density of continuous values"),
    ],
)
def test_models_that_cannot_code(run: Callable, tmp_path: Path, cls: Any, kwargs: Any, said: str) -> None:
    path = saved(tmp_path, tiny(cls, **kwargs), Digits())
    outcome = run("compress", "--ckpt_path", str(path), "--file", "x.vz")
    assert (outcome.code, outcome.err.count("\n")) == (2, 1)
    assert said in outcome.err
    assert not list(tmp_path.rglob("*.vz"))


def test_files_that_cannot_be_decoded(run: Callable, ckpt: str, tmp_path: Path) -> None:
    assert run("compress", "--ckpt_path", ckpt, "--num", "5", "--file", "x.vz").code == 0
    content = (tmp_path / "x.vz").read_bytes()
    (tmp_path / "cut.vz").write_bytes(content[:-5])
    (tmp_path / "bad.vz").write_bytes(content[:-5] + bytes(5))
    torch.manual_seed(1)
    (tmp_path / "other").mkdir()
    other = str(saved(tmp_path / "other", tiny(VAE)))
    for options, said in {
        ("--ckpt_path", ckpt, "--file", "none.vz"): "there is no file none.vz",
        ("--ckpt_path", ckpt, "--file", ckpt): "is no file of vae-zoo compress",
        ("--ckpt_path", ckpt, "--file", "cut.vz"): "cut.vz is truncated: copy it again",
        ("--ckpt_path", ckpt, "--file", "bad.vz"): "bad.vz is damaged: its checksum is another",
        ("--ckpt_path", other, "--file", "x.vz"): "x.vz was made by another model, a VAE with other weights",
        ("--ckpt_path", ckpt, "--file", "x.vz", "--out", "x.npy"): "--out must end in .npz, got x.npy",
        ("--ckpt_path", ckpt, "--file", "x.vz", "--images", "x.vz"): "--images must be a folder",
    }.items():
        outcome = run("decompress", *options)
        assert (outcome.code, outcome.err.count("\n"), outcome.out) == (2, 1, ""), outcome
        assert said in outcome.err
    assert not list(tmp_path.rglob("*.npz"))
