"""Likelihoods of counts, such as those of genes in cells or of words in documents."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, constraints

from vae_zoo.distributions.families import Family
from vae_zoo.distributions.likelihoods.tallies import (
    MultinomialTally,
    NegativeBinomialTally,
    PoissonTally,
    Total,
    ZeroInflatedTally,
)
from vae_zoo.distributions.normal import independent
from vae_zoo.functional import exact
from vae_zoo.system.tensors import exact_buffers
from vae_zoo.typing import Shape

_MAX_LOG_MEAN = 12.0
"""Output of a network from which the mean grows with it in proportion, and no longer exponentially."""

LOG_DISPERSION = (-10.0, 12.0)
"""Bounds of the logarithm of an inverse dispersion, beyond which densities are inexact in float32."""

_EXACT = {torch.bfloat16: 256.0, torch.float16: 2048.0}
"""Largest whole number up to which a type has all of them."""


class Counted(Family):
    r"""Base of likelihoods of counts, with the mean μ from a network's outputs a.

    Without ``library``, :math:`\mu_i = e^{a_i}`, for outputs up to 12; beyond, μ grows linearly, so that it cannot
    overflow. This is a distribution of all counts, and every bound is one on log p(x).

    With ``library``, :math:`\mu_i = \ell \, \mathrm{softmax}(a)_i` with the observed total
    :math:`\ell = \sum_i x_i` of the example, as in the default of scvi-tools. The total is given, not explained: every
    bound and evidence is one on

    .. math:: \log p(x \,|\, \ell) = \log \int p(x \,|\, z, \ell) \, p(z) \, dz,

    which cannot be compared with log p(x). As a function of x at a fixed ℓ it sums to 1. Reconstructions are at
    the example's own total. Means of generated examples are at the mean total of the training data, and draws have
    totals from a log-normal distribution, fitted to them at the start of training.

    Args:
        shape: Shape of one event.
        library: Whether the mean is a share of the observed total.
    """

    support = constraints.nonnegative_integer
    is_discrete = True
    advice = "give raw counts, neither normalised nor on a logarithmic scale"

    num_outputs: int = 1
    """Outputs of the network for each entry."""

    total_location: Tensor
    total_spread: Tensor

    def __init__(self, shape: Shape, *, library: bool = False) -> None:
        super().__init__(shape)
        self.library = library
        if library:
            self.register_buffer("total_location", torch.tensor(math.log(math.prod(self.shape))))
            self.register_buffer("total_spread", torch.tensor(0.0))

    @property
    def draws_valid(self) -> bool:  # type: ignore[override]
        """Whether draws follow the density: with ``library``, their total is not the one that they are drawn with."""
        return not self.library

    @property
    def param_shape(self) -> Shape:
        return self.shape if self.num_outputs == 1 else (self.num_outputs, *self.shape)

    def distribution(self, params: Tensor) -> Distribution:
        event_dims = len(self.shape)
        first, *others = [params] if self.num_outputs == 1 else params.unbind(-1 - event_dims)
        if self.library:
            log_rate = first.flatten(-event_dims).log_softmax(-1).unflatten(-1, self.shape)
            total = Total(self.total_location.to(params.dtype), self.total_spread.to(params.dtype), seen=True)
            return self.of(others, log_rate, event_dims, total)
        over = (first - _MAX_LOG_MEAN).relu()
        none = Total(first.new_zeros(()), first.new_zeros(()))
        return independent(self.of(others, first - over + torch.log1p(over), 0, none), event_dims)

    @abstractmethod
    def of(self, others: list[Tensor], log_rate: Tensor, event_dims: int, total: Total) -> Distribution:
        """The distribution with these rates, from the network's further outputs for each entry."""

    def initialise(self, x: Tensor) -> None:
        if not self.library:
            return
        totals = exact(x).flatten(1).sum(1)
        logs = totals[totals > 0].log()
        if len(logs):
            self.total_location.copy_(logs.mean())
            self.total_spread.copy_(logs.std(correction=0))

    def gist(self, x: Tensor) -> Tensor:
        rows = self.known(x.detach()).flatten(1)
        most = _EXACT.get(x.dtype, math.inf)
        wrong = (rows < 0) | (rows != rows.floor()) | (rows > most)
        place = wrong.flatten().to(torch.uint8).argmax()  # the first of them
        low, high = torch.aminmax(rows.float())
        found = [low, high, ~wrong.any(), place // rows.shape[1], place % rows.shape[1], rows.flatten()[place]]
        return torch.stack([value.float() for value in found])

    def allows(self, gists: Tensor) -> Tensor:
        return gists[..., :2].isfinite().all(-1) & (gists[..., 2] > 0)

    def complaint(self, gist: Tensor) -> str:
        if not bool(gist[:2].isfinite().all()):
            return super().complaint(gist)
        row, column, value = (float(number) for number in gist[3:])
        name, where = type(self).__name__, f"row {row:.0f} has {value:.6g} in column {column:.0f}"
        if value >= 0 and value == math.floor(value):
            return f"{name} needs exact counts, and half precision rounds those above 256: {where}; take bf16-mixed"
        return f"{name} needs counts, whole numbers from 0 on, and {where}: {self.advice}"

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Counted:
        with exact_buffers(self):  # a total would be off by percents
            super()._apply(fn, recurse)
        return self


class Poisson(Counted):
    r"""Independent Poisson counts, whose variance is their mean μ.

    .. math:: \log p(x|z) = \sum_i x_i \log \mu_i - \mu_i - \log x_i!

    The mean, and what ``library`` changes about the bound: see :class:`Counted`.

    Args:
        shape: Shape of one event.
        library: Whether the mean is a share of the observed total ℓ; log p(x|z, ℓ) is then what is computed.
    """

    def of(self, others: list[Tensor], log_rate: Tensor, event_dims: int, total: Total) -> Distribution:  # noqa: ARG002
        return PoissonTally(log_rate, event_dims, total)


class Multinomial(Counted):
    r"""Counts that add up to the observed total n, drawn one by one in shares ρ = softmax(a).

    .. math:: \log p(x|z, n) = \log n! + \sum_i x_i \log \rho_i - \log x_i!, \quad n = \sum_i x_i

    Every bound and evidence is one on log p(x|n), which is at most 0. Generated examples and reconstructions are as
    with the ``library`` of :class:`Counted`.

    Args:
        shape: Shape of one event.
    """

    support = constraints.independent(constraints.nonnegative_integer, 1)  # type: ignore[assignment]
    draws_valid = True

    def __init__(self, shape: Shape) -> None:
        super().__init__(shape, library=True)

    def of(self, others: list[Tensor], log_rate: Tensor, event_dims: int, total: Total) -> Distribution:  # noqa: ARG002
        return MultinomialTally(log_rate, event_dims, total)


class NegativeBinomial(Counted):
    r"""Independent negative binomial counts with mean μ and inverse dispersion θ, whose variance is μ + μ²/θ.

    .. math:: \log p(x|z) = \sum_i \log \frac{\Gamma(x_i + \theta_i)}{\Gamma(\theta_i) \, x_i!}
        + \theta_i \log \frac{\theta_i}{\theta_i + \mu_i} + x_i \log \frac{\mu_i}{\theta_i + \mu_i}

    The mean, and what ``library`` changes about the bound: see :class:`Counted`.

    References:
        | Deep Generative Modeling for Single-Cell Transcriptomics (Lopez et al., 2018)
        | https://doi.org/10.1038/s41592-018-0229-2

    Args:
        shape: Shape of one event.
        library: Whether the mean is a share of the observed total ℓ; log p(x|z, ℓ) is then what is computed.
        dispersion: Initial value of θ.
        per_entry: Whether θ comes from the network for every entry, instead of one that is learned for each feature.

    Raises:
        ValueError: If dispersion does not lie between e⁻¹⁰ and e¹², within which θ is kept.
    """

    log_dispersion: nn.Parameter | None

    def __init__(
        self, shape: Shape, *, library: bool = False, dispersion: float = 1.0, per_entry: bool = False
    ) -> None:
        super().__init__(shape, library=library)
        low, high = LOG_DISPERSION
        if not math.exp(low) <= dispersion <= math.exp(high):
            raise ValueError(f"dispersion must lie in {math.exp(low):.2g} .. {math.exp(high):.2g}, got {dispersion}.")
        self.start = math.log(dispersion)
        self.num_outputs += per_entry
        self.log_dispersion = None if per_entry else nn.Parameter(torch.full(self.shape, self.start))

    def log_dispersions(self, others: list[Tensor], like: Tensor) -> Tensor:
        """Logarithms of θ, within bounds."""
        of_features = self.log_dispersion
        found = self.start + others[-1] if of_features is None else of_features.to(like.dtype)
        return found.clamp(*LOG_DISPERSION)

    def of(self, others: list[Tensor], log_rate: Tensor, event_dims: int, total: Total) -> Distribution:
        return NegativeBinomialTally(self.log_dispersions(others, log_rate), log_rate, event_dims, total)


class ZeroInflatedNegativeBinomial(NegativeBinomial):
    r"""Negative binomial counts, each replaced by 0 with a probability π from the network.

    .. math:: p(x_i|z) = \pi_i \, [x_i = 0] + (1 - \pi_i) \, p_{\mathrm{NB}}(x_i; \mu_i, \theta_i)

    The mean is (1 − π) μ.

    References:
        | Deep Generative Modeling for Single-Cell Transcriptomics (Lopez et al., 2018)
        | https://doi.org/10.1038/s41592-018-0229-2

    Args:
        shape: Shape of one event.
        library: Whether μ is a share of the observed total ℓ; log p(x|z, ℓ) is then what is computed.
        dispersion: Initial value of θ.
        per_entry: Whether θ comes from the network for every entry, instead of one that is learned for each feature.

    Raises:
        ValueError: If dispersion does not lie between e⁻¹⁰ and e¹², within which θ is kept.
    """

    num_outputs = 2

    def of(self, others: list[Tensor], log_rate: Tensor, event_dims: int, total: Total) -> Distribution:
        theta = self.log_dispersions(others, log_rate)
        return ZeroInflatedTally(others[0], theta, log_rate, event_dims, total)


class CellCounts(ZeroInflatedNegativeBinomial):
    r"""Counts of genes in cells: zero-inflated negative binomial with the observed library size, as in scvi-tools.

    .. math:: x_i \sim \mathrm{ZINB}(\ell \, \mathrm{softmax}(a)_i, \theta_i, \pi_i), \quad \ell = \sum_i x_i

    Every bound and evidence is one on log p(x|ℓ): see :class:`Counted`.

    Args:
        shape: Shape of one event.
        dispersion: Initial value of θ.
        per_entry: Whether θ comes from the network for every entry, instead of one that is learned for each feature.

    Raises:
        ValueError: If dispersion does not lie between e⁻¹⁰ and e¹², within which θ is kept.
    """

    def __init__(self, shape: Shape, *, dispersion: float = 1.0, per_entry: bool = False) -> None:
        super().__init__(shape, library=True, dispersion=dispersion, per_entry=per_entry)
