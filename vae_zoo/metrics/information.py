"""Information between latents and factors, from counts."""

from __future__ import annotations

import torch
from torch import Tensor


def discretise(z: Tensor, num_bins: int = 20) -> Tensor:
    """Number of the bin of each value, of bins of equal width from the least to the greatest value of its column.

    Args:
        z: Values, (N, D).
        num_bins: Number of bins of each column.

    Returns:
        Numbers from 0 to num_bins - 1, (N, D); 0 throughout a column that does not vary.
    """
    low, high = z.double().aminmax(dim=0)
    width = torch.where(high > low, high - low, 1.0)
    return ((z.double() - low) / width * num_bins).long().clamp(max=num_bins - 1)


def entropy(v: Tensor) -> Tensor:
    """Entropy of the empirical distribution of each column of non-negative integers (N, F), in nats, (F,)."""
    return torch.stack([_entropy(torch.bincount(column)) for column in v.unbind(1)])


def mutual_information(a: Tensor, b: Tensor) -> Tensor:
    r"""Mutual information of each column of one matrix with each of another, under their joint histogram.

    .. math:: I(a; b) = H(a) + H(b) - H(a, b)

    It is biased upwards by about (A - 1)(B - 1) / 2N nats for columns with A and B values.

    Args:
        a: Non-negative integers, (N, D).
        b: Non-negative integers, (N, F).

    Returns:
        Nats, (D, F); at least 0.

    Example:
        >>> a = torch.tensor([[0], [0], [1], [1]])
        >>> mutual_information(a, torch.cat([a, torch.tensor([[0], [1], [0], [1]])], 1))
        tensor([[0.6931, 0.0000]], dtype=torch.float64)
    """
    num_values = int(b.max()) + 1
    joint = [[_entropy(torch.bincount(x * num_values + y)) for y in b.unbind(1)] for x in a.unbind(1)]
    joint_entropy = torch.stack([torch.stack(row) for row in joint])
    return (entropy(a)[:, None] + entropy(b) - joint_entropy).clamp(min=0)


def canonical_order(*columns: Tensor) -> Tensor:
    """Indices that sort rows by their values, so that draws do not depend on the order in which rows were added.

    Args:
        columns: Tensors of N rows each, (N,) or (N, D); the first counts most.

    Returns:
        (N,), on the device of the first.
    """
    import numpy as np

    keys = [key for x in columns for key in x.detach().reshape(len(x), -1).cpu().numpy().T]
    return torch.from_numpy(np.lexsort(keys[::-1])).to(columns[0].device)


def _entropy(counts: Tensor) -> Tensor:
    p = counts[counts > 0].double()
    p = p / p.sum()
    return -(p * p.log()).sum()
