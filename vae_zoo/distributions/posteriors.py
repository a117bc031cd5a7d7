"""Families for q(z|x) other than independent normal dimensions, with all parameters from the network."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.distributions import Distribution

from vae_zoo.distributions.families import Family, LocationScale, check_bounds
from vae_zoo.distributions.location_scale import CholeskyNormal, Laplace
from vae_zoo.typing import Shape


class DiagonalLaplace(LocationScale):
    r"""Independent Laplace values, mean and log b of each from the network.

    .. math:: \log q(z|x) = -\sum_i \frac{|z_i - \mu_i|}{b_i} + \log 2 b_i

    Args:
        shape: Shape of one event.
        min_log_scale: Lower bound of log b.
        max_log_scale: Upper bound of log b.

    Raises:
        ValueError: If the bounds do not leave room.
    """

    def of(self, loc: Tensor, log_scale: Tensor) -> Distribution:
        return Laplace(loc, log_scale)


class FullNormal(Family):
    r"""Normal values with full covariance: mean and lower Cholesky factor from the network.

    .. math:: z = \mu + L \epsilon, \quad \epsilon \sim \mathcal{N}(0, I), \quad L_{ii} = e^{l_i}

    For D dimensions the network outputs D (D + 3) / 2 numbers: the mean, the logarithm of the diagonal, and the rest of
    the factor row by row.

    References:
        | An Introduction to Variational Autoencoders, section 2.5.1 (Kingma and Welling, 2019)
        | https://arxiv.org/abs/1906.02691

    Args:
        shape: Shape of one event.
        min_log_scale: Lower bound of the logarithm of the diagonal.
        max_log_scale: Upper bound of the logarithm of the diagonal.

    Raises:
        ValueError: If the bounds do not leave room.
    """

    below: Tensor

    def __init__(self, shape: Shape, *, min_log_scale: float = -7.0, max_log_scale: float = 7.0) -> None:
        super().__init__(shape)
        check_bounds(min_log_scale, max_log_scale)
        self.min_log_scale, self.max_log_scale = min_log_scale, max_log_scale
        self.num_dims = math.prod(self.shape)
        rows, columns = torch.tril_indices(self.num_dims, self.num_dims, -1)
        self.register_buffer("below", rows * self.num_dims + columns, persistent=False)

    @property
    def param_shape(self) -> Shape:
        return (self.num_dims * (self.num_dims + 3) // 2,)

    def distribution(self, params: Tensor) -> Distribution:
        num = self.num_dims
        loc, log_diagonal, rest = params.split([num, num, len(self.below)], -1)
        flat = params.new_zeros(*params.shape[:-1], num * num)
        lower = flat.index_copy(-1, self.below, rest).unflatten(-1, (num, num))
        log_diagonal = log_diagonal.clamp(self.min_log_scale, self.max_log_scale)
        return CholeskyNormal(loc, lower, log_diagonal, self.shape)
