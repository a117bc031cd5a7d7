"""The deep feature consistent VAE."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from torch import nn

from vae_zoo.distributions import Perceptual
from vae_zoo.models.plain.vae import ConvVAE
from vae_zoo.nn import VGGFeatures


class DFCVAE(ConvVAE):
    r"""VAE whose reconstructions are compared in the features of a network that was trained to classify photographs.

    .. math:: \mathcal{L} = w D \sum_l \frac{1}{D_l} \| f_l(\hat x(z)) - f_l(x) \|^2
        + \mathrm{KL}(q(z|x) \,\|\, p(z))

    The energy is no density: there is no bound on log p(x) and no evidence. D is the number of pixels and channels of
    an image, D_l that of the features of layer l. The paper's weight β of features is 2 w D, and its α is 1. The
    paper has β = 0.5, a mean over features; by default β is 2 D (w = 1), 24,576 for colour pictures of 64 by 64, so
    that features count as much as a squared error summed over pixels does beside a rate in nats.

    When to use it:
        If pictures are natural and pixels the wrong measure, and no likelihood is needed. Not for pictures unlike
        photographs, whose features mean little.

    References:
        | Deep Feature Consistent Variational Autoencoder (Hou et al., 2017)
        | https://arxiv.org/abs/1610.00291

    Args:
        network: Class of the network f, which loads its own weights: it is neither trained nor saved.
        feature_weight: Weight w of the energy against the rate.
        kwargs: Arguments of :class:`ConvVAE`.
    """

    reports = "-"
    fixed = {"likelihood": "it is Perceptual, with the features of network"}

    def __init__(
        self, *, network: Callable[[], nn.Module] = VGGFeatures, feature_weight: float = 1.0, **kwargs: Any
    ) -> None:
        super().__init__(likelihood=partial(Perceptual, network=network, weight=feature_weight), **kwargs)
