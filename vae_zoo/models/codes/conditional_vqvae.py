"""The VQ-VAE whose prior over codes is conditioned on the class."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from vae_zoo.elbo import check_condition, check_labels, check_range
from vae_zoo.models.codes.vqvae import VQVAE


class ConditionalVQVAE(VQVAE):
    r"""VQ-VAE that can sample from a chosen class: its prior over codes is p(s|c).

    .. math:: \log p(x | c) \ge \log p(x | e) + \log p(s | c)

    Only the prior depends on the class, so codes and reconstructions need no labels.

    When to use it:
        If codes of a chosen class are to be drawn. The class does not reach the encoder or decoder, only the prior over
        codes.

    References:
        | Neural Discrete Representation Learning (van den Oord et al., 2017)
        | https://arxiv.org/abs/1711.00937

    Args:
        num_classes: Number of classes; linked from the data on the command line.
        kwargs: Arguments of :class:`VQVAE`.

    Raises:
        ValueError: If the data have no classes; later, if labels are missing or out of range.
    """

    def __init__(self, *, num_classes: int | None = None, **kwargs: Any) -> None:
        if num_classes is None or num_classes < 1:
            raise ValueError(f"{type(self).__name__} needs data with labels, got num_classes {num_classes}.")
        self.num_classes = num_classes  # the prior is built from it
        super().__init__(**kwargs)

    def sample(self, num: int, c: Tensor | None = None, *, mean: bool = True, temperature: float = 1.0) -> Tensor:
        """Draw codes from their prior and decode them, for chosen classes or for all classes in turn.

        Args:
            num: Number of samples.
            c: Labels, (num,); 0, 1, … repeated if not given.
            mean: Whether to return the mean of p(x|e), or a draw from it.
            temperature: Divisor of the logits of the prior.

        Returns:
            (num, \\*shape).
        """
        if c is not None:
            check_condition(c)
        c = torch.arange(num, device=self.device) % self.num_classes if c is None else c.to(self.device)
        self.check_labels(c, num)
        return super().sample(num, c, mean=mean, temperature=temperature)

    def check_batch(self, batch: Any, batch_idx: int = 0) -> None:
        super().check_batch(batch, batch_idx)
        x, c = self.unpack(batch)
        if batch_idx == 0:
            self.check_labels(c, len(x))

    def check_labels(self, c: Tensor | None, num: int) -> None:
        """Refuse labels of num examples that are missing or out of range; synchronises, so not for use in a step.

        Raises:
            ValueError: If a label is missing or out of range.
        """
        c = check_labels(self, c, num)
        if num:
            check_range("labels", int(c.min()), int(c.max()), self.num_classes)
