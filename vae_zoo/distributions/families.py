"""Families: modules that turn the output of a network into a distribution, for q(z|x) and p(x|z)."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, constraints

from vae_zoo.distributions.bernoulli import IndependentBernoulli
from vae_zoo.distributions.likelihoods.observed import Observed, per_entry
from vae_zoo.distributions.likelihoods.scaled import Scaled, Scaling, make_scaling
from vae_zoo.distributions.moments import mean_of
from vae_zoo.distributions.normal import Normal, PointMass, independent
from vae_zoo.functional import exact
from vae_zoo.typing import Shape

_SPANS = tuple(
    type(span)
    for span in (
        constraints.real,
        constraints.unit_interval,
        constraints.half_open_interval(0, 1),
        constraints.positive,
        constraints.nonnegative,
        constraints.less_than(0),
    )
)
"""Supports that contain all data if they contain the smallest and the largest value."""

_SIDES = (("lower", -math.inf), ("upper", math.inf))


def _ends(support: constraints.Constraint) -> list[Any]:
    """Bounds of a support, if any."""
    return [getattr(support, f"{side}_bound") for side, _ in _SIDES if hasattr(support, f"{side}_bound")]


class Family(nn.Module, ABC):
    """A parametric family over events of one shape.

    Args:
        shape: Shape of one event.
    """

    advice: str = "remove or replace such values"

    is_density: bool = True
    """Whether ``log_prob`` is a log-density; otherwise there is neither a bound nor an evidence."""

    is_for_latents: bool = True
    """Whether the parameters alone determine the distribution, as required for a posterior."""

    weights_valid: bool = True
    """Whether samples in training follow the density of ``log_prob``, as importance weights require."""

    shares_scale: bool = False
    """Whether all entries have the same σ, so that data should be of one scale."""

    missing: bool = False
    """Whether NaN in data is a missing value, without a term in the log-density: see :meth:`observe`."""

    draws_valid: bool = True
    """Whether drawn examples follow the density of ``log_prob``: not if it takes their total from themselves."""

    of_observed: Tensor
    """Indicator of an observed value, once some may be missing: 0, or 1 in models of older files."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = tuple(shape)
        self.scaling: Scaling | None = None

    @cached_property
    def support(self) -> constraints.Constraint:
        """Support of one dimension or of a whole event; by default that of the distribution."""
        found = [core for value in (0.0, 1.0) if (core := self._support_at(value)) is not None]
        bounds = [[torch.as_tensor(end).float().unique().tolist() for end in _ends(core)] for core in found]
        if not found or any(other != bounds[0] for other in bounds) or any(len(bound) > 1 for bound in bounds[0]):
            return constraints.real  # unknown, or it depends on the parameters or the dimension
        if not any(isinstance(end, Tensor) for end in _ends(found[0])):
            return found[0]
        return type(found[0])(*(bound[0] for bound in bounds[0]))  # tensors may be elsewhere than the data

    @cached_property
    def is_discrete(self) -> bool:
        """Whether ``log_prob`` is the log-probability of discrete values, and bits per dimension a code length."""
        found = self._support_at(0.0) or self._support_at(1.0)
        return found is not None and bool(found.is_discrete)

    def _support_at(self, value: float) -> constraints.Constraint | None:
        try:
            support = self.at(value).support
        except (ValueError, NotImplementedError):  # no parameters of it, or a distribution that states none
            return None
        while support is not None and hasattr(support, "base_constraint"):
            support = support.base_constraint
        return support

    @property
    def param_shape(self) -> Shape:
        """Shape of the parameters that a network must output for one event."""
        return self.shape

    @abstractmethod
    def distribution(self, params: Tensor) -> Distribution:
        """The distribution with these parameters, (\\*batch, \\*param_shape), in float32 or better."""

    def forward(self, params: Tensor) -> Distribution:
        """A batch of distributions over events, from parameters (\\*batch, \\*param_shape) of any precision."""
        wanted = tuple(self.param_shape)
        if tuple(params.shape[params.ndim - len(wanted) :]) != wanted:
            came = tuple(params.shape)
            raise ValueError(f"{type(self).__name__} needs parameters of shape (…, {str(wanted)[1:]}, got {came}.")
        d: Any = self.distribution(exact(params))
        if self.scaling is not None:
            d = Scaled(d, self.scaling)
        return Observed(d, self.filler(params)) if self.missing else d

    def rescale(self, scaling: Mapping[str, Sequence[float]]) -> None:
        """From now on, score data in their original units, by the density of scaled values times the derivative.

        Args:
            scaling: Arguments of :class:`.Scaling`.

        Raises:
            ValueError: If examples are no vectors, or the density is not one of real numbers, or not a product.
        """
        name = type(self).__name__
        if len(self.shape) != 1:
            raise ValueError(f"only vectors are scaled, the examples are of shape {self.shape}: leave scaling out.")
        if self.is_discrete or not (self.is_density and per_entry(self.at_zeros(), self.shape)):
            what = "of discrete values" if self.is_discrete else "no density of independent values"
            raise ValueError(f"{name} is {what}, and scaled data need one of real numbers: take SharedNormal.")
        self.scaling = make_scaling(self.shape[0], scaling)

    def observe(self) -> None:
        """From now on, leave missing values of data, NaN, out of the density.

        Raises:
            ValueError: If the density is not a sum over entries, from which some can be left out.
        """
        if not (self.is_density and per_entry(self.at_zeros(), self.shape)):
            raise ValueError(
                f"{type(self).__name__} scores an example as a whole, so that missing values cannot be left out: take "
                "a likelihood of independent values, such as SharedNormal or Bernoulli."
            )
        inside = (0.0, 1.0) if self.is_discrete else (0.5, -0.5)  # not at the ends, where a density may be infinite
        self._filler = next((v for v in inside if bool(self.support.check(torch.tensor(v)).all())), 0.0)
        self.missing = True
        self.register_buffer("of_observed", torch.zeros(()))

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        if self.missing:
            state_dict.setdefault(f"{prefix}of_observed", torch.ones_like(self.of_observed))
        super()._load_from_state_dict(state_dict, prefix, *args)

    @property
    def reads(self) -> bool:
        """Whether an encoder sees something else than the example: see :meth:`read`."""
        return self.missing or self.scaling is not None

    def scaled(self, x: Tensor) -> Tensor:
        """Examples in the units of the density of scaled values; the same without a scaling."""
        return x if self.scaling is None else self.scaling(x)

    def unscaled(self, y: Tensor) -> Tensor:
        """The inverse of :meth:`scaled`."""
        return y if self.scaling is None else self.scaling.undo(y)

    @property
    def read_shape(self) -> Shape:
        """Shape of what an encoder sees of an example: see :meth:`read`."""
        return (2 * self.shape[0], *self.shape[1:]) if self.missing else self.shape

    def read(self, x: Tensor) -> Tensor:
        """Examples (B, \\*shape) as an encoder sees them, (B, \\*read_shape).

        They are scaled, if data are. Values that may be missing are 0 if they are, and an indicator of each value
        follows, 0 for observed and -1 for missing ones: behind a vector, or as further channels of an image. Complete
        examples are thereby read as if nothing could be missing; many inputs of 1 would move a network too fast.
        """
        x = self.scaled(x)
        if not self.missing:
            return x
        missing = x.isnan()
        return torch.cat([torch.where(missing, 0.0, x), self.indicators(missing, x)], 1)

    def indicators(self, missing: Tensor, like: Tensor) -> Tensor:
        """Indicators of which values are missing, in the precision of a tensor."""
        return self.of_observed.to(like.dtype) - missing.to(like.dtype)

    def known(self, x: Tensor) -> Tensor:
        """Data as they are scored: scaled, and with missing values replaced by one in the support."""
        if self.missing:
            x = torch.where(x.isnan(), self.filler(x), x)
        return self.scaled(x)

    def filler(self, like: Tensor) -> Tensor:
        """Values of all entries that can be scored, in the original units, on the device of a tensor."""
        if self.scaling is None:
            return torch.full((), self._filler, dtype=like.dtype, device=like.device)
        return self.scaling.undo(torch.full_like(self.scaling.shift, self._filler))

    def at_zeros(self, num: int = 1) -> Distribution:
        """The distributions of a number of events with all parameters 0, to inspect their kind."""
        return self.at(0.0, num)

    @torch.no_grad()
    def at(self, value: float, num: int = 1) -> Distribution:
        """The distributions of a number of events with all parameters equal to one value."""
        like = next(self.parameters(), torch.zeros(()))
        return self(torch.full((num, *self.param_shape), value, dtype=like.dtype, device=like.device))

    @contextmanager
    def settled(self) -> Iterator[None]:
        """Context in which densities are those of evaluation, also in training: of one fixed function of the latents.

        A density that depends on the batch or on chance, and one that learns from what it scores, are none to be
        differentiated or followed step by step. Networks inside the family keep their mode, because recurrent ones
        pass gradients back only in training.
        """
        training, self.training = self.training, False
        try:
            yield
        finally:
            self.training = training

    def initialise(self, x: Tensor) -> None:
        """Estimate from data what is not trained; called once, before the first step of a model that is not restored.

        Args:
            x: Training examples, (N, \\*shape).
        """

    def expectation(self, px: Distribution, device: torch.device) -> Tensor:
        """Means from which :meth:`summarise` makes an example, of distributions over examples."""
        return mean_of(px, device)

    def summarise(self, expectation: Tensor) -> Tensor:
        """Examples from means over several distributions of what :meth:`expectation` gives."""
        return expectation

    def check(self, x: Tensor) -> None:
        """Refuse data outside the support of the family.

        Raises:
            ValueError: If x contains a value that is outside the support or not finite.
        """
        if not bool(self.allows(gist := self.gist(x))):
            raise ValueError(f"{self.complaint(gist)}.")

    def gist(self, x: Tensor) -> Tensor:
        """Summary of data for :meth:`allows` and :meth:`complaint`, a vector on their device, without a sync."""
        x = self.known(x.detach())
        low, high = torch.aminmax(x.float())
        if isinstance(self.support, _SPANS):
            return torch.stack([low, high])
        return torch.stack([low, high, self.support.check(x).all().float()])

    def allows(self, gists: Tensor) -> Tensor:
        """Whether all data are in the support, from their gists (..., K): (...)."""
        ends = gists[..., :2]
        fine = ends.isfinite().all(-1)
        if isinstance(self.support, _SPANS):
            return fine & self.support.check(ends).all(-1)
        return fine & (gists[..., 2] > 0)

    def complaint(self, gist: Tensor) -> str:
        """Message about data that are not allowed: what is wrong, and what to do."""
        low, high = gist[:2].tolist()
        if not (math.isfinite(low) and math.isfinite(high)):
            return f"{type(self).__name__} needs finite data, got NaN or infinity: {Family.advice}"
        span = f"from {low:.4g} to {high:.4g}"
        span += " after scaling" if self.scaling is not None else ""
        return f"{type(self).__name__} needs data in {self._support_text()}, got {span}: {self.advice}"

    def _support_text(self) -> str:
        if not _ends(self.support):
            return str(self.support)
        low, high = (float(getattr(self.support, f"{side}_bound", end)) for side, end in _SIDES)
        return ("whole numbers in " if self.support.is_discrete else "") + f"[{low:g}, {high:g}]"


