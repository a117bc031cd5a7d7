"""Spectrum and equivariance of grids of latents."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

from vae_zoo.metrics.checks import check_counts


class HighFrequency(Metric):
    r"""Share of the variance of latent grids that is in fine detail, which diffusion models learn last and worst.

    .. math:: \frac{\sum_{r(k) \ge f} |\hat z_k|^2}{\sum_{k \ne 0} |\hat z_k|^2},
        \quad r(k) = \max_i \frac{k_i}{n_i}

    The transform is the cosine transform of each channel, with frequencies k_i from 0 to n_i − 1 along side i; k = 0,
    the mean of a channel in an example, does not count. White noise has as large a share as there are such frequencies,
    3/4 of them for f = 1/2 and two sides, apart from k = 0; smooth grids have nearly none.

    References:
        | Improving the Diffusability of Autoencoders (Skorokhodov et al., 2025)
        | https://arxiv.org/abs/2502.14831

    Args:
        above: Frequency f that divides coarse from fine, as a fraction of the highest.
        kwargs: Arguments of :class:`torchmetrics.Metric`.

    Raises:
        ValueError: If above is not between 0 and 1.
    """

    higher_is_better = False
    is_differentiable = False
    full_state_update = False
    energy: Tensor

    def __init__(self, *, above: float = 0.5, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not 0 < above < 1:
            raise ValueError(f"above must lie between 0 and 1, got {above}.")
        self.above = above
        self.add_state("energy", torch.zeros(2, dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, z: Tensor) -> None:
        """Add latents (B, C, \\*sides).

        Raises:
            ValueError: If they are no grids, or grids of one place.
        """
        if z.ndim < 3 or math.prod(z.shape[2:]) < 2:
            raise ValueError(f"latents must be grids (B, C, *sides) of several places, got {tuple(z.shape)}.")
        found = z.detach().double()
        radius = torch.zeros((), device=z.device, dtype=torch.float64)
        for axis, side in enumerate(z.shape[2:], 2):
            found = (found.movedim(axis, -1) @ cosines(side, z.device).T).movedim(-1, axis)
            column = [1] * (z.ndim - axis - 1)
            radius = torch.maximum(radius, (torch.arange(side, device=z.device) / side).reshape(-1, *column))
        power = found.square().sum((0, 1))
        power.view(-1)[0] = 0
        self.energy += torch.stack([power[radius >= self.above].sum(), power.sum()])

    def compute(self) -> Tensor:
        """The share, from 0 to 1; NaN for latents without any variance within a grid."""
        return (self.energy[0] / self.energy[1]).float()


def cosines(num: int, device: torch.device) -> Tensor:
    """The orthonormal cosine transform, (frequencies, places), in double precision."""
    k = torch.arange(num, dtype=torch.float64, device=device)
    matrix = torch.cos(math.pi * k[:, None] * (k + 0.5) / num) * math.sqrt(2 / num)
    matrix[0] /= math.sqrt(2)
    return matrix


class EquivarianceError(Metric):
    r"""How far latents of transformed examples are from transformed latents.

    .. math:: \frac{\sum \|E(\tau x) - \tau E(x)\|^2}{\sum \|E(\tau x) - \bar z\|^2}

    0 for an encoder that commutes with the transformation τ, such as a change of scale; 1 where the transformed latents
    predict no more than the mean of each channel. As a regulariser, a small error makes latents simpler to generate.

    References:
        | EQ-VAE: Equivariance Regularized Latent Space for Improved Generative Image Modeling (Kouzelis et al., 2025)
        | https://arxiv.org/abs/2502.09509

    Args:
        num_channels: Channels of the latents.
        kwargs: Arguments of :class:`torchmetrics.Metric`.

    Raises:
        ValueError: If num_channels is less than 1.
    """

    higher_is_better = False
    is_differentiable = False
    full_state_update = False
    error: Tensor
    moments: Tensor

    def __init__(self, num_channels: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        check_counts(num_channels=num_channels)
        self.add_state("error", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("moments", torch.zeros(3, num_channels, dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, transformed: Tensor, expected: Tensor) -> None:
        """Add a batch.

        Args:
            transformed: Latents of transformed examples E(τx), (B, C, \\*sides).
            expected: Transformed latents τE(x), of the same shape.

        Raises:
            ValueError: If the shapes differ.
        """
        if transformed.shape != expected.shape:
            raise ValueError(f"shapes must be the same, got {tuple(transformed.shape)} and {tuple(expected.shape)}.")
        a, b = transformed.detach().double(), expected.detach().double()
        flat = a.movedim(1, 0).flatten(1)
        count = torch.full_like(flat[:, 0], flat.shape[1])
        self.error += (a - b).square().sum()
        self.moments += torch.stack([count, flat.sum(1), flat.square().sum(1)])

    def compute(self) -> Tensor:
        """The error, from 0 up."""
        count, total, square = self.moments
        return (self.error / (square - total.square() / count).sum()).float()


def zoomed(x: Tensor) -> Tensor:
    """The middle of images or grids (B, C, \\*sides), enlarged to twice its size by interpolation.

    Args:
        x: Images or grids, of sides divisible by 4, so that pixels and places of latents move alike.
    """
    for axis, side in enumerate(x.shape[2:], 2):
        x = x.narrow(axis, side // 4, side // 2)
    mode = {1: "linear", 2: "bilinear", 3: "trilinear"}[x.ndim - 2]
    return torch.nn.functional.interpolate(x, scale_factor=2, mode=mode, align_corners=False)
