"""Base of distributions that are fitted to the latents of a trained model."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from vae_zoo.distributions import Prior
from vae_zoo.typing import Shape


class Density(Prior, ABC):
    """A prior that is fitted to latents after training, instead of being learned with the model.

    Before :meth:`fit` it is close to a standard normal distribution, so that a model can be built with it. It is fitted
    on the CPU in float64 where this is cheap, from a seed of its own: the fit does not depend on the device or on the
    number of processes. The result is kept in tensors, which hold no latents of single examples unless necessary.

    Args:
        shape: Shape of one latent.
        seed: Seed of the fit.

    Raises:
        ValueError: If the seed is negative.
    """

    post_hoc = True

    num_latents: Tensor
    """Number of latents that it was fitted to; 0 before."""

    def __init__(self, shape: Shape, *, seed: int = 0) -> None:
        super().__init__(shape)
        if not 0 <= seed < 2**63:
            raise ValueError(f"seed must be at least 0 and below 2**63, got {seed}.")
        self.seed = seed
        self.num_dims = torch.Size(self.shape).numel()
        self.register_buffer("num_latents", torch.zeros((), dtype=torch.long))

    def fit(self, z: Tensor | Iterable[Tensor]) -> Density:
        """Fit to latents.

        Args:
            z: Latents, (N, \\*shape), or chunks of them.

        Returns:
            Itself.

        Raises:
            ValueError: If there are too few latents, or they are of another shape or not finite.
        """
        rows = self._rows(z)
        with torch.inference_mode(False), torch.no_grad():
            self._fit(rows.clone())
            self.num_latents.fill_(len(rows))
        return self

    def adopt(self, model: Any) -> Density:  # noqa: ARG002
        """Take from a model what the fit needs besides its latents: nothing, for most densities.

        Args:
            model: The trained model whose latents come next.

        Returns:
            Itself.

        Raises:
            ValueError: If the model lacks it.
        """
        return self

    @property
    def settings(self) -> dict[str, Any]:
        """Arguments besides the shape, for checkpoints: they make a density with the same tensors."""
        return {"seed": self.seed}

    @property
    def least(self) -> int:
        """Smallest number of latents to fit to."""
        return 2

    @abstractmethod
    def _fit(self, z: Tensor) -> None:
        """Fit to latents (N, D), float64, on the CPU."""

    def _rows(self, z: Tensor | Iterable[Tensor]) -> Tensor:
        name = type(self).__name__
        parts = [z] if isinstance(z, Tensor) else list(z)
        for part in parts:
            if tuple(part.shape[1:]) != self.shape:
                raise ValueError(f"{name} is for latents of shape {self.shape}, got {tuple(part.shape[1:])}.")
        rows = [part.detach().to("cpu", torch.float64).flatten(1) for part in parts]
        found = torch.cat(rows) if rows else torch.zeros(0, self.num_dims, dtype=torch.float64)
        if len(found) < self.least:
            raise ValueError(f"{name} needs at least {self.least} latents, got {len(found)}.")
        if not bool(found.isfinite().all()):
            raise ValueError(f"{name} needs latents that are finite, got NaN or infinite values.")
        return found
