"""Largest singular values of the weights of layers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from vae_zoo.functional import exact
from vae_zoo.nn.conv import LINEAR


class SpectralNorms(nn.Module):
    r"""Sum of the largest singular values of the weights of dense layers and convolutions.

    .. math:: \sum_i \sigma_{\max}(W_i), \quad \sigma_{\max}(W) \approx u^\top W v, \quad
        u \leftarrow \frac{W v}{\|W v\|}, \quad v \leftarrow \frac{W^\top u}{\|W^\top u\|}

    The vectors u take one step of the power method at each :meth:`step`, and are saved in checkpoints. Weights of
    convolutions are matrices of output channels by inputs of one output value.

    References:
        | Spectral Norm Regularization for Improving the Generalizability of Deep Learning (Yoshida and Miyato, 2017)
        | https://arxiv.org/abs/1705.10941

    Args:
        networks: Networks whose layers count. They are not part of this module.
        start: Steps of the power method before the first call.
    """

    u_0: Tensor
    _found: list[nn.Module]

    def __init__(self, networks: Iterable[nn.Module], *, start: int = 5) -> None:
        super().__init__()
        found = [layer for network in networks for layer in network.modules() if isinstance(layer, LINEAR)]
        object.__setattr__(self, "_found", found)  # their parameters are the networks' own
        for n, layer in enumerate(found):
            weight = exact(layer.weight.detach()).flatten(1)
            u = nn.functional.normalize(torch.randn(len(weight), dtype=weight.dtype, device=weight.device), dim=0)
            for _ in range(start):
                u = _stepped(weight, u)
            self.register_buffer(f"u_{n}", u)

    def layers(self) -> list[nn.Module]:
        """The layers whose weights count."""
        return list(self._found)

    @torch.no_grad()
    def step(self) -> None:
        """One step of the power method for each layer."""
        for n, layer in enumerate(self._found):
            own: Any = layer.weight
            u = getattr(self, f"u_{n}")
            u.copy_(_stepped(exact(own).flatten(1), exact(u)))

    def forward(self) -> Tensor:
        """The sum, a scalar."""
        total = []
        with torch.autocast(self.u_0.device.type, enabled=False):
            for n, layer in enumerate(self._found):
                own: Any = layer.weight
                weight, u = exact(own).flatten(1), exact(getattr(self, f"u_{n}")).clone()
                v = nn.functional.normalize(weight.detach().T @ u, dim=0)
                total.append(u @ (weight @ v))
            return torch.stack(total).sum()


def _stepped(weight: Tensor, u: Tensor) -> Tensor:
    """The next estimate of the first left singular vector."""
    return nn.functional.normalize(weight @ (weight.T @ u), dim=0)
