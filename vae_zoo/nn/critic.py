"""Discriminators of examples, with features."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.functional import leaky_relu

from vae_zoo.nn.dense import Dense
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
