"""Penalties: terms that can be added to the objective of any model with a prior."""

from vae_zoo.penalties.adversary import LatentAdversary
from vae_zoo.penalties.base import Penalty
from vae_zoo.penalties.covariance import Covariance
from vae_zoo.penalties.mmd import MMD
from vae_zoo.penalties.sliced import SlicedWasserstein
from vae_zoo.penalties.supervised import SupervisedLatents

__all__ = ["MMD", "Covariance", "LatentAdversary", "Penalty", "SlicedWasserstein", "SupervisedLatents"]
