"""Priors: distributions over the latent that do not depend on a network's output."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributions import Categorical, Distribution, MixtureSameFamily

from vae_zoo.distributions.location_scale import Laplace
from vae_zoo.distributions.normal import Normal, independent
from vae_zoo.functional import exact
from vae_zoo.typing import Shape


class Prior(nn.Module, ABC):
    """A distribution p(z) over latents of one shape.

    Args:
        shape: Shape of one latent.
    """

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = tuple(shape)

    @abstractmethod
    def forward(self, c: Tensor | None = None) -> Distribution:
        """The prior, with batch shape () without a condition, or (B,) with a condition that it uses."""


class _Standard(Prior, ABC):
    """A distribution without parameters: mean 0 and log-scale 0 in every dimension."""

    kind: type[Normal] | type[Laplace]
    zero: Tensor

    def __init__(self, shape: Shape) -> None:
        super().__init__(shape)
        self.register_buffer("zero", torch.zeros(self.shape), persistent=False)

    def forward(self, c: Tensor | None = None) -> Distribution:  # noqa: ARG002
        zero = exact(self.zero)
        return independent(self.kind(zero, zero), len(self.shape))


class StandardNormal(_Standard):
    """The normal distribution with mean 0 and variance 1 in every dimension.

    Args:
        shape: Shape of one latent.
    """

    kind = Normal


class StandardLaplace(_Standard):
    """The Laplace distribution with mean 0 and scale 1 in every dimension, for sparse codes.

    Args:
        shape: Shape of one latent.
    """

    kind = Laplace


class MixtureNormal(Prior):
    r"""Learned mixture of normal distributions with independent dimensions.

    .. math:: \log p(z) = \log \sum_k \pi_k \, \mathcal{N}(z; \mu_k, \sigma_k^2)

    References:
        | Deep Unsupervised Clustering with Gaussian Mixture Variational Autoencoders (Dilokthanakul et al., 2016)
        | https://arxiv.org/abs/1611.02648

    Args:
        shape: Shape of one latent.
        num_components: Number of components. Their means are initialised from the standard normal distribution.

    Raises:
        ValueError: If num_components is less than 1.
    """

    def __init__(self, shape: Shape, *, num_components: int = 10) -> None:
        super().__init__(shape)
        if num_components < 1:
            raise ValueError(f"num_components must be at least 1, got {num_components}.")
        self.logits = nn.Parameter(torch.zeros(num_components))
        self.loc = nn.Parameter(torch.randn(num_components, *self.shape))
        self.log_scale = nn.Parameter(torch.zeros(num_components, *self.shape))

    def forward(self, c: Tensor | None = None) -> Distribution:  # noqa: ARG002
        components = independent(Normal(exact(self.loc), exact(self.log_scale)), len(self.shape))
        return mixture(components, exact(self.logits))


class ConditionalNormal(Prior):
    r"""Normal distribution whose mean and log σ are the output of a network for a condition.

    .. math:: p(z|c) = \mathcal{N}(z; \mu(c), \sigma^2(c))

    Without a condition it is the mixture of its classes in equal parts.

    References:
        | Learning Structured Output Representation using Deep Conditional Generative Models (Sohn et al., 2015)
        | https://papers.nips.cc/paper/5775

    Args:
        shape: Shape of one latent.
        num_classes: Number of classes, or of attributes.
        hidden: Widths of the hidden layers; without any, the network is a lookup table of the classes.

    Raises:
        ValueError: If num_classes or a width is less than 1.
    """

    def __init__(self, shape: Shape, *, num_classes: int = 10, hidden: Sequence[int] = (64,)) -> None:
        super().__init__(shape)
        if num_classes < 1 or any(width < 1 for width in hidden):
            raise ValueError(f"num_classes and hidden must be at least 1, got {num_classes} and {list(hidden)}.")
        self.num_classes = num_classes
        widths = [num_classes, *hidden, 2 * math.prod(self.shape)]
        self.layers = nn.ModuleList(nn.Linear(widths[i], widths[i + 1]) for i in range(len(widths) - 1))

    def forward(self, c: Tensor | None = None) -> Distribution:
        weight = exact(next(self.parameters()))
        if c is None:
            every = torch.eye(self.num_classes, dtype=weight.dtype, device=weight.device)
            return mixture(self._normal(every), torch.zeros_like(every[0]))
        return self._normal(given(c, self.num_classes, weight.dtype))

    def _normal(self, h: Tensor) -> Distribution:
        with torch.autocast(h.device.type, enabled=False):
            for n, layer in enumerate(m for m in self.layers if isinstance(m, nn.Linear)):
                h = F.linear(F.relu(h) if n else h, exact(layer.weight), exact(layer.bias))
        loc, log_scale = h.unflatten(-1, (2, *self.shape)).unbind(1)
        return independent(Normal(loc, log_scale), len(self.shape))


def given(c: Tensor, num_classes: int, dtype: torch.dtype) -> Tensor:
    """A condition as a vector of each example: labels (B,) one-hot, attributes (B, num_classes) as they are.

    Raises:
        ValueError: If it is neither.
    """
    if c.ndim == 1 and not c.is_floating_point():
        return F.one_hot(c.long(), num_classes).to(dtype)
    if c.ndim != 2 or c.shape[1] != num_classes:
        raise ValueError(
            f"a condition must be integer labels (B,) or attributes (B, {num_classes}), got {c.dtype} {tuple(c.shape)}."
        )
    return c.to(dtype)


def mixture(components: Distribution, logits: Tensor) -> MixtureSameFamily:
    """Mixture over the last batch dimension of the components."""
    return MixtureSameFamily(Categorical(logits=logits, validate_args=False), components, validate_args=False)
