"""Normalizing flows as posteriors and as priors."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.distributions import Distribution

from vae_zoo.distributions.families import Family
from vae_zoo.distributions.flows.autoregressive import Flow, autoregressions
from vae_zoo.distributions.priors import Prior, given, mixture
from vae_zoo.typing import Shape

_MAX_LOG_SCALE = 7.0


class _InverseFlow(Family):
    """Base of inverse autoregressive flows.

    Args:
        shape: Shape of one event.
        num_transforms: Number of steps T.
        hidden: Widths of the hidden layers of each step.
        context_dim: Size of the context h.
        num_bins: Bins of a rational-quadratic spline; 0 for affine steps.
    """

    def __init__(
        self, shape: Shape, *, num_transforms: int, hidden: Sequence[int], context_dim: int, num_bins: int
    ) -> None:
        super().__init__(shape)
        self.num_dims, self.context_dim = math.prod(self.shape), context_dim
        name = type(self).__name__
        self.steps = autoregressions(name, self.num_dims, context_dim, num_transforms, hidden, num_bins)

    @property
    def param_shape(self) -> Shape:
        return (2 * self.num_dims + self.context_dim,)

    def distribution(self, params: Tensor) -> Distribution:
        loc, log_scale, context = params.split([self.num_dims, self.num_dims, self.context_dim], -1)
        log_scale = log_scale.clamp(-_MAX_LOG_SCALE, _MAX_LOG_SCALE)
        return Flow([step(context) for step in self.steps], loc, log_scale, self.shape, sampler=True)


class AutoregressiveFlow(_InverseFlow):
    r"""Inverse autoregressive flow: each dimension of the noise is scaled and shifted depending on the previous ones.

    .. math:: z = \mu + \sigma \, f_T \circ \dots \circ f_1(\epsilon; h), \quad
        f_t(u)_i = e^{a_i(u_{<i}, h)} u_i + b_i(u_{<i}, h)

    The network outputs μ, log σ and the context h of each example; a masked network with its own weights outputs a and
    b. A sample and its density take one pass per step. μ and σ are applied last, whereas the paper applies them first:
    the steps then get noise of unit scale.

    References:
        | Improved Variational Inference with Inverse Autoregressive Flow (Kingma et al., 2016)
        | https://arxiv.org/abs/1606.04934

    Args:
        shape: Shape of one event.
        num_transforms: Number of steps T.
        hidden: Widths of the hidden layers of each step.
        context_dim: Size of the context h.

    Raises:
        ImportError: If zuko is not installed.
        ValueError: If a number or width is less than 1.
    """

    def __init__(
        self, shape: Shape, *, num_transforms: int = 2, hidden: Sequence[int] = (64, 64), context_dim: int = 16
    ) -> None:
        super().__init__(shape, num_transforms=num_transforms, hidden=hidden, context_dim=context_dim, num_bins=0)


class SplineFlow(_InverseFlow):
    r"""Autoregressive flow whose steps are rational-quadratic splines between -5 and 5.

    .. math:: z = \mu + \sigma \, f_T \circ \dots \circ f_1(\epsilon; h), \quad
        f_t(u)_i = \mathrm{spline}(u_i; \theta_i(u_{<i}, h))

    References:
        | Neural Spline Flows (Durkan et al., 2019)
        | https://arxiv.org/abs/1906.04032

    Args:
        shape: Shape of one event.
        num_transforms: Number of steps T.
        hidden: Widths of the hidden layers of each step.
        context_dim: Size of the context h.
        num_bins: Bins of each spline.

    Raises:
        ImportError: If zuko is not installed.
        ValueError: If a number or width is less than 1, or there are fewer than 2 bins.
    """

    def __init__(
        self,
        shape: Shape,
        *,
        num_transforms: int = 2,
        hidden: Sequence[int] = (64, 64),
        context_dim: int = 16,
        num_bins: int = 8,
    ) -> None:
        bins = _bins(num_bins)
        super().__init__(shape, num_transforms=num_transforms, hidden=hidden, context_dim=context_dim, num_bins=bins)


class _MaskedFlow(Prior):
    """Base of priors that are masked autoregressive flows.

    Args:
        shape: Shape of one latent.
        num_transforms: Number of steps.
        hidden: Widths of the hidden layers of each step.
        num_classes: Number of classes of the condition; 0 for none.
        num_bins: Bins of a rational-quadratic spline; 0 for affine steps.
    """

    def __init__(
        self, shape: Shape, *, num_transforms: int, hidden: Sequence[int], num_classes: int, num_bins: int
    ) -> None:
        super().__init__(shape)
        if num_classes < 0:
            raise ValueError(f"num_classes must be at least 0, got {num_classes}.")
        self.num_dims, self.num_classes = math.prod(self.shape), num_classes
        context_dim, name = max(num_classes, 1), type(self).__name__  # 1: a constant
        self.steps = autoregressions(name, self.num_dims, context_dim, num_transforms, hidden, num_bins)

    def forward(self, c: Tensor | None = None) -> Distribution:
        weight = next(self.parameters())
        dtype = torch.promote_types(weight.dtype, torch.float32)
        if not self.num_classes:
            return self._flow(torch.ones(1, dtype=dtype, device=weight.device))
        if c is None:
            every = torch.eye(self.num_classes, dtype=dtype, device=weight.device)
            return mixture(self._flow(every), torch.zeros_like(every[0]))
        return self._flow(given(c, self.num_classes, dtype))

    def _flow(self, context: Tensor) -> Flow:
        zero = context.new_zeros(*context.shape[:-1], self.num_dims)
        return Flow([step(context) for step in self.steps], zero, zero, self.shape, sampler=False)


class FlowPrior(_MaskedFlow):
    r"""Masked autoregressive flow: a density takes one pass per step, a sample one pass per dimension.

    .. math:: \log p(z) = \log \mathcal{N}(f(z); 0, I) + \log |\det \partial f / \partial z|

    References:
        | Masked Autoregressive Flow for Density Estimation (Papamakarios et al., 2017)
        | https://arxiv.org/abs/1705.07057

    Args:
        shape: Shape of one latent.
        num_transforms: Number of steps.
        hidden: Widths of the hidden layers of each step.
        num_classes: Number of classes of the condition; 0 for an unconditional prior, which ignores it. Without a
            condition, a conditional prior is the mixture of its classes in equal parts.

    Raises:
        ImportError: If zuko is not installed.
        ValueError: If a number or width is less than 1, or num_classes is negative.
    """

    def __init__(
        self, shape: Shape, *, num_transforms: int = 2, hidden: Sequence[int] = (64, 64), num_classes: int = 0
    ) -> None:
        super().__init__(shape, num_transforms=num_transforms, hidden=hidden, num_classes=num_classes, num_bins=0)


class SplinePrior(_MaskedFlow):
    """Masked autoregressive flow whose steps are rational-quadratic splines between -5 and 5.

    References:
        | Neural Spline Flows (Durkan et al., 2019)
        | https://arxiv.org/abs/1906.04032

    Args:
        shape: Shape of one latent.
        num_transforms: Number of steps.
        hidden: Widths of the hidden layers of each step.
        num_classes: Number of classes of the condition, as in :class:`FlowPrior`.
        num_bins: Bins of each spline.

    Raises:
        ImportError: If zuko is not installed.
        ValueError: If a number or width is less than 1, num_classes is negative, or there are fewer than 2 bins.
    """

    def __init__(
        self,
        shape: Shape,
        *,
        num_transforms: int = 2,
        hidden: Sequence[int] = (64, 64),
        num_classes: int = 0,
        num_bins: int = 8,
    ) -> None:
        bins = _bins(num_bins)
        super().__init__(shape, num_transforms=num_transforms, hidden=hidden, num_classes=num_classes, num_bins=bins)


def _bins(num_bins: int) -> int:
    if num_bins < 2:
        raise ValueError(f"num_bins must be at least 2, got {num_bins}.")
    return num_bins
