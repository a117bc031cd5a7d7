"""Penalties: terms that can be added to the objective of any model with a prior."""

from vae_zoo.penalties.base import Penalty

__all__ = ["Penalty"]
