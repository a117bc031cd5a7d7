"""Residual networks for pictures of real size, between examples and vectors or grids of latents."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Literal, NamedTuple, TypeAlias

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import interpolate, pad, scaled_dot_product_attention, silu
from torch.utils.checkpoint import checkpoint

from vae_zoo.nn.conv import CONVOLUTIONS, check_sides, initialize
from vae_zoo.nn.halving import Size, halved, halvings
from vae_zoo.typing import Shape

SizeName: TypeAlias = Literal["small", "base", "large"]


class _Plan(NamedTuple):
    """Width at the size of the example, its multiples at each level down, and residual blocks of each level."""

    width: int
    multipliers: Sequence[int]
    num_blocks: int


SIZES: dict[SizeName, _Plan] = {
    "small": _Plan(32, (1, 2, 4), 1),
    "base": _Plan(64, (1, 2, 4, 4), 2),
    "large": _Plan(128, (1, 2, 4, 4), 2),
}
"""What the named sizes stand for. The large one is that of the autoencoders of latent diffusion."""

_DENSE_SIDE = 8
"""Vectors are computed from the first level of which every side is smaller than this."""


class ResidualEncoder(nn.Module):
    r"""Levels of residual blocks, each half the size of the last: from an example to a grid of latents, or to a vector.

    A block normalises groups of channels, so that no example depends on the others of its batch. Between levels is a
    convolution of stride 2, and the smallest level ends with two blocks around self-attention. The number of
    levels follows from the grid of the output; for a vector, they go down to sides of 4 to 7 and a dense layer.

    Examples are sequences (C, L), images (C, H, W) or volumes (C, D, H, W).

    References:
        | Denoising Diffusion Probabilistic Models, appendix B (Ho et al., 2020)
        | https://arxiv.org/abs/2006.11239
        | High-Resolution Image Synthesis with Latent Diffusion Models, appendix G (Rombach et al., 2022)
        | https://arxiv.org/abs/2112.10752

    Args:
        in_shape: Shape of one example, (C, \*sides).
        out_shape: Shape of one output: a vector (\*params, D), or a grid (\*params, D, \*small) whose sides are those
            of the example halved equally often, rounded down.
        size: Name of width, multipliers and num_blocks, each of which can be given instead.
        width: Channels at the size of the example.
        multipliers: Channels of each level, in multiples of width; the last one also counts for further levels.
        num_blocks: Residual blocks of each level.
        attention: Whether there is self-attention at the smallest level.
        attention_levels: Levels with self-attention after every block, counted from 0, the size of the example.
        checkpointing: Whether the blocks keep only their inputs for the backward pass, in which they are computed
            again: a fraction of the memory, for a third more time.

    Raises:
        ValueError: If the shapes are not those of an example and a vector or a grid of it, or a size is less than 1.
    """

    def __init__(
        self,
        in_shape: Shape,
        out_shape: Shape,
        *,
        size: SizeName = "small",
        width: int | None = None,
        multipliers: Sequence[int] | None = None,
        num_blocks: int | None = None,
        attention: bool = True,
        attention_levels: Sequence[int] = (),
        checkpointing: bool = False,
    ) -> None:
        super().__init__()
        num_sides = len(in_shape) - 1
        sizes, is_grid = _levels(in_shape, out_shape)
        widths, self.num_groups, num = _widths(size, width, multipliers, num_blocks, len(sizes))
        _check_levels(attention_levels, len(sizes))
        make = _Maker(num_sides, self.num_groups)
        self.out_shape, self.checkpointing = tuple(out_shape), checkpointing

        self.stem = make.conv(in_shape[0], widths[0])
        self.levels = nn.ModuleList()
        for number, (before, after) in enumerate(pairwise((widths[0], *widths))):
            blocks = make.blocks(before, after, num, attention=number in attention_levels)
            ends = number == len(sizes) - 1
            down = nn.Identity() if ends else Downsample(after, sizes[number], sizes[number + 1])
            self.levels.append(nn.Sequential(*blocks, down))
        self.middle = make.middle(widths[-1], attention)
        self.norm = make.norm(widths[-1])
        if is_grid:
            params = math.prod(out_shape[:-num_sides])
            self.head = nn.Sequential(make.conv(widths[-1], params), make.conv(params, params, 1))
            last = self.head[1]
        else:
            last = nn.Linear(widths[-1] * math.prod(sizes[-1]), math.prod(out_shape))
            self.head = nn.Sequential(nn.Flatten(), last)
        initialize(self)
        _shrink(last)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, \\*in_shape) to (B, \\*out_shape)."""
        x = self.stem(x)
        for part in (*_parts(self.levels), *self.middle):
            x = _run(part, x, self.checkpointing)
        return self.head(silu(self.norm(x))).reshape(len(x), *self.out_shape)


