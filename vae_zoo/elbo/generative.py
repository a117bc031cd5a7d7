"""Models that can be sampled from: a prior and a decoder."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from vae_zoo.distributions import at_temperature, check_temperature, mean_of


class Generative(ABC):
    """A model with a prior and a likelihood, from which examples can be drawn. It knows nothing of Lightning."""

    @abstractmethod
    def decode(self, z: Tensor, c: Tensor | None = None) -> Distribution:
        """Likelihood p(x|z) of latents (..., B, \\*latent)."""

    @abstractmethod
    def prior(self, c: Tensor | None = None) -> Distribution:
        """Prior p(z)."""

    @torch.no_grad()
    def sample(
        self, num: int, c: Tensor | None = None, *, mean: bool = True, temperature: float | Sequence[float] = 1.0
    ) -> Tensor:
        """Draw latents from the model's own prior and decode them.

        Args:
            num: Number of samples.
            c: Conditions, (num, ...).
            mean: Whether to return the mean of p(x|z), as usual for pictures, or a draw from it.
            temperature: Factor on the spread of the prior: see :func:`~vae_zoo.distributions.tempered`. For latents in
                layers also one for each layer given those above, the lowest first.

        Returns:
            (num, \\*shape).

        Raises:
            ValueError: If a temperature is not positive and finite, or undefined for this prior, or their number is not
                that of the layers; or if a condition is given and neither prior nor decoder uses it.
        """
        check_temperature(temperature)
        check_number("num", num)
        with refuse_unused(c, self):
            p = at_temperature(self.prior(c), temperature)
            z = p.sample((num,) if not p.batch_shape else ())
            px = self.decode(z, c)
        return mean_of(px, z.device) if mean else px.sample()


class _Watch(TorchFunctionMode):
    """Notices whether a tensor takes part in any computation."""

    def __init__(self, watched: Tensor) -> None:
        super().__init__()
        self.watched, self.seen = watched, False

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        size = getattr(func, "__name__", "") == "__get__"  # its shape, type and device are no part of it
        self.seen = self.seen or (not size and any(part is self.watched for part in tree_leaves((args, kwargs))))
        return func(*args, **(kwargs or {}))


def check_number(name: str, number: int, least: int = 0) -> None:
    """Refuse an invalid number of samples.

    Raises:
        ValueError: If number is not whole, or less than least.
    """
    if number % 1 or number < least:
        raise ValueError(f"{name} must be a whole number of at least {least}, got {number}.")


def check_condition(c: Any) -> None:
    """Refuse conditions other than tensors, such as a list of labels.

    Raises:
        ValueError: If c is not a tensor.
    """
    if not isinstance(c, Tensor):
        raise ValueError(f"c must be a tensor, as in torch.tensor([0, 1]), got a {type(c).__name__}.")


def check_labels(model: object, c: Tensor | None, num: int) -> Tensor:
    """Refuse labels that are missing or not one integer for each of num examples, without synchronising.

    Returns:
        The labels.

    Raises:
        ValueError: If c is missing or does not hold num integers.
    """
    if c is None:
        raise ValueError(f"{type(model).__name__} needs the labels of the examples, c of shape (B,), got none.")
    check_condition(c)
    if c.shape != (num,) or c.is_floating_point():
        raise ValueError(f"labels must be integers of shape {(num,)}, got {c.dtype} of shape {tuple(c.shape)}.")
    return c


def check_range(name: str, low: float, high: float, size: int) -> None:
    """Refuse numbers of classes that are out of range.

    Raises:
        ValueError: If the lowest is negative, or the highest not below the number of classes.
    """
    if not 0 <= low <= high < size:
        advice = ": -1 is an unknown label, for semi-supervised models such as M2" if low == -1 else ""
        raise ValueError(f"{name} must lie in 0 .. {size - 1}, got {low:g} to {high:g}{advice}.")


@contextmanager
def refuse_unused(c: Tensor | None, model: object) -> Iterator[None]:
    """Refuse a condition that the code in this context does not use: samples would not be of the chosen class.

    Raises:
        ValueError: If a condition is given and nothing has been computed from it.
    """
    if c is None:
        yield
        return
    check_condition(c)
    with _Watch(c) as watch:
        yield
    if not watch.seen:
        raise ValueError(
            f"{type(model).__name__} samples under no condition, got c of shape {tuple(c.shape)}: leave it out, or "
            "take a ConditionalVAE."
        )


@torch.no_grad()
def depends_on_condition(model: Any, c: Tensor) -> bool:
    """Whether samples of a model depend on conditions (B, ...); if not, those of the data are left out."""
    if getattr(model, "num_classes", None):
        return True
    z = torch.zeros(len(c), *model.latent_shape, device=c.device)
    with _Watch(c) as watch:
        if isinstance(model, Generative):
            model.prior(c)
        if not watch.seen:
            model.decode(z, c)
    return watch.seen
