"""A latent and its class in one vector."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution, constraints


class Labelled(Distribution):
    r"""A latent and its class: the vector of the latent, followed by the class as a one-hot vector.

    .. math:: \log p(z, y) = \log p(y) + \log p(z|y)

    Samples are reparameterised in the latent, and not in the class. ``mean`` and ``variance`` are those of the latent
    given the most probable class, followed by that class and by the variances of the one-hot vector.

    Args:
        log_probs: Log-probabilities of the classes, (\*batch, C).
        latents: Distributions of the latent given each class: batch shape (C, \*batch), (C,) if batch is (), or () if
            they do not depend on the class; event shape (D,).
    """

    has_rsample = True
    support = constraints.real_vector
    arg_constraints: dict[str, constraints.Constraint] = {}

    def __init__(self, log_probs: Tensor, latents: Distribution) -> None:
        self.log_probs, self.latents = log_probs, latents
        self.num_classes, self.latent_dim = log_probs.shape[-1], latents.event_shape[0]
        size = torch.Size([self.latent_dim + self.num_classes])
        super().__init__(log_probs.shape[:-1], size, validate_args=False)

    def log_prob(self, value: Tensor) -> Tensor:
        z, y = value.split([self.latent_dim, self.num_classes], -1)
        of_class = self.latents.log_prob(z.unsqueeze(self._dim - 1))
        return (y * (self.log_probs + of_class.movedim(self._dim, -1))).sum(-1)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        shape = torch.Size(sample_shape)
        log_probs = self.log_probs.detach().expand(*shape, *self.log_probs.shape)
        chosen = (log_probs - torch.empty_like(log_probs).exponential_().log()).argmax(-1, keepdim=True)
        y = torch.zeros_like(log_probs).scatter_(-1, chosen, 1.0)
        return torch.cat([self._of(chosen, self.latents.rsample(self._wide(shape))), y], -1)

    @property
    def mean(self) -> Tensor:
        best = self.log_probs.argmax(-1, keepdim=True)
        y = torch.zeros_like(self.log_probs).scatter_(-1, best, 1.0)
        return torch.cat([self._of(best, self._each(self.latents.mean)), y], -1)

    @property
    def variance(self) -> Tensor:
        best, probs = self.log_probs.argmax(-1, keepdim=True), self.log_probs.exp()
        return torch.cat([self._of(best, self._each(self.latents.variance)), probs * (1 - probs)], -1)

    @property
    def _dim(self) -> int:
        """Where the classes are among the batch dimensions of the latents, from the end."""
        return -1 - len(self.batch_shape)

    def _wide(self, shape: torch.Size) -> torch.Size:
        """Shape of samples that gives one latent of each class."""
        return shape if self.latents.batch_shape else torch.Size([*shape, self.num_classes])

    def _each(self, x: Tensor) -> Tensor:
        return x if self.latents.batch_shape else x.expand(self.num_classes, -1)

    def _of(self, chosen: Tensor, z: Tensor) -> Tensor:
        """Latents of chosen classes (\\*sample, \\*batch, 1), from one of each (\\*sample, C, \\*batch, D)."""
        z = z.movedim(self._dim - 1, -2)
        return z.gather(-2, chosen.unsqueeze(-1).expand(*z.shape[:-2], 1, z.shape[-1])).squeeze(-2)
