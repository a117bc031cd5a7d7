"""Modules with weights held fixed, for the terms of an adversarial objective."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn
from torch.func import functional_call


def frozen(module: nn.Module) -> Callable[..., Any]:
    """A module as a function with its present weights held fixed.

    Gradients flow through it to its inputs and not to its parameters. Buffers that it updates, such as the running
    statistics of batch normalisation, are copies. So several objectives can be one scalar for one
    optimizer: clipping, accumulation of gradients and distributed training work as usual.

    Args:
        module: The module; its training mode applies.

    Returns:
        Function with the arguments and the result of the module.

    Example:
        >>> import torch
        >>> layer = nn.Linear(2, 1)
        >>> x = torch.ones(1, 2, requires_grad=True)
        >>> frozen(layer)(x).sum().backward()
        >>> layer.weight.grad is None, torch.equal(x.grad, layer.weight)
        (True, True)
    """
    state: dict[str, Tensor] = {name: p.detach() for name, p in module.named_parameters()}
    state |= {name: b.clone() for name, b in module.named_buffers()}

    def call(*args: Any, **kwargs: Any) -> Any:
        return functional_call(module, state, args, kwargs)

    return call