class Bernoulli(Family):
    r"""Independent binary values, parametrised by logits.

    .. math:: \log p(x|z) = \sum_i x_i l_i - \log(1 + e^{l_i})

    A grey level between 0 and 1 is interpreted as the probability that the pixel is 1: the log-density is then the
    expected one over binarisations of the image, and every bound remains valid.

    Args:
        shape: Shape of one event.
    """

    support = constraints.interval(0.0, 1.0)
    is_discrete = True
    advice = "divide 8-bit images by 255 and do not normalise them, or choose a likelihood such as FixedNormal"

    def distribution(self, params: Tensor) -> Distribution:
        return IndependentBernoulli(params, len(self.shape))


class FixedNormal(Family):
    r"""Independent normal values with one fixed σ: the likelihood that corresponds to the squared error.

    .. math:: \log p(x|z) = -\sum_i \frac{(x_i - \mu_i)^2}{2 \sigma^2} - \frac{D}{2} \log 2 \pi \sigma^2

    Args:
        shape: Shape of one event.
        scale: Standard deviation σ. About 0.1 suits images in [0, 1]; with 1, the rate outweighs the reconstruction.

    Raises:
        ValueError: If scale is not positive and finite.
    """

    shares_scale = True

    def __init__(self, shape: Shape, *, scale: float = 0.1) -> None:
        super().__init__(shape)
        self.log_scale = log_of_scale(scale)  # no buffer, which a model in half precision would round

    def distribution(self, params: Tensor) -> Distribution:
        log_scale = torch.full((), self.log_scale, dtype=params.dtype, device=params.device)
        return independent(Normal(params, log_scale), len(self.shape))


