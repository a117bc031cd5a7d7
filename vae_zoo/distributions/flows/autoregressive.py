"""Invertible autoregressive steps with the masked networks and maps of zuko, and flows composed of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributions import Distribution, constraints


class Step(NamedTuple):
    """One map y_i = f(x_i; x_<i, context), with the weights at the time of its construction.

    Args:
        layers: Masked weight and bias of each layer of the network that outputs the parameters of f.
        univariate: Constructor of f from its parameters, a transform of zuko.
        sizes: Size of each parameter of f, 0 for scalars without their own dimension.
        context: Input of the network besides x, (\\*batch, C).
    """

    layers: list[tuple[Tensor, Tensor]]
    univariate: Callable[..., Any]
    sizes: tuple[int, ...]
    context: Tensor

    def at(self, x: Tensor) -> Any:
        """The univariate maps, given the previous dimensions of each dimension."""
        shape = torch.broadcast_shapes(x.shape[:-1], self.context.shape[:-1])
        h = torch.cat([x.expand(*shape, -1), self.context.expand(*shape, -1)], -1)
        with torch.autocast(h.device.type, enabled=False):  # densities are in float32 or better
            for n, (weight, bias) in enumerate(self.layers):
                h = F.linear(F.elu(h) if n else h, weight, bias)
        parts = h.unflatten(-1, (x.shape[-1], -1)).split([max(size, 1) for size in self.sizes], -1)
        return self.univariate(*(p if size else p.squeeze(-1) for p, size in zip(parts, self.sizes, strict=True)))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """y and log |dy/dx|, in one pass."""
        y, log_slope = self.at(x).call_and_ladj(x)
        return y, log_slope.sum(-1)

    def inverse(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """x and log |dx/dy|, in as many passes as there are dimensions."""
        x = torch.zeros_like(y)
        for _ in range(y.shape[-1]):
            maps = self.at(x)
            x = maps._inverse(y)  # its .inv holds a weak reference, which breaks the compiled graph
        return x, -maps.log_abs_det_jacobian(x, y).sum(-1)


class Autoregression(nn.Module):
    """The weights of a :class:`Step`.

    Args:
        num_dims: Number of dimensions D.
        context_dim: Size of the context.
        hidden: Widths of the hidden layers.
        num_bins: Bins of a rational-quadratic spline in each dimension; 0 for an affine map.
        reverse: Whether the last dimension comes first.
    """

    def __init__(
        self, num_dims: int, context_dim: int, *, hidden: Sequence[int], num_bins: int, reverse: bool = False
    ) -> None:
        super().__init__()
        from zuko.nn import MaskedMLP
        from zuko.transforms import MonotonicAffineTransform, MonotonicRQSTransform

        self.univariate = MonotonicRQSTransform if num_bins else MonotonicAffineTransform
        self.sizes = (num_bins, num_bins, num_bins - 1) if num_bins else (0, 0)
        order = torch.arange(num_dims).flip(0) if reverse else torch.arange(num_dims)
        seen = torch.cat([order[:, None] > order, torch.ones(num_dims, context_dim, dtype=torch.bool)], 1)
        total = sum(max(size, 1) for size in self.sizes)
        self.net = MaskedMLP(seen.repeat_interleave(total, 0), hidden_features=list(hidden))
        with torch.no_grad():  # near the identity at first
            for p in self.net[-1].parameters():
                p.mul_(0.1)

    def forward(self, context: Tensor) -> Step:
        masked = [m for m in self.net if isinstance(m, nn.Linear)]
        # Copies, so that steps made without gradients have none later either. Not every torch exports a product with
        # truth values to ONNX.
        layers = [
            ((m.weight * m.get_buffer("mask").to(m.weight)).to(context.dtype), m.bias.to(context.dtype, copy=True))
            for m in masked
        ]
        return Step(layers, self.univariate, self.sizes, context)


def autoregressions(
    owner: str, num_dims: int, context_dim: int, num_transforms: int, hidden: Sequence[int], num_bins: int
) -> nn.ModuleList:
    """Steps that start alternately from the first and from the last dimension.

    Raises:
        ImportError: If zuko is not installed.
        ValueError: If the number of steps, the size of the context or a width is less than 1.
    """
    try:
        import zuko  # noqa: F401
    except ImportError:
        raise ImportError(f"{owner} needs zuko: pip install 'vae_zoo[flows]'.") from None
    if num_transforms < 1 or context_dim < 1:
        raise ValueError(f"num_transforms and context_dim must be at least 1, got {num_transforms} and {context_dim}.")
    if not hidden or any(width < 1 for width in hidden):
        raise ValueError(f"hidden must hold widths of at least 1, got {list(hidden)}.")
    return nn.ModuleList(
        Autoregression(num_dims, context_dim, hidden=hidden, num_bins=num_bins, reverse=n % 2 == 1)
        for n in range(num_transforms)
    )


class Flow(Distribution):
    r"""Distribution of standard normal noise after invertible steps g.

    .. math:: z = \mu + \sigma \, g(u), \quad u \sim \mathcal{N}(0, I)

    A flow has no moments in closed form. :attr:`mean` is the image μ + σ g(0) of the noise's mean: a deterministic
    central point, and the median in one dimension. :attr:`stddev` is half the distance between the images of the
    points at plus and minus one standard deviation along each axis of the noise, as a root sum of squares over the
    axes. Both are exact if g is affine.

    Args:
        steps: Steps of g, each a :class:`Step` or another object with its ``forward`` and ``inverse``.
        loc: Shift μ, (\*batch, D).
        log_scale: Logarithm of the scale σ, (\*batch, D).
        shape: Shape of one event of D elements.
        sampler: Whether a sample (inverse autoregressive flow) or a density (masked flow) takes one pass. The
            other takes D passes; but the density of the last draw of :meth:`rsample` is kept, and costs nothing. Its
            gradient does not pass through z; use the density of ``z.view_as(z)`` if it should.
    """

    has_rsample = True
    arg_constraints: dict[str, constraints.Constraint] = {}

    def __init__(
        self, steps: list[Any], loc: Tensor, log_scale: Tensor, shape: tuple[int, ...], *, sampler: bool
    ) -> None:
        self.steps, self.loc, self.log_scale, self.sampler = steps, loc, log_scale, sampler
        self._drawn: tuple[Tensor, Tensor, bool] | None = None
        super().__init__(loc.shape[:-1], torch.Size(shape), validate_args=False)

    @property
    def support(self) -> constraints.Constraint:
        return constraints.independent(constraints.real, len(self.event_shape))

    @property
    def mean(self) -> Tensor:
        return self._push(torch.zeros_like(self.loc))[0].unflatten(-1, self.event_shape)

    @property
    def variance(self) -> Tensor:
        axes = torch.eye(self.loc.shape[-1], dtype=self.loc.dtype, device=self.loc.device)
        axes = axes.view(-1, *[1] * (self.loc.ndim - 1), len(axes)).expand(-1, *self.loc.shape)
        gap = (self._push(axes)[0] - self._push(-axes)[0]) / 2
        return gap.square().sum(0).unflatten(-1, self.event_shape)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        u = torch.randn((*sample_shape, *self.loc.shape), dtype=self.loc.dtype, device=self.loc.device)
        flat, log_slope = self._push(u)
        z = flat.unflatten(-1, self.event_shape)
        self._drawn = (z, _log_normal(u) - log_slope, torch.is_grad_enabled())
        return z

    def log_prob(self, value: Tensor) -> Tensor:
        drawn = self._drawn
        if drawn is not None and value is drawn[0] and (drawn[2] or not torch.is_grad_enabled()):
            return drawn[1]
        u, log_slope = self._pull(value.flatten(-len(self.event_shape)))
        return _log_normal(u) + log_slope

    def _push(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """z and log |dz/du|."""
        total = self.log_scale.sum(-1)
        for step in self.steps:
            u, log_slope = step.forward(u) if self.sampler else step.inverse(u)
            total = total + log_slope
        return self.loc + self.log_scale.exp() * u, total

    def _pull(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """u and log |du/dz|."""
        total = -self.log_scale.sum(-1)
        z = (z - self.loc) * torch.exp(-self.log_scale)
        for step in reversed(self.steps):
            z, log_slope = step.inverse(z) if self.sampler else step.forward(z)
            total = total + log_slope
        return z, total


def _log_normal(u: Tensor) -> Tensor:
    return (-0.5 * u.square() - 0.5 * math.log(2 * math.pi)).sum(-1)
