"""Randomness as a function of (seed, rank, step), so that a resumed run equals the uninterrupted one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

_MASK = (1 << 64) - 1


def mix(*keys: int) -> int:
    """A 63-bit seed from any number of integers, by the finaliser of SplitMix64.

    Unlike with ``seed + rank + step``, neighbouring keys give unrelated seeds.

    Example:
        >>> mix(0, 1) != mix(1, 0)
        True
    """
    state = 0
    for key in keys:
        state = (state + (key & _MASK) + 0x9E3779B97F4A7C15) & _MASK
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & _MASK
        state ^= state >> 31
    return state >> 1


def global_seed() -> int:
    """The seed given to ``seed_everything``, or 0 if it was never called."""
    return int(os.environ.get("PL_GLOBAL_SEED", 0))


def seed_all(seed: int, device: torch.device) -> None:
    """Seed the CPU's generator and the device's own.

    ``torch.manual_seed`` would also queue a call, with a formatted stack, for every accelerator not yet started,
    which is expensive at every step.
    """
    torch.default_generator.manual_seed(seed)
    if device.type != "cpu":
        torch.get_device_module(device).manual_seed(seed)


def generators_of(device: torch.device) -> dict[str, torch.Tensor]:
    """States of the CPU's generator and of the device's own."""
    states = {"cpu": torch.default_generator.get_state()}
    return states if device.type == "cpu" else {**states, str(device): torch.get_device_module(device).get_rng_state()}


def restore_generators(states: dict[str, torch.Tensor]) -> None:
    """Set generators to the states of :func:`generators_of`."""
    for name, state in states.items():
        if name == "cpu":
            torch.default_generator.set_state(state)
        else:
            torch.get_device_module(torch.device(name)).set_rng_state(state)


@contextmanager
def forked(seed: int, device: torch.device) -> Iterator[None]:
    """Draw from a given seed, and restore the generators afterwards."""
    devices = [] if device.type == "cpu" else [device]
    with torch.random.fork_rng(devices=devices, device_type=device.type if devices else "cuda"):
        seed_all(seed, device)
        yield