class SquaredError(FixedNormal):
    r"""Independent normal values with σ = 1/√2: -log p(x|z) is the squared error, up to a constant.

    Weights in papers on autoencoders stand beside a squared error that is summed over pixels; under this likelihood
    they mean the same here.

    Args:
        shape: Shape of one event.
    """

    def __init__(self, shape: Shape) -> None:
        super().__init__(shape, scale=math.sqrt(0.5))


class SharedNormal(Family):
    r"""Independent normal values with one σ, learned with the network and shared by all dimensions and examples.

    References:
        | Simple and Effective VAE Training with Calibrated Decoders (Rybkin et al., 2021)
        | https://arxiv.org/abs/2006.13202

    Args:
        shape: Shape of one event.
        scale: Initial standard deviation σ.

    Raises:
        ValueError: If scale is not positive and finite.
    """

    shares_scale = True

    def __init__(self, shape: Shape, *, scale: float = 0.5) -> None:
        super().__init__(shape)
        self.log_scale = nn.Parameter(torch.tensor(log_of_scale(scale)))

    def distribution(self, params: Tensor) -> Distribution:
        return independent(Normal(params, self.log_scale.to(params.dtype)), len(self.shape))


class LocationScale(Family):
    """Base of families of independent values whose location and log-scale come from the network.

    Args:
        shape: Shape of one event.
        min_log_scale: Lower bound of the log-scale.
        max_log_scale: Upper bound of the log-scale.

    Raises:
        ValueError: If the bounds do not leave room.
    """

    def __init__(self, shape: Shape, *, min_log_scale: float = -7.0, max_log_scale: float = 7.0) -> None:
        super().__init__(shape)
        check_bounds(min_log_scale, max_log_scale)
        self.min_log_scale = min_log_scale
        self.max_log_scale = max_log_scale

    @property
    def param_shape(self) -> Shape:
        return (2, *self.shape)

    def distribution(self, params: Tensor) -> Distribution:
        loc, log_scale = params.unbind(-len(self.param_shape))
        return independent(self.of(loc, log_scale.clamp(self.min_log_scale, self.max_log_scale)), len(self.shape))

    @abstractmethod
    def of(self, loc: Tensor, log_scale: Tensor) -> Distribution:
        """The distribution of the single values."""


