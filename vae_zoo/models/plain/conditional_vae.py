"""The conditional variational autoencoder."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution

from vae_zoo.elbo import check_condition
from vae_zoo.models.plain.vae import VAE
from vae_zoo.typing import Shape


class ConditionalVAE(VAE):
    r"""VAE conditioned on the class, which can sample from a chosen class.

    .. math::
        \mathcal{L}(x, c) = \mathbb{E}_{q(z|x, c)}[\log p(x|z, c)] - \mathrm{KL}(q(z|x, c) \,\|\, p(z|c))

    The class enters both networks as a one-hot vector, which is appended to the latent and to vectors, or added to
    images as constant channels of 0 or 1, so any network can be used. The prior gets the class as well;
    the standard normal distribution ignores it, which makes the latent independent of the class.

    References:
        | Learning Structured Output Representation using Deep Conditional Generative Models (Sohn et al., 2015)
        | https://papers.nips.cc/paper/2015/hash/8d55a249e6baa5c06772297520da2051-Abstract.html

    Args:
        num_classes: Number of classes; linked from the data on the command line.
        kwargs: Arguments of :class:`VAE`.

    Raises:
        ValueError: If the data have no classes; later, if labels are missing or out of range.
    """

    def __init__(self, *, num_classes: int | None = None, **kwargs: Any) -> None:
        if num_classes is None or num_classes < 1:
            raise ValueError(f"{type(self).__name__} needs data with labels, got num_classes {num_classes}.")
        self.num_classes = num_classes  # what the networks' shapes follow from is there before they are built
        super().__init__(**kwargs)

    @property
    def encoder_shapes(self) -> tuple[Shape, Shape]:
        shape, out_shape = super().encoder_shapes
        return (shape[0] + self.num_classes, *shape[1:]), out_shape

    @property
    def decoder_shapes(self) -> tuple[Shape, Shape]:
        shape, out_shape = super().decoder_shapes
        return (shape[0] + self.num_classes, *shape[1:]), out_shape

    def encode(self, x: Tensor, c: Tensor | None = None) -> Distribution:
        self.check_examples(x)
        return self.posterior(self.run_encoder(self.beside(x, self.one_hot(c, len(x)))))

    def decode(self, z: Tensor, c: Tensor | None = None) -> Distribution:
        axes = len(self.latent_shape)
        entries = self.one_hot(c, z.shape[-1 - axes]).to(z.dtype)
        entries = entries.reshape(*entries.shape, *[1] * (axes - 1))
        entries = entries.expand(*z.shape[:-axes], -1, *z.shape[z.ndim - axes + 1 :])
        return super().decode(torch.cat([z, entries], -axes), c)

    def embed(self, x: Tensor, c: Tensor | None = None, *, sample: bool = False) -> Tensor:
        self.check_labels(c, len(x))
        return super().embed(x, c, sample=sample)

    def sample(self, num: int, c: Tensor | None = None, *, mean: bool = True, temperature: float = 1.0) -> Tensor:
        """Draw latents from the prior and decode them, for chosen classes or for all classes in turn.

        Args:
            num: Number of samples.
            c: Labels, (num,); 0, 1, … repeated if not given.
            mean: Whether to return the mean of p(x|z, c), or a draw from it.
            temperature: Factor on the spread of the prior.

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
            ValueError: With what was expected and what came.
        """
        self.one_hot(c, num)
        if c is not None and c.numel() and not 0 <= int(c.min()) <= int(c.max()) < self.num_classes:
            raise ValueError(f"labels must lie in 0 .. {self.num_classes - 1}, got {int(c.min())} to {int(c.max())}.")

    def beside(self, x: Tensor, entries: Tensor) -> Tensor:
        """Examples with the entries (B, C) of their conditions behind them, or as constant channels of images."""
        planes = entries.to(x.dtype).reshape(*entries.shape, *[1] * (x.ndim - 2)).expand(-1, -1, *x.shape[2:])
        return torch.cat([x, planes], 1)

    def one_hot(self, c: Tensor | None, num: int) -> Tensor:
        """Labels of num examples as boolean rows, (num, num_classes)."""
        if c is None:
            raise ValueError(f"{type(self).__name__} needs labels: pass those of the examples as c, (B,); got none.")
        check_condition(c)
        if c.shape != (num,) or c.is_floating_point():
            raise ValueError(f"labels must be integers of shape {(num,)}, got {c.dtype} of shape {tuple(c.shape)}.")
        return c[:, None] == torch.arange(self.num_classes, device=c.device)
