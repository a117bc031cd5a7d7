"""Augmentation of training batches of images."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from vae_zoo.typing import Batch


def flipped_and_shifted(x: Tensor, seed: int, *, flip: bool, shift: int) -> Tensor:
    """Images that are mirrored at random, and moved by a random number of pixels.

    Args:
        x: Images of any type, (B, C, H, W).
        seed: Seed of the draw, on the device of x.
        flip: Mirror each image from left to right with probability 1/2.
        shift: Largest number of pixels to move each image by, in both directions independently; what comes in at the
            border is the reflected image. This is a random crop of the image padded by as many pixels.

    Returns:
        Images like x.
    """
    generator = torch.Generator(device=x.device).manual_seed(seed)
    num, (channels, height, width) = len(x), x.shape[1:]
    moved = torch.randint(-shift, shift + 1, (2, num, 1), device=x.device, generator=generator)
    rows = _reflected(torch.arange(height, device=x.device) + moved[0], height)
    columns = _reflected(torch.arange(width, device=x.device) + moved[1], width)
    if flip:
        turned = torch.rand((num, 1), device=x.device, generator=generator) < 0.5
        columns = torch.where(turned, width - 1 - columns, columns)
    image = torch.arange(num, device=x.device)[:, None, None, None]
    channel = torch.arange(channels, device=x.device)[None, :, None, None]
    return x[image, channel, rows[:, None, :, None], columns[:, None, None, :]]


def _reflected(index: Tensor, size: int) -> Tensor:
    """Positions beyond a border mirrored at it."""
    return size - 1 - (size - 1 - index.abs()).abs()


def augmenting(batches: Iterator[Batch], change: Callable[[Tensor, int], Tensor]) -> Iterator[Batch]:
    """The same batches with their examples changed as a function of the keys.

    Args:
        batches: Batches, on the device where they are to be changed.
        change: Takes the examples and the key of a batch.
    """
    return (batch._replace(x=change(batch.x, batch.key)) for batch in batches)
