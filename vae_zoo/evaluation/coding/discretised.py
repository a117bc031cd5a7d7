"""Distributions as integer frequencies: normal latents in bins of equal mass, and tables of discrete values."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.distributions import Independent

from vae_zoo.distributions import Bernoulli
from vae_zoo.distributions.likelihoods.counts import Counted
from vae_zoo.distributions.likelihoods.discrete import Levels
from vae_zoo.distributions.likelihoods.observed import log_prob_per_entry
from vae_zoo.evaluation.coding.ans import Integers, Stack

Floats = NDArray[np.float64]

BIN_BITS = 18
"""Logarithm of the number of bins of equal mass of a latent: they reach to 4.6 standard deviations from the mean."""

TAIL = 4096
"""Number of bins on either side of these, of equal width, up to :data:`FAR` standard deviations and beyond."""

FAR = 20.0
_PRIOR_BITS = 30
_TAIL_FREQUENCY = 32
_BIN_FREQUENCY = 4095
assert (_BIN_FREQUENCY << BIN_BITS) + 2 * TAIL * _TAIL_FREQUENCY == 1 << _PRIOR_BITS
_SEARCHED = BIN_BITS + 1

LATENT_BITS = 26
"""Logarithm of the sum of the frequencies of a posterior."""

VALUE_BITS = 22
"""Logarithm of the sum of the frequencies of a value."""

MOST_VALUES = 4096
"""Largest number of values that one entry may take."""


class Grid(NamedTuple):
    """Bins of the real line.

    Args:
        edges: Start of each bin, and infinity as often as a search may ask for it.
        centres: A number in each bin.
    """

    edges: Floats
    centres: Floats


@functools.cache
def grid() -> Grid:
    """The bins of a standard normal latent: those of equal mass, and those of the tails on either side."""
    from scipy.special import ndtri

    num = 1 << BIN_BITS
    inner = ndtri(np.arange(1, num) / num)
    middle = ndtri((np.arange(num) + 0.5) / num)
    tail = np.linspace(-FAR, middle[0] - (inner[0] - middle[0]), TAIL)
    outer = np.concatenate([[-FAR], (tail[1:] + tail[:-1]) / 2])
    edges = np.concatenate([[-np.inf], tail, inner, -tail[::-1]])
    edges = np.concatenate([edges, np.full((1 << _SEARCHED) + 1 - len(edges), np.inf)])
    return Grid(edges, np.concatenate([outer, middle, -outer[::-1]]))


class NormalBins:
    r"""Independent normal latents in bins of equal mass under the prior.

    A bin that ends at the edges :math:`e_k, e_{k+1}`, in standard deviations of the prior, has the frequency
    :math:`\lfloor 2^r \Phi((e_{k+1} - m) / s) \rceil - \lfloor 2^r \Phi((e_k - m) / s) \rceil` under a posterior
    N(m, s²), which may be 0: bins are only ever drawn from a posterior. Under the prior all have the same.

    Beyond 4.6 standard deviations, bins of equal width share 2⁻¹² of the mass: a posterior so far from the prior would
    otherwise have one bin for itself.

    References:
        | Practical Lossless Compression with Latent Variables using Bits Back Coding (Townsend et al., 2019)
        | https://arxiv.org/abs/1901.04866

    Args:
        loc: Means of the prior, (D,).
        scale: Standard deviations of the prior, (D,).
    """

    def __init__(self, loc: Floats, scale: Floats) -> None:
        from scipy.special import ndtr

        self.loc, self.scale = loc, scale
        self._mass: Callable[[Any], Floats] = ndtr

    def centres(self, bins: Integers) -> Floats:
        """A latent in each of the bins (B, D)."""
        return self.loc + self.scale * grid().centres[bins.astype(np.int64)]

    def pop(self, stack: Stack, loc: Floats, scale: Floats) -> Integers:
        """Draw bins from a posterior N(loc, scale²), (B, D), with the bits of a stack."""
        m, s = self._standardised(loc, scale)
        found = np.zeros(m.shape, np.uint64)

        def find(slot: Integers, at: slice) -> tuple[Integers, Integers]:
            low = np.zeros(slot.shape, np.int64)
            for step in reversed(range(_SEARCHED)):  # the last bin that starts at the slot or before
                trial = low + (1 << step)
                low = np.where(self._starts(trial, m[at], s[at]) <= slot, trial, low)
            found[at] = low
            start = self._starts(low, m[at], s[at])
            return start, self._starts(low + 1, m[at], s[at]) - start

        stack.pop(len(m), LATENT_BITS, find)
        return found.reshape(loc.shape)

    def push(self, stack: Stack, bins: Integers, loc: Floats, scale: Floats) -> None:
        """Undo :meth:`pop`."""
        m, s = self._standardised(loc, scale)
        low = bins.ravel().astype(np.int64)
        start = self._starts(low, m, s)
        stack.push(start, self._starts(low + 1, m, s) - start, LATENT_BITS)

    @staticmethod
    def push_prior(stack: Stack, bins: Integers) -> None:
        """Add bins (B, D) under the prior."""
        stack.push(*_prior(bins.ravel()), _PRIOR_BITS)

    @staticmethod
    def pop_prior(stack: Stack, shape: tuple[int, ...]) -> Integers:
        """Undo :meth:`push_prior`."""
        found = np.zeros(int(np.prod(shape)), np.uint64)

        def find(slot: Integers, at: slice) -> tuple[Integers, Integers]:
            from_left, from_middle = slot.astype(np.int64), slot.astype(np.int64) - TAIL * _TAIL_FREQUENCY
            from_right = from_middle - (_BIN_FREQUENCY << BIN_BITS)
            inside = TAIL + from_middle // _BIN_FREQUENCY
            right = TAIL + (1 << BIN_BITS) + from_right // _TAIL_FREQUENCY
            chosen = np.where(from_middle < 0, from_left // _TAIL_FREQUENCY, np.where(from_right < 0, inside, right))
            found[at] = chosen
            return _prior(found[at])

        stack.pop(len(found), _PRIOR_BITS, find)
        return found.reshape(shape)

    def _standardised(self, loc: Floats, scale: Floats) -> tuple[Floats, Floats]:
        m, s = (loc - self.loc) / self.scale, scale / self.scale
        if not (np.isfinite(m).all() and np.isfinite(s).all()):
            raise ValueError("the posterior is not finite: the model cannot code.")
        return m.ravel(), np.maximum(s, 1e-9).ravel()

    def _starts(self, bins: NDArray[np.int64], loc: Floats, scale: Floats) -> Integers:
        """Cumulative frequencies of bins under a posterior, of the standardised latents."""
        mass = self._mass((grid().edges[bins] - loc) / scale)
        return np.rint(mass * (1 << LATENT_BITS)).astype(np.uint64)


def _prior(bins: Integers) -> tuple[Integers, Integers]:
    """Cumulative and own frequencies of bins under the prior."""
    place = bins.astype(np.int64) - TAIL
    middle = np.clip(place, 0, 1 << BIN_BITS)
    start = (TAIL + place - middle) * _TAIL_FREQUENCY + middle * _BIN_FREQUENCY
    own = np.where((place >= 0) & (place < 1 << BIN_BITS), _BIN_FREQUENCY, _TAIL_FREQUENCY)
    return start.astype(np.uint64), own.astype(np.uint64)


class Values:
    """The values that an entry of an example may take, numbered from 0 as symbols.

    Args:
        likelihood: Family of p(x|z): binary values, levels or counts.
        num: Number n of values; needed for counts, which are 0 … n-1.

    Raises:
        ValueError: If the values are too many.
    """

    def __init__(self, likelihood: Any, num: int | None = None) -> None:
        self.is_count = isinstance(likelihood, Counted)
        own = None if self.is_count else 2 if isinstance(likelihood, Bernoulli) else int(likelihood.num_values)
        self.num = int(own or num or 0)
        if not 2 <= self.num <= MOST_VALUES:
            what = f"counts up to {self.num - 1}" if self.is_count else f"{self.num} values"
            raise ValueError(f"at most {MOST_VALUES} values of an entry are coded, got {what}.")
        self.step = 1.0 if self.is_count else 1.0 / (self.num - 1)

    @staticmethod
    def known(likelihood: Any) -> bool:
        """Whether the values of a likelihood are those of this class."""
        counts = isinstance(likelihood, Counted) and not likelihood.library
        return counts or isinstance(likelihood, (Bernoulli, Levels))

    def symbols(self, x: Tensor, where: str = "x", names: Sequence[str] = ()) -> NDArray[np.uint16]:
        """Numbers of the values of examples (N, \\*shape).

        Args:
            x: The examples.
            where: What they are called in an error.
            names: What each of them is called there; numbers from 1 if there are no names.

        Raises:
            ValueError: If a value is none of them, with its place.
        """
        level = x.double() / self.step
        near = level.round()
        wrong = ~((level - near).abs() <= 1e-3) | (near < 0) | (near >= self.num)
        if bool(wrong.any()):
            row, *place = wrong.nonzero()[0].tolist()
            values = "counts" if self.is_count else "0 or 1" if self.num == 2 else f"multiples of 1/{self.num - 1}"
            which = names[row] if names else f"example {row + 1} of {where}"
            raise ValueError(
                f"{which} has {x[row][tuple(place)].item():.6g} at index {place}, and {values} are coded{self._advice}."
            )
        return near.to(torch.int32).numpy().astype(np.uint16)

    @property
    def _advice(self) -> str:
        return ": fit on binary images, or with DiscretizedLogistic" if self.num == 2 and not self.is_count else ""

    def examples(self, symbols: NDArray[np.uint16]) -> Tensor:
        """Examples in the units of the model, as floats."""
        return torch.from_numpy(symbols.astype(np.float64)).div(1 if self.is_count else self.num - 1).float()

    def table(self, px: Independent) -> Integers:
        """Cumulative frequencies of the values of each entry, (n + 1, B · \\*shape), from 0 to 2^r; each is at least 1.

        Raises:
            ValueError: If a probability is not finite.
        """
        batch = len(px.batch_shape + px.event_shape)
        every = torch.arange(self.num, dtype=torch.float32).mul(self.step).view(-1, *[1] * batch)
        value = every.expand(self.num, *px.batch_shape, *px.event_shape)
        mass = log_prob_per_entry(px, value).flatten(1).double().exp().numpy().cumsum(0)
        if not np.isfinite(mass).all() or not (mass[-1] > 0).all():
            raise ValueError("the likelihood is not finite: the model cannot code.")
        found = np.zeros((self.num + 1, mass.shape[1]), np.uint64)
        room = (1 << VALUE_BITS) - self.num
        found[1:] = (
            np.rint(mass / mass[-1] * room).astype(np.uint64) + np.arange(1, self.num + 1, dtype=np.uint64)[:, None]
        )
        return found

    @staticmethod
    def push(stack: Stack, symbols: NDArray[np.uint16], table: Integers) -> None:
        """Add the symbols of a batch."""
        flat, entries = symbols.ravel().astype(np.int64), np.arange(symbols.size)
        start = table[flat, entries]
        stack.push(start, table[flat + 1, entries] - start, VALUE_BITS)

    @staticmethod
    def pop(stack: Stack, table: Integers, shape: tuple[int, ...]) -> NDArray[np.uint16]:
        """Undo :meth:`push`."""
        found = np.zeros(table.shape[1], np.uint16)

        def find(slot: Integers, at: slice) -> tuple[Integers, Integers]:
            part = table[:, at]
            symbol = (part[1:] <= slot).sum(0)
            entries = np.arange(len(slot))
            found[at] = symbol
            start = part[symbol, entries]
            return start, part[symbol + 1, entries] - start

        stack.pop(table.shape[1], VALUE_BITS, find)
        return found.reshape(shape)
