"""Bits-back coding of examples by a model with independent normal latents and discrete values."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vae_zoo.distributions.likelihoods.observed import per_entry
from vae_zoo.distributions.normal import is_normal
from vae_zoo.elbo import ELBOMixin, has_density
from vae_zoo.evaluation.coding.ans import WORD, Integers, Stack
from vae_zoo.evaluation.coding.discretised import BIN_BITS, Floats, NormalBins, Values
from vae_zoo.system.seeding import forked

MOST_HEADS = 256
_MOST_TABLE = 2**23


class Coded(NamedTuple):
    """Examples as a stack of bits.

    Args:
        stack: The stack.
        num: Number of examples.
        bits: Bits of each example without the initial ones, on average.
        initial_bits: Pseudo-random bits that the first examples drew their latents with.
        z: The latents that were drawn, (N, D).
    """

    stack: Stack
    num: int
    bits: float
    initial_bits: int
    z: Tensor


class Codec:
    r"""Codes examples by a model, in about as many bits as the negative bound.

    For each example, a latent is *drawn* from the posterior with bits of the stack, the example is pushed under
    p(x|z), and the latent under the prior. The decoder undoes these steps in reverse, and gets the bits of the draw
    back. The length that an example adds is on average

    .. math:: \mathbb{E}_{q(z|x)}[-\log p(x|z) - \log p(z) + \log q(z|x)] = -\mathrm{ELBO}.

    Networks run in float32 on one thread of the CPU, always on the same number of examples at once: the decoder has
    to arrive at the very same frequencies, which other sizes, libraries or machines may miss by a rounding error.

    References:
        | Practical Lossless Compression with Latent Variables using Bits Back Coding (Townsend et al., 2019)
        | https://arxiv.org/abs/1901.04866

    Args:
        model: A model without labels; see :func:`refusal`.
        num_values: Number of values of an entry, for a model of counts: 1 more than the largest count.
        batch_size: Number of examples that are coded together. More are faster, and need more initial bits.
        num_heads: Number of heads of the stack; by default 1 for each 16 entries of a batch, and at most 256.

    Raises:
        ValueError: If the model cannot code, or an argument is out of range.
    """

    def __init__(
        self, model: Any, *, num_values: int | None = None, batch_size: int = 1, num_heads: int | None = None
    ) -> None:
        if why := refusal(model.cpu().eval()):
            raise ValueError(why)
        if batch_size < 1 or (num_heads is not None and not 1 <= num_heads <= MOST_HEADS):
            raise ValueError(
                f"batch_size must be at least 1 and num_heads from 1 to {MOST_HEADS}, got {batch_size} and {num_heads}."
            )
        self.model = model
        self.shape, self.batch_size = tuple(model.shape), batch_size
        self.values = Values(model.likelihood, num_values)
        if (size := (self.values.num + 1) * math.prod(self.shape) * batch_size) > 8 * _MOST_TABLE:
            raise ValueError(f"a table of {size} frequencies is needed at once: choose a smaller batch_size.")
        self.num_heads = num_heads or max(1, min(MOST_HEADS, batch_size * math.prod(self.shape) // 16))
        with torch.no_grad():
            p = self.model.prior().base_dist
        self.latent_shape = tuple(p.loc.shape[-len(model.encoded_shape) :])
        self.bins = NormalBins(*(_flat(part, math.prod(self.latent_shape)) for part in (p.loc, p.scale)))

    def encode(self, x: NDArray[np.uint16]) -> Coded:
        """Code examples.

        Args:
            x: Numbers of their values, of :meth:`.Values.symbols`, (N, \\*shape).

        Raises:
            ValueError: If there is no example, or a network gives numbers that are not finite.
        """
        if not len(x):
            raise ValueError("there are no examples to code.")
        stack, latents = Stack(self.num_heads), []
        start = stack.bits
        with _alike():
            for part in np.split(x, range(self.batch_size, len(x), self.batch_size)):
                bins = self.bins.pop(stack, *self._posterior(part))
                self.values.push(stack, part, self._table(bins))
                self.bins.push_prior(stack, bins)
                latents.append(torch.from_numpy(self.bins.centres(bins)).float())
        used = stack.bits - start - WORD * stack.num_taken
        return Coded(stack, len(x), used / len(x), stack.initial_bits, torch.cat(latents))

    def decode(self, stack: Stack, num: int) -> NDArray[np.uint16]:
        """Undo :meth:`encode`.

        Args:
            stack: The stack, which is emptied.
            num: Number of examples.

        Returns:
            Numbers of the values of the examples, (N, \\*shape).
        """
        found = np.zeros((num, *self.shape), np.uint16)
        size = math.prod(self.latent_shape)
        with _alike():
            for at in reversed(range(0, num, self.batch_size)):
                part = found[at : at + self.batch_size]
                bins = self.bins.pop_prior(stack, (len(part), size))
                part[:] = self.values.pop(stack, self._table(bins), part.shape)
                self.bins.push(stack, bins, *self._posterior(part))
        return found

    def probe(self) -> bytes:
        """Numbers that the networks give for one fixed batch: if they differ elsewhere, so may all frequencies."""
        size = self.batch_size * math.prod(self.shape)
        x = (np.arange(size) * 7919 % self.values.num).astype(np.uint16).reshape(self.batch_size, *self.shape)
        with _alike():
            loc, scale = self._posterior(x)
            bins = np.arange(loc.size, dtype=np.uint64).reshape(loc.shape) * np.uint64(7919) % np.uint64(1 << BIN_BITS)
            return loc.tobytes() + scale.tobytes() + self._table(bins).tobytes()

    def _posterior(self, x: NDArray[np.uint16]) -> tuple[Floats, Floats]:
        """Mean and σ of the latents of examples (B, \\*shape), (B, D) each."""
        q: Any = self.model.encode(_filled(self.values.examples(x), self.batch_size))
        size = math.prod(self.latent_shape)
        return _flat(q.base_dist.loc, size)[: len(x)], _flat(q.base_dist.scale, size)[: len(x)]

    def _table(self, bins: Integers) -> Integers:
        """Cumulative frequencies of the values of the examples with these latents, (n + 1, B · \\*shape)."""
        z = torch.from_numpy(self.bins.centres(bins)).float().unflatten(1, self.latent_shape)
        px: Any = self.model.decode(_filled(z, self.batch_size))
        table = self.values.table(px)
        return table[:, : len(bins) * math.prod(self.shape)]


@torch.no_grad()
def bound_bits(model: Any, x: Tensor, *, num_samples: int = 4, seed: int = 0) -> float:
    """The negative bound of examples (N, \\*shape) in bits, on average."""
    with forked(seed, x.device):
        values = [model.elbo(part, None, num_samples).value.double() for part in x.split(256)]
    return -torch.cat(values).mean().item() / math.log(2)


@torch.no_grad()
def refusal(model: Any) -> str:
    """Why a model in evaluation mode cannot code examples, in one line; empty if it can."""
    name, likelihood = type(model).__name__, getattr(model, "likelihood", None)
    kind = type(likelihood).__name__
    if not isinstance(model, ELBOMixin) or not has_density(model):
        return f"{name} has no bound, which would be the length of its code: take a VAE."
    if not likelihood or not likelihood.is_discrete:
        return f"{kind} is a density of continuous values, which have no code of finite length: fit with Bernoulli, \
DiscretizedLogistic or Categorical."
    if getattr(model, "num_classes", None) or getattr(model, "condition_sizes", None):
        return f"{name} needs labels, which the code of an example does not hold: take a VAE."
    if likelihood.missing:
        return f"{name} is of examples with missing values, which have no symbol: fit on complete examples."
    if not Values.known(likelihood):
        why = "takes the total of the counts from themselves" if hasattr(likelihood, "library") else "is no table"
        return f"{kind} {why}, so that values are not coded one by one: fit with another likelihood."
    if type(model).elbo is not ELBOMixin.elbo:
        return f"{name} has a bound of its own terms, and only latents in one layer are coded: take a VAE."
    like = next(model.parameters())  # type: ignore[attr-defined]
    if not per_entry(likelihood(like.new_zeros(1, *likelihood.param_shape)), likelihood.shape):
        return f"{kind} has values that depend on each other, and they are coded one by one: take another likelihood."
    q = model.encode(like.new_zeros(1, *likelihood.shape))
    p = model.prior()
    for role, d in (("posterior", q), ("prior", p)):
        if not is_normal(d):
            return f"{name} has another {role} than independent normal latents, which is what is coded: take a VAE."
    return ""


@contextmanager
def _alike() -> Iterator[None]:
    """Run networks such that the same numbers come out each time."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.inference_mode(), torch.autocast("cpu", enabled=False):
            yield
    finally:
        torch.set_num_threads(threads)


def _filled(x: Tensor, num: int) -> Tensor:
    """A batch with rows of zeros behind it, so that every batch is of one size."""
    return x if len(x) == num else torch.cat([x, x.new_zeros(num - len(x), *x.shape[1:])])


def _flat(x: Tensor, size: int) -> Floats:
    found: Floats = x.double().reshape(-1, size).numpy()
    return found
