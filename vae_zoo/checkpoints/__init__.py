"""Checkpoints: files, hyperparameters, loading."""

from vae_zoo.checkpoints.files import CheckpointFiles, CheckpointWriteError, DamagedCheckpointError, verify, write

__all__ = ["CheckpointFiles", "CheckpointWriteError", "DamagedCheckpointError", "verify", "write"]
