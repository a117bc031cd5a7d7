"""Limits, tested from both sides, and that the documentation names them."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from security.hostile import bomb_mat

from vae_zoo.data.datasets import frey_faces
from vae_zoo.data.files import image_files
from vae_zoo.security import limits


@pytest.mark.parametrize(
    ("text", "fits"),
    [
        ("a: [" + "1, " * 99_000 + "1]", True),
        ("a: [" + "1, " * 100_000 + "1]", False),
        ("a: " + "[" * 98 + "]" * 98, True),
        ("a: " + "[" * 100 + "]" * 100, False),
        ("a: " + "x" * 10_000, True),
        ("a: " + "x" * 10_001, False),
        ("a: &a [" + "1, " * 9_000 + "1]\nb: [" + "*a, " * 9 + "*a]", True),
        ("a: &a [" + "1, " * 9_000 + "1]\nb: [" + "*a, " * 10 + "*a]", False),
        ("a: &a x\nb: *a", True),
        ("a: &a {b: *a}", False),
        ("a: [1", True),  # no YAML, which is for the parser to say
        ("#" * limits.MAX_TEXT, True),
        ("#" * limits.MAX_TEXT + "#", False),
    ],
    ids=range(13),
)
def test_text(text: str, fits: bool) -> None:
    if fits:
        limits.check_yaml(text, "it")
    else:
        with pytest.raises(ValueError, match=r"^it .*: refused\.$"):
            limits.check_yaml(text, "it")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: 1\nb: 2\na: 3\n", "the key a is given twice, in lines 1 and 3"),
        ("a:\n  b: 1\n  b: 1\n", "the key b is given twice, in lines 2 and 3"),
        ("- {c: 1}\n- {c: 1, 'c': 2}\n", "the key c is given twice, in line 2"),
        ("a: &x {b: 1}\nc: {<<: *x, b: 2}\nd: {a: *x}\n1: 0\n'1': 0\n", ""),
    ],
)
def test_keys_that_are_given_twice(text: str, said: str, tmp_path: Path) -> None:
    from vae_zoo.cli.inspect.configs import read_yaml

    (tmp_path / "sweep.yaml").write_text(text)
    if said:
        with pytest.raises(ValueError, match=f"sweep.yaml: {said}: keep one of them"):
            read_yaml(tmp_path / "sweep.yaml")
    else:
        assert read_yaml(tmp_path / "sweep.yaml")["c"] == {"b": 2}


@pytest.mark.parametrize(
    ("value", "fits"),
    [
        ({"a": [1, 2.0, None, True, "x", (3,)]}, True),
        ([[0] * 300] * 300, True),
        ([[0] * 300] * 400, False),
        ("x" * 10_001, False),
        (torch.zeros(1), False),
        ({"a": object()}, False),
    ],
    ids=range(6),
)
def test_plain_data(value: Any, fits: bool) -> None:
    if fits:
        limits.check_plain(value, "it")
    else:
        with pytest.raises(ValueError, match=r"^it .*: refused\.$"):
            limits.check_plain(value, "it")


def test_archives_that_compress_well_are_read(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zeros", bytes(2**22))
    limits.check_archive(path)  # a thousand times as large, but not large
    with pytest.raises(ValueError, match="is compressed"):
        limits.check_archive(path, stored=True)


def test_a_text_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_bytes(b"\xff\xfe")
    with pytest.raises(ValueError, match=r"parsing .*a\.yaml"):
        limits.read_text(tmp_path / "a.yaml")


@pytest.mark.parametrize(("most", "fits"), [(10_010, True), (9_000, False)])
def test_matlab_files(most: int, fits: bool, tmp_path: Path) -> None:
    bomb_mat(tmp_path / "a.mat", 10_000)
    if fits:
        limits.check_mat(tmp_path / "a.mat", most)
    else:
        with pytest.raises(ValueError, match=f"unpacks to more than {most} bytes"):
            limits.check_mat(tmp_path / "a.mat", most)


def test_the_promise_names_the_limits() -> None:
    text = " ".join((Path(__file__).parents[1] / "SECURITY.md").read_text().split())
    for words in (
        f"{limits.MAX_TEXT >> 20} MiB, {limits.MAX_NODES:,} values",
        f"{limits.MAX_DEPTH} levels, {limits.MAX_SCALAR:,} characters",
        f"{limits.MAX_UNPACKED >> 30} GiB and {limits.MAX_RATIO} times",
        f"a Matlab file of more than {frey_faces._MAX_BYTES >> 20} MiB",
        f"an image of more than {image_files._MAX_PIXELS // 1_000_000} million pixels",
        f"{len(image_files.FORMATS)} formats",
    ):
        assert words in text, words
