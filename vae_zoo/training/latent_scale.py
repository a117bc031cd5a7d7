"""Mean, standard deviation and scale of the latents of a trained model, as a diffusion model of them needs."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor


class LatentScale(NamedTuple):
    r"""Moments of the latents of a data set, of draws from the posteriors of its examples.

    .. math:: s = 1 / \sqrt{\mathrm{mean}_{n,i} (z_{ni} - \bar z)^2}

    A diffusion model is trained on s z, whose variance is 1 over all channels together, or on the standardised
    (z_c - μ_c) / σ_c, where it is 1 in each.

    References:
        | High-Resolution Image Synthesis with Latent Diffusion Models, appendix G (Rombach et al., 2022)
        | https://arxiv.org/abs/2112.10752

    Args:
        mean: Mean μ of each channel of a grid (C, \*sides), or of each dimension of a vector (D,).
        std: Standard deviation σ of each.
        scale: The factor s.
        num: Number of examples.
    """

    mean: list[float]
    std: list[float]
    scale: float
    num: int

    @classmethod
    def of(cls, plain: Any, num_channels: int, where: str) -> LatentScale:
        """From plain data, such as those of a checkpoint.

        Args:
            plain: Entries by name.
            num_channels: Channels of the latents.
            where: Name of the source in errors.

        Raises:
            ValueError: If they are something else.
        """
        try:
            made = cls(**plain)
            numbers = [made.scale, *made.mean, *made.std]
            sound = len(made.mean) == len(made.std) == num_channels and all(map(math.isfinite, numbers))
            sound = sound and min(made.scale, *made.std) > 0 and isinstance(made.num, int) and made.num > 0
        except TypeError:
            sound = False
        if not sound:
            raise ValueError(f"{where} is damaged: its statistics of latents are not those of {num_channels} channels.")
        return made

    def standardised(self, z: Tensor) -> Tensor:
        """Latents (B, C, ...) with mean 0 and variance 1 in each channel."""
        mean, std = self._channels(z)
        return (z - mean) / std

    def original(self, z: Tensor) -> Tensor:
        """The latents that :meth:`standardised` gives these for."""
        mean, std = self._channels(z)
        return z * std + mean

    def _channels(self, z: Tensor) -> tuple[Tensor, Tensor]:
        column = [-1] + [1] * (z.ndim - 2)
        mean, std = (torch.tensor(values, dtype=z.dtype, device=z.device) for values in (self.mean, self.std))
        return mean.reshape(column), std.reshape(column)


class LatentMoments:
    """Sums of latents over batches, in double precision.

    Args:
        num_channels: Channels of the latents.
        device: Where the sums are.
    """

    def __init__(self, num_channels: int, device: torch.device) -> None:
        self.sums = torch.zeros(3, num_channels, dtype=torch.float64, device=device)

    def add(self, mean: Tensor, std: Tensor) -> None:
        """Add posteriors of a batch by their moments, (B, C, ...), without the error of a draw."""
        mean, std = (value.double().movedim(1, 0).flatten(1) for value in (mean, std))
        count = torch.full_like(mean[:, 0], mean.shape[1])
        self.sums += torch.stack([count, mean.sum(1), (mean.square() + std.square()).sum(1)])

    def compute(self, num: int) -> LatentScale:
        """The moments of all batches.

        Args:
            num: Number of examples.

        Raises:
            ValueError: If a channel is the same everywhere.
        """
        count, total, square = self.sums
        mean, second = total / count, square / count
        variance = second - mean.square()
        if bool((constant := ~(variance > 0)).any()):
            channel = int(constant.nonzero()[0])
            raise ValueError(f"channel {channel} of the latents is the same for all examples, and has no scale.")
        whole = second.mean() - mean.mean().square()
        return LatentScale(mean.tolist(), variance.sqrt().tolist(), float(whole.rsqrt()), num)
