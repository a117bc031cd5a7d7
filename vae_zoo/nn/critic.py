"""Discriminators of examples, with features."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn
from torch.nn.functional import leaky_relu

from vae_zoo.nn.conv import CONVOLUTIONS
from vae_zoo.nn.dense import Dense
from vae_zoo.nn.pictures.residual import num_groups
from vae_zoo.typing import Network, Shape


class Critic(nn.Module):
    """Features of an example, and a logit from them: a discriminator whose features can compare examples.

    Args:
        in_shape: Shape of one example.
        out_shape: Shape of the logit.
        features: Network from an example to its features.
        width: Number of features.

    Raises:
        ValueError: If width is less than 1.
    """

    def __init__(self, in_shape: Shape, out_shape: Shape, *, features: Network = Dense, width: int = 128) -> None:
        super().__init__()
        if width < 1:
            raise ValueError(f"width must be at least 1, got {width}.")
        self.features: nn.Module = features(in_shape, (width,))
        self.head = Dense((width,), out_shape, hidden=())

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Features (B, width) and logits (B, *out_shape) of examples (B, *in_shape)."""
        features = self.features(x)
        return features, self.head(leaky_relu(features, 0.2))


class ConvCritic(nn.Module):
    """Maps of features of an image, and a logit from them: the inner layer of a discriminator compares images.

    The maps come early and are wide, so that they hold what an image shows and not only whether it is real. Of few
    features before the logit alone, a decoder learns nothing else: its pictures become one pattern. Groups of channels
    are normalised where the original normalises batches, so that the logit of an example depends on no other.

    References:
        | Autoencoding beyond Pixels Using a Learned Similarity Metric (Larsen et al., 2016)
        | https://arxiv.org/abs/1512.09300

    Args:
        in_shape: Shape of one example, (C, \\*sides) with up to three sides.
        out_shape: Shape of the logit.
        channels: Channels of each convolution of stride 2; the last one's maps are the features.
        width: Width of the layer between the features and the logit.

    Raises:
        ValueError: If examples have no sides, or a size is less than 1.
    """

    def __init__(self, in_shape: Shape, out_shape: Shape, *, channels: Sequence[int] = (32,), width: int = 128) -> None:
        super().__init__()
        if not 2 <= len(in_shape) <= 4:
            raise ValueError(f"ConvCritic needs examples with sides, (C, *sides), got shape {tuple(in_shape)}.")
        if not channels or min(*channels, width) < 1:
            raise ValueError(f"channels and width must be at least 1, got {list(channels)} and {width}.")
        conv, layers = CONVOLUTIONS[len(in_shape) - 1][0], list[nn.Module]()
        for before, after in pairwise((in_shape[0], *channels)):
            layers += [nn.LeakyReLU(0.2)] * bool(layers)
            layers += [conv(before, after, 5, stride=2, padding=2), nn.GroupNorm(num_groups(after), after)]
        self.features = nn.Sequential(*layers, nn.Flatten())
        num = channels[-1] * math.prod(-(-side // 2 ** len(channels)) for side in in_shape[1:])
        between = [nn.Linear(num, width), nn.LayerNorm(width), nn.LeakyReLU(0.2)]
        self.head = nn.Sequential(nn.LeakyReLU(0.2), *between, Dense((width,), out_shape, hidden=()))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Features (B, F) and logits (B, *out_shape) of examples (B, *in_shape)."""
        features = self.features(x)
        return features, self.head(features)
