"""Weights of trained models that come with the package, and how they were made and measured."""

from __future__ import annotations

from vae_zoo.weights.registry import HUB, Measured, Weights, find, names, unknown

__all__ = ["HUB", "Measured", "Weights", "find", "names", "unknown"]
