"""The very deep variational autoencoder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from vae_zoo.models.hierarchies.top_down import TopDownVAE


class VDVAE(TopDownVAE):
    r"""Very deep VAE: many layers of few latents, which a state collects on its way to finer resolutions.

    .. math:: h \leftarrow h + f_l(h) + W_l z_l, \quad h \leftarrow h + g_l(h), \quad
        h \leftarrow \mathrm{repeat}(h) \text{ at the next resolution}

    The last weights of the networks g are scaled by :math:`1 / \sqrt{L}`, those of posteriors and priors by 0.1. The
    paper skips steps whose gradient is too large, with the callback ``GradientSkip``, and evaluates a moving average of
    the weights, with Lightning's ``EMAWeightAveraging``. Unlike in its code, the prior of the top layer is fixed at the
    standard normal distribution, at which the code's starts.

    When to use it:
        For the density of pictures, with time for many layers. Not for one small vector that describes an example: its
        latents are spread over all layers.

    References:
        | Very Deep VAEs Generalize Autoregressive Models and Can Outperform Them on Images (Child, 2021)
        | https://arxiv.org/abs/2011.10650

    Args:
        layers: Number of layers at each resolution, the finest first.
        kwargs: Arguments of :class:`TopDownVAE`.
    """

    def __init__(self, *, layers: Sequence[int] = (3, 2, 2), **kwargs: Any) -> None:
        super().__init__(layers=layers, **kwargs)
