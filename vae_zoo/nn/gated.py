"""Gated dense networks, for examples of any shape."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from vae_zoo.typing import Shape


class GatedLinear(nn.Module):
    r"""A dense layer multiplied by a gate between 0 and 1, which is another dense layer.

    .. math:: y = (A x + a) \odot \sigma(G x + g)

    Args:
        in_dim: Width of the input.
        out_dim: Width of the output.
    """

    def __init__(self, in_dim: int, out_dim: int) -> None:
        super().__init__()
        self.value, self.gate = nn.Linear(in_dim, out_dim), nn.Linear(in_dim, out_dim)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, in_dim) to (B, out_dim)."""
        return self.value(x) * torch.sigmoid(self.gate(x))


class GatedDense(nn.Module):
    """Flatten, gated dense layers, a linear layer, reshape: an encoder or decoder for any shapes.

    Weights are initialised from the normal distribution of He et al. with variance 2 / fan-in, biases with 0.

    References:
        | VAE with a VampPrior (Tomczak and Welling, 2018)
        | https://arxiv.org/abs/1705.07120

    Args:
        in_shape: Shape of one input.
        out_shape: Shape of one output.
        hidden: Widths of the gated layers, from input to output; without any, the network is linear.

    Raises:
        ValueError: If a width is less than 1.
    """

    flattens = True

    def __init__(self, in_shape: Shape, out_shape: Shape, *, hidden: Sequence[int] = (300, 300)) -> None:
        super().__init__()
        if any(width < 1 for width in hidden):
            raise ValueError(f"hidden widths must be at least 1, got {list(hidden)}.")
        self.out_shape = tuple(out_shape)
        widths = [math.prod(in_shape), *hidden]
        gated = [GatedLinear(widths[i], widths[i + 1]) for i in range(len(hidden))]
        self.layers = nn.Sequential(nn.Flatten(), *gated, nn.Linear(widths[-1], math.prod(out_shape)))
        for layer in self.modules():
            if isinstance(layer, nn.Linear):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
                nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, *in_shape) to (B, *out_shape)."""
        return self.layers(x).unflatten(-1, self.out_shape)
