from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch

from vae_zoo.data import Arrays

from .array_cases import VECTORS, check_one_line

RANKS = "must have rank 2 (vectors), 3 (signals or grey images), 4 (images) or 5 (volumes)"


@pytest.mark.parametrize("ending", ["npy", "npz", "pt"])
@pytest.mark.parametrize("size", [0, 3, 60, 0.5, -5])
def test_truncated_files(tmp_path: Path, ending: str, size: float) -> None:
    path = tmp_path / f"a.{ending}"
    if ending == "pt":
        torch.save(torch.from_numpy(VECTORS), path)
    else:
        (np.save if ending == "npy" else np.savez)(path, VECTORS)
    whole_file = path.read_bytes()
    path.write_bytes(whole_file[: int(size * len(whole_file)) if size == 0.5 else int(size)])
    check_one_line(ValueError, rf"{path} is truncated.*\.", path=path)


def test_corrupt_npz(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez_compressed(path, np.random.default_rng(0).random((20, 50)))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 255
    path.write_bytes(content)
    check_one_line(ValueError, rf"{path} is truncated or no \.npz file\.", path=path)


@pytest.mark.parametrize("ending", ["npy", "npz"])
def test_python_objects(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"a.{ending}"
    (np.save if ending == "npy" else np.savez)(path, np.array([{}, []], object))
    check_one_line(ValueError, rf"{path} holds an array of Python objects: save one of numbers\.", path=path)


def test_pt_that_would_run_code(tmp_path: Path) -> None:
    torch.save({"x": torch.zeros(20, 2), "f": Path}, tmp_path / "a.pt")
    check_one_line(
        ValueError, r".*a\.pt is truncated, no \.pt file, or holds more than tensors\.", path=tmp_path / "a.pt"
    )


def test_pt_without_tensors(tmp_path: Path) -> None:
    torch.save({"a": 1}, tmp_path / "a.pt")
    check_one_line(
        ValueError, r".*a\.pt must hold a tensor or a dictionary of tensors, got dict\.", path=tmp_path / "a.pt"
    )


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (np.zeros(20), f"{RANKS}, got shape (20,)."),
        (np.zeros((2,) * 6), f"{RANKS}, got shape (2, 2, 2, 2, 2, 2)."),
        (np.zeros((20, 2), complex), "must hold numbers, got an array of complex128."),
        (np.zeros((20, 2), str), "must hold numbers, got an array of <U1."),
        (
            np.zeros((20, 4, 4), int),
            "has images of int64: save them as uint8 if they lie in 0 .. 255, or as floats in [0, 1].",
        ),
        (np.zeros((0, 2)), "has 0 examples, too few for train, val, test splits."),
    ],
)
def test_bad_arrays(tmp_path: Path, x: np.ndarray, message: str) -> None:
    np.save(tmp_path / "a.npy", x)
    check_one_line(ValueError, rf".*a\.npy {re.escape(message)}", path=tmp_path / "a.npy")


@pytest.mark.parametrize("suffix", ["npy", "npz", "pt", "csv"])
def test_values_that_are_not_finite_are_found_in_every_row(tmp_path: Path, suffix: str) -> None:
    """Whichever split a row goes to, and before anything is trained."""
    path = tmp_path / f"a.{suffix}"
    for row in range(10):
        x = np.random.default_rng(0).random((10, 2), np.float32)
        x[row, 1] = np.nan if row % 2 else np.inf
        if suffix == "pt":
            torch.save(torch.from_numpy(x), path)
        else:
            {"npy": np.save, "npz": lambda path, x: np.savez(path, x=x), "csv": _csv}[suffix](path, x)
        with pytest.raises(ValueError, match=rf"1 values in {path} are not finite, the first at index \({row}, 1\)"):
            Arrays(path=str(path)).shape  # noqa: B018


def _csv(path: Path, x: np.ndarray) -> None:
    np.savetxt(path, x, delimiter=",")


def test_examples_of_which_no_batch_fits_are_not_read(tmp_path: Path) -> None:
    path, shape = tmp_path / "a.npy", (100, 10**9)
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": shape})
        file.truncate(file.tell() + 4 * shape[0] * shape[1])  # none of which takes any place on the disk
    with pytest.raises(ValueError, match=r"a batch of 100 examples in [^\n]*npy takes 373 GiB, of which there are \d+"):
        Arrays(path=str(path), batch_size=128).shape  # noqa: B018


def test_values_beyond_single_precision(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.full((20, 2), 1e300))
    check_one_line(ValueError, r"\d+ values in [^\n]*a\.npy are not finite, .*", path=tmp_path / "a.npy")


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (np.zeros(19), "must have the shape (20,), one an example, got (19,)."),
        (np.zeros((20, 1)), "must have the shape (20,), one an example, got (20, 1)."),
        (np.full(20, 0.5), "must be classes, whole numbers or names, got float64."),
    ],
)
def test_bad_labels(tmp_path: Path, y: np.ndarray, message: str) -> None:
    np.savez(tmp_path / "a.npz", x=VECTORS, y=y)
    check_one_line(ValueError, rf"Labels in .*a\.npz {re.escape(message)}", path=tmp_path / "a.npz")


def test_no_file(tmp_path: Path) -> None:
    check_one_line(FileNotFoundError, rf"There is no file {tmp_path}/a\.npy\.", path=tmp_path / "a.npy")


def test_unknown_ending(tmp_path: Path) -> None:
    (tmp_path / "a.mat").write_bytes(b"")
    check_one_line(
        ValueError, r".*a\.mat must end in \.npy, \.npz, \.pt, \.csv, \.h5 or \.hdf5\.", path=tmp_path / "a.mat"
    )
