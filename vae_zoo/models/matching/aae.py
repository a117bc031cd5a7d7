"""The adversarial autoencoder, and the Wasserstein autoencoder with an adversary."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from vae_zoo.distributions import Family, SquaredError
from vae_zoo.elbo import check_labels
from vae_zoo.models.plain.prior_ae import PriorAE
from vae_zoo.nn import Discriminator
from vae_zoo.penalties import LatentAdversary, Penalty
from vae_zoo.typing import Network, Shape


class AAE(PriorAE):
    r"""Autoencoder whose latents an adversary cannot tell from draws of the prior.

    .. math:: \mathcal{L} = -\log p(x \,|\, f(x)) + \lambda \, \mathrm{softplus}(-T(f(x)))

    The adversary T is trained on a further term of the same scalar, with latents held fixed, whereas the paper
    alternates: see :class:`~vae_zoo.penalties.LatentAdversary`.

    With num_label_classes, the adversary also sees labels, all or some of them known: it compares the latents of each
    class with the prior, which is the same for all of them, where the paper has one component of a mixture for each.
    Encoder and decoder do not see labels. The number is not linked from the data: labels are used only if it is given.

    When to use it:
        If a discriminator rather than a kernel is to compare latents and prior, which it needs draws of only. Not for
        short training: a game takes its time.

    References:
        | Adversarial Autoencoders (Makhzani et al., 2016)
        | https://arxiv.org/abs/1511.05644

    Args:
        weight: Weight λ of the adversary in the encoder's objective, in terms of the reconstruction's. If samples do
            not look like data while reconstructions do, the adversary may have won: try less rather than more.
        discriminator: Network T from a latent to a logit.
        discriminator_lr: Learning rate of the adversary.
        num_label_classes: Number of classes of the labels that the adversary sees, in which -1 is unknown; without
            it the model is unsupervised.
        penalties: Further penalties.
        kwargs: Arguments of :class:`PriorAE`.

    Raises:
        ValueError: If discriminator_lr is not positive and finite, or num_label_classes less than 1; in a fit, if
            data have no labels; later, if labels are out of range.
    """

    def __init__(
        self,
        *,
        weight: float = 1.0,
        discriminator: Network = Discriminator,
        discriminator_lr: float = 5e-4,
        num_label_classes: int | None = None,
        penalties: Sequence[Callable[[Shape], Penalty]] = (),
        **kwargs: Any,
    ) -> None:
        if num_label_classes is not None and num_label_classes < 1:
            raise ValueError(f"num_label_classes must be at least 1, got {num_label_classes}.")
        settings: dict[str, Any] = {"weight": weight, "lr": discriminator_lr, "num_classes": num_label_classes}
        adversary = partial(LatentAdversary, discriminator=discriminator, **settings)
        super().__init__(penalties=[adversary, *penalties], **kwargs)
        self.num_label_classes = num_label_classes

    def check_batch(self, batch: Any, batch_idx: int = 0) -> None:
        super().check_batch(batch, batch_idx)
        num = self.num_label_classes
        if num is None or batch_idx != 0:
            return
        x, c = self.unpack(batch)
        if c is None and not self.training:
            return  # all labels are unknown
        if c is None:
            raise ValueError(f"{type(self).__name__} with num_label_classes needs data with labels: leave it out.")
        check_labels(self, c, len(x))
        low, high = c.min().item(), c.max().item()
        if not -1 <= low <= high < num:
            raise ValueError(f"labels must lie in 0 .. {num - 1}, or be -1 if unknown, got {low} to {high}.")


class WAEGAN(AAE):
    r"""AAE on the squared error: the Wasserstein autoencoder with an adversary on its latents.

    .. math:: \mathcal{L} = \| x - \hat x \|^2 + \lambda \, \mathrm{softplus}(-T(f(x)))

    When to use it:
        As ``WAE``, if there are too many latents for a kernel. The adversary needs longer training and its own learning
        rate.

    References:
        | Wasserstein Auto-Encoders (Tolstikhin et al., 2018)
        | https://arxiv.org/abs/1711.01558

    Args:
        likelihood: Family of p(x|z).
        kwargs: Arguments of :class:`AAE`.
    """

    def __init__(self, *, likelihood: Callable[[Shape], Family] | None = SquaredError, **kwargs: Any) -> None:
        super().__init__(likelihood=likelihood, **kwargs)
