"""Nearest neighbours in latent space."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from vae_zoo.callbacks.predicting.identity import Identity
from vae_zoo.callbacks.predicting.results import write_columns
from vae_zoo.callbacks.predicting.rows import MergedRows
from vae_zoo.callbacks.predicting.tables import WIDEST, TableKind

_BLOCK = 1024


def nearest(take: Callable[[int, int], np.ndarray], num: int, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The nearest other rows of every row, by exhaustive search in blocks.

    Args:
        take: Rows from a start to an end, (n, ...).
        num: Number of rows.
        k: Number of neighbours.

    Returns:
        Their positions, (num, k), the nearest first, and their Euclidean distances, (num, k).
    """
    places, distances = np.empty((num, k), np.int64), np.empty((num, k), np.float32)
    for start in range(0, num, _BLOCK):
        query = _block(take, start, num)
        best = torch.full((len(query), k), torch.inf)
        at = torch.zeros(len(query), k, dtype=torch.int64)
        for other in range(0, num, _BLOCK):
            # By differences: the faster product loses the digits of small distances.
            found = torch.cdist(query, _block(take, other, num), compute_mode="donot_use_mm_for_euclid_dist")
            if other == start:
                found.fill_diagonal_(torch.inf)
            position = torch.arange(other, other + found.shape[1]).expand_as(found)
            best, order = torch.cat([best, found], 1).topk(k, largest=False)
            at = torch.cat([at, position], 1).gather(1, order)
        places[start : start + len(query)], distances[start : start + len(query)] = at.numpy(), best.numpy()
    return places, distances


def _block(take: Callable[[int, int], np.ndarray], start: int, num: int) -> torch.Tensor:
    return torch.from_numpy(take(start, min(start + _BLOCK, num))).float().flatten(1)


def write_neighbours(rows: MergedRows, identity: Identity, path: Path, num: int, kind: TableKind) -> list[Path]:
    """Write the nearest neighbours of each row among the others, by its latents.

    Args:
        rows: Rows with a column ``z``.
        identity: Rows and ids of the examples.
        path: The file of arrays.
        num: Number of neighbours; fewer of as few rows as that.
        kind: Kind of table, for as many neighbours as fit into one.

    Returns:
        The files.
    """
    k = min(num, len(rows) - 1)  # fewer if batches were left out
    places, distances = nearest(lambda start, end: rows.take("z", start, end), len(rows), k)
    own, others = identity.columns(rows.positions), identity.columns(rows.positions[places])
    found = {**own, **{f"neighbour_{name}": values for name, values in others.items()}, "distance": distances}
    return write_columns(path, found, kind if num <= WIDEST else "none")