class ResidualDecoder(nn.Module):
    r"""The mirror of :class:`ResidualEncoder`: from a vector or a grid of latents to the parameters of an example.

    As usual, it has one more block at each level than the encoder.

    Args:
        in_shape: Shape of one latent: a vector (D,), or a grid (D, \*small).
        out_shape: Shape of the parameters of one example, (\*params, C, \*sides).
        size: Name of width, multipliers and num_blocks, each of which can be given instead.
        width: Channels at the size of the example.
        multipliers: Channels of each level, from example to latent as in the encoder, in multiples of width.
        num_blocks: Residual blocks of each level, in addition to one.
        attention: Whether there is self-attention at the smallest level.
        attention_levels: Levels with self-attention after every block, counted from 0, the size of the example.
        upsampling: Class of the layers between levels: :class:`ResizeConv`, or :class:`ShuffleConv`.
        checkpointing: Whether the blocks keep only their inputs for the backward pass.
        num_sides: Number of sides of an example, from 1 for sequences to 3 for volumes; supplied by the model.

    Raises:
        ValueError: If the shapes are not those of an example and a vector or a grid of it, or a size is less than 1.
    """

    def __init__(
        self,
        in_shape: Shape,
        out_shape: Shape,
        *,
        size: SizeName = "small",
        width: int | None = None,
        multipliers: Sequence[int] | None = None,
        num_blocks: int | None = None,
        attention: bool = True,
        attention_levels: Sequence[int] = (),
        upsampling: Callable[[int, Size, Size], nn.Module] | None = None,
        checkpointing: bool = False,
        num_sides: int = 2,
    ) -> None:
        super().__init__()
        example = tuple(out_shape[-1 - num_sides :])
        check_sides(example, num_sides)
        sizes, is_grid = _levels(example, in_shape)
        widths, self.num_groups, num = _widths(size, width, multipliers, num_blocks, len(sizes))
        _check_levels(attention_levels, len(sizes))
        make = _Maker(num_sides, self.num_groups)
        self.front, self.checkpointing = tuple(out_shape[:-num_sides]), checkpointing

        first = widths[-1]
        if is_grid:
            channels = math.prod(in_shape[:-num_sides])
            self.stem = nn.Sequential(make.conv(channels, channels, 1), make.conv(channels, first))
        else:
            dense = nn.Linear(math.prod(in_shape), first * math.prod(sizes[-1]))
            self.stem = nn.Sequential(nn.Flatten(), dense, nn.Unflatten(1, (first, *sizes[-1])))
        self.middle = make.middle(first, attention)
        self.levels = nn.ModuleList()
        backwards = list(range(len(sizes)))[::-1]
        for number, (before, after) in zip(backwards, pairwise((first, *widths[::-1])), strict=True):
            blocks = make.blocks(before, after, num + 1, attention=number in attention_levels)
            make_up = upsampling or ResizeConv
            up = make_up(after, sizes[number], sizes[number - 1]) if number else nn.Identity()
            self.levels.append(nn.Sequential(*blocks, up))
        self.norm = make.norm(widths[0])
        self.head = make.conv(widths[0], math.prod(self.front))
        initialize(self)

    def forward(self, z: Tensor) -> Tensor:
        """Map (B, \\*in_shape) to (B, \\*out_shape)."""
        z = self.stem(z)
        for part in (*self.middle, *_parts(self.levels)):
            z = _run(part, z, self.checkpointing)
        return self.head(silu(self.norm(z))).unflatten(1, self.front)


