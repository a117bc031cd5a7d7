"""The work that the benchmarks measure: data, networks, and a clock for CPU and wall time."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from vae_zoo.data import MNIST


@dataclass
class Work:
    """One model on one data set, the same for every contender.

    Args:
        name: How tables call it.
        shape: Shape of one example.
        batch_size: Training examples in a step.
        latent_dim: Number of latent dimensions.
        conv: Strided convolutions in place of dense layers.
        steps: Steps in one measurement.
        source: Images of a shape and split; MNIST if not given.
    """

    name: str
    shape: tuple[int, ...]
    batch_size: int
    latent_dim: int = 32
    conv: bool = False
    steps: int = 100
    source: Callable[[tuple[int, ...], str], Tensor] | None = None

    def images(self, split: str = "train") -> Tensor:
        """Grey images, uint8, (N, \\*shape)."""
        return (self.source or mnist)(self.shape, split)

    def encoder(self) -> nn.Sequential:
        """Network from an image to mean and log σ, 2 · latent_dim in one row."""
        if not self.conv:
            return dense(784, 512, 512, 2 * self.latent_dim)
        convs = [layer for a, b in CHANNELS for layer in (nn.Conv2d(a, b, 4, 2, 1), nn.ReLU())]
        return nn.Sequential(*convs, nn.Flatten(), nn.Linear(1024, 256), nn.ReLU(), nn.Linear(256, 2 * self.latent_dim))

    def decoder(self) -> nn.Sequential:
        """Network from a latent to one logit a pixel."""
        if not self.conv:
            return dense(self.latent_dim, 512, 512, 784).append(nn.Unflatten(-1, self.shape))
        convs = [layer for a, b in CHANNELS[::-1] for layer in (nn.ReLU(), nn.ConvTranspose2d(b, a, 4, 2, 1))]
        first = [
            nn.Flatten(),
            nn.Linear(self.latent_dim, 256),
            nn.ReLU(),
            nn.Linear(256, 1024),
            nn.Unflatten(-1, (256, 2, 2)),
        ]
        return nn.Sequential(*first, *convs)

    def networks(self) -> dict[str, Any]:
        """The same networks, as vae_zoo's own modules take them."""
        from vae_zoo.nn import ConvDecoder, ConvEncoder, Dense

        if not self.conv:
            return {"encoder": Dense, "decoder": Dense}
        channels = [b for _, b in CHANNELS]
        return {"encoder": partial(ConvEncoder, channels=channels), "decoder": partial(ConvDecoder, channels=channels)}


CHANNELS = [(1, 32), (32, 64), (64, 128), (128, 256)]
WORKS = {
    work.name: work
    for work in (
        Work("MLP 784-512-512-z32, batch 128", (1, 28, 28), 128, steps=150),
        Work("MLP 784-512-512-z32, batch 1024", (1, 28, 28), 1024, steps=40),
        Work("conv 1x32x32, 32 to 256 channels, batch 128", (1, 32, 32), 128, conv=True, steps=25),
    )
}


def dense(*widths: int) -> nn.Sequential:
    """Linear layers with ReLU between them, over flattened examples."""
    layers: list[nn.Module] = [nn.Flatten()]
    for i in range(len(widths) - 1):
        layers += [nn.ReLU()] * (i > 0) + [nn.Linear(widths[i], widths[i + 1])]
    return nn.Sequential(*layers)


def mnist(shape: tuple[int, ...], split: str) -> Tensor:
    """Grey MNIST images, uint8, (N, \\*shape); those of 32 pixels have a black border."""
    x = MNIST(binarization="none").load(split).x  # type: ignore[arg-type]
    border = (shape[-1] - x.shape[-1]) // 2
    return nn.functional.pad(x, [border] * 4)


def noise(shape: tuple[int, ...], split: str) -> Tensor:
    """As many images of noise as MNIST has, uint8, (N, \\*shape)."""
    generator = torch.Generator().manual_seed(0)
    num = 10_000 if split == "test" else 60_000
    return torch.randint(0, 256, (num, *shape), dtype=torch.uint8, generator=generator)


@dataclass
class Clock:
    """CPU and wall seconds between start and stop."""

    cpu: float = 0.0
    wall: float = 0.0
    sync: Callable[[], None] = field(default=lambda: torch.cuda.synchronize() if torch.cuda.is_available() else None)

    def start(self) -> None:
        self.sync()
        self.cpu, self.wall = -time.process_time(), -time.perf_counter()

    def stop(self) -> Clock:
        self.sync()
        self.cpu += time.process_time()
        self.wall += time.perf_counter()
        return self
