"""Maximum likelihood by gradient steps, with the best weights on held-out latents."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

HELD_OUT = 0.1
"""Held-out fraction of the latents, which determines the number of epochs."""


def check_steps(max_epochs: int, batch_size: int, lr: float, patience: int) -> None:
    """Refuse invalid settings of :func:`maximise`.

    Raises:
        ValueError: If lr is not positive and finite, or a number is less than 1.
    """
    for name, number in {"max_epochs": max_epochs, "batch_size": batch_size, "patience": patience}.items():
        if number < 1:
            raise ValueError(f"{name} must be at least 1, got {number}.")
    if not (lr > 0 and math.isfinite(lr)):
        raise ValueError(f"lr must be positive and finite, got {lr}.")


def maximise(
    module: nn.Module,
    log_prob: Callable[[Tensor], Tensor],
    z: Tensor,
    *,
    max_epochs: int,
    batch_size: int,
    lr: float,
    patience: int,
    seed: int,
) -> None:
    """Train a module by Adam, and keep the weights of the epoch with the highest held-out likelihood.

    Args:
        module: Module to train.
        log_prob: Log-likelihood of rows (B, ...), (B,), or a bound on it.
        z: Latents or codes, (N, ...); a tenth of them is held out.
        max_epochs: Largest number of epochs.
        batch_size: Rows in a batch.
        lr: Learning rate, which falls to 0 over the epochs as half a cosine.
        patience: Number of epochs without a better held-out likelihood, after which training ends.
        seed: Seed of the order. Noise in log_prob comes from the default generator.
    """
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(z), generator=generator)
    num = max(1, round(HELD_OUT * len(z)))
    held, kept = z[order[:num]], z[order[num:]]
    optimizer = torch.optim.Adam(module.parameters(), lr=lr)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max_epochs)
    best, state, since = -math.inf, copy.deepcopy(module.state_dict()), 0
    for _ in range(max_epochs):
        with torch.enable_grad():
            for rows in torch.randperm(len(kept), generator=generator).split(batch_size):
                optimizer.zero_grad()
                (-log_prob(kept[rows]).mean()).backward()
                optimizer.step()
        scheduler.step()
        with torch.no_grad():
            value = torch.cat([log_prob(part) for part in held.split(4096)]).mean().item()
        if value > best:
            best, state, since = value, copy.deepcopy(module.state_dict()), 0
        else:
            since += 1
        if since >= patience:
            break
    module.load_state_dict(state)
    for p in module.parameters():
        p.grad = None
