"""Draws from densities of one variable by inversion of the distribution function, with exact derivatives."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor

Function: TypeAlias = Callable[[Tensor], Tensor]

_NUM_INTERVALS = 64
_NUM_STEPS = 3
_NODES = (0.06943184420297371, 0.33000947820757187, 0.6699905217924281, 0.9305681557970263)
_WEIGHTS = (0.17392742256872693, 0.32607257743127307, 0.32607257743127307, 0.17392742256872693)
"""Gauss–Legendre quadrature on [0, 1]."""


class Inversion:
    r"""A distribution of one variable t for each of R values of a parameter θ, tabulated on an interval.

    .. math:: F(t; \theta) = \int_{-\infty}^t p(s; \theta) \, ds, \quad
        F(t; \theta) = u, \quad
        \frac{dt}{d\theta} = -\frac{1}{p(t; \theta)} \frac{\partial F(t; \theta)}{\partial \theta}

    The table has the integrals of p and of ∂p/∂θ up to the ends of 64 intervals, by Gauss–Legendre quadrature. A draw
    finds its interval and refines its place there by three steps of Newton's method: no loop depends on a value, no
    draw is rejected, and the derivative is exact.

    References:
        | Implicit Reparameterization Gradients (Figurnov et al., 2018)
        | https://arxiv.org/abs/1805.08498

    Args:
        log_density: Function of t, (R, N), that gives log p up to a constant of each row.
        score: Function of t, (R, N), that gives ∂ log p / ∂θ up to the same constant.
        low: Start of an interval with all of the mass that matters, (R,); it may span about 25 standard deviations.
        high: End of the interval, (R,).
    """

    def __init__(self, log_density: Function, score: Function, low: Tensor, high: Tensor) -> None:
        self.log_density, self.score = log_density, score
        steps = torch.linspace(0, 1, _NUM_INTERVALS + 1, dtype=low.dtype, device=low.device)
        self.edges = low[:, None] + (high - low)[:, None] * steps
        self.width = (high - low) / _NUM_INTERVALS
        nodes, weights = _rule(low)
        t = (self.edges[:, :-1, None] + self.width[:, None, None] * nodes).flatten(1)
        logs = log_density(t)
        peak = logs.detach().amax(1, keepdim=True)
        masses = torch.exp(logs - peak).unflatten(1, (_NUM_INTERVALS, -1)) * weights
        total = masses.sum((1, 2))
        self.log_norm = torch.log(total * self.width) + peak.squeeze(1)
        """Logarithm of the integral of the density as given, (R,)."""
        masses = masses / total[:, None, None]
        scores = score(t).unflatten(1, (_NUM_INTERVALS, -1))
        self.mean_score = (masses * scores).sum((1, 2))
        """Expectation of the score as given, which is the derivative of ``log_norm`` by the parameter, (R,)."""
        self._below = _from_zero(masses.sum(2))
        self._slope_below = _from_zero((masses * (scores - self.mean_score[:, None, None])).sum(2))

    def solve(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """The values t with F(t) = u, and their derivatives by the parameter, both (R, K).

        Args:
            u: Probabilities between 0 and 1, (R, K).
        """
        with torch.no_grad():
            return self._solve(u)

    def _solve(self, u: Tensor) -> tuple[Tensor, Tensor]:
        index = torch.searchsorted(self._below[:, 1:-1].contiguous(), u.contiguous(), right=True)
        width, least = self.width[:, None], torch.finfo(u.dtype).tiny
        start, end = self.edges.gather(1, index), self.edges.gather(1, index + 1)
        low, high = self.density(start), self.density(end)
        falls = high < low  # count from the end where p is smaller, which may be 0
        sign, origin = torch.where(falls, -1.0, 1.0).to(u.dtype), torch.where(falls, end, start)
        known = self._below.gather(1, index + falls.long())
        wanted = (sign * (u - known)).clamp(min=least)
        less, rise = torch.minimum(low, high), (high - low).abs() / width
        x = 2 * wanted / (less + (less.square() + 2 * rise * wanted).sqrt())  # as if p were linear in between
        for _ in range(_NUM_STEPS):  # Newton's method in the logarithms of mass and distance
            x = torch.minimum(x, width)
            mass = (sign * self._integral(origin, sign * x)[0]).clamp(min=least)
            x = x * torch.exp(torch.log(wanted / mass) * mass / (x * self.density(origin + sign * x)))
        x = sign * torch.minimum(x, width)
        slope = self._slope_below.gather(1, index + falls.long()) + self._integral(origin, x)[1]
        return origin + x, -slope / self.density(origin + x)

    def density(self, t: Tensor) -> Tensor:
        """The normalised density p(t), (R, K)."""
        return torch.exp(self.log_density(t) - self.log_norm[:, None])

    def cdf(self, t: Tensor) -> Tensor:
        """The distribution function F(t), (R, K)."""
        place = ((t - self.edges[:, :1]) / self.width[:, None]).clamp(0, _NUM_INTERVALS - 1).long()
        start = self.edges.gather(1, place)
        return self._below.gather(1, place) + self._integral(start, t - start)[0]

    def _integral(self, start: Tensor, length: Tensor) -> tuple[Tensor, Tensor]:
        """Integrals of p and of ∂p/∂θ over short intervals, (R, K)."""
        nodes, weights = _rule(start)
        t = (start[..., None] + length[..., None] * nodes).flatten(1)
        p = self.density(t)
        slopes = p * (self.score(t) - self.mean_score[:, None])
        mass, slope = (values.unflatten(1, (-1, len(nodes))) @ weights for values in (p, slopes))
        return mass * length, slope * length


def _rule(like: Tensor) -> tuple[Tensor, Tensor]:
    return like.new_tensor(_NODES), like.new_tensor(_WEIGHTS)


def _from_zero(parts: Tensor) -> Tensor:
    return torch.cat([torch.zeros_like(parts[:, :1]), parts.cumsum(1)], 1)
