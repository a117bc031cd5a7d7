"""A distribution over grids of codes, fitted to those of a trained model."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from vae_zoo.nn import CodePrior
from vae_zoo.samplers.likelihood import check_steps, maximise
from vae_zoo.system.seeding import forked, mix
from vae_zoo.typing import Shape


class CodeDensity(CodePrior):
    """Causal transformer over grids of codes, trained by maximum likelihood after the autoencoder.

    A refit starts from new weights of the same seed.

    References:
        | Neural Discrete Representation Learning, section 3.3 (van den Oord et al., 2017)
        | https://arxiv.org/abs/1711.00937

    Args:
        grid: Shape of one grid of codes.
        num_codes: Number of codes.
        width: Features of each place.
        num_layers: Number of blocks.
        num_heads: Attention heads of each block.
        max_epochs: Largest number of epochs.
        batch_size: Grids in a batch.
        lr: Learning rate of Adam.
        patience: Number of epochs without a higher likelihood of a held-out tenth, after which training ends.
        seed: Seed of weights and order.

    Raises:
        ValueError: If a number is out of range; when fitted, if there are fewer than 10 grids, or their shape or
            values are wrong.
    """

    post_hoc = True

    num_latents: Tensor

    def __init__(
        self,
        grid: Shape,
        num_codes: int,
        *,
        width: int = 64,
        num_layers: int = 2,
        num_heads: int = 4,
        max_epochs: int = 100,
        batch_size: int = 64,
        lr: float = 1e-3,
        patience: int = 10,
        seed: int = 0,
    ) -> None:
        self._sizes = {"width": width, "num_layers": num_layers, "num_heads": num_heads}
        super().__init__(grid, num_codes, **self._sizes)
        check_steps(max_epochs, batch_size, lr, patience)
        self._steps: dict[str, Any] = {
            "max_epochs": max_epochs,
            "batch_size": batch_size,
            "lr": lr,
            "patience": patience,
        }
        self.seed = seed
        self.register_buffer("num_latents", torch.zeros((), dtype=torch.long))

    @property
    def settings(self) -> dict[str, Any]:
        """Arguments besides grid and number of codes, for checkpoints."""
        return {**self._sizes, **self._steps, "seed": self.seed}

    def fit(self, codes: Tensor | Iterable[Tensor]) -> CodeDensity:
        """Fit to grids of codes, (N, \\*grid), or chunks of them."""
        parts = [codes] if isinstance(codes, Tensor) else list(codes)
        for part in parts:
            if tuple(part.shape[1:]) != self.grid or part.is_floating_point():
                raise ValueError(f"codes must be integers in grids {self.grid}, got {part.dtype} {tuple(part.shape)}.")
        rows = torch.cat([part.detach().cpu() for part in parts]) if parts else torch.zeros(0, *self.grid)
        if len(rows) < 10:
            raise ValueError(f"CodeDensity needs at least 10 grids of codes, got {len(rows)}.")
        if not 0 <= int(rows.min()) <= int(rows.max()) < self.num_codes:
            raise ValueError(f"codes must lie in 0 .. {self.num_codes - 1}, got {rows.min()} to {rows.max()}.")
        with torch.inference_mode(False), torch.no_grad(), forked(mix(self.seed, 0), torch.device("cpu")):
            fresh = CodePrior(self.grid, self.num_codes, **self._sizes)
            maximise(fresh, fresh.log_prob, rows.clone(), **self._steps, seed=mix(self.seed, 1))
            self.load_state_dict({**fresh.state_dict(), "num_latents": torch.tensor(len(rows))})
        return self
