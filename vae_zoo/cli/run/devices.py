"""Devices that a run asks for, beside those that there are."""

from __future__ import annotations

import os
from typing import Any

import torch


def check_devices(accelerator: Any, devices: Any) -> None:
    """Refuse devices that are not there, before a process is started for them: it would wait for ever, or fail later.

    Args:
        accelerator: What the Trainer takes under this name.
        devices: The same: a number, a list of numbers, either as text, or ``auto``.

    Raises:
        ValueError: With what was asked for and what there is.
    """
    if devices == "auto" or not (accelerator == "auto" or accelerator in ("cpu", "gpu", "cuda", "mps")):
        return
    if accelerator == "cpu" or not torch.accelerator.is_available():
        _check_cores(devices)
    else:
        _check_cards(devices, torch.accelerator.device_count())


def _check_cores(devices: Any) -> None:
    cores = os.cpu_count() or 1
    if not (str(devices).isdecimal() and 1 <= int(devices) <= cores):
        raise ValueError(f"trainer.devices must be between 1 and the {cores} CPU cores there are, got {devices}.")


def _check_cards(devices: Any, count: int) -> None:
    try:
        asked = _parsed(devices)
    except ValueError:
        raise ValueError(f"trainer.devices must be auto, a number or a list of numbers, got {devices}.") from None
    there = "is 1 device, 0" if count == 1 else f"are {count} devices, 0 to {count - 1}"
    if isinstance(asked, list):
        wrong = not asked or len(set(asked)) < len(asked) or not all(0 <= index < count for index in asked)
    else:
        wrong = asked != -1 and not 1 <= asked <= count
    if wrong:
        raise ValueError(f"trainer.devices: there {there}, got {devices}.")


def _parsed(devices: Any) -> int | list[int]:
    """A number of devices, -1 for all, or their numbers; as text, ``2`` is a number and ``2,`` a list."""
    if isinstance(devices, (list, tuple)):
        return [int(index) for index in devices]
    if isinstance(devices, str) and "," in devices:
        return [int(index) for index in devices.strip("[]").split(",") if index.strip()]
    return int(devices)
