"""Rows of a sparse matrix, made dense when indexed."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from vae_zoo.data.base.mapped import Mapped, to_tensor


class Sparse(Mapped):
    """Examples in a sparse matrix in memory, indexed like a tensor: a batch is dense, the others stay as they are.

    Memory grows with the entries other than 0, and not with the number of features.

    Args:
        matrix: The matrix (N, D), in the form ``scipy.sparse.csr_matrix``, of finite numbers.
        rows: Rows of the matrix that are the examples, in order; None for all.
    """

    def __init__(self, matrix: Any, rows: np.ndarray | None = None) -> None:
        num = matrix.shape[0] if rows is None else len(rows)
        self.finite, self._map, self._rows, self._convert = True, None, rows, to_tensor
        self._array = _Rows(matrix)
        self.dtype, self.shape = torch.float32, torch.Size((num, matrix.shape[1]))
        self._row_bytes = 4 * matrix.shape[1]


class _Rows:
    """The rows of a sparse matrix as dense arrays."""

    def __init__(self, matrix: Any) -> None:
        self.matrix = matrix

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        return self.matrix[rows].toarray()
