"""How torch looks for devices."""

from __future__ import annotations

import os

import torch

SEARCH = "PYTORCH_NVML_BASED_CUDA_CHECK"


def look_for_devices_cheaply() -> None:
    """Where there is no CUDA device, ask the CUDA runtime for one from now on, not NVIDIA's management library.

    Lightning sets the environment variable :data:`SEARCH`. With it, torch searches the disk for that library whenever
    it asks whether there is a device, as every step of an optimizer does twice. It is set so that a process can fork
    after the question, which it can in any case where there is no device. ``benchmarks/devices.py`` has the cost.
    """
    if not torch.cuda.is_available():
        os.environ.pop(SEARCH, None)
