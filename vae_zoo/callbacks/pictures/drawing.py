"""Pictures of samples, reconstructions and latents, as tensors and as files."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import interpolate, pad

from vae_zoo.callbacks.pictures import curves
from vae_zoo.callbacks.pictures.labelled import Content, Labels, Picture, Pixels, compose, fits
from vae_zoo.callbacks.pictures.themes import PLAIN, Look
from vae_zoo.distributions import mean_of, observing
from vae_zoo.elbo import depends_on_condition
from vae_zoo.evaluation.sampling import chunks
from vae_zoo.models.base.autoencoder import Autoencoder
from vae_zoo.system.writing import explaining_write_errors, replacing

MOST_PIXELS = 2**26
"""Largest number of pixels of a picture: 64 images of 1024 by 1024."""


def drawable(shape: tuple[int, ...]) -> bool:
    """Whether examples of a shape can be shown: sequences, grey or colour images (with opacity or without), volumes."""
    return len(shape) in (2, 4) or (len(shape) == 3 and shape[0] in (1, 3, 4))


def check_size(option: str, num: int, shape: Sequence[int]) -> None:
    """Refuse a picture that is too large for memory.

    Args:
        option: Option that sets the number of images.
        num: Number of images.
        shape: Shape of one image.

    Raises:
        ValueError: With the largest allowed number.
    """
    each = {2: curves.WIDTH * curves.HEIGHT, 4: 3 * math.prod(sorted(shape[1:])[1:])}
    most = max(1, MOST_PIXELS // each.get(len(shape), math.prod(shape[1:])))
    if num > most:
        kind = {2: "sequences", 4: "volumes"}.get(len(shape), "images")
        raise ValueError(
            f"{option} {num}: a picture holds at most {most} {kind} of {' by '.join(map(str, shape[1:]))}."
        )


def reconstructions(model: Autoencoder, x: Tensor, c: Tensor | None = None, *, mean: bool = True) -> Tensor:
    """Examples and their reconstructions in turn, (2 B, \\*shape): a grid with an even number of columns has pairs."""
    again = model.reconstruct(x, c) if mean else observing(model.decode(model.embed(x, c), c), x).sample()
    return torch.stack([x, again], 1).flatten(0, 1)


def samples(model: Any, num: int, c: Tensor | None = None, *, mean: bool = True) -> tuple[Tensor, int]:
    """Samples, (num, \\*shape), and the number of columns of their picture.

    For a class-conditional model, each column is a class, for one with clusters a cluster. Other models that use
    conditions get repeated conditions of the data.
    """
    classes = getattr(model, "num_classes", None)
    if clusters := getattr(model, "num_clusters", 0):
        rows = -(-num // clusters)
        columns = [model.sample(rows, mean=mean, cluster=n) for n in range(clusters)]
        return torch.stack(columns, 1).flatten(0, 1)[:num], min(clusters, max(num, 1))
    if classes:
        c = torch.arange(classes, device=model.device)
    elif c is not None and not depends_on_condition(model, c):
        c = None
    kind = {} if mean else {"mean": False}
    parts = [model.sample(len(at), None if c is None else c[at.to(c.device) % len(c)], **kind) for at in chunks(num)]
    return torch.cat(parts), min(classes or max(1, int(num**0.5)), max(num, 1))


def interpolations(model: Autoencoder, x: Tensor, c: Tensor | None = None, num_steps: int = 11) -> Tensor:
    """Paths between the latents of the first and the second half of the examples, (B // 2, num_steps, \\*shape).

    They are those of :meth:`~vae_zoo.models.Autoencoder.path`, geodesics on a sphere or in a ball. A path keeps the
    condition of its first end.
    """
    half = len(x) // 2
    z = model.embed(x, c)
    path = model.path(z[:half], z[half : 2 * half], num_steps)
    c = None if c is None else torch.cat([c[:half]] * num_steps)
    return mean_of(model.decode(path.flatten(0, 1), c), path.device).unflatten(0, path.shape[:2]).transpose(0, 1)


def grid(x: Tensor, columns: int, min_side: int = 32, *, paired: bool = False) -> Tensor:
    """Arrange examples in a picture (3, H', W').

    Images (N, C, H, W) in [0, 1] are shown as they are, small ones enlarged without smoothing and those with opacity, a
    fourth channel, on white; volumes (N, C, D, H, W) by their three central slices; sequences (N, C, L) as line plots.

    Args:
        x: Examples.
        columns: Number of examples in a row.
        min_side: Pixels to which smaller images are enlarged.
        paired: Whether examples and their reconstructions follow in turn; of sequences, both are in one panel.
    """
    from torchvision.utils import make_grid

    if x.ndim == 3 and paired:
        return curves.panels(x[::2], max(1, columns // 2), x[1::2])
    if x.ndim == 3:
        return curves.panels(x, columns)
    images = slices(x) if x.ndim == 5 else x
    images = images.detach().float().cpu().nan_to_num(0.0).clamp(0, 1)  # missing pixels are black
    if images.shape[1] == 4:
        colour, opacity = images[:, :3], images[:, 3:]
        images = colour * opacity + (1 - opacity)
    factor = max(1, -(-min_side // min(images.shape[-2:])))
    images = interpolate(images, scale_factor=factor, mode="nearest")
    return make_grid(images, nrow=columns, padding=2, pad_value=0.5)


def content(x: Tensor, columns: int, *, paired: bool = False) -> Content:
    """What :func:`grid` shows, with the places of its rows and columns."""
    if x.ndim == 3:
        return curves.Curves(x[::2], max(1, columns // 2), x[1::2]) if paired else curves.Curves(x, columns)
    columns = max(1, min(columns, len(x)))
    return Pixels(grid(x, columns), -(-len(x) // columns), columns)


def picture(
    x: Tensor, columns: int, labels: Labels | None, look: Look = PLAIN, *, paired: bool = False
) -> Picture | Tensor:
    """Arrange examples in a picture with labels around it; the pixels of the examples are those of :func:`grid`.

    Args:
        x: Examples.
        columns: Number of examples in a row.
        labels: What is written around them, if the look has labels.
        look: Labels or none, format and colours.
        paired: Whether examples and their reconstructions follow in turn.

    Returns:
        A figure; or the pixels of :func:`grid` where those are all there is, or too many in a row for a figure.
    """
    plain = not look.labels and look.format == "png"
    inside = content(x, columns, paired=paired)
    if not fits(inside) or (plain and (isinstance(inside, Pixels) or look.theme == "white")):
        return inside.picture if isinstance(inside, Pixels) else grid(x, columns, paired=paired)
    return compose(inside, labels if look.labels else None, look.colours)


def slices(x: Tensor) -> Tensor:
    """The central slices of volumes (N, C, D, H, W) along depth, height and width beside each other, (N, C', H', W').

    Volumes with other than 1 or 3 channels are shown by their first, and values beyond [0, 1] by their range.
    """
    x = x.detach().float().cpu()
    x = x if x.shape[1] in (1, 3) else x[:, :1]
    finite = x[x.isfinite()]
    low, high = (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 1.0)
    if low < 0 or high > 1:
        x = (x - low) / (high - low or 1.0)
    _, _, depth, height, width = x.shape
    views = [x[:, :, depth // 2], x[:, :, :, height // 2], x[:, :, :, :, width // 2]]
    tallest = max(view.shape[-2] for view in views)
    padded = [pad(view, (0, 1 if n < 2 else 0, 0, tallest - view.shape[-2]), value=0.5) for n, view in enumerate(views)]
    return torch.cat(padded, -1)


def save(picture: Picture | Tensor, path: Path) -> Path:
    """Write a picture to a file in the format of its suffix, and create its folder.

    Raises:
        ValueError: If it is pixels, and the suffix is not .png.
        WriteError: If it cannot be written.
    """
    if isinstance(picture, Picture):
        return picture.save(path)
    if path.suffix != ".png":
        raise ValueError(
            f"a picture of {picture.shape[2]} by {picture.shape[1]} pixels goes to a .png only, got {path}."
        )
    return save_png(picture, path)


def save_png(picture: Tensor, path: Path) -> Path:
    """Write a picture (3, H, W) in [0, 1] to a file, and create its folder.

    Raises:
        WriteError: If it cannot be written.
    """
    from torchvision.utils import save_image

    with explaining_write_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as part:
        save_image(picture, part)
    return path
