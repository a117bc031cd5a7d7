"""The conditional variational autoencoder."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution

from vae_zoo.elbo import check_condition, check_labels, check_range
from vae_zoo.functional import exact
from vae_zoo.models.plain.vae import VAE
from vae_zoo.training.trainers import is_ours, trainer_of
from vae_zoo.typing import Shape


class ConditionalVAE(VAE):
    r"""VAE under a condition, such as a class, which can sample under a chosen one.

    .. math::
        \mathcal{L}(x, c) = \mathbb{E}_{q(z|x, c)}[\log p(x|z, c)] - \mathrm{KL}(q(z|x, c) \,\|\, p(z|c))

    A condition is a class, an integer of each example, (B,); or several values of each example, (B, A): real numbers,
    binary attributes, and classes of their own. Classes enter both networks as one-hot vectors and other values as
    they are. All are appended to the latent, and to examples that the encoder takes as vectors, as :class:`.Dense`
    does; for other encoders they are constant channels of an image, so any network can be used. The prior gets the
    condition as well; the standard normal distribution ignores it, which makes the latent independent of the condition.

    When to use it:
        If classes or attributes are known and samples of chosen ones are wanted. With labels of a few examples only,
        take ``M2``. Its density is given the condition and does not compare with that of a model without.

    References:
        | Learning Structured Output Representation using Deep Conditional Generative Models (Sohn et al., 2015)
        | https://papers.nips.cc/paper/2015/hash/8d55a249e6baa5c06772297520da2051-Abstract.html

    Args:
        num_classes: Number of classes; linked from the data on the command line.
        condition_sizes: For each of several values, its number of classes, or 1 for a number that enters as it is;
            linked from the data. If given, there is no single class.
        kwargs: Arguments of :class:`VAE`.

    Raises:
        ValueError: If the data have no labels, or a size is less than 1; later, if conditions are missing, of another
            shape or out of range.
    """

    class_shares: Tensor
    """Shares of the classes in the training data, (num_classes,); equal if no fit has seen any."""

    def __init__(
        self, *, num_classes: int | None = None, condition_sizes: Sequence[int] | None = None, **kwargs: Any
    ) -> None:
        if condition_sizes is None and (num_classes is None or num_classes < 1):
            raise ValueError(f"{type(self).__name__} needs data with labels, got num_classes {num_classes}.")
        if condition_sizes is not None and (not condition_sizes or min(condition_sizes) < 1):
            raise ValueError(f"condition_sizes must hold sizes of at least 1, got {list(condition_sizes)}.")
        # What the networks' shapes follow from is there before they are built.
        self.condition_sizes = None if condition_sizes is None else tuple(condition_sizes)
        self.num_classes = num_classes if condition_sizes is None else None
        self.condition_dim: int = num_classes if condition_sizes is None else sum(condition_sizes)  # type: ignore[assignment]
        super().__init__(**kwargs)
        if self.num_classes is not None:
            self.register_buffer("class_shares", torch.full((self.num_classes,), 1 / self.num_classes))

    @property
    def encoder_shapes(self) -> tuple[Shape, Shape]:
        shape, out_shape = super().encoder_shapes
        shape = (math.prod(shape),) if self.flattened else shape
        return (shape[0] + self.condition_dim, *shape[1:]), out_shape

    @property
    def decoder_shapes(self) -> tuple[Shape, Shape]:
        shape, out_shape = super().decoder_shapes
        return (shape[0] + self.condition_dim, *shape[1:]), out_shape

    def encode(self, x: Tensor, c: Tensor | None = None) -> Distribution:
        self.check_examples(x)
        return self.posterior(self.run_encoder(x, self.entries(c, len(x))))

    def decode(self, z: Tensor, c: Tensor | None = None) -> Distribution:
        axes = len(self.latent_shape)
        entries = self.entries(c, z.shape[-1 - axes]).to(z.dtype)
        entries = entries.reshape(*entries.shape, *[1] * (axes - 1))
        entries = entries.expand(*z.shape[:-axes], -1, *z.shape[z.ndim - axes + 1 :])
        return super().decode(torch.cat([z, entries], -axes), c)

    def prior(self, c: Tensor | None = None) -> Distribution:
        given = c if c is None or self.condition_sizes is None else self.entries(c, len(c)).to(c.dtype)
        return super().prior(given)

    def embed(self, x: Tensor, c: Tensor | None = None, *, sample: bool = False) -> Tensor:
        self.check_labels(c, len(x))
        return super().embed(x, c, sample=sample)

    def sample(
        self,
        num: int,
        c: Tensor | None = None,
        *,
        mean: bool = True,
        temperature: float | Sequence[float] = 1.0,
        shares: bool = False,
    ) -> Tensor:
        """Draw latents from the prior and decode them, for chosen conditions or for all classes.

        Args:
            num: Number of samples.
            c: Conditions, (num, ...). If there is one class and none is given, 0, 1, … repeated.
            mean: Whether to return the mean of p(x|z, c), or a draw from it.
            temperature: Factor on the spread of the prior, or one for each layer of latents.
            shares: Whether to draw classes that are not given with their shares in the training data.

        Returns:
            (num, \\*shape).

        Raises:
            ValueError: If conditions are missing, or given although shares asks to draw them.
        """
        if c is not None:
            check_condition(c)
            if shares:
                raise ValueError("shares draws the classes: leave out either c or shares.")
        elif self.num_classes is not None:
            c = self.draw_classes(num) if shares else torch.arange(num) % self.num_classes
        c = None if c is None else c.to(self.device)
        self.check_labels(c, num)
        return super().sample(num, c, mean=mean, temperature=temperature)

    def draw_classes(self, num: int) -> Tensor:
        """Classes drawn with their shares in the training data, (num,).

        Raises:
            ValueError: If the condition is no class.
        """
        if self.num_classes is None:
            raise ValueError(f"{type(self).__name__} has conditions of several values, and no classes to draw: pass c.")
        shares = self.class_shares.float().clamp(min=0)
        return torch.multinomial(shares, num, replacement=True) if num else torch.arange(0, device=shares.device)

    def on_fit_start(self) -> None:
        super().on_fit_start()
        data: Any = getattr(trainer_of(self), "datamodule", None)
        if self.num_classes is None or not is_ours(data):
            return
        y = data.load("train").y
        if y is not None and y.ndim == 1 and bool((y >= 0).any()):
            counts = torch.bincount(y[y >= 0].long().cpu(), minlength=self.num_classes)[: self.num_classes]
            self.class_shares.copy_(counts / counts.sum())

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        if self.num_classes is not None:  # older files have none
            state_dict.setdefault(f"{prefix}class_shares", self.class_shares)
        for name, _ in self.encoder.named_parameters(f"{prefix}encoder"):
            if name in state_dict:
                state_dict[name] = self._without_channels(state_dict[name], torch.sum)
        super()._load_from_state_dict(state_dict, prefix, *args)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        for optimizer in checkpoint.get("optimizer_states", ()):
            for state in optimizer["state"].values():
                state |= {name: self._without_channels(x, torch.mean) for name, x in state.items()}
        super().on_load_checkpoint(checkpoint)

    def _without_channels(self, x: Any, reduce: Any) -> Any:
        """What a file holds of the encoder; where it flattens, older files have channels of conditions, all of a kind.

        The sum of a channel's weights counts, and all have the same gradient.
        """
        read = self.likelihood.read_shape
        num, places = math.prod(read), math.prod(read[1:])
        older = (num + places * self.condition_dim,)
        if not (self.flattened and places > 1 and isinstance(x, Tensor) and x.shape[1:] == older):
            return x
        if any(own.shape == x.shape for own in self.parameters()):
            return x
        return torch.cat([x[:, :num], reduce(x[:, num:].unflatten(1, (self.condition_dim, places)), -1)], 1)

    def check_batch(self, batch: Any, batch_idx: int = 0) -> None:
        super().check_batch(batch, batch_idx)
        x, c = self.unpack(batch)
        if batch_idx == 0:
            self.check_labels(c, len(x))

    def check_labels(self, c: Tensor | None, num: int) -> None:
        """Refuse conditions of num examples that are missing or out of range; synchronises, so not for use in a step.

        Raises:
            ValueError: If a condition is missing or out of range.
        """
        self.entries(c, num)
        if c is None or not c.numel():
            return
        if self.condition_sizes is None:
            columns = [("labels", c, self.num_classes or 0)]
        else:
            parts = zip(c.unbind(1), self.condition_sizes, strict=True)
            columns = [(f"column {n} of the conditions", part, size) for n, (part, size) in enumerate(parts)]
        for name, part, size in columns:
            low, high = part.min().item(), part.max().item()
            if size == 1 and self.condition_sizes is not None:
                if not bool(part.isfinite().all()):
                    raise ValueError(f"{name} must be finite, got {low:g} to {high:g}.")
                continue
            check_range(name, low, high, size)
            if part.is_floating_point() and bool((part != part.floor()).any()):
                raise ValueError(f"{name} must hold whole numbers, of one of {size} classes.")

    def entries(self, c: Tensor | None, num: int) -> Tensor:
        """Conditions of num examples as the networks see them, (num, condition_dim)."""
        if self.condition_sizes is None:
            return self.one_hot(c, num)
        wanted = (num, len(self.condition_sizes))
        if c is None:
            raise ValueError(
                f"{type(self).__name__} needs the conditions of the examples, c of shape {wanted}, got none."
            )
        check_condition(c)
        if c.shape != wanted:
            raise ValueError(f"conditions must be of shape {wanted}, got {c.dtype} of shape {tuple(c.shape)}.")
        columns = [
            c[:, n : n + 1] if size == 1 else c[:, n : n + 1] == torch.arange(size, device=c.device)
            for n, size in enumerate(self.condition_sizes)
        ]
        return torch.cat([exact(column) for column in columns], 1)

    def one_hot(self, c: Tensor | None, num: int) -> Tensor:
        """Labels of num examples as boolean rows, (num, num_classes)."""
        labels = check_labels(self, c, num)
        return labels[:, None] == torch.arange(self.condition_dim, device=labels.device)
