"""Energies that score reconstructions in place of a density, without a normaliser and therefore without an evidence."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, constraints

from vae_zoo.distributions.families import Family
from vae_zoo.distributions.normal import PointMass
from vae_zoo.typing import Shape


class Energy(Family):
    """Base of energies: ``log_prob`` is minus the energy; the mean and every sample are the picture itself.

    Args:
        shape: Shape of one image.
        weight: Weight of the energy against the rate, which is in nats.
    """

    support = constraints.interval(0.0, 1.0)
    is_density = False
    advice = "divide 8-bit images by 255 and do not normalise them"

    def __init__(self, shape: Shape, *, weight: float = 1.0) -> None:
        super().__init__(shape)
        if not (weight > 0 and math.isfinite(weight)):
            raise ValueError(f"weight must be positive and finite, got {weight}.")
        self.weight = weight

    @abstractmethod
    def distance(self, picture: Tensor, x: Tensor) -> Tensor:
        """Distance of pictures (N, \\*shape) from examples of the same shape, averaged over the image, (N,)."""

    def distribution(self, params: Tensor) -> Distribution:
        return _EnergyOf(params.sigmoid(), len(self.shape), self)


class _EnergyOf(torch.distributions.Independent):
    def __init__(self, picture: Tensor, event_dims: int, energy: Energy) -> None:
        super().__init__(PointMass(picture), event_dims, validate_args=False)
        self._energy = energy

    def log_prob(self, value: Tensor) -> Tensor:
        picture, x = torch.broadcast_tensors(self.mean, value.to(self.mean.dtype))
        batch = picture.shape[: -len(self.event_shape)]
        with torch.autocast(picture.device.type, enabled=False):
            distance = self._energy.distance(picture.reshape(-1, *self.event_shape), x.reshape(-1, *self.event_shape))
        return -self._energy.weight * math.prod(self.event_shape) * distance.unflatten(0, batch)


class MSSSIM(Energy):
    r"""Multi-scale structural similarity of images in [0, 1], an energy and not a density.

    .. math:: E(x, z) = w D \, \big( 1 - \text{MS-SSIM}(\hat x(z), x) \big)

    Small images have fewer scales, with renormalised exponents: as many, up to 5, as fit the window of
    11 pixels, which is 2 for 28 x 28 and 3 for 64 x 64; below 11 pixels the window is smaller. Similarities are mapped
    from [-1, 1] to [0, 1] before they are raised to their exponents, so that gradients are finite.

    References:
        | Multiscale Structural Similarity for Image Quality Assessment (Wang et al., 2003)
        | https://doi.org/10.1109/ACSSC.2003.1292216

    Args:
        shape: Shape of one image, (C, H, W).
        weight: Weight w of the energy against the rate.

    Raises:
        ValueError: If weight is not positive and finite, or shape is not that of images of at least 3 x 3 pixels.
    """

    def __init__(self, shape: Shape, *, weight: float = 1.0) -> None:
        super().__init__(shape, weight=weight)
        if len(self.shape) != 3 or min(self.shape[1:]) < 3:
            raise ValueError(f"MSSSIM needs images (C, H, W) of at least 3 x 3 pixels, got {self.shape}.")
        side = min(self.shape[1:])
        window = min(_WINDOW, side - 1 + side % 2)
        self.window, self.sigma = window, 1.5 * window / _WINDOW
        scales = max(n for n in range(1, 6) if side // max(2 ** (n - 1), (n - 1) ** 2) >= window)
        self.exponents = tuple(e / sum(_EXPONENTS[:scales]) for e in _EXPONENTS[:scales])

    def distance(self, picture: Tensor, x: Tensor) -> Tensor:
        from torchmetrics.functional.image import multiscale_structural_similarity_index_measure as similarity

        found = similarity(
            picture,
            x,
            sigma=self.sigma,
            kernel_size=self.window,
            betas=self.exponents,
            reduction="none",
            data_range=1.0,
            normalize="simple",
        )
        return 1 - found.reshape(-1)


_WINDOW = 11
_EXPONENTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"""Exponents of the paper, from the finest scale to the coarsest."""


class Perceptual(Energy):
    r"""Distance of images in [0, 1] in the features of a fixed network, an energy and not a density.

    .. math:: E(x, z) = w D \sum_l \frac{1}{D_l} \| f_l(\hat x(z)) - f_l(x) \|^2

    The network is frozen and not part of the model: it is neither trained nor saved, and its constructor must load
    its weights, since checkpoints do not contain them.

    References:
        | Deep Feature Consistent Variational Autoencoder (Hou et al., 2017)
        | https://arxiv.org/abs/1610.00291

    Args:
        shape: Shape of one image.
        network: Class of the network f, from (N, \*shape) to the features of layer l, a tensor or several of them.
        weight: Weight w of the energy against the rate.

    Raises:
        ValueError: If weight is not positive and finite, or the network has no features of such images.
    """

    def __init__(self, shape: Shape, *, network: Callable[[], nn.Module], weight: float = 1.0) -> None:
        super().__init__(shape, weight=weight)
        self._hidden = (network().eval().requires_grad_(False),)  # a tuple, which torch does not look into
        self._check()

    def _check(self) -> None:
        (network,) = self._hidden
        device = next((t.device for t in (*network.parameters(), *network.buffers())), None)
        try:
            with torch.no_grad():
                _features(network(torch.zeros(1, *self.shape, device=device)))
        except (RuntimeError, ValueError, TypeError, IndexError) as error:
            said, name = str(error).strip().partition("\n")[0], type(network).__name__
            raise ValueError(f"network {name} has no features of examples of shape {self.shape}: {said}") from error

    def distance(self, picture: Tensor, x: Tensor) -> Tensor:
        (network,) = self._hidden
        pairs = zip(_features(network(picture)), _features(network(x)), strict=True)
        total = torch.zeros_like(picture.flatten(1)[:, 0])
        for a, b in pairs:
            total = total + self.layer(a, b)
        return total

    def layer(self, a: Tensor, b: Tensor) -> Tensor:
        """Distance in the features of one layer, (N,)."""
        return (a - b).square().flatten(1).mean(1)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Perceptual:
        network = self._hidden[0]._apply(fn, recurse)
        if any(t.dtype in (torch.bfloat16, torch.float16) for t in (*network.parameters(), *network.buffers())):
            network.float()  # features of almost equal pictures would differ by rounding alone
        return super()._apply(fn, recurse)


def _features(output: Any) -> tuple[Tensor, ...]:
    return (output,) if isinstance(output, Tensor) else tuple(output)
