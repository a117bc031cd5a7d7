"""Models whose pictures are judged by a discriminator, and compared in the features of a trained network."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.distributions import Distribution

from vae_zoo.checkpoints.hyperparameters import class_of
from vae_zoo.distributions import Perceptual, mean_of
from vae_zoo.models.base.autoencoder import Autoencoder
from vae_zoo.models.base.components import make
from vae_zoo.models.base.groups import split_off
from vae_zoo.nn import Delayed, EfficientNetFeatures, PatchDiscriminator, Restraint, frozen
from vae_zoo.nn.batching import as_weights
from vae_zoo.nn.halving import halved
from vae_zoo.typing import Network, Shape

_LARGEST = 1e4
"""Largest ratio of gradients, where the discriminator gives hardly any."""


class Judged(Autoencoder):
    r"""Base of autoencoders of pictures with a perceptual term and a discriminator of patches.

    .. math:: \mathcal{L} = \mathcal{L}_{auto} + \lambda R_p - a w \, \mathbb{E} \, \bar T(\hat x)
            + \tfrac{1}{2} \mathbb{E} \big[ (1 - T(x))_+ + (1 + T(\mathrm{sg}[\hat x]))_+ \big]

    .. math:: R_p = D \sum_l \frac{2 \| f_l(\hat x) - f_l(x) \|^2}{\| f_l(\hat x) \|^2 + \| f_l(x) \|^2}, \quad
        w = \| \nabla_{\theta_L} (-\log p(x|z) + \lambda R_p) \|
            / \| \nabla_{\theta_L} \mathbb{E} \, \bar T(\hat x) \|

    Here :math:`\hat x` is the mean of p(x|z), T are the logits of the discriminator, held fixed where barred, and
    :math:`\theta_L` are the weights of the decoder's last layer: with a = 1, the gradients of picture and discriminator
    are equally large there. D is the number of pixels and channels. Features of layer l count relative to their size,
    so that λ means the same for all networks. One optimizer is enough, since every term moves only the networks it is
    for. With features of LPIPS, R_p is D times that distance. The first steps go without the discriminator, whose
    verdict on grey pictures is of no use. In evaluation, w is that of the last training step.

    Args:
        network: Class of the network f, which loads its own weights: it is neither trained nor saved. None for none.
        perceptual_weight: Weight λ of the comparison in the features of f.
        discriminator: Network from a picture to logits T, of any shape. None for none.
        adversarial_weight: Weight a of the discriminator.
        adaptive: Whether to compute w, or to take the number of values of a picture, D, in its place.
        discriminator_start: Steps of the optimizer without the discriminator.
        discriminator_lr: Learning rate of the discriminator, trained by Adam with β₁ = 0.5 and β₂ = 0.9.
        restraint: What keeps the discriminator from winning: ``LeCam`` or ``R1``.
        kwargs: Arguments of :class:`Autoencoder`.

    Raises:
        ValueError: If a weight is negative or not finite, discriminator_lr is not positive and finite, or examples are
            no pictures for the network or the discriminator.
    """

    game = True
    compilable = False  # torch takes no derivative within a graph, and the weight w is made of two
    incomplete = scales = "the discriminator judges whole pictures"
    units = {
        "perceptual": "relative squared distance of features, times pixels and channels",
        "generator_loss": "minus the logit of reconstructions",
        "discriminator_loss": "hinge loss, 1 at chance",
        "real_logits": "logit",
        "fake_logits": "logit",
    }

    balance: Tensor

    def __init__(
        self,
        *,
        network: Callable[[], nn.Module] | None = EfficientNetFeatures,
        perceptual_weight: float = 1.0,
        discriminator: Network | None = PatchDiscriminator,
        adversarial_weight: float = 0.5,
        adaptive: bool = True,
        discriminator_start: int = 1000,
        discriminator_lr: float = 2e-4,
        restraint: Callable[[], Restraint] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        for name, weight in (("perceptual_weight", perceptual_weight), ("adversarial_weight", adversarial_weight)):
            if not (weight >= 0 and math.isfinite(weight)):
                raise ValueError(f"{name} must be at least 0 and finite, got {weight}.")
        if not (discriminator_lr > 0 and math.isfinite(discriminator_lr)):
            raise ValueError(f"discriminator_lr must be positive and finite, got {discriminator_lr}.")
        self.perceptual_weight, self.adversarial_weight = perceptual_weight, adversarial_weight
        self.adaptive, self.discriminator_lr = adaptive, discriminator_lr
        compares = network is not None and perceptual_weight > 0
        compare = Perceptual if getattr(class_of(network), "calibrated", False) else _Relative
        self.features = compare(self.shape, network=network) if compares else None  # type: ignore[arg-type]
        self.delay = Delayed(discriminator_start)
        self.discriminator = self.restraint = None
        if discriminator is not None:
            self.discriminator = make("discriminator", discriminator, nn.Module, self.shape, (1,))
        if restraint is not None:
            self.restraint = make("restraint", restraint, Restraint)  # type: ignore[type-abstract]
        self.register_buffer("balance", torch.tensor(0.0))  # the last w of training, for the loss in evaluation

    def judged(self, values: dict[str, Tensor], x: Tensor, px: Distribution, distance: Tensor) -> dict[str, Tensor]:
        """The values of an objective with the terms of perception and of the discriminator, which are logged.

        Args:
            values: The objective under ``loss``, and metrics.
            x: Examples, (B, \\*shape).
            px: Their likelihood, batch shape (B,) or (K, B).
            distance: What the objective says of the pictures: minus the log-likelihood, a scalar.
        """
        picture = mean_of(px, x.device)
        x = x.to(picture.dtype).expand_as(picture).flatten(0, -1 - len(self.shape))
        picture = picture.flatten(0, -1 - len(self.shape))
        loss = values["loss"]
        found: dict[str, Tensor] = {}
        if self.features is not None:
            with torch.autocast(x.device.type, enabled=False):
                perceptual = math.prod(self.shape) * self.features.distance(picture, x).mean()
            loss, distance = loss + self.perceptual_weight * perceptual, distance + self.perceptual_weight * perceptual
            found |= {"perceptual": perceptual}
        found |= {"autoencoder_loss": loss}
        if self.discriminator is not None:
            told = self._told(x, picture, distance)
            loss = loss + told["adversarial_weight"] * told["generator_loss"] + told["discriminator_loss"]
            found |= told
        return values | {"loss": loss, **found}

    def _told(self, x: Tensor, picture: Tensor, distance: Tensor) -> dict[str, Tensor]:
        """What the discriminator adds for pictures of examples, (N, \\*shape)."""
        assert self.discriminator is not None
        if self.training and not self.delay.begun:  # of which its parameters are told, for several processes
            nothing = torch.stack([0.0 * p.sum() for p in self.discriminator.parameters()]).sum()
            zero = torch.zeros_like(distance.detach())
            rest = dict.fromkeys(("generator_loss", "adversarial_weight", "real_logits", "fake_logits"), zero)
            return {**rest, "discriminator_loss": nothing.to(zero.dtype)}
        deceive = -self._logits(frozen(self.discriminator), picture).mean()
        weight = self.adversarial_weight * self._ratio(distance, deceive)
        real, fake = (self._logits(self.discriminator, images) for images in (x, picture.detach()))
        own = ((1 - real).relu().mean() + (1 + fake).relu().mean()) / 2
        if self.restraint is not None:
            own = own + self.restraint(lambda images: self._logits(self.discriminator, images), x, real, fake)
        logits = {"real_logits": real.mean(), "fake_logits": fake.mean()}
        return {"generator_loss": deceive, "adversarial_weight": weight, "discriminator_loss": own, **logits}

    def _logits(self, discriminator: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
        """Logits of pictures (N, \\*shape), in float32 or better."""
        logits = discriminator(as_weights(images, self.discriminator))  # type: ignore[arg-type]
        return logits.to(torch.promote_types(images.dtype, torch.float32))

    def _ratio(self, distance: Tensor, deceive: Tensor) -> Tensor:
        """The weight w, without gradient: the number of values of a picture if it is not computed."""
        if not self.adaptive:
            return torch.full_like(distance.detach(), math.prod(self.shape))
        last = [p for p in self.decoder.parameters() if p.ndim > 1][-1]
        if not (self.training and distance.requires_grad and deceive.requires_grad and last.requires_grad):
            return self.balance.to(distance.dtype)
        slopes = torch.stack([torch.autograd.grad(term, last, retain_graph=True)[0] for term in (distance, deceive)])
        if distributed.is_available() and distributed.is_initialized():
            distributed.all_reduce(slopes)  # of the batches of all processes
        size, other = slopes.flatten(1).to(distance.dtype).norm(dim=1)
        ratio = (size / (other + 1 / _LARGEST)).clamp(max=_LARGEST).detach()
        self.balance.copy_(ratio)
        return ratio

    def on_train_batch_end(self, *args: Any, **kwargs: Any) -> None:
        super().on_train_batch_end(*args, **kwargs)
        if self.restraint is not None:
            self.restraint.update()

    def param_groups(self) -> list[dict[str, Any]]:
        if self.discriminator is None:
            return super().param_groups()
        own = {"params": list(self.discriminator.parameters()), "lr": self.discriminator_lr, "betas": (0.5, 0.9)}
        return split_off(super().param_groups(), own)

    @property
    def deceiving(self) -> dict[str, float]:
        """The term of the discriminator in the objective of the autoencoder, as in :meth:`routes`."""
        return {} if self.discriminator is None else {"adversarial_weight * generator_loss": 1.0}


class _Relative(Perceptual):
    """The distance of features relative to their size, summed over layers."""

    def layer(self, a: Tensor, b: Tensor) -> Tensor:
        a, b = a.flatten(1), b.flatten(1)
        size = a.square().sum(1) + b.square().sum(1)
        return 2 * (a - b).square().sum(1) / size.clamp(min=1e-8)


def reduced(shape: Shape, factor: int | None) -> Shape:
    """Sides of a picture divided by a factor: by default 4 below 64 pixels, and 8 from there on.

    Raises:
        ValueError: If factor is not a power of 2, or the picture is too small for it.
    """
    sides = tuple(shape[1:])
    if factor is None:
        factor = 4 if min(sides, default=1) < 64 else 8
        factor = min(factor, 2 ** (max(min(sides, default=1), 1).bit_length() - 1))
    elif factor < 1 or factor & (factor - 1):
        raise ValueError(f"factor must be a power of 2, such as 4, 8 or 16, got {factor}.")
    elif min(sides, default=factor) < factor:
        raise ValueError(f"factor {factor} needs pictures of at least {factor} x {factor} pixels, got {tuple(shape)}.")
    for _ in range(factor.bit_length() - 1):
        sides = halved(sides)
    return sides
