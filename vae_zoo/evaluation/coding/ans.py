"""A stack of symbols, coded by asymmetric numeral systems with several heads side by side."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.uint64]
Find = Callable[[Integers, slice], tuple[Integers, Integers]]
"""From the slots of some of the symbols, and their places, to the start and the frequency of each."""

WORD = 16
"""Bits that move between a head and the words below at once."""

HEAD = 48
"""Bits that a head has at least. At a precision r, lengths are exact to about 2^(r - 48) nats for each symbol."""

_LOW = np.uint64(1 << HEAD)
_MASK = np.uint64((1 << WORD) - 1)
_SHIFT = np.uint64(WORD)
_NEEDS = tuple(np.uint64(1 << bits) for bits in (HEAD - 2 * WORD, HEAD - WORD, HEAD))
_SEED = 0


class Stack:
    r"""A last-in, first-out code of symbols, H at a time.

    A head is an integer h in [2⁴⁸, 2⁶⁴). With frequencies that sum to 2ʳ, a symbol of frequency f and cumulative
    frequency s is pushed by

    .. math:: h \leftarrow \lfloor h / f \rfloor \, 2^r + (h \bmod f) + s,

    which adds about r − log₂ f bits; popping is the inverse. A head that would leave its range moves 16 bits to the
    words below it, which all heads share, or takes them from there. Symbols can be popped under another distribution
    than they were pushed: that draws from this distribution, with the bits of the stack as the source of randomness.

    An empty stack has pseudo-random words below it, of a fixed seed, so that symbols can be popped from the start.

    References:
        | Asymmetric Numeral Systems (Duda, 2009), https://arxiv.org/abs/0902.0271
        | Interleaved Entropy Coders (Giesen, 2014), https://arxiv.org/abs/1402.3392

    Args:
        num_heads: Number of heads H.
    """

    def __init__(self, num_heads: int) -> None:
        self._source = np.random.PCG64(_SEED)
        self.heads: Integers = _LOW | (self._source.random_raw(num_heads) & (_LOW - np.uint64(1)))
        self._words = np.empty(1024, np.uint16)
        self._size, self.num_taken = 0, 0

    @classmethod
    def restored(cls, heads: Integers, words: NDArray[np.uint16]) -> Stack:
        """A stack of these heads and words.

        Raises:
            ValueError: If a head is out of range.
        """
        found = cls(len(heads))
        if bool((heads < _LOW).any()):
            raise ValueError("a head is below its range")
        found.heads, found._words, found._size = heads.copy(), words.copy(), len(words)
        return found

    @property
    def words(self) -> NDArray[np.uint16]:
        """The words below the heads."""
        return self._words[: self._size].copy()

    @property
    def bits(self) -> float:
        """Information in the stack, in bits."""
        return float(np.log2(self.heads.astype(np.float64)).sum()) + WORD * self._size

    @property
    def initial_bits(self) -> int:
        """Bits of the pseudo-random words that have been used, those of the first heads among them."""
        return HEAD * len(self.heads) + WORD * self.num_taken

    def push(self, start: Integers, frequency: Integers, precision: int) -> None:
        """Add symbols.

        Args:
            start: Cumulative frequencies of the symbols, (N,).
            frequency: Their frequencies, of at least 1, (N,).
            precision: Logarithm r of the sum of frequencies, to base 2, at most 32.
        """
        r, top = np.uint64(precision), np.uint64(64 - precision)
        for at in range(0, len(start), len(self.heads)):
            s, f = start[at : at + len(self.heads)], frequency[at : at + len(self.heads)]
            head = self.heads[: len(s)]
            while (full := (head >> top) >= f).any():
                self._put((head[full] & _MASK).astype(np.uint16))
                head[full] >>= _SHIFT
            whole, rest = np.divmod(head, f)
            head[:] = (whole << r) + rest + s

    def pop(self, num: int, precision: int, find: Find) -> None:
        """Remove symbols, the last ones first.

        Args:
            num: Number of symbols N.
            precision: Logarithm r of the sum of frequencies, to base 2.
            find: Function that says whose slots these are, and remembers the symbols.
        """
        r, mask = np.uint64(precision), np.uint64((1 << precision) - 1)
        for at in reversed(range(0, num, len(self.heads))):
            head = self.heads[: min(len(self.heads), num - at)]
            slot = head & mask
            start, frequency = find(slot, slice(at, at + len(head)))
            head[:] = frequency * (head >> r) + slot - start
            for low in [head < least for least in _NEEDS]:  # those that need most words had theirs put last
                if low.any():
                    head[low] = (head[low] << _SHIFT) | self._take(int(low.sum()))

    def is_initial(self, num_taken: int) -> bool:
        """Whether nothing but the first heads and the first pseudo-random words are left, so many of them."""
        source = np.random.PCG64(_SEED)
        heads = _LOW | (source.random_raw(len(self.heads)) & (_LOW - np.uint64(1)))
        below = (source.random_raw(num_taken) & _MASK)[::-1]
        return np.array_equal(self.heads, heads) and np.array_equal(self.words, below)

    def _fresh(self, num: int) -> Integers:
        return self._source.random_raw(num) & _MASK

    def _put(self, words: NDArray[np.uint16]) -> None:
        end = self._size + len(words)
        if end > len(self._words):
            self._words = np.concatenate([self._words, np.empty(max(end, len(self._words)), np.uint16)])
        self._words[self._size : end] = words
        self._size = end

    def _take(self, num: int) -> Integers:
        """The last words; those below an empty stack are the next pseudo-random ones."""
        own = min(num, self._size)
        self._size -= own
        found = self._words[self._size : self._size + own].astype(np.uint64)
        if own == num:
            return found
        self.num_taken += num - own
        return np.concatenate([self._fresh(num - own)[::-1], found])
