"""How a network is applied to what has more than one dimension of batch."""

from __future__ import annotations

from torch import Tensor, nn


def feed(network: nn.Module, x: Tensor, event_dims: int = 1) -> Tensor:
    """Apply a network in the precision of its weights, which may be lower than that of densities and latents.

    Args:
        network: Module that maps (N, \\*in_shape) to (N, \\*out_shape).
        x: Inputs, (..., \\*in_shape).
        event_dims: Dimensions of in_shape.

    Returns:
        (..., \\*out_shape).
    """
    weight = next(network.parameters(), None)
    batch, event = x.shape[:-event_dims], x.shape[-event_dims:]
    out = network((x if weight is None else x.to(weight.dtype)).reshape(-1, *event))
    return out.unflatten(0, batch)
