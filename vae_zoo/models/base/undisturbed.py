"""Encodings in training of what is no training example."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn
from torch.distributions import Distribution


def undisturbed(model: nn.Module, encode: Callable[[Tensor], Distribution], x: Tensor) -> Distribution:
    """Encode inputs that a prior or a metric is made of as in evaluation: without noise, and not as pairs.

    Only the model itself is in evaluation meanwhile. Its networks stay as they are.

    Args:
        model: Model whose :meth:`encode` may disturb the examples of a training batch.
        encode: Its :meth:`encode`, or that of one of its bases.
        x: Inputs, (N, \\*shape).

    Returns:
        The posteriors, batch shape (N,).
    """
    was, model.training = model.training, False
    try:
        return encode(x)
    finally:
        model.training = was
