"""Discriminators of pictures that judge patches, and what keeps them from winning."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor, distributed, nn
from torch.nn.utils.parametrizations import spectral_norm

from vae_zoo.nn.conv import CONVOLUTIONS, initialize
from vae_zoo.nn.halving import Size, geometry, halved
from vae_zoo.nn.pictures.residual import num_groups
from vae_zoo.typing import Shape


class PatchDiscriminator(nn.Module):
    """A logit for every patch of a picture: convolutions of stride 2, then two at that size.

    Groups of channels are normalised, where the original normalises batches: the logit of an example does not depend on
    the others beside it. The last convolutions have kernels of 3 rather than 4, which fit pictures of any size; with
    three layers of stride 2, a patch has 54 pixels a side.

    References:
        | Image-to-Image Translation with Conditional Adversarial Networks (Isola et al., 2017)
        | https://arxiv.org/abs/1611.07004
        | Spectral Normalization for Generative Adversarial Networks (Miyato et al., 2018)
        | https://arxiv.org/abs/1802.05957

    Args:
        in_shape: Shape of one picture, (C, H, W).
        out_shape: Shape of the logit, not used: there is one for every patch.
        width: Channels after the first convolution; each further one doubles them, up to 8 times as many.
        num_layers: Convolutions of stride 2; fewer for small pictures, of which 2 by 2 patches are left at least.
        spectral: Whether to divide weights by their largest singular value, in place of normalised groups.

    Raises:
        ValueError: If examples are no pictures, or a size is less than 1.
    """

    def __init__(
        self, in_shape: Shape, out_shape: Shape = (1,), *, width: int = 64, num_layers: int = 3, spectral: bool = False
    ) -> None:
        super().__init__()
        del out_shape
        if len(in_shape) != 3:
            raise ValueError(f"a discriminator of patches needs pictures (C, H, W), got shape {tuple(in_shape)}.")
        if min(width, num_layers) < 1:
            raise ValueError(f"width and num_layers must be at least 1, got {width} and {num_layers}.")
        sizes: list[Size] = [tuple(in_shape[1:])]
        while len(sizes) <= num_layers and (len(sizes) == 1 or min(sizes[-1]) >= 4):
            sizes.append(halved(sizes[-1]))
        widths = [width * min(2**number, 8) for number in range(len(sizes))]
        layers: list[nn.Module] = []
        for number, (before, after) in enumerate(pairwise((in_shape[0], *widths))):
            last = number == len(sizes) - 1
            kernel, stride, _ = ((3, 3), (1, 1), None) if last else geometry(sizes[number], sizes[number + 1])
            layers.append(_convolution(before, after, kernel, stride))
            if number and not spectral:
                layers.append(nn.GroupNorm(num_groups(after), after))
            layers.append(nn.LeakyReLU(0.2))
        # without a bias, of which a hinge loss leaves no gradient as long as all logits lie between -1 and 1
        self.layers = nn.Sequential(*layers, nn.Conv2d(widths[-1], 1, 3, padding=1, bias=False))
        initialize(self)
        if spectral:
            for layer in self.layers:
                if isinstance(layer, nn.Conv2d):
                    spectral_norm(layer)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (B, 1, h, w) of pictures (B, \\*in_shape)."""
        logits: Tensor = self.layers(x)
        return logits


def _convolution(before: int, after: int, kernel: Size, stride: Size) -> nn.Module:
    layer: nn.Module = CONVOLUTIONS[2][0](before, after, kernel, stride, padding=1)
    return layer


class Restraint(nn.Module, ABC):
    """What is added to the loss of a discriminator of pictures, so that it does not win.

    Args:
        weight: Weight of the term.

    Raises:
        ValueError: If weight is not positive and finite.
    """

    def __init__(self, *, weight: float) -> None:
        super().__init__()
        if not (weight > 0 and math.isfinite(weight)):
            raise ValueError(f"weight must be positive and finite, got {weight}.")
        self.weight = weight

    @abstractmethod
    def forward(self, judge: Callable[[Tensor], Tensor], x: Tensor, real: Tensor, fake: Tensor) -> Tensor:
        """A scalar, from the discriminator, examples, and the logits of examples and of reconstructions."""

    def update(self) -> None:
        """Follow the logits of a training step, once after it."""


class LeCam(Restraint):
    r"""Keeps the logits of real pictures close to the average ones of reconstructions, and the reverse.

    .. math:: R = \lambda \big( \mathbb{E} (D(x) - \alpha_F)^2 + \mathbb{E} (D(\hat x) - \alpha_R)^2 \big)

    The averages α are exponential moving averages over training batches. The term is strong where pictures are few.

    References:
        | Regularizing Generative Adversarial Networks under Limited Data (Tseng et al., 2021)
        | https://arxiv.org/abs/2104.03310

    Args:
        weight: Weight λ of the term.
        decay: Weight of the past in the averages.

    Raises:
        ValueError: If weight is not positive and finite, or decay lies outside [0, 1).
    """

    means: Tensor
    seen: Tensor

    def __init__(self, *, weight: float = 0.1, decay: float = 0.99) -> None:
        super().__init__(weight=weight)
        if not 0 <= decay < 1:
            raise ValueError(f"decay must lie in [0, 1), got {decay}.")
        self.decay = decay
        self.register_buffer("means", torch.zeros(2))
        self.register_buffer("seen", torch.zeros(3))

    def forward(self, judge: Callable[[Tensor], Tensor], x: Tensor, real: Tensor, fake: Tensor) -> Tensor:  # noqa: ARG002
        if self.training and torch.is_grad_enabled():
            found = torch.stack([real.mean(), fake.mean(), torch.ones_like(real.mean())]).detach()
            self.seen += found.to(self.seen.dtype)
        mean_real, mean_fake = self.means.to(real.dtype)
        return self.weight * ((real - mean_fake).square().mean() + (fake - mean_real).square().mean())

    def update(self) -> None:
        if distributed.is_available() and distributed.is_initialized():
            distributed.all_reduce(self.seen)
        decay = torch.where(self.seen[2] > 0, self.decay, 1.0)
        self.means.copy_(decay * self.means + (1 - decay) * self.seen[:2] / self.seen[2].clamp(min=1))
        self.seen.zero_()


class R1(Restraint):
    r"""Keeps the discriminator smooth at real pictures, by the gradient of its logits with respect to them.

    .. math:: R = \tfrac{\gamma}{2} \, \mathbb{E} \big\| \nabla_x \overline{D(x)} \big\|^2

    The bar is the mean over the patches of a picture. It takes a second derivative, and about twice the time of the
    discriminator; under inference mode, as in validation, it is 0.

    References:
        | Which Training Methods for GANs do actually Converge? (Mescheder et al., 2018)
        | https://arxiv.org/abs/1801.04406

    Args:
        weight: Weight γ of the term.
    """

    def __init__(self, *, weight: float = 10.0) -> None:
        super().__init__(weight=weight)

    def forward(self, judge: Callable[[Tensor], Tensor], x: Tensor, real: Tensor, fake: Tensor) -> Tensor:  # noqa: ARG002
        if torch.is_inference_mode_enabled():
            return torch.zeros_like(real.mean())
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            (slope,) = torch.autograd.grad(judge(x).flatten(1).mean(1).sum(), x, create_graph=True)
        return self.weight / 2 * slope.square().flatten(1).sum(1).mean()