class DiagonalNormal(LocationScale):
    """Independent normal values, mean and log σ of each from the network. The usual posterior.

    Args:
        shape: Shape of one event.
        min_log_scale: Lower bound of log σ. A likelihood needs one: a constant pixel would have infinite density.
        max_log_scale: Upper bound of log σ.

    Raises:
        ValueError: If the bounds do not leave room.
    """

    def of(self, loc: Tensor, log_scale: Tensor) -> Distribution:
        return Normal(loc, log_scale)


class Point(Family):
    """All mass on the network's output: the latent of a plain autoencoder. It has no density.

    Args:
        shape: Shape of one event.
    """

    is_density = False

    def distribution(self, params: Tensor) -> Distribution:
        return independent(PointMass(params), len(self.shape))


def log_of_scale(scale: float) -> float:
    """Logarithm of a scale given to a constructor.

    Raises:
        ValueError: If scale is not positive and finite.
    """
    if not (scale > 0 and math.isfinite(scale)):
        raise ValueError(f"scale must be positive and finite, got {scale}.")
    return math.log(scale)


def check_bounds(min_log_scale: float, max_log_scale: float) -> None:
    """Refuse empty bounds.

    Raises:
        ValueError: If min_log_scale is not below max_log_scale.
    """
    if not min_log_scale < max_log_scale:
        raise ValueError(f"min_log_scale must be below max_log_scale, got {min_log_scale} and {max_log_scale}.")
