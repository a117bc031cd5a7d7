"""Scores of the validation split of the training, which new scores are compared with."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from lightning.pytorch import Trainer

from vae_zoo.callbacks.evaluation.passes import data_of
from vae_zoo.callbacks.predicting.rows import MergedRows, RowFiles
from vae_zoo.data import DataModule
from vae_zoo.evaluation.conformal import p_values, threshold
from vae_zoo.evaluation.scores import scores
from vae_zoo.system.writing import write_text

BY = ("log_evidence", "elbo", "log_px")
"""Scores to calibrate, in order of preference."""


def write_reference(
    trainer: Trainer, model: Any, other: DataModule | None, folder: Path, num_importance: int
) -> RowFiles:
    """Write the scores of this process's share of the reference.

    Args:
        trainer: The trainer.
        model: The model.
        other: Data of the training, if others are predicted.
        folder: Folder of the results.
        num_importance: Importance samples for the log evidence; 0 for none.

    Returns:
        The rows of this process.

    Raises:
        ValueError: If there are no data, or examples of the training or the validation are predicted themselves.
    """
    data, files = _reference_of(trainer, other), RowFiles(folder, trainer.global_rank, "reference_")
    files.clear()
    if data is not getattr(trainer, "datamodule", None):
        data.trainer = trainer  # which knows the rank and the device
        if trainer.is_global_zero:
            data.prepare_data()
        trainer.strategy.barrier()
    for batch in data.val_dataloader():
        y = None if batch.y is None else batch.y.to(model.device)
        moved = data.on_after_batch_transfer(batch._replace(x=batch.x.to(model.device), y=y))
        x, c = model.unpack(moved)
        found = scores(model, x, c, seed=batch.key, num_samples=num_importance)
        files.append({"index": batch.index, **{name: found[name] for name in BY if name in found}})
    return files


def _reference_of(trainer: Trainer, other: DataModule | None) -> DataModule:
    """Data whose validation split is the reference: those of the training, if others are predicted."""
    if other is not None:
        return other
    data = data_of(trainer, "calibrate")
    if data.predict_split != "test":
        raise ValueError(
            f"calibrate: p-values hold for examples outside training and validation, got split {data.predict_split} of "
            "the same data: choose the test split, or new data."
        )
    return data


def calibrated(rows: MergedRows, reference: MergedRows, rate: float, path: Path) -> Mapping[str, np.ndarray]:
    """The columns ``p_value`` and ``typicality`` of rows; what they are based on goes to a file.

    Args:
        rows: Rows with scores.
        reference: Rows of the validation split with the same scores.
        rate: Promised rate of false alarms.
        path: File of the threshold.

    Raises:
        ValueError: If there are too few references for the rate.
    """
    by = next(name for name in BY if name in rows.layout)
    known = reference.take(by, 0, len(reference))
    limit = threshold(known, rate)
    said = {"score": by, "split": "val", "num_examples": len(known), "false_alarms": rate, "threshold": limit}
    write_text(path, json.dumps(said, indent=1) + "\n")
    found = rows.take(by, 0, len(rows))
    # How far a score is from the usual one, on either side: an anomaly may well be more likely than all others.
    return {"p_value": p_values(found, known), "typicality": np.abs(found - known.mean(dtype=np.float64))}
