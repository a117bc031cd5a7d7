"""Labels that the first latents should follow."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor
from torch.distributions import Distribution
from torch.nn.functional import binary_cross_entropy_with_logits

from vae_zoo.penalties.base import Penalty
from vae_zoo.typing import Shape


class SupervisedLatents(Penalty):
    r"""Distance of the first latents from labels of the examples, of which only some may be known: S2-β-VAE.

    .. math:: R = \sum_a \frac{1}{|B_a|} \sum_{b \in B_a} \ell(\mu_a(x_b), y_{ba})

    The means μ of the first A latents are compared with A labels, scaled to [0, 1], over the examples B_a of the batch
    whose label a is known: by ``xent``, the cross-entropy of y with the sigmoid of μ, or by ``l2``, the squared error.
    With ``cov`` it is the sum of squared covariances of latents and labels of another number, within the batch:

    .. math:: R = \sum_{i \ne a} \mathrm{Cov}_{B_a}[\mu_i(x), y_a]^2

    Added to :class:`~vae_zoo.models.BetaVAE` it is S2-β-VAE. Each process uses the labels of its own examples.

    References:
        | Disentangling Factors of Variations Using Few Labels (Locatello et al., 2020)
        | https://arxiv.org/abs/1905.01258

    Args:
        shape: Shape of one latent, (D,); supplied by the model.
        sizes: For each label, its number of values, 0 .. size - 1, or 1 for a number in [0, 1]. A label of -1 is
            unknown.
        loss: ``xent``, ``l2`` or ``cov``.
        weight: Weight γ of the penalty.

    Raises:
        ValueError: If there are more labels than latents, latents are no vectors, sizes are empty or below 1, or the
            loss is unknown.
    """

    units = {"supervised_latents": "nats, or squared units of the labels"}
    uses_labels = True
    sizes: Tensor

    def __init__(
        self,
        shape: Shape,
        *,
        sizes: Sequence[int],
        loss: Literal["xent", "l2", "cov"] = "xent",
        weight: float = 1.0,
    ) -> None:
        super().__init__(shape, weight=weight)
        if loss not in ("xent", "l2", "cov"):
            raise ValueError(f"loss must be xent, l2 or cov, got {loss!r}.")
        if not sizes or min(sizes) < 1:
            raise ValueError(f"sizes must hold a number of values of at least 1 for each label, got {list(sizes)}.")
        if len(self.shape) != 1 or len(sizes) > math.prod(self.shape):
            raise ValueError(f"SupervisedLatents of {len(sizes)} labels needs as many latents, got {self.shape}.")
        self.loss, self.min_batch_size = loss, 2 if loss == "cov" else 1
        self.register_buffer("sizes", torch.tensor(list(sizes)), persistent=False)

    def forward(
        self,
        z: Tensor,  # noqa: ARG002
        q: Distribution,
        p: Distribution,  # noqa: ARG002
        c: Tensor | None = None,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        means, num = q.mean, len(self.sizes)
        if c is None:
            raise ValueError("SupervisedLatents needs labels, and the batch has none.")
        c = c.reshape(len(c), -1)
        if c.shape != (len(means), num):
            raise ValueError(f"SupervisedLatents is for {num} labels of an example, got labels of {tuple(c.shape)}.")
        known = (c != -1).to(means.dtype)
        labels = torch.where(c != -1, c / (self.sizes - 1).clamp(min=1), 0.5).to(means.dtype)
        share = known / known.sum(0).clamp(min=1)  # weights of the examples in the mean of each label
        if self.loss == "cov":
            return self._covariances(means, labels, share), {}
        first = means[:, :num]
        if self.loss == "l2":
            return ((first - labels).square() * share).sum(), {}
        return (binary_cross_entropy_with_logits(first, labels, reduction="none") * share).sum(), {}

    def _covariances(self, means: Tensor, labels: Tensor, share: Tensor) -> Tensor:
        centred = share * (labels - (share * labels).sum(0))
        with torch.autocast(means.device.type, enabled=False):
            off = (means.T @ centred).square()  # (D, A)
        return off.sum() - off.diagonal().sum()

    def check(self, q: Distribution, p: Distribution) -> None:  # noqa: ARG002
        try:
            q.mean  # noqa: B018
        except NotImplementedError:
            name = type(q).__name__
            raise ValueError(f"SupervisedLatents needs a posterior whose mean is known, got {name}.") from None
