"""Masked autoregressive flows, fitted to latents."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor
from torch.distributions import Distribution

from vae_zoo.distributions import Flow, FlowPrior, Prior, SplinePrior
from vae_zoo.samplers.learned import LearnedDensity
from vae_zoo.typing import Shape


class _FlowDensity(LearnedDensity):
    def __init__(self, shape: Shape, *, num_transforms: int, hidden: Sequence[int], **kwargs: Any) -> None:
        super().__init__(shape, **kwargs)
        self.num_transforms, self.hidden = num_transforms, list(hidden)
        self.base = self.make()

    def scaled(self, p: Any, loc: Tensor, log_scale: Tensor) -> Distribution:
        return Flow(p.steps, loc, log_scale, self.shape, sampler=False)

    @property
    def settings(self) -> dict[str, Any]:
        return {"num_transforms": self.num_transforms, "hidden": self.hidden, **super().settings}


class MAF(_FlowDensity):
    """Masked autoregressive flow, fitted to standardised latents.

    A sample takes one pass per dimension.

    References:
        | Masked Autoregressive Flow for Density Estimation (Papamakarios et al., 2017)
        | https://arxiv.org/abs/1705.07057

    Args:
        shape: Shape of one latent.
        num_transforms: Number of steps.
        hidden: Widths of the hidden layers of each step.
        kwargs: Settings of the fit: max_epochs, batch_size, lr, patience and seed.

    Raises:
        ImportError: If zuko is not installed.
        ValueError: If a number is out of range.
    """

    def __init__(
        self, shape: Shape, *, num_transforms: int = 4, hidden: Sequence[int] = (64, 64), **kwargs: Any
    ) -> None:
        super().__init__(shape, num_transforms=num_transforms, hidden=hidden, **kwargs)

    def make(self) -> Prior:
        return FlowPrior((self.num_dims,), num_transforms=self.num_transforms, hidden=self.hidden)


class Spline(_FlowDensity):
    """Masked autoregressive flow of rational-quadratic splines, fitted to standardised latents.

    References:
        | Neural Spline Flows (Durkan et al., 2019)
        | https://arxiv.org/abs/1906.04032

    Args:
        shape: Shape of one latent.
        num_transforms: Number of steps.
        hidden: Widths of the hidden layers of each step.
        num_bins: Bins of each spline.
        kwargs: Settings of the fit: max_epochs, batch_size, lr, patience and seed.

    Raises:
        ImportError: If zuko is not installed.
        ValueError: If a number is out of range.
    """

    def __init__(
        self,
        shape: Shape,
        *,
        num_transforms: int = 2,
        hidden: Sequence[int] = (64, 64),
        num_bins: int = 8,
        **kwargs: Any,
    ) -> None:
        self.num_bins = num_bins
        super().__init__(shape, num_transforms=num_transforms, hidden=hidden, **kwargs)

    def make(self) -> Prior:
        shape = (self.num_dims,)
        return SplinePrior(shape, num_transforms=self.num_transforms, hidden=self.hidden, num_bins=self.num_bins)

    @property
    def settings(self) -> dict[str, Any]:
        return {"num_bins": self.num_bins, **super().settings}
