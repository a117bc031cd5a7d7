"""Counts in files of every format, which stay sparse, and the drawn cells."""

from __future__ import annotations

import gzip
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from scipy import io, sparse

from vae_zoo.data import Counts, Mapped, Sparse
from vae_zoo.data.datasets.counts import draw_cells
from vae_zoo.data.files.count_files import SUFFIXES
from vae_zoo.distributions import NegativeBinomial

from .memory import peak

DENSE = np.random.default_rng(0).poisson(0.6, (40, 7)).astype(float)
NAMES = np.array([f"cell{n}" for n in range(40)])
LABELS = np.array(["T cell", "B cell"])[np.random.default_rng(1).integers(0, 2, 40)]


class Frame(dict):
    """As much of a data frame as is read of ``obs``."""

    @property
    def columns(self) -> list[str]:
        return list(self)


def cells(x: Any, layers: dict[str, Any]) -> SimpleNamespace:
    """As much of anndata's AnnData as is read."""
    names = (NAMES, np.array([f"gene{n}" for n in range(7)]))
    obs = Frame({"batch": LABELS, "quality": np.arange(40) / 40})
    return SimpleNamespace(X=x, layers=layers, obs=obs, obs_names=names[0], var_names=names[1])


def write(path: Path, dense: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of the counts in the format of its extension; of .h5ad a stand-in, whose reader is replaced."""
    matrix = sparse.csr_matrix(dense)
    if path.name.endswith(".mtx"):
        io.mmwrite(path, matrix)
    elif path.name.endswith(".mtx.gz"):
        io.mmwrite(path.with_suffix(""), matrix)
        path.write_bytes(gzip.compress(path.with_suffix("").read_bytes()))
    elif path.suffix == ".npz":
        sparse.save_npz(path, matrix)
    elif path.suffix == ".npy":
        np.save(path, dense.astype(np.int32))
    elif path.suffix == ".csv":
        np.savetxt(path, dense, delimiter=",", fmt="%g")
    else:
        path.write_bytes(b"")
        stand_in = SimpleNamespace(
            read_h5ad=lambda _: cells(np.log1p(dense.clip(0)), {"counts": matrix, "dense": dense})
        )
        monkeypatch.setitem(sys.modules, "anndata", stand_in)


@pytest.mark.parametrize("suffix", SUFFIXES)
class TestFormats:
    def test_rows_are_those_of_the_file(self, suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        path, key = tmp_path / f"a{suffix}", "counts" if suffix == ".h5ad" else None
        write(path, DENSE, monkeypatch)
        held, kept = (Counts(path=str(path), key=key, in_memory_limit=limit, batch_size=9) for limit in (1, 0))
        assert held.shape == (7,)
        assert held.num_train == 32
        for split in ("train", "val", "test"):
            a, b = held.load(split), kept.load(split)
            assert isinstance(a.x, torch.Tensor)
            assert isinstance(b.x, Sparse)
            assert torch.equal(a.x, torch.tensor(DENSE[a.rows]).float())
            assert torch.equal(a.x, b.x[:])
        for a, b in zip(held.train_dataloader(), kept.train_dataloader(), strict=True):
            assert torch.equal(a.x, b.x)
            assert torch.equal(a.index, b.index)

    def test_others_are_refused_by_row(self, suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        wrong = DENSE.copy()
        wrong[11, 3], wrong[12, 0] = 0.25, -1
        path = tmp_path / f"a{suffix}"
        if suffix == ".npy":
            np.save(path, wrong)
        else:
            write(path, wrong, monkeypatch)
        key = "counts" if suffix == ".h5ad" else None
        with pytest.raises(ValueError, match="holds") as error:
            Counts(path=str(path), key=key).setup()
        cell, gene = (" (id cell11)", " (gene3)") if key else ("", "")
        assert str(error.value) == (
            f"row 11{cell} of {path} holds 0.25 in column 3{gene}, one of 2 such values: counts are whole numbers from "
            "0 on; give raw counts, neither normalised nor on a logarithmic scale."
        )

    def test_damaged(self, suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        path = tmp_path / f"a{suffix}"
        write(path, DENSE, monkeypatch)
        if suffix == ".h5ad":

            def damaged(_: Any) -> None:
                raise OSError("Unable to synchronously open file (truncated file: eof = 3000)\nand more")

            monkeypatch.setitem(sys.modules, "anndata", SimpleNamespace(read_h5ad=damaged))
        path.write_bytes(path.read_bytes()[:40])
        with pytest.raises(ValueError, match=r"truncated or no|no table") as error:
            Counts(path=str(path)).setup()
        assert str(path) in str(error.value)
        assert "\n" not in str(error.value)


class TestCells:
    def test_labels_ids_and_features(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        write(tmp_path / "a.h5ad", DENSE, monkeypatch)
        data = Counts(path=str(tmp_path / "a.h5ad"), key="dense", label_key="batch")
        split = data.load("val")
        assert data.classes == ["B cell", "T cell"]
        assert data.num_classes == 2
        assert data.features[:2] == ["gene0", "gene1"]
        assert split.ids.tolist() == NAMES[split.rows].tolist()
        assert [data.classes[k] for k in split.y] == LABELS[split.rows].tolist()

    @pytest.mark.parametrize(
        ("kwargs", "said"),
        [
            ({}, r"^row 0 \(id cell0\) of .* holds 0\.693147 in column 0 \(gene0\), one of \d+ such values"),
            ({"key": "raw"}, r"a\.h5ad has no layer raw: it has counts, dense\.$"),
            ({"key": "counts", "label_key": "sample"}, r"has no sample in obs: its columns are batch, quality\.$"),
            (
                {"key": "counts", "transpose": True},
                r"^transpose is for files of counts alone, and .* has labels or ids",
            ),
        ],
    )
    def test_mistakes(self, kwargs: dict[str, Any], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        dense = DENSE.copy()
        dense[0, 0] = 1
        write(tmp_path / "a.h5ad", dense, monkeypatch)
        with pytest.raises(ValueError, match=said):
            Counts(path=str(tmp_path / "a.h5ad"), **kwargs).setup()

    def test_of_anndata_itself(self, tmp_path: Path) -> None:
        anndata = pytest.importorskip("anndata", reason="the extra cells is not installed")
        made = anndata.AnnData(X=sparse.csr_matrix(np.log1p(DENSE)), layers={"counts": sparse.csc_matrix(DENSE)})
        made.obs_names, made.obs["batch"] = NAMES, LABELS
        made.write_h5ad(tmp_path / "a.h5ad")
        data = Counts(path=str(tmp_path / "a.h5ad"), key="counts", label_key="batch")
        split = data.load("train")
        assert torch.equal(split.x, torch.tensor(DENSE[split.rows]).float())
        assert split.ids.tolist() == NAMES[split.rows].tolist()
        assert [data.classes[k] for k in split.y] == LABELS[split.rows].tolist()


class TestFiles:
    def test_features_as_rows(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        write(tmp_path / "a.mtx.gz", DENSE.T, monkeypatch)
        data = Counts(path=str(tmp_path / "a.mtx.gz"), transpose=True)
        split = data.load("test")
        assert torch.equal(split.x, torch.tensor(DENSE[split.rows]).float())

    def test_labels_of_dense_files(self, tmp_path: Path) -> None:
        np.savez(tmp_path / "a.npz", x=DENSE, y=LABELS)
        assert Counts(path=str(tmp_path / "a.npz")).num_classes == 2
        np.savetxt(tmp_path / "a.csv", np.c_[DENSE, np.arange(40) % 3], delimiter=",", fmt="%d")
        data = Counts(path=str(tmp_path / "a.csv"), label_column="7")
        assert (data.num_classes, data.shape) == (3, (7,))

    def test_a_test_file_of_its_own(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("a.npz", "b.npz"):
            write(tmp_path / name, DENSE, monkeypatch)
        data = Counts(path=str(tmp_path / "a.npz"), test_path=str(tmp_path / "b.npz"))
        assert torch.equal(data.load("test").x, torch.tensor(DENSE).float())
        assert data.num_train == 36

    def test_entries_that_are_given_twice_add_up(self, tmp_path: Path) -> None:
        rows = np.arange(20)
        coordinates = np.r_[rows, rows], np.zeros(40, int)
        sparse.save_npz(tmp_path / "a.npz", sparse.coo_matrix((np.r_[rows, rows], coordinates), (20, 2)))
        x = Counts(path=str(tmp_path / "a.npz")).load("val")
        assert torch.equal(x.x[:, 0], 2.0 * x.rows)

    def test_places_outside_of_the_matrix(self, tmp_path: Path) -> None:
        matrix = sparse.csr_matrix(DENSE)
        matrix.indices[5] = 10**6
        sparse.save_npz(tmp_path / "a.npz", matrix)
        with pytest.raises(ValueError, match=r"a\.npz is truncated or no \.npz file: .*ind"):
            Counts(path=str(tmp_path / "a.npz")).setup()

    @pytest.mark.parametrize(
        ("kwargs", "said"),
        [
            ({"path": "a.mtx"}, r"^There is no file a\.mtx\.$"),
            ({"path": __file__}, r"\.py must end in \.npy, \.npz, \.csv, \.mtx, \.mtx\.gz or \.h5ad\.$"),
        ],
    )
    def test_no_such_file(self, kwargs: dict[str, Any], said: str) -> None:
        with pytest.raises((ValueError, FileNotFoundError), match=said):
            Counts(**kwargs).setup()

    def test_options_of_a_file_without_one(self) -> None:
        with pytest.raises(ValueError, match=r"^only a file has key, transpose: give path too"):
            Counts(key="counts", transpose=True)


class TestSparse:
    def test_indexing(self) -> None:
        rows = np.random.default_rng(1).permutation(40)[:30]
        source, whole = Sparse(sparse.csr_matrix(DENSE), rows), torch.tensor(DENSE[rows]).float()
        assert isinstance(source, Mapped)
        assert (len(source), source.shape, source.dtype, source.nbytes) == (30, whole.shape, whole.dtype, whole.nbytes)
        for index in (
            torch.tensor([3, 3, 0, 29]),
            slice(4, 9),
            slice(None, None, 2),
            torch.tensor([], dtype=torch.long),
        ):
            assert torch.equal(source[index], whole[index])
        assert torch.equal(source.read(), whole)
        assert torch.equal(source.map(torch.log1p)[torch.tensor([5])], whole[[5]].log1p())
        assert torch.equal(source.sample(3 * 28), whole[[0, 10, 20]])

    @pytest.mark.exhaustive
    @pytest.mark.slow
    def test_memory_does_not_grow_with_the_zeros(self, tmp_path: Path) -> None:
        """Of 20,000 x 20,000 counts, which would take 1.6 GB dense; the chunks of a check take 16 MiB."""
        random, num = np.random.default_rng(0), 1_000_000
        places = random.integers(0, 20_000, (2, num))
        sparse.save_npz(tmp_path / "a.npz", sparse.coo_matrix((np.ones(num), places), (20_000, 20_000)).tocsr(), False)
        text = f"data = D.Counts(path={str(tmp_path / 'a.npz')!r})\ndata.setup()\nfirst = iter(data.train_dataloader())"
        assert peak(f"{text}\nfor _ in range(20): next(first)") < 200


class TestDrawn:
    def test_are_always_the_same(self) -> None:
        first, again, other = draw_cells(50, 8), draw_cells(50, 8), draw_cells(50, 8, seed=1)
        assert (first.x != again.x).nnz == 0
        assert (first.x != other.x).nnz > 0

    def test_have_types_and_totals(self) -> None:
        data = Counts()
        split = data.load("train")
        assert (data.shape, data.num_train, data.num_classes) == ((200,), 2400, 6)
        assert set(split.y.tolist()) == set(range(6))
        totals = split.x.sum(1).log()
        assert totals.exp().median().item() == pytest.approx(500, rel=0.15)
        assert totals.std().item() == pytest.approx(0.55, abs=0.1)
        of_types = torch.stack([split.x[split.y == k].mean(0) for k in range(6)])
        assert (of_types.std(0) / of_types.mean(0)).mean() > 0.3
        variance, mean = split.x[split.y == 0].var(0), split.x[split.y == 0].mean(0)
        assert (variance > 1.5 * mean).float().mean() > 0.5  # more than that of Poisson counts

    def test_are_suited_to_a_negative_binomial(self) -> None:
        data = Counts()
        assert data.likelihood is NegativeBinomial
        NegativeBinomial((200,)).check(data.load("train").x)
