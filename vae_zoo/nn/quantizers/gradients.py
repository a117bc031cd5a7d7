"""Gradients of quantised latents with respect to the latents."""

from __future__ import annotations

from typing import Literal, TypeAlias, get_args

import torch
from torch import Tensor

Gradient: TypeAlias = Literal["straight", "rotation"]

_TINY = 1e-6
"""Norm below which a vector has no direction."""

_OPPOSITE = 1e-4
"""Norm of the sum of two unit vectors below which they are opposite, and the rotation is not unique."""


def check_gradient(gradient: str) -> None:
    """Refuse unknown kinds of gradient.

    Raises:
        ValueError: If it is none of them.
    """
    if gradient not in get_args(Gradient):
        raise ValueError(f"gradient must be {' or '.join(get_args(Gradient))}, got {gradient!r}.")


def passed(z: Tensor, e: Tensor, gradient: Gradient) -> Tensor:
    """The vectors e of codes, with a gradient to the latents z, both (B, D, *grid)."""
    return rotated(z, e) if gradient == "rotation" else straight(z, e)


def straight(z: Tensor, e: Tensor) -> Tensor:
    """The vectors e of codes, with the gradient of the identity."""
    return z + (e - z).detach()


def rotated(z: Tensor, e: Tensor) -> Tensor:
    r"""The vectors e of codes, as the latents z turned and scaled: the rotation trick.

    .. math:: e = \lambda R z, \quad \lambda = \|e\| / \|z\|, \quad R \hat z = \hat e

    The rotation R in the plane of z and e and the ratio λ are constants, so that the gradient to z is turned as well:
    its angle to z is that of the incoming gradient to e. A vector without a direction has the gradient of the identity,
    and for opposite vectors, which many rotations connect, R is the reflection that turns z round.

    References:
        | Restructuring Vector Quantization with the Rotation Trick (Fifty et al., 2025)
        | https://arxiv.org/abs/2410.06424

    Args:
        z: Latents, (B, D, \*grid).
        e: Vectors of their codes, of the same shape.
    """
    with torch.no_grad():
        norm, wanted = z.norm(dim=1, keepdim=True), e.norm(dim=1, keepdim=True)
        none = (norm < _TINY) | (wanted < _TINY)
        ratio = wanted / norm.clamp_min(_TINY)
        start, end = z / norm.clamp_min(_TINY), e / wanted.clamp_min(_TINY)
        middle = start + end
        size = middle.norm(dim=1, keepdim=True)
        axis = torch.where(size > _OPPOSITE, middle / size.clamp_min(_OPPOSITE), 0.0)
    turned = z - 2 * axis * (axis * z).sum(1, keepdim=True) + 2 * end * (start * z).sum(1, keepdim=True)
    moved = torch.where(none, z, ratio * turned)
    return straight(moved, e)
