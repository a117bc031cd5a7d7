"""The aggregate posterior as a latent-variable model of its own."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributions import Distribution, constraints

from vae_zoo.distributions.normal import Normal
from vae_zoo.distributions.priors import Prior
from vae_zoo.distributions.temperature import tempered
from vae_zoo.functional import exact, kl_normal
from vae_zoo.typing import Shape

_MAX_LOG_SCALE = 7.0
_START = -1.0
"""Initial log γ; if it starts at 0 or more, u often remains unused."""


class TwoStageDistribution(Distribution):
    r"""Marginal p(z) of a model p(u) p(z|u), whose density is known up to a bound.

    :meth:`log_prob` gives one draw of

    .. math:: \log p(z|u) + \log p(u) - \log q(u|z), \quad u \sim q(u|z),

    which is at most log p(z) in expectation, and whose exponential has the expectation p(z). With it, a bound on log
    p(x) is that of the joint model of x, z and u, and importance weights average to p(x).

    Args:
        prior: The networks.
        loc: Shift of z, (D,).
        log_scale: Logarithm of the scale of z, (D,).
        shape: Shape of one z.
        temperature: Factor on the spread of u.
    """

    arg_constraints: dict[str, constraints.Constraint] = {}

    is_bound = True
    """Whether ``log_prob`` is random, and a bound in expectation."""

    def __init__(
        self, prior: TwoStagePrior, loc: Tensor, log_scale: Tensor, shape: Shape, *, temperature: float = 1.0
    ) -> None:
        self.prior, self.loc, self.log_scale, self.temperature = prior, loc, log_scale, temperature
        super().__init__(torch.Size(), torch.Size(shape), validate_args=False)

    @property
    def support(self) -> constraints.Constraint:
        return constraints.independent(constraints.real, len(self.event_shape))

    @torch.no_grad()
    def sample(self, sample_shape: Any = ()) -> Tensor:
        noise = torch.randn(2, *sample_shape, len(self.loc), dtype=self.loc.dtype, device=self.loc.device)
        p = self.prior.decode(self.temperature * noise[0])
        return (self.loc + self.log_scale.exp() * (p.loc + p.scale * noise[1])).unflatten(-1, self.event_shape)

    def log_prob(self, value: Tensor) -> Tensor:
        z = (value.flatten(-len(self.event_shape)) - self.loc) * torch.exp(-self.log_scale)
        q = self.prior.encode(z)
        u = q.loc + q.scale * torch.randn_like(q.loc)
        prior = Normal(torch.zeros_like(u), torch.full_like(u, math.log(self.temperature)))
        terms = self.prior.decode(u).log_prob(z) + prior.log_prob(u) - q.log_prob(u)
        return (terms - self.log_scale).sum(-1)


@tempered.register
def _(p: TwoStageDistribution, temperature: float) -> Distribution:
    shape, factor = tuple(p.event_shape), p.temperature * temperature
    return TwoStageDistribution(p.prior, p.loc, p.log_scale, shape, temperature=factor)


class TwoStagePrior(Prior):
    r"""Second stage of a two-stage VAE: a small VAE over the latents of the first.

    .. math:: p(z) = \int p(u) \, p(z|u) \, du, \quad u \sim \mathcal{N}(0, I), \quad
        z|u \sim \mathcal{N}(f(u), \gamma^2 I)

    γ is learned. As in the reference code, u has the dimensions of z, and the last layer of each network gets the
    network's input too.

    References:
        | Diagnosing and Enhancing VAE Models (Dai and Wipf, 2019)
        | https://arxiv.org/abs/1903.05789

    Args:
        shape: Shape of one latent.
        hidden: Widths of the hidden layers of both networks.

    Raises:
        ValueError: If a width is less than 1.
    """

    loc: Tensor
    log_scale: Tensor

    def __init__(self, shape: Shape, *, hidden: Sequence[int] = (128, 128)) -> None:
        super().__init__(shape)
        if not hidden or any(width < 1 for width in hidden):
            raise ValueError(f"hidden must hold widths of at least 1, got {list(hidden)}.")
        num = math.prod(self.shape)
        self.encoder, self.decoder = _layers(num, hidden, 2 * num), _layers(num, hidden, num)
        with torch.no_grad():  # near 0 at first
            for p in self.decoder[-1].parameters():
                p.mul_(0.1)
        self.log_gamma = nn.Parameter(torch.zeros(()))
        self.register_buffer("loc", torch.zeros(num))
        self.register_buffer("log_scale", torch.zeros(num))

    def forward(self, c: Tensor | None = None) -> Distribution:  # noqa: ARG002
        return TwoStageDistribution(self, exact(self.loc), exact(self.log_scale), self.shape)

    def encode(self, z: Tensor) -> Normal:
        """q(u|z) of standardised latents (..., D)."""
        loc, log_scale = _through(self.encoder, z).chunk(2, -1)
        return Normal(loc, log_scale.clamp(-_MAX_LOG_SCALE, _MAX_LOG_SCALE))

    def decode(self, u: Tensor) -> Normal:
        """p(z|u), (..., D)."""
        loc = _through(self.decoder, u)
        log_scale = (_START + exact(self.log_gamma)).clamp(-_MAX_LOG_SCALE, _MAX_LOG_SCALE)
        return Normal(loc, log_scale.expand_as(loc))

    def loss(self, z: Tensor) -> Tensor:
        """The negative bound on log p(z) of latents (..., D), with its divergence in closed form, (...)."""
        z = (z - exact(self.loc)) * torch.exp(-exact(self.log_scale))
        q = self.encode(z)
        u = q.loc + q.scale * torch.randn_like(q.loc)
        zero = torch.zeros_like(u)
        rate = kl_normal(q.loc, q.log_scale, zero, zero)
        return (rate - self.decode(u).log_prob(z) + exact(self.log_scale)).sum(-1)


def _layers(num: int, hidden: Sequence[int], out: int) -> nn.ModuleList:
    widths = [num, *hidden]
    body = [nn.Linear(a, b) for a, b in itertools.pairwise(widths)]
    return nn.ModuleList([*body, nn.Linear(widths[-1] + num, out)])


def _through(layers: nn.ModuleList, x: Tensor) -> Tensor:
    with torch.autocast(x.device.type, enabled=False):
        h = x
        *body, last = (layer for layer in layers if isinstance(layer, nn.Linear))
        for layer in body:
            h = F.relu(F.linear(h, exact(layer.weight), exact(layer.bias)))
        return F.linear(torch.cat([h, x], -1), exact(last.weight), exact(last.bias))
