"""The importance-weighted estimate of log p(x), in pieces that fit into memory."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple, TypeAlias

import torch
from torch import Tensor

from vae_zoo.memory import Peak, keep_freed_memory

Draw: TypeAlias = Callable[[int], Tensor]
"""Draws so many samples of each example; gives the logarithms of their importance weights, (K, B)."""

_FIRST = 16
"""Examples of which one sample each shows what a sample takes: few, because it is not yet known whether more fit."""

_MEMORY = {"cpu": 32.0, "other": 1024.0}
"""MiB that samples take at once if nobody says: on a CPU what was fastest, elsewhere enough to fill the device."""


class LogEvidence(NamedTuple):
    r"""An estimate of log p(x) from K importance weights w of each example, and how far it can be trusted.

    .. math::
        \log \hat p = \log \bar w, \quad
        \mathrm{error} = \frac{1}{\bar w} \sqrt{\frac{\sum_k (w_k - \bar w)^2}{K (K - 1)}}, \quad
        \mathrm{ess} = \frac{(\sum_k w_k)^2}{\sum_k w_k^2}

    Args:
        value: The estimate: in expectation a lower bound, by about half the square of the error. Nats, (B,).
        error: Its standard error by the delta method, infinite for K = 1, where nothing is known of it. Nats, (B,).
        ess: Effective sample size, from 1, where one sample carries all the weight, to K, (B,).
    """

    value: Tensor
    error: Tensor
    ess: Tensor

    @classmethod
    def from_sums(cls, log_first: Tensor, log_second: Tensor, num_samples: int) -> LogEvidence:
        """The estimate from the logarithms of the sum of the weights and of the sum of their squares."""
        ess = torch.exp(2 * log_first - log_second)
        if num_samples == 1:
            error = torch.full_like(ess, math.inf)
        else:
            error = ((num_samples / ess - 1).clamp(min=0) / (num_samples - 1)).sqrt()
        return cls(log_first - math.log(num_samples), error, ess)

    @classmethod
    def from_weights(cls, log_w: Tensor) -> LogEvidence:
        """The estimate from logarithms of weights, (K, B)."""
        return cls.from_sums(torch.logsumexp(log_w, 0), torch.logsumexp(2 * log_w, 0), len(log_w))


def estimate(
    weights: Callable[[Tensor, Tensor | None], Draw],
    x: Tensor,
    c: Tensor | None,
    num_samples: int,
    chunk: int | None,
    memory: float | None,
) -> LogEvidence:
    """The estimate of examples, a part of them and a chunk of their samples at a time.

    Args:
        weights: Gives what draws the weights of some examples and their conditions; called once for each part.
        x: Examples, (B, \\*shape).
        c: Conditions, (B, ...).
        num_samples: Number of samples K, every one of which is used.
        chunk: Samples of each example drawn at once, of all examples together; by memory if not given.
        memory: MiB that what is drawn at once may take.

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
        for log_w in pace.draws(weights(some, None if c is None else c[part]), num_samples, len(some)):
            first = torch.logaddexp(first, torch.logsumexp(log_w.to(exact), 0))
            second = torch.logaddexp(second, torch.logsumexp(2 * log_w.to(exact), 0))
        parts.append(LogEvidence(*(t.to(log_w.dtype) for t in LogEvidence.from_sums(first, second, num_samples))))
    return LogEvidence(*(torch.cat(figures) for figures in zip(*parts, strict=True)))


def check(num_samples: int, chunk: int | None, memory: float | None) -> None:
    """Refuse settings of an estimate.

    Raises:
        ValueError: If num_samples or chunk is less than 1, or memory is not positive.
    """
    for name, number in (("num_samples", num_samples), ("chunk", chunk)):
        if number is not None and number < 1:
            raise ValueError(f"{name} must be at least 1, got {number}.")
    if memory is not None and not 0 < memory < math.inf:
        raise ValueError(f"memory must be a positive number of MiB, got {memory}.")


class _Pace:
    """How many latents are decoded at once: as many as are given, or as fit into memory once one has been measured.

    Args:
        rows: Their number, if it is given.
        memory: MiB that they may take.
    """

    def __init__(self, rows: int | None, memory: float) -> None:
        self.rows, self.memory = rows, memory

    def draws(self, draw: Draw, num_samples: int, num_examples: int) -> Iterator[Tensor]:
        """Weights of all samples, (K', B) at a time."""
        left = num_samples
        if self.rows is None:
            yield draw(1)  # not measured: it makes what lasts, such as a copy of the weights in half precision
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
