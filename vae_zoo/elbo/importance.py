"""The importance-weighted estimate of log p(x), in chunks that fit into memory."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple, TypeAlias

import torch
from torch import Tensor

from vae_zoo.system.memory import Peak, keep_freed_memory

Draw: TypeAlias = Callable[[int], Tensor]
"""Draws a number K of samples of each example and returns the logarithms of their importance weights, (K, B)."""

_FIRST = 16
"""Examples whose samples are measured first: few, because it is not yet known whether more fit."""

HEAVY = 0.7
"""Shape of the tail of the weights above which their mean does not converge at practical numbers of samples."""

_MEMORY = {"cpu": 32.0, "other": 1024.0}
"""Default MiB of the samples decoded at once: the fastest on a CPU, and enough to fill other devices."""


class LogEvidence(NamedTuple):
    r"""An estimate of log p(x) from K importance weights w of each example, with diagnostics.

    .. math::
        \log \hat p = \log \bar w, \quad
        \mathrm{error} = \frac{1}{\bar w} \sqrt{\frac{\sum_k (w_k - \bar w)^2}{K (K - 1)}}, \quad
        \mathrm{ess} = \frac{(\sum_k w_k)^2}{\sum_k w_k^2}

    Args:
        value: The estimate: in expectation a lower bound, by about half the square of the error. Nats, (B,).
        error: Its standard error by the delta method; infinite for K = 1, where it is unknown. Nats, (B,).
        ess: Effective sample size, from 1, where one sample has all the weight, to K, (B,).
        pareto_k: Shape of the tail of the weights by :func:`pareto_shape`, (B,). Above 0.7 the error may be far too
            small, and the effective sample size far too large; NaN for K up to 20, which are too few to fit a tail.
    """

    value: Tensor
    error: Tensor
    ess: Tensor
    pareto_k: Tensor

    @classmethod
    def from_sums(cls, log_first: Tensor, log_second: Tensor, largest: Tensor, num_samples: int) -> LogEvidence:
        """The estimate from logarithms: of the sum of the weights, of that of their squares, and of the largest.

        Args:
            log_first: Logarithm of the sum of the weights, (B,).
            log_second: Logarithm of the sum of their squares, (B,).
            largest: Logarithms of the :func:`tail_size` largest weights and of the one below, in any order.
            num_samples: Number of samples K.
        """
        ess = torch.exp(2 * log_first - log_second)
        if num_samples == 1:
            error = torch.full_like(ess, math.inf)
        else:
            error = ((num_samples / ess - 1).clamp(min=0) / (num_samples - 1)).sqrt()
        shape = pareto_shape(largest) if tail_size(num_samples) else torch.full_like(ess, math.nan)
        return cls(log_first - math.log(num_samples), error, ess, shape.to(ess.dtype))

    @classmethod
    def from_weights(cls, log_w: Tensor) -> LogEvidence:
        """The estimate from logarithms of weights, (K, B)."""
        largest = log_w.topk(tail_size(len(log_w)) + 1, 0).values
        return cls.from_sums(torch.logsumexp(log_w, 0), torch.logsumexp(2 * log_w, 0), largest, len(log_w))


def tail_size(num_samples: int) -> int:
    """Number of largest weights, of K, that make up the tail: the smaller of K/5 and 3√K; 0 if K is too small."""
    size = math.ceil(min(num_samples / 5, 3 * math.sqrt(num_samples)))
    return size if size >= 5 else 0


def pareto_shape(log_w: Tensor) -> Tensor:
    r"""Shape k of the generalised Pareto distribution of the excesses of the largest weights over the smallest of them.

    .. math:: p(w) \propto \Big( 1 + k \, \frac{w - u}{\sigma} \Big)^{-1 / k - 1}

    Weights have 1/k moments: no finite variance from k = ½ on, no mean from k = 1 on. Up to about 0.7 their means
    converge at practical numbers of samples; above that, the standard error is meaningless, since it misses the weights
    that have not been drawn. The fit is the mean of a posterior on a grid, shrunk towards ½ with the weight of
    ten samples.

    References:
        | Pareto Smoothed Importance Sampling (Vehtari et al., 2024)
        | https://arxiv.org/abs/1507.02646
        | A New and Efficient Estimation Method for the Generalized Pareto Distribution (Zhang and Stephens, 2009)
        | https://doi.org/10.1198/tech.2009.08017

    Args:
        log_w: Logarithms of the M + 1 largest weights, in any order, (M + 1, B); the smallest is the threshold u.

    Returns:
        The shape, (B,); 0 if all weights are equal.
    """
    wide = torch.float32 if log_w.device.type == "mps" else torch.float64
    ordered = log_w.to(wide).sort(0).values
    over, threshold, top = ordered[1:], ordered[0], ordered[-1]
    x = (torch.exp(over - top) * -torch.expm1(threshold - over)).clamp(min=torch.finfo(wide).tiny * 2**60)
    num, points = len(x), 30 + int(math.sqrt(len(x)))
    quartile, largest = x[int(num / 4 + 0.5) - 1], x[-1]
    grid = [1 / largest + (1 - math.sqrt(points / (j - 0.5))) / (3 * quartile) for j in range(1, points + 1)]
    shapes = torch.stack([torch.log1p(-slope * x).mean(0) for slope in grid])
    slopes = torch.stack(grid)
    share = torch.softmax(num * (torch.log(-slopes / shapes) - shapes - 1), 0)
    shape = torch.log1p(-(share * slopes).sum(0) * x).mean(0)
    return torch.where(threshold < top, (num * shape + 10 * 0.5) / (num + 10), 0.0)


class _Tail:
    """The largest weights over chunks, holding at most twice as many as needed.

    Args:
        size: Number of largest weights.
    """

    def __init__(self, size: int) -> None:
        self.size, self.kept = size, list[Tensor]()

    def add(self, log_w: Tensor) -> None:
        """Add logarithms of weights, (K', B)."""
        self.kept.append(log_w if len(log_w) <= self.size else log_w.topk(self.size, 0).values)
        if sum(map(len, self.kept)) > 2 * self.size:
            self.kept = [self.largest()]

    def largest(self) -> Tensor:
        """The largest so far, in any order."""
        rows = torch.cat(self.kept)
        return rows.topk(min(self.size, len(rows)), 0).values


def estimate(
    weights: Callable[[Tensor, Tensor | None], Draw],
    x: Tensor,
    c: Tensor | None,
    num_samples: int,
    chunk: int | None,
    memory: float | None,
) -> LogEvidence:
    """The estimate for a batch, computed for parts of the batch and chunks of the samples.

    Args:
        weights: Makes the function that draws weights, from examples and their conditions; called once for each part.
        x: Examples, (B, \\*shape).
        c: Conditions, (B, ...).
        num_samples: Number of samples K, each of which is used once.
        chunk: Samples of each example to draw at once, for all examples together; if not given, from ``memory``.
        memory: Budget in MiB for what is drawn at once.

    Raises:
        ValueError: If num_samples or chunk is less than 1, or memory is not positive.
    """
    check(num_samples, chunk, memory)
    if memory is None:
        memory = _MEMORY.get(x.device.type, _MEMORY["other"])
    pace = _Pace(None if chunk is None else chunk * max(1, len(x)), memory)
    if x.device.type == "cpu":
        keep_freed_memory()
    exact = torch.float32 if x.device.type == "mps" else torch.float64
    parts: list[LogEvidence] = []
    start = 0
    while start < len(x) or not parts:
        part = slice(start, start + (pace.rows or _FIRST))
        start, some = part.stop, x[part]
        first = second = torch.full((len(some),), -math.inf, dtype=exact, device=x.device)
        tail = _Tail(tail_size(num_samples) + 1)
        for log_w in pace.draws(weights(some, None if c is None else c[part]), num_samples, len(some)):
            first = torch.logaddexp(first, torch.logsumexp(log_w.to(exact), 0))
            second = torch.logaddexp(second, torch.logsumexp(2 * log_w.to(exact), 0))
            tail.add(log_w)
        found = LogEvidence.from_sums(first, second, tail.largest(), num_samples)
        parts.append(LogEvidence(*(t.to(log_w.dtype) for t in found)))
    return LogEvidence(*(torch.cat(values) for values in zip(*parts, strict=True)))


def check(num_samples: int, chunk: int | None, memory: float | None) -> None:
    """Refuse invalid settings of an estimate.

    Raises:
        ValueError: If num_samples or chunk is less than 1, or memory is not positive.
    """
    for name, number in (("num_samples", num_samples), ("chunk", chunk)):
        if number is not None and number < 1:
            raise ValueError(f"{name} must be at least 1, got {number}.")
    if memory is not None and not 0 < memory < math.inf:
        raise ValueError(f"memory must be a positive number of MiB, got {memory}.")


class _Pace:
    """Number of latents to decode at once: given, or measured to fit into memory.

    Args:
        rows: The number, if it is given.
        memory: Budget in MiB.
    """

    def __init__(self, rows: int | None, memory: float) -> None:
        self.rows, self.memory = rows, memory

    def draws(self, draw: Draw, num_samples: int, num_examples: int) -> Iterator[Tensor]:
        """Weights of all samples, (K', B) at a time."""
        left = num_samples
        if self.rows is None:
            yield draw(1)  # not measured: allocates what stays, such as a half-precision copy of the weights
            left -= 1
        if self.rows is None and left:
            with Peak() as peak:
                log_w = draw(1)
            self.rows = max(1, int(self.memory * 2**20 * num_examples / max(1, peak.bytes)))
            yield log_w
            left -= 1
        while left:
            num = min(left, max(1, (self.rows or 1) // max(1, num_examples)))
            yield draw(num)
            left -= num
