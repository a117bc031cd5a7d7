"""Modified Bessel functions of the first kind, in logarithms and for any order."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import torch
from torch import Tensor

_LEAST_ORDER = 12
"""Order from which the expansion is accurate to 1e-13; lower orders follow by recurrence."""

_NUM_TERMS = 12


def _coefficients() -> list[list[float]]:
    """Polynomials in p² of the expansion, one in each row k = 1, 2, …; that of row k is divided by p^k."""
    u, rows = {0: Fraction(1)}, []
    for _ in range(_NUM_TERMS):
        following: dict[int, Fraction] = {}
        for n, a in u.items():
            for power, factor in (
                (n + 1, Fraction(n, 2) + Fraction(1, 8 * (n + 1))),
                (n + 3, -Fraction(n, 2) - Fraction(5, 8 * (n + 3))),
            ):
                following[power] = following.get(power, Fraction(0)) + a * factor
        u = following
        row = [float(u[power]) for power in sorted(u)]
        rows.append(row + [0.0] * (_NUM_TERMS + 1 - len(row)))
    return rows


_TERMS = _coefficients()


def log_bessel(order: float, x: Tensor) -> Tensor:
    r"""Logarithm of the modified Bessel function of the first kind, :math:`\log I_\nu(x)`.

    Computed in float64, finite where the function itself overflows or underflows. The derivative is
    :math:`I_{\nu + 1}(x) / I_\nu(x) + \nu / x`, by :func:`bessel_ratio`.

    Args:
        order: Order ν, at least 0.
        x: Values above 0, of any shape.

    Returns:
        The shape and type of x.
    """
    wide = widened(x)
    return (log_bessel_and_ratio(order, wide)[0] + order * torch.log(wide)).to(x.dtype)


def bessel_ratio(order: float, x: Tensor) -> Tensor:
    r"""Ratio of two modified Bessel functions, :math:`A_\nu(x) = I_{\nu + 1}(x) / I_\nu(x)`, between 0 and 1.

    The derivative is :math:`1 - A_\nu(x)^2 - (2 \nu + 1) A_\nu(x) / x`.

    Args:
        order: Order ν, at least 0.
        x: Values above 0, of any shape.

    Returns:
        The shape and type of x.
    """
    return log_bessel_and_ratio(order, widened(x))[1].to(x.dtype)


def log_bessel_and_ratio(order: float, x: Tensor) -> tuple[Tensor, Tensor]:
    r"""The smooth part of :func:`log_bessel`, :math:`f_\nu(x) = \log (x^{-\nu} I_\nu(x))`, and :func:`bessel_ratio`.

    The ratio is the derivative of f. The uniform asymptotic expansion gives both at an order of at least 12, and
    the recurrence of the ratios at lower ones:

    .. math::
        f_\nu(x) = s - \nu \log (\nu + s) - \tfrac{1}{2} \log 2 \pi s
        + \log \Big( 1 + \sum_k \frac{u_k(\nu / s)}{\nu^k} \Big), \quad s = \sqrt{\nu^2 + x^2}

    .. math::
        f_\nu(x) = f_{\nu + 1}(x) + \log \big( 2 (\nu + 1) + x A_{\nu + 1}(x) \big), \quad
        A_\nu(x) = \frac{x}{2 (\nu + 1) + x A_{\nu + 1}(x)}

    References:
        | The Asymptotic Expansion of Bessel Functions of Large Order (Olver, 1954)
        | https://doi.org/10.1098/rsta.1954.0021
        | NIST Digital Library of Mathematical Functions, sections 10.29 and 10.41
        | https://dlmf.nist.gov/10.41

    Args:
        order: Order ν, at least 0.
        x: Values above 0, of any shape, float64 where the device has it.

    Returns:
        f and A, both of the shape of x.
    """
    value, slope = _Bessel.apply(x, order)
    return value, x * slope


def widened(x: Tensor) -> Tensor:
    """A tensor in float64, where the device has it."""
    return x.float() if x.device.type == "mps" else x.double()


class _Bessel(torch.autograd.Function):
    """f, and the ratio divided by x, with derivatives in closed form."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, order: float) -> tuple[Tensor, Tensor]:
        return _recurrence(order, x)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, float], output: tuple[Tensor, Tensor]) -> None:
        ctx.order = inputs[1]
        ctx.save_for_backward(inputs[0], output[1])

    @staticmethod
    def backward(ctx: Any, grad: Tensor, grad_slope: Tensor) -> tuple[Tensor, None]:
        x, slope = ctx.saved_tensors
        ratio = x * slope
        return grad * ratio + grad_slope * (1 - ratio.square() - 2 * (ctx.order + 1) * slope) / x, None


def _recurrence(order: float, x: Tensor) -> tuple[Tensor, Tensor]:
    """f and h of an order, from those of an order for which the expansion is accurate."""
    steps = max(0, math.ceil(_LEAST_ORDER - order))
    value, slope = _expansion(order + steps, x)
    for n in range(steps - 1, -1, -1):
        rest = 2 * (order + n + 1) + x.square() * slope
        value, slope = value + torch.log(rest), 1 / rest
    return value, slope


def _expansion(order: float, x: Tensor) -> tuple[Tensor, Tensor]:
    """f and h by the expansion at two orders; what is large in both cancels before it is rounded."""
    s, t = torch.sqrt(x.square() + order**2), torch.sqrt(x.square() + (order + 1) ** 2)
    longer = (2 * order + 1) / (s + t)  # t - s
    series, following = _series(order, s), _series(order + 1, t)
    value = s - order * torch.log(order + s) - 0.5 * torch.log(2 * math.pi * s) + series
    growth = longer - torch.log(order + 1 + t) - order * torch.log1p((1 + longer) / (order + s))
    return value, torch.exp(growth - 0.5 * torch.log1p(longer / s) + following - series)


def _series(order: float, s: Tensor) -> Tensor:
    k = torch.arange(_NUM_TERMS + 1, device=s.device)
    of_order = s[..., None] ** -k[1:] @ s.new_tensor(_TERMS)
    return torch.log1p((of_order * (order / s)[..., None] ** (2 * k)).sum(-1))
