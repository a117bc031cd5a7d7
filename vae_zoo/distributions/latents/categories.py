"""Categorical latents: one-hot vectors, relaxed while a model is trained."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, constraints

from vae_zoo.distributions.divergence import register_kl
from vae_zoo.distributions.families import Family
from vae_zoo.distributions.latents.proportions import check_sides
from vae_zoo.distributions.priors import Prior
from vae_zoo.functional import exact
from vae_zoo.typing import Shape


class OneHot(Distribution):
    r"""Independent categorical variables as one-hot vectors.

    .. math:: \log p(z) = \sum_n \sum_k z_{nk} \log \pi_{nk}

    Args:
        logits: Logarithms of the probabilities up to a constant, (\*batch, \*shape); categories are the last axis.
        event_dims: Dimensions of one event, at least 1.
        temperature: Temperature τ of relaxed samples, a scalar; None if :meth:`rsample` draws one-hot vectors, which
            have no gradient.
        straight_through: Whether relaxed samples are rounded to one-hot vectors, with the gradient of the relaxed
            ones.
    """

    has_rsample = True
    arg_constraints: dict[str, constraints.Constraint] = {}

    def __init__(
        self,
        logits: Tensor,
        event_dims: int,
        temperature: Tensor | float | None = None,
        *,
        straight_through: bool = False,
    ) -> None:
        self.logits = logits.log_softmax(-1)
        self.temperature, self.straight_through = temperature, straight_through
        super().__init__(logits.shape[:-event_dims], logits.shape[-event_dims:], validate_args=False)

    @property
    def support(self) -> constraints.Constraint:
        return constraints.independent(constraints.one_hot, len(self.event_shape) - 1)

    @property
    def mean(self) -> Tensor:
        """The probabilities."""
        return self.logits.exp()

    @property
    def variance(self) -> Tensor:
        return self.mean * (1 - self.mean)

    def entropy(self) -> Tensor:
        return -(self.mean * self.logits).flatten(len(self.batch_shape)).sum(-1)

    @torch.no_grad()
    def sample(self, sample_shape: Any = ()) -> Tensor:
        return _one_hot(self._perturbed(sample_shape))

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        if self.temperature is None:
            return self.sample(sample_shape)
        perturbed = self._perturbed(sample_shape)
        soft = torch.softmax(perturbed / self.temperature, -1)
        return _one_hot(perturbed) + (soft - soft.detach()) if self.straight_through else soft

    def log_prob(self, value: Tensor) -> Tensor:
        terms = value * self.logits
        return terms.flatten(terms.ndim - len(self.event_shape)).sum(-1)

    @property
    def num_variables(self) -> int:
        """Number of categorical variables of one event."""
        return self.event_shape[:-1].numel()

    @property
    def num_values(self) -> int:
        """Number of values of one event."""
        return self.event_shape[-1] ** self.num_variables

    def enumerate_support(self, expand: bool = True) -> Tensor:  # noqa: ARG002
        """All values of one event, (num_values, \\*shape)."""
        num = self.num_variables
        rows = torch.eye(self.event_shape[-1], dtype=self.logits.dtype, device=self.logits.device)
        index = torch.cartesian_prod(*[torch.arange(len(rows), device=rows.device)] * num).view(-1, num)
        return rows[index].view(-1, *self.event_shape)

    def _perturbed(self, sample_shape: Any) -> Tensor:
        """Logits plus standard Gumbel noise, the greatest of which is a draw of the category."""
        noise = torch.empty((*sample_shape, *self.logits.shape), dtype=self.logits.dtype, device=self.logits.device)
        return self.logits - noise.exponential_().log()


class Gumbel(Family):
    r"""Categorical variables with logits from the network, relaxed in training: the Gumbel-softmax.

    .. math:: z = \mathrm{softmax} \Big( \frac{l + g}{\tau} \Big), \quad g_k = -\log(-\log u_k), \quad
        u_k \sim \mathcal{U}(0, 1)

    In evaluation, latents are one-hot draws of the categories. Densities and divergences are those of the categories in
    both modes: a bound in training, whose latents are relaxed, is a surrogate, and importance weights are invalid; in
    evaluation both are exact for the discrete model. The mean is the vector of probabilities.

    References:
        | Categorical Reparameterization with Gumbel-Softmax (Jang et al., 2017)
        | https://arxiv.org/abs/1611.01144
        | The Concrete Distribution (Maddison et al., 2017)
        | https://arxiv.org/abs/1611.00712

    Args:
        shape: Shape of one event; the last side is the number of categories, at least 2.
        temperature: Temperature τ of the samples in training, unless a schedule is given to :meth:`anneal`.
        straight_through: Whether samples in training are one-hot vectors, with the gradient of the relaxed ones.

    Raises:
        ValueError: If the last side is less than 2, or temperature is not positive and finite.
    """

    weights_valid = False

    def __init__(self, shape: Shape, *, temperature: float = 2 / 3, straight_through: bool = False) -> None:
        super().__init__(shape)
        check_sides(self, 2)
        if not (temperature > 0 and math.isfinite(temperature)):
            raise ValueError(f"temperature must be positive and finite, got {temperature}.")
        self.temperature, self.straight_through = temperature, straight_through
        self.schedule: nn.Module | None = None

    def anneal(self, schedule: nn.Module) -> None:
        """Take the temperature from a module that returns it, such as a schedule of :mod:`vae_zoo.nn`."""
        self.schedule = schedule

    def distribution(self, params: Tensor) -> Distribution:
        if not self.training:
            return OneHot(params, len(self.shape))
        temperature = self.temperature if self.schedule is None else self.schedule()
        return OneHot(params, len(self.shape), temperature, straight_through=self.straight_through)


class UniformCategorical(Prior):
    """Categorical variables whose categories are all equally probable.

    Args:
        shape: Shape of one latent; the last side is the number of categories.

    Raises:
        ValueError: If the last side is less than 2.
    """

    zero: Tensor

    def __init__(self, shape: Shape) -> None:
        super().__init__(shape)
        check_sides(self, 2)
        self.register_buffer("zero", torch.zeros(self.shape), persistent=False)

    def forward(self, c: Tensor | None = None) -> Distribution:  # noqa: ARG002
        return OneHot(exact(self.zero), len(self.shape))


class LearnedCategorical(Prior):
    """Categorical variables with learned probabilities, equal at the start.

    Args:
        shape: Shape of one latent; the last side is the number of categories.

    Raises:
        ValueError: If the last side is less than 2.
    """

    def __init__(self, shape: Shape) -> None:
        super().__init__(shape)
        check_sides(self, 2)
        self.logits = nn.Parameter(torch.zeros(self.shape))

    def forward(self, c: Tensor | None = None) -> Distribution:  # noqa: ARG002
        return OneHot(exact(self.logits), len(self.shape))


@register_kl(OneHot, OneHot)
def _categories(q: Any, p: Any, event_dims: int) -> Tensor:
    nats = (q.mean * (q.logits - p.logits)).sum(-1)
    return nats.flatten(-(event_dims - 1)) if event_dims > 1 else nats.unsqueeze(-1)


def _one_hot(x: Tensor) -> Tensor:
    """The greatest of the last axis as a one-hot vector."""
    return torch.zeros_like(x).scatter_(-1, x.argmax(-1, keepdim=True), 1.0)