class ResidualBlock(nn.Module):
    """Two convolutions, each after normalisation and activation, beside a connection that skips them.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        num_groups: Groups of channels that are normalised together.
        num_sides: Sides of an example.
    """

    def __init__(self, in_channels: int, out_channels: int, *, num_groups: int, num_sides: int = 2) -> None:
        super().__init__()
        make = _Maker(num_sides, num_groups)
        self.norm1, self.conv1 = make.norm(in_channels), make.conv(in_channels, out_channels)
        self.norm2, self.conv2 = make.norm(out_channels), make.conv(out_channels, out_channels)
        same = in_channels == out_channels
        self.shortcut: nn.Module = nn.Identity() if same else make.conv(in_channels, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv1(silu(self.norm1(x)))
        return self.shortcut(x) + self.conv2(silu(self.norm2(y)))


class SelfAttention(nn.Module):
    """Attention of all places of a grid to each other, with one head, beside a connection that skips it.

    Args:
        channels: Channels of input and output.
        num_groups: Groups of channels that are normalised together.
    """

    def __init__(self, channels: int, *, num_groups: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(num_groups, channels, eps=_EPS)
        self.query, self.key, self.value, self.out = (nn.Linear(channels, channels) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        places = self.norm(x).flatten(2).mT  # (B, places, channels)
        found = scaled_dot_product_attention(self.query(places), self.key(places), self.value(places))
        return x + self.out(found).mT.reshape(x.shape)


class Downsample(nn.Module):
    """A convolution that halves every side, rounded down; a side of 1 stays.

    Args:
        channels: Channels of input and output.
        large: Sides before.
        small: Sides after.
    """

    def __init__(self, channels: int, large: Size, small: Size) -> None:
        super().__init__()
        convolution, _ = CONVOLUTIONS[len(large)]
        self.conv = convolution(channels, channels, 3, tuple(1 if side == 1 else 2 for side in large))
        around = [(1, 1) if side == 1 else (0, 1) for side in large]
        self.around = [edge for edges in reversed(around) for edge in edges]
        self.small = small

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(pad(x, self.around))


class ResizeConv(nn.Module):
    """Repeats every value along each side, then a convolution: no chequered pattern, as a transposed one may leave.

    References:
        | Deconvolution and Checkerboard Artifacts (Odena et al., 2016)
        | https://doi.org/10.23915/distill.00003

    Args:
        channels: Channels of input and output.
        small: Sides before.
        large: Sides after.
    """

    def __init__(self, channels: int, small: Size, large: Size) -> None:
        super().__init__()
        convolution, _ = CONVOLUTIONS[len(small)]
        self.conv, self.large = convolution(channels, channels, 3, padding=1), list(large)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(interpolate(x, size=self.large, mode="nearest"))


class ShuffleConv(nn.Module):
    """A convolution at the small size, to as many channels as there are values in the place of one, put side by side.

    Cheaper than :class:`ResizeConv`. An odd side gets its last value twice.

    References:
        | Real-Time Single Image and Video Super-Resolution Using an Efficient Sub-Pixel Convolutional Neural Network
        | (Shi et al., 2016)
        | https://arxiv.org/abs/1609.05158

    Args:
        channels: Channels of input and output.
        small: Sides before.
        large: Sides after.
    """

    def __init__(self, channels: int, small: Size, large: Size) -> None:
        super().__init__()
        convolution, _ = CONVOLUTIONS[len(small)]
        self.factors = tuple(1 if side == 1 else 2 for side in large)
        self.conv = convolution(channels, channels * math.prod(self.factors), 3, padding=1)
        odd = [side - factor * half for side, factor, half in zip(large, self.factors, small, strict=True)]
        self.more = [edge for extra in reversed(odd) for edge in (0, extra)]
        num = len(small)
        self.order = [0, 1, *(dim for side in range(num) for dim in (2 + num + side, 2 + side))]
        self.large = tuple(factor * half for factor, half in zip(self.factors, small, strict=True))

    def forward(self, x: Tensor) -> Tensor:
        parts = self.conv(x).unflatten(1, (-1, *self.factors)).permute(self.order)
        side_by_side = parts.reshape(*parts.shape[:2], *self.large)
        return pad(side_by_side, self.more, mode="replicate") if any(self.more) else side_by_side


_EPS = 1e-6
"""Smallest variance in a normalisation, as in the networks of latent diffusion."""


class _Maker:
    """Layers for examples with a number of sides."""

    def __init__(self, num_sides: int, num_groups: int) -> None:
        self.num_sides, self.num_groups = num_sides, num_groups
        self.convolution, _ = CONVOLUTIONS[num_sides]

    def conv(self, before: int, after: int, kernel: int = 3) -> nn.Module:
        layer: nn.Module = self.convolution(before, after, kernel, padding=kernel // 2)
        return layer

    def norm(self, channels: int) -> nn.GroupNorm:
        return nn.GroupNorm(self.num_groups, channels, eps=_EPS)

    def block(self, before: int, after: int) -> ResidualBlock:
        return ResidualBlock(before, after, num_groups=self.num_groups, num_sides=self.num_sides)

    def blocks(self, before: int, after: int, num: int, *, attention: bool) -> list[nn.Module]:
        found: list[nn.Module] = []
        for number in range(num):
            found.append(self.block(after if number else before, after))
            if attention:
                found.append(SelfAttention(after, num_groups=self.num_groups))
        return found

    def middle(self, channels: int, attention: bool) -> nn.Sequential:
        between = [SelfAttention(channels, num_groups=self.num_groups)] if attention else []
        return nn.Sequential(self.block(channels, channels), *between, self.block(channels, channels))


def _shrink(layer: nn.Module) -> None:
    """Halve the variance of the weights of a last layer, so that no σ of a posterior starts far from 1."""
    with torch.no_grad():
        layer.weight.mul_(math.sqrt(0.5))  # type: ignore[operator]


def _parts(levels: nn.ModuleList) -> list[nn.Module]:
    return [part for level in levels for part in level.children()]


def _run(part: nn.Module, x: Tensor, checkpointing: bool) -> Tensor:
    """A layer, which with checkpointing is computed again in the backward pass."""
    if not (checkpointing and torch.is_grad_enabled() and isinstance(part, (ResidualBlock, SelfAttention))):
        return part(x)
    # The weights of now: they may be held fixed, and no more so in the backward pass.
    weights: dict[str, Tensor] = dict(part.named_parameters())

    def again(x: Tensor) -> Tensor:
        return functional_call(part, weights, (x,))

    return checkpoint(again, x, use_reentrant=False)


def _levels(example: Shape, latent: Shape) -> tuple[list[Size], bool]:
    """Sides of an example at each level, and whether the latents are a grid of the last one."""
    check_sides(example)
    num_sides = len(example) - 1
    sizes: list[Size] = [tuple(example[1:])]
    if len(latent) <= num_sides:
        while max(sizes[-1]) >= _DENSE_SIDE:
            sizes.append(halved(sizes[-1]))
        return sizes, False
    return halvings(example[1:], latent[-num_sides:]), True


def _widths(
    size: SizeName, width: int | None, multipliers: Sequence[int] | None, num_blocks: int | None, num_levels: int
) -> tuple[list[int], int, int]:
    """Channels of each level, the number of groups that are normalised, and the number of blocks."""
    if size not in SIZES:
        raise ValueError(f"size must be one of {', '.join(SIZES)}, got {size!r}.")
    plan = SIZES[size]
    width = plan.width if width is None else width
    multipliers = list(plan.multipliers if multipliers is None else multipliers)
    num_blocks = plan.num_blocks if num_blocks is None else num_blocks
    if not multipliers or min(width, num_blocks, *multipliers) < 1:
        raise ValueError(
            f"width, multipliers and num_blocks must be at least 1, got {width}, {multipliers} and {num_blocks}."
        )
    widths = [width * multipliers[min(level, len(multipliers) - 1)] for level in range(num_levels)]
    return widths, num_groups(width), num_blocks


def num_groups(channels: int) -> int:
    """Number of groups of channels that are normalised together, at most 32.

    A group has four channels or more: of one channel, it would lose the mean, such as the brightness of a picture.
    """
    return math.gcd(32, max(channels // 4, 1), channels)


def _check_levels(attention_levels: Sequence[int], num_levels: int) -> None:
    if bad := [level for level in attention_levels if not 0 <= level < num_levels]:
        raise ValueError(f"attention_levels must be from 0 to {num_levels - 1}, the smallest level, got {bad[0]}.")
