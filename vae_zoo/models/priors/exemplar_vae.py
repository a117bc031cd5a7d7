"""The VAE with an exemplar prior."""

from __future__ import annotations

import math
from typing import Any

import torch
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor, nn
from torch.distributions import Distribution

from vae_zoo.distributions import Mixture, Normal, check_posterior, mean_of
from vae_zoo.distributions.likelihoods.observed import fill_missing
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

    Exemplars come from a data module of the zoo, and are recognised by their positions in its training split. If a fit
    is continued on a loader of your own, they are recognised by their values, which must then be the same at every
    epoch: if fewer than half are recognised in one, a warning says so.

    When to use it:
        For better samples and density if training examples may be stored in the model. Not for data that must not leave
        with it: the exemplars are in the checkpoint. All are encoded at every step.

    References:
        | Exemplar VAE: Linking Generative Models, Nearest Neighbor Retrieval, and Data Augmentation (Norouzi et al., 2020)
        | https://arxiv.org/abs/2004.04795

    Args:
        num_exemplars: Number M of exemplars, drawn from the training examples at the start of a fit.
        num_train: Number of training examples; linked from the data on the command line. It has no effect.
        start_scale: Value that σ starts from.
        kwargs: Arguments of :class:`VAE`; ``prior`` must keep its default.

    Raises:
        ValueError: If num_exemplars is less than 2, num_train less than 1, start_scale not positive and finite, or the
            posterior not a normal distribution; in a fit, if a batch holds all exemplars, or the examples come from no
            data module that gives all of them.
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
    """Positions of the exemplars in the training split, (M,); -1 where they are not known."""

    filler: Tensor
    """What missing values of exemplars were replaced by, (\\*shape)."""

    left_out: Tensor

    _numbered = False
    _num_met: Tensor | None = None

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
        self.register_buffer("filler", torch.zeros(self.shape))
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

    def on_fit_start(self) -> None:
        restored = self._initialised
        super().on_fit_start()
        if self._initialised and not restored:
            data: Any = self.trainer.datamodule  # type: ignore[attr-defined]
            if hasattr(data, "positions"):
                self.rows.copy_(data.positions("train").to(self.rows.device)[self.rows])
            else:
                self.rows.fill_(-1)
        self._numbered, self._num_met = bool((self.rows >= 0).all()), None

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        if not self._initialised:  # all exemplars would be from the first batch, and nothing would be left of the prior
            raise ValueError(
                "ExemplarVAE draws exemplars from a whole training split, and a loader gives one batch of it: give the "
                "Trainer a data module of vae_zoo, such as Arrays, or FromDataset of a data set."
            )
        super().on_train_batch_start(batch, batch_idx)
        if self._numbered and isinstance(batch, Batch):
            self.left_out.copy_(torch.isin(self.rows, batch.index.to(self.rows.device)))
        else:
            x, _ = self.unpack(batch)
            x = torch.where(x.isnan(), self.filler, x)
            self.left_out.copy_((self.exemplars.flatten(1)[:, None] == x.flatten(1)).all(-1).any(1))
        if batch_idx == 0:
            if bool(self.left_out.all()):
                raise ValueError(
                    f"a batch holds all {len(self.exemplars)} exemplars, so that nothing is left of the prior: raise "
                    "num_exemplars, or lower the batch size."
                )
            self._num_met = torch.zeros_like(self.rows[0])
        if self._num_met is not None:  # which it is in the rest of a resumed epoch
            self._num_met += self.left_out.sum()

    def on_train_epoch_end(self) -> None:
        super().on_train_epoch_end()
        met, self._num_met = self._num_met, None
        limit = self.trainer.limit_train_batches
        if met is None or not (self.trainer.is_last_batch and isinstance(limit, float) and limit == 1.0):
            return
        num = int(self.trainer.strategy.reduce(met, reduce_op="sum"))
        if 2 * num < len(self.exemplars):
            rank_zero_warn(
                f"only {num} of {len(self.exemplars)} exemplars were recognised in a whole epoch, so that examples are "
                "explained by themselves: give the same values at every epoch, or train on a data module of vae_zoo, "
                "which numbers its examples."
            )

    def _initialise(self, x: Tensor) -> None:
        if not self._initialised and self.likelihood.missing:
            self.filler.copy_(fill_missing(torch.cat([x, torch.full_like(x[:1], math.nan)]))[-1])
        super()._initialise(x)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        state_dict.setdefault(f"{prefix}filler", self.filler)  # older files have none
        super()._load_from_state_dict(state_dict, prefix, *args)

    @torch.no_grad()
    def initialise(self, x: Tensor) -> None:
        super().initialise(x)
        # The same on every rank, but not the order of an epoch: whole batches would consist of exemplars.
        generator = torch.Generator().manual_seed(mix(global_seed(), -1))
        num = len(self.exemplars)
        order = torch.cat([torch.randperm(len(x), generator=generator) for _ in range(-(-num // len(x)))])[:num]
        self.exemplars.copy_(x[order.to(x.device)])
        self.rows.copy_(order)  # among these examples, until it is known which they are
