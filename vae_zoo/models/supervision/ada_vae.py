"""Variational autoencoders of pairs that share some of their factors, without knowing which: Ada-GVAE, Ada-ML-VAE."""

from __future__ import annotations

import math
from typing import Any

import torch
from lightning.pytorch.utilities.rank_zero import rank_zero_info
from torch import Tensor
from torch.distributions import Distribution

from vae_zoo.distributions import Normal
from vae_zoo.distributions.normal import independent, is_normal
from vae_zoo.functional import kl_normal
from vae_zoo.models.objectives.beta_vae import BetaVAE
from vae_zoo.training.trainers import trainer_of


class AdaGVAE(BetaVAE):
    r"""β-VAE of pairs of examples, whose posteriors are made equal in the dimensions that differ least.

    .. math::
        \delta_i = \mathrm{KL}(q(z_i|x_1) \,\|\, q(z_i|x_2)), \quad
        \tilde q(z_i|x_1) = \tilde q(z_i|x_2) = \mathcal{N} \Big( \frac{\mu_1 + \mu_2}{2},
        \frac{\sigma_1^2 + \sigma_2^2}{2} \Big) \;\text{ if }\; \delta_i \le \frac{\max_j \delta_j + \min_j \delta_j}{2}

    Rows 2i and 2i + 1 of a training batch are a pair; :class:`~vae_zoo.data.Pairs` makes such batches. The loss is the
    mean over all examples of that of the :class:`BetaVAE`. In evaluation an example has its own posterior, as it has
    in training if it is left over from an odd number. Dimensions at the threshold, such as all of two equal
    examples, are shared here; the paper compares with <. If it is known how many dimensions differ, all but the
    ``num_changed`` with the largest δ are shared: the paper's GVAE with a known k.

    When to use it:
        For factors of variation if pairs are known to share most of them, as neighbouring frames do. Not for unpaired
        data. The data must come as ``Pairs``.

    References:
        | Weakly-Supervised Disentanglement Without Compromises (Locatello et al., 2020)
        | https://arxiv.org/abs/2002.02886

    Args:
        beta: Weight β of the rate.
        symmetric: Whether δ is the mean of both directions of the divergence, so that the order within a pair does not
            matter, as in later code; the paper has one direction.
        num_changed: Number k of dimensions that differ within a pair, at least 0; None where it is not known.
        kwargs: Arguments of :class:`VAE`.

    Raises:
        ValueError: If the posterior is not normal with independent dimensions, or num_changed not in 0 .. their number.
    """

    apart = dict.fromkeys(
        ("LadderVAE", "TwoLevelVAE", "HamiltonianVAE"), "it averages posteriors whose dimensions are independent"
    )

    def __init__(
        self, *, beta: float = 1.0, symmetric: bool = False, num_changed: int | None = None, **kwargs: Any
    ) -> None:
        super().__init__(beta=beta, **kwargs)
        if num_changed is not None and not 0 <= num_changed <= math.prod(self.latent_shape):
            raise ValueError(f"num_changed must lie in 0 .. {math.prod(self.latent_shape)}, got {num_changed}.")
        self.symmetric, self.num_changed = symmetric, num_changed
        if not is_normal(self.posterior.at_zeros()):
            name = type(self.posterior).__name__
            raise ValueError(f"{type(self).__name__} averages normal posteriors dimension by dimension, got {name}.")

    def on_fit_start(self) -> None:
        super().on_fit_start()
        data = getattr(trainer_of(self), "datamodule", None)
        if data is not None and type(data).__name__ != "Pairs":
            rank_zero_info(
                f"{type(self).__name__} takes rows 2i and 2i + 1 of a training batch as a pair, and "
                f"{type(data).__name__} gives single examples: wrap it in Pairs."
            )

    def encode(self, x: Tensor, c: Tensor | None = None) -> Distribution:
        q = super().encode(x, c)
        return self.paired(q) if self.training else q

    def paired(self, q: Distribution) -> Distribution:
        """The posteriors of a batch of pairs, made equal where the two of a pair differ least."""
        loc, log_scale = q.base_dist.loc, q.base_dist.log_scale  # type: ignore[attr-defined]
        even = len(loc) // 2 * 2
        first, second = ((loc[n:even:2], log_scale[n:even:2]) for n in (0, 1))
        delta = kl_normal(*first, *second).flatten(1)
        if self.symmetric:
            delta = (delta + kl_normal(*second, *first).flatten(1)) / 2
        if self.num_changed is None:
            share = delta <= (delta.amax(1, keepdim=True) + delta.amin(1, keepdim=True)) / 2
        else:
            differ = delta.topk(self.num_changed, 1).indices
            share = torch.ones_like(delta, dtype=torch.bool).scatter(1, differ, False)
        share = share.view_as(first[0])
        joint, made = self.join(*first, *second), []
        for both, a, b, own in zip(joint, first, second, (loc, log_scale), strict=True):
            pairs = torch.stack([torch.where(share, both, a), torch.where(share, both, b)], 1)
            made.append(torch.cat([pairs.flatten(0, 1), own[even:]]))
        return independent(Normal(*made), len(q.event_shape))

    def join(self, loc: Tensor, log_scale: Tensor, other_loc: Tensor, other_log_scale: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log σ of the shared distribution: here the averages of means and of variances."""
        return (loc + other_loc) / 2, (torch.logaddexp(2 * log_scale, 2 * other_log_scale) - math.log(2)) / 2


class AdaMLVAE(AdaGVAE):
    r""":class:`AdaGVAE` that multiplies the densities of the two posteriors where they differ least.

    .. math::
        \tilde q(z_i|x_1) = \tilde q(z_i|x_2) \propto q(z_i|x_1) \, q(z_i|x_2), \quad
        \tilde \sigma^{-2} = \sigma_1^{-2} + \sigma_2^{-2}

    The paper's own code averages the precisions instead of adding them, which doubles this variance.

    When to use it:
        As ``AdaGVAE``, if shared factors are exactly equal. Its shared posterior is narrower than either of the two, so
        that a dimension that is shared by mistake is more certain of it.

    References:
        | Weakly-Supervised Disentanglement Without Compromises (Locatello et al., 2020)
        | https://arxiv.org/abs/2002.02886
        | Multi-Level Variational Autoencoder (Bouchacourt et al., 2018)
        | https://arxiv.org/abs/1705.08841

    Args:
        kwargs: Arguments of :class:`AdaGVAE`.
    """

    def join(self, loc: Tensor, log_scale: Tensor, other_loc: Tensor, other_log_scale: Tensor) -> tuple[Tensor, Tensor]:
        weight = torch.sigmoid(2 * (other_log_scale - log_scale))
        joint = -torch.logaddexp(-2 * log_scale, -2 * other_log_scale) / 2
        return torch.lerp(other_loc, loc, weight), joint
