"""The importance-weighted autoencoder with doubly reparameterised gradients."""

from __future__ import annotations

import torch
from torch import Tensor

from vae_zoo.elbo import ELBO
from vae_zoo.models.objectives.iwae import IWAE


class IWAEDReG(IWAE):
    r"""IWAE whose encoder is trained with a gradient of the same mean and lower variance.

    .. math:: \nabla_\phi \mathcal{L}_K(x) = \mathbb{E} \Big[ \sum_{k=1}^K \tilde w_k^2 \,
        \frac{\partial \log w_k}{\partial z_k} \frac{\partial z_k}{\partial \phi} \Big], \quad
        \tilde w_k = \frac{w_k}{\sum_l w_l}, \quad w_k = \frac{p(x, z_k)}{q(z_k|x)}

    Decoder and prior are trained with the gradient of :class:`IWAE`, and the value of the loss is the same bound.
    With one sample this is the sticking-the-landing estimator. With free bits, the penalty of a posterior without a
    closed-form divergence is also weighted by the normalised weights.

    When to use it:
        In place of ``IWAE`` wherever it can be used, above all with many samples. Not with relaxed latents or
        penalties, which it refuses.

    References:
        | Doubly Reparameterized Gradient Estimators for Monte Carlo Objectives (Tucker et al., 2019)
        | https://arxiv.org/abs/1810.04152

    Args:
        kwargs: Arguments of :class:`IWAE`.
    """

    apart = dict.fromkeys(
        ("CIWAE", "FactorVAE"), "the weights of the gradient at the latents would scale the other's terms too"
    )

    fixed = {"penalties": "the weights of the gradient at the latents would scale them too"}

    compilable = torch.__version__ >= "2.13"  # before, a compiled graph loses the hook, and half of the gradient

    def objective(self, elbo: ELBO) -> dict[str, Tensor]:
        z = elbo.z
        if z.requires_grad:
            share = torch.softmax(elbo.log_w.detach(), 0)
            share = share.view(*share.shape, *[1] * (z.ndim - 2))
            z.register_hook(lambda grad: grad * share)  # the loss weights it once, and this a second time
        direct = elbo.q.log_prob(z.detach())  # depends on the encoder by the parameters of q alone: to be taken out
        log_px = elbo.log_px + elbo.weight * (direct - direct.detach())
        # A view, because a flow keeps the density of its own draw without a gradient that passes through it.
        return super().objective(elbo._replace(log_px=log_px, z=z.view_as(z)))
