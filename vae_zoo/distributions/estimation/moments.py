"""Moments of latents, with a ridge that keeps their covariance invertible."""

from __future__ import annotations

import torch
from torch import Tensor

RIDGE = 1e-6
"""Ridge on the diagonal of a covariance, relative to the mean variance of all latents."""

_TINY = 1e-30


def ridge_of(z: Tensor) -> Tensor:
    """The ridge of covariances of latents (N, D) or of parts of them, a scalar."""
    return (RIDGE * z.var(0, correction=0).mean()).clamp(min=_TINY)


def scales(z: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each dimension of latents (N, D), the latter at least that of the ridge."""
    return z.mean(0), (z.var(0, correction=0) + ridge_of(z)).sqrt()


def factor(covariance: Tensor, ridge: Tensor) -> Tensor:
    """Lower Cholesky factors of covariances (..., D, D) with a ridge."""
    eye = torch.eye(covariance.shape[-1], dtype=covariance.dtype)
    return torch.linalg.cholesky(covariance + ridge * eye)
