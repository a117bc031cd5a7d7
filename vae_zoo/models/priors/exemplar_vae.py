"""The VAE with an exemplar prior."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from vae_zoo.distributions import Mixture, Normal, check_posterior, mean_of
from vae_zoo.distributions.normal import independent, is_normal
from vae_zoo.models.base.undisturbed import undisturbed
from vae_zoo.models.plain.vae import VAE
from vae_zoo.system.seeding import global_seed, mix
from vae_zoo.typing import Batch


class ExemplarVAE(VAE):
    r"""VAE whose prior is a mixture of normal distributions around the latents of training examples.

    .. math:: p(z) = \frac{1}{M} \sum_{m=1}^M \mathcal{N}(z; \mu(x_m), \sigma^2 I)

    The means are those of the posterior, and σ is one learned number. In training, exemplars that are in the batch are
    left out: no example may be explained by itself. In evaluation, the prior is that of all exemplars. Unlike in the
    paper, the exemplars are drawn once, and all of them are encoded at every step rather than the nearest ones.

    When to use it:
        For better samples and density if training examples may be stored in the model. Not for data that must not leave
        with it: the exemplars are in the checkpoint. All are encoded at every step.

    References:
        | Exemplar VAE: Linking Generative Models, Nearest Neighbor Retrieval, and Data Augmentation (Norouzi et al., 2020)
        | https://arxiv.org/abs/2004.04795

    Args:
        num_exemplars: Number M of exemplars, drawn from the training examples at the start of a fit.
        num_train: Number of training examples; linked from the data on the command line. Without it, exemplars are
            recognised in a batch by their values.
        start_scale: Value that σ starts from.
        kwargs: Arguments of :class:`VAE`; ``prior`` must keep its default.

    Raises:
        ValueError: If num_exemplars is less than 2 or num_train less than 1, start_scale is not positive and finite, or the posterior is not
            a normal distribution; in a fit, if a batch holds all exemplars.
    """  # noqa: E501

    fixed = {"prior": "it is the mixture around the exemplars"}
    apart = {
        "ConditionalVAE": "an exemplar has no class to be encoded with",
        "VampVAE": "both have a mixture as their prior",
    }

    _ddp_params_and_buffers_to_ignore = ("left_out",)
    """Each process leaves out its own examples; all other buffers are those of the first one."""

    exemplars: Tensor
    """Training examples that the prior is made of, (M, \\*shape)."""

    rows: Tensor
    left_out: Tensor

    def __init__(
        self, *, num_exemplars: int = 500, num_train: int | None = None, start_scale: float = 1.0, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        if num_exemplars < 2:
            raise ValueError(f"num_exemplars must be at least 2, got {num_exemplars}.")
        if num_train is not None and num_train < 1:
            raise ValueError(f"num_train must be at least 1, got {num_train}.")
        if not (start_scale > 0 and math.isfinite(start_scale)):
            raise ValueError(f"start_scale must be positive and finite, got {start_scale}.")
        self.num_train = num_train
        self.log_scale = nn.Parameter(torch.tensor(math.log(start_scale)))
        self.register_buffer("exemplars", torch.rand(num_exemplars, *self.shape))
        self.register_buffer("rows", torch.full((num_exemplars,), -1))
        self.register_buffer("left_out", torch.zeros(num_exemplars, dtype=torch.bool), persistent=False)

    def check_prior(self) -> None:
        check_posterior(self.posterior)
        if not is_normal(self.posterior.at_zeros()):
            raise ValueError(
                f"exemplars are the centres of normal distributions, which {type(self.posterior).__name__} does not "
                "give: take DiagonalNormal."
            )
        self.check_penalties(self.latent_prior)

    def prior(self, c: Tensor | None = None) -> Distribution:  # noqa: ARG002
        centres = mean_of(undisturbed(self, self.encode, self.exemplars), self.exemplars.device)
        around = independent(Normal(centres, self.log_scale.to(centres.dtype)), len(self.latent_shape))
        return Mixture(around, self.left_out if self.training else None)

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        super().on_train_batch_start(batch, batch_idx)
        if isinstance(batch, Batch) and self.num_train is not None:
            self.left_out.copy_(torch.isin(self.rows, batch.index.to(self.rows.device)))
        else:
            x, _ = self.unpack(batch)
            self.left_out.copy_((self.exemplars.flatten(1)[:, None] == x.flatten(1)).all(-1).any(1))
        if batch_idx == 0 and bool(self.left_out.all()):
            raise ValueError(
                f"a batch holds all {len(self.exemplars)} exemplars, so that nothing is left of the prior: raise "
                "num_exemplars, or lower the batch size."
            )

    @torch.no_grad()
    def initialise(self, x: Tensor) -> None:
        super().initialise(x)
        # The same on every rank, but not the order of an epoch: whole batches would consist of exemplars.
        generator = torch.Generator().manual_seed(mix(global_seed(), -1))
        num = len(self.exemplars)
        order = torch.cat([torch.randperm(len(x), generator=generator) for _ in range(-(-num // len(x)))])[:num]
        self.exemplars.copy_(x[order.to(x.device)])
        self.rows.copy_(order if len(x) == self.num_train else torch.full_like(order, -1))
