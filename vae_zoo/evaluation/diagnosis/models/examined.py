"""A trained model with the examples that it is examined on, and what several diagnoses measure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor
from torch.distributions import Distribution

from vae_zoo.data.base.splits import SplitName
from vae_zoo.distributions import score, stddev_of
from vae_zoo.elbo import ELBOMixin, has_density
from vae_zoo.system.seeding import forked, mix

Found = TypeVar("Found")

_CHUNK = 256
_SAMPLES = 4
"""Samples of the posterior in each bound: their noise is then small against the spread of the examples."""


class Examples(NamedTuple):
    """Examples as a model takes them: x, (N, \\*shape), and conditions, (N, ...), or None."""

    x: Tensor
    c: Tensor | None = None


def take(model: Any, data: Any, split: SplitName, num: int, seed: int = 0) -> Examples:
    """Some examples of a split, drawn at random, as an evaluation sees them.

    Args:
        model: The model.
        data: A data module.
        split: "train", "val" or "test".
        num: Number of examples; all of them if there are fewer.
        seed: Seed of the choice.
    """
    rows = torch.randperm(len(data.load(split).x), generator=torch.Generator().manual_seed(seed))[:num].sort().values
    return Examples(*model.unpack(data.prepared(split, rows, mix(seed, 1))))


class Examined:
    """A model in evaluation mode, with examples of its training and others.

    Args:
        model: The model.
        train: Training examples.
        test: Examples that it was not trained on.
        curve: Values of the metric that the training watched, one for each validation, higher is better.
        other_data: Whether the test examples come from another source than those of the training.
        seed: Seed of all noise.
    """

    def __init__(
        self,
        model: Any,
        train: Examples,
        test: Examples,
        *,
        curve: Sequence[float] = (),
        other_data: bool = False,
        seed: int = 0,
    ) -> None:
        self.model, self.train, self.test = model.eval(), train, test
        self.curve, self.other_data, self.seed = list(curve), other_data, seed
        self._measured: dict[Any, Any] = {}

    def once(self, measure: Callable[[Examined], Found]) -> Found:
        """What a function measures of this model, computed at its first call."""
        if measure not in self._measured:
            self._measured[measure] = measure(self)
        found: Found = self._measured[measure]
        return found

    @cached_property
    def has_bound(self) -> bool:
        """Whether the model reports a bound in nats."""
        return has_density(self.model) and (isinstance(self.model, ELBOMixin) or self.has_codes)

    @property
    def has_codes(self) -> bool:
        """Whether latents are discrete codes of a codebook."""
        return hasattr(self.model, "codebook")

    @cached_property
    def rates(self) -> Tensor | None:
        """Mean rate of each latent dimension over the test examples, in nats, (D,); None if only their sum is known."""
        if not isinstance(self.model, ELBOMixin):
            return None
        latents = getattr(self.model, "latent_shape", ())
        parts = self.over(self.test, lambda x, c: self.model.elbo(x, c, 1).rates)
        found = None if parts is None else parts.double().mean(0)
        return found if found is not None and (len(found) > 1 or latents == (1,)) else None

    @cached_property
    def rate(self) -> Tensor | None:
        """Rate of each test example in nats, (N,); None without a bound or with codes."""
        if not isinstance(self.model, ELBOMixin):
            return None
        return self.over(self.test, lambda x, c: self.model.elbo(x, c, 1).kl)

    @cached_property
    def bounds(self) -> tuple[Tensor, Tensor] | None:
        """Bounds of the training and the test examples in nats, (N,) each; None without a bound."""
        if not self.has_bound:
            return None
        return tuple(self.over(examples, self._bound) for examples in (self.train, self.test))

    @cached_property
    def fits(self) -> tuple[Tensor, Tensor]:
        """What is compared of training and test examples, (N,) each: the bound, or else log p(x|z)."""
        return self.bounds or tuple(self.over(part, self._score) for part in (self.train, self.test))

    @cached_property
    def latents(self) -> Tensor:
        """A latent of each test example, drawn from its posterior, (N, \\*latent)."""
        found = self.over(self.test, lambda x, c: self.model.embed(x, c, sample=True))
        assert found is not None
        return found

    @cached_property
    def outputs(self) -> Tensor:
        """Mean of p(x|z) of the test examples, (N, \\*shape)."""
        found = self.over(self.test, self.model.reconstruct)
        assert found is not None
        return found

    @cached_property
    def sigma(self) -> Tensor:
        """Standard deviation of p(x|z) of the test examples, (N, \\*shape)."""
        model = self.model
        found = self.over(self.test, lambda x, c: stddev_of(model.decode(model.embed(x, c), c), x.device))
        assert found is not None
        return found

    @cached_property
    def likelihood_params(self) -> Tensor | None:
        """Mean over training examples of what the decoder gives the likelihood, (\\*param_shape)."""
        seen: list[Tensor] = []

        def look(_: Any, given: tuple[Tensor, ...]) -> None:
            seen.append(given[0].detach().double())

        handle = self.model.likelihood.register_forward_pre_hook(look)
        try:
            self.over(self.train, self.model.reconstruct)
        finally:
            handle.remove()
        shape = tuple(self.model.likelihood.param_shape)
        return torch.cat([params.reshape(-1, *shape) for params in seen]).mean(0).float() if seen else None

    def prior(self, examples: Examples) -> Distribution | None:
        """The prior of latents, under the conditions of some examples; None for a model without."""
        if self.has_codes or not hasattr(self.model, "prior"):
            return None
        found: Distribution = self.model.prior(None if examples.c is None else examples.c.to(self.model.device))
        return found

    def _bound(self, x: Tensor, c: Tensor | None) -> Tensor:
        model = self.model
        if isinstance(model, ELBOMixin):
            found: Tensor = model.elbo(x, c, _SAMPLES).value
            return found
        codes = model.codes(x)
        log_prior: Tensor = model.log_prior(codes, c)
        return score(model.decode(model.lookup(codes), c), x, x.shape[:1]) + log_prior

    def _score(self, x: Tensor, c: Tensor | None) -> Tensor:
        return score(self.model.decode(self.model.embed(x, c), c), x, x.shape[:1])

    @torch.no_grad()
    def over(self, examples: Examples, function: Callable[[Tensor, Tensor | None], Tensor | None]) -> Any:
        """A function of examples, a chunk at a time."""
        found = []
        device = self.model.device
        for n, x in enumerate(examples.x.split(_CHUNK)):
            c = None if examples.c is None else examples.c[n * _CHUNK : (n + 1) * _CHUNK].to(device)
            with forked(mix(self.seed, n), device):
                part = function(x.to(device), c)
            if part is None:
                return None
            found.append(part.detach().cpu())
        return torch.cat(found)
