"""Models of distributions that are not normalised, or whose samples and density differ."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Bernoulli as TorchBernoulli
from torch.distributions import Distribution, Independent, constraints

from vae_zoo.distributions import Family, Mixture
from vae_zoo.distributions.normal import Normal as OurNormal
from vae_zoo.distributions.normal import independent
from vae_zoo.models import VAE, VampVAE


class Sigmoid(Family):
    """Binary cross-entropy of probabilities, clamped."""

    def distribution(self, params: Tensor) -> Distribution:
        probs = torch.sigmoid(params)
        return Independent(TorchBernoulli(probs=probs, validate_args=False), len(self.shape), validate_args=False)


class OwnLaplace(Distribution):
    """A Laplace distribution of a user's own."""

    arg_constraints: dict[str, Any] = {}
    support = constraints.real

    def __init__(self, loc: Tensor, scale: float = 0.1) -> None:
        self.loc, self.scale = loc, scale
        super().__init__(loc.shape, validate_args=False)

    @property
    def mean(self) -> Tensor:
        return self.loc

    @property
    def variance(self) -> Tensor:
        return torch.full_like(self.loc, 2 * self.scale**2)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        shape = (*sample_shape, *self.loc.shape)
        return torch.distributions.Laplace(self.loc, self.scale).sample(sample_shape).expand(shape)

    def log_prob(self, value: Tensor) -> Tensor:
        return -(value - self.loc).abs() / self.scale - math.log(2 * self.scale)


class HalfLaplace(OwnLaplace):
    """Without the constant."""

    def log_prob(self, value: Tensor) -> Tensor:
        return -(value - self.loc).abs() / self.scale


class OfLaplace(Family):
    kind: type[OwnLaplace] = OwnLaplace

    def distribution(self, params: Tensor) -> Distribution:
        return Independent(self.kind(params), len(self.shape), validate_args=False)


class OfHalfLaplace(OfLaplace):
    kind = HalfLaplace


class Normalised(VAE):
    def __init__(self, *, likelihood: Any = OfLaplace, **kwargs: Any) -> None:
        super().__init__(likelihood=likelihood, **kwargs)


class WithoutConstant(VAE):
    def __init__(self, *, likelihood: Any = OfHalfLaplace, **kwargs: Any) -> None:
        super().__init__(likelihood=likelihood, **kwargs)


class Probabilities(VAE):
    def __init__(self, *, likelihood: Any = Sigmoid, **kwargs: Any) -> None:
        super().__init__(likelihood=likelihood, **kwargs)


class Folding(Distribution):
    """Planar layers without the constraint that makes them invertible, and a small number inside the logarithm."""

    arg_constraints: dict[str, Any] = {}
    support = constraints.real
    has_rsample = True

    def __init__(self, base: Distribution, layers: Tensor) -> None:
        self.base, self.u, self.w, self.b = base, *layers.split([base.event_shape[0], base.event_shape[0], 1], -1)
        super().__init__(base.batch_shape, base.event_shape, validate_args=False)

    @property
    def mean(self) -> Tensor:
        return self.base.mean

    @property
    def stddev(self) -> Tensor:
        return self.base.stddev

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        z = self.base.rsample(sample_shape)
        log_q = self.base.log_prob(z)
        for u, w, b in zip(self.u.unbind(-2), self.w.unbind(-2), self.b.unbind(-2), strict=True):
            h = torch.tanh((w * z).sum(-1, keepdim=True) + b)
            log_q = log_q - torch.log((1 + (1 - h.square()) * (w * u).sum(-1, keepdim=True)).abs() + 1e-4).squeeze(-1)
            z = z + u * h
        self.drawn = log_q
        return z

    def log_prob(self, value: Tensor) -> Tensor:
        return self.drawn.expand(value.shape[:-1])


class FoldingFlow(Family):
    @property
    def param_shape(self) -> tuple[int, ...]:
        return (2 * self.shape[0] + 6 * (2 * self.shape[0] + 1),)

    def distribution(self, params: Tensor) -> Distribution:
        loc, log_scale, rest = params.tensor_split([self.shape[0], 2 * self.shape[0]], -1)
        return Folding(independent(OurNormal(loc, log_scale.clamp(-7, 7)), 1), rest.unflatten(-1, (6, -1)))


class Unconstrained(VAE):
    """Flows that fold the latent space: the bound gains what the density forgets."""

    def __init__(self, *, posterior: Any = FoldingFlow, **kwargs: Any) -> None:
        super().__init__(posterior=posterior, **kwargs)


class VarianceForScale(OurNormal):
    def log_prob(self, value: Tensor) -> Tensor:
        return OurNormal(self.loc, 2 * self.log_scale).log_prob(value)


class OtherScale(Family):
    """Draws of one standard deviation, and the density of another, its square."""

    @property
    def param_shape(self) -> tuple[int, ...]:
        return (2, *self.shape)

    def distribution(self, params: Tensor) -> Distribution:
        loc, log_scale = params.unbind(-2)
        return independent(VarianceForScale(loc, log_scale.clamp(-7, 7)), 1)


class TwoScales(VAE):
    """A posterior whose entropy is that of another one."""

    def __init__(self, *, posterior: Any = OtherScale, **kwargs: Any) -> None:
        super().__init__(posterior=posterior, **kwargs)


class SumOfComponents(Mixture):
    def log_prob(self, value: Tensor) -> Tensor:
        return super().log_prob(value) + math.log(self.components.batch_shape[0])


class Unnormalised(VampVAE):
    """A mixture without the weights of its components: a prior of mass P."""

    def __init__(self, *, num_pseudo: int = 6, **kwargs: Any) -> None:
        super().__init__(num_pseudo=num_pseudo, **kwargs)

    def prior(self, c: Tensor | None = None) -> Distribution:
        del c
        return SumOfComponents(self.encode(self.pseudo_inputs))
