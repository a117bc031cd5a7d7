"""Drawn signals."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from vae_zoo.data.base.checks import check_positive
from vae_zoo.data.drawn.base import Drawn
from vae_zoo.distributions import OptimalNormal
from vae_zoo.typing import Shape

KINDS = ("sine", "square", "sawtooth")


class Signals(Drawn):
    """Damped oscillations in three channels: sequences (3, L), with the kind of wave as label.

    A sine, square or sawtooth wave starts at an onset and decays; each channel is an eighth of a period ahead of the
    one before. Frequency, phase, onset, decay and the gains of the channels are drawn for each example, and normal
    noise is added to every value.

    Args:
        length: Values L of each channel.
        noise: Standard deviation of the noise.
        kwargs: Arguments of :class:`Drawn`.

    Raises:
        ValueError: If length is less than 1, or noise negative or not finite.
    """

    num_classes = len(KINDS)
    likelihood = OptimalNormal

    def __init__(self, *, length: int = 256, noise: float = 0.05, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not (noise >= 0 and math.isfinite(noise)):
            raise ValueError(f"noise must be at least 0 and finite, got {noise}.")
        self.length, self.noise = check_positive("length", length), noise

    @property
    def shape(self) -> Shape:
        return (3, self.length)

    def draw(self) -> tuple[Tensor, Tensor]:
        return draw_signals(self.num_examples, self.length, self.noise, self.split_seed)


def draw_signals(num: int, length: int = 256, noise: float = 0.05, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Signals, (N, 3, L), and the kinds of their waves, (N,), the same for the same numbers.

    Args:
        num: Number N of signals.
        length: Values L of each channel.
        noise: Standard deviation of the noise.
        seed: Seed of the draw.
    """
    generator = torch.Generator().manual_seed(seed)

    def uniform(low: float, high: float, channels: int = 1) -> Tensor:
        return low + (high - low) * torch.rand(num, channels, 1, generator=generator)

    kind = torch.randint(len(KINDS), (num,), generator=generator)
    time = torch.linspace(0, 1, length) - uniform(0.05, 0.4)
    turns = uniform(2, 5) * time + uniform(0, 1) + torch.arange(3)[:, None] / 8
    sine = torch.sin(2 * torch.pi * turns)
    waves = torch.stack([sine, sine.sign(), 2 * (turns % 1) - 1])[kind, torch.arange(num)]
    envelope = torch.where(time > 0, torch.exp(-uniform(1, 4) * time), 0.0)
    x = uniform(0.3, 1.0, 3) * envelope * waves
    return x + noise * torch.randn(x.shape, generator=generator), kind
