"""Detection of NaN losses and examples outside of a likelihood's support, without a sync at every step."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.tuner.lr_finder import _LRCallback
from torch import Tensor

from vae_zoo.distributions import Family

TOTALS = ("loss", "elbo")
"""Curves that are sums of others, and therefore never the first to break."""


class NonFiniteLossError(ValueError):
    """Raised when a loss has turned NaN or infinite."""


class Guard:
    """Ends a fit whose loss turns NaN or infinite, or whose examples are outside the support, with step and reason.

    Values of each step stay on the device, and are read every ``log_every_n_steps``, at the end of an epoch and
    before a validation. On a CPU with one process, every loss is checked before its gradient is computed, so the
    weights are still those of the previous step. Several processes check together, and all of them report any problem.

    Setting ``active`` to false switches it off; ``losses`` is false for a fit whose callback skips such steps.
    """

    def __init__(self) -> None:
        self.active = self.losses = True
        self._rows: list[tuple[int, Tensor]] = []
        self._gists: list[tuple[str, Tensor]] = []

    def start(self) -> None:
        """Clear the values of a previous fit."""
        self._rows, self._gists, self.losses = [], [], True

    def see_loss(self, trainer: Trainer, row: Tensor) -> bool:
        """Store a vector of terms of the current step; returns whether it is time to :meth:`look`."""
        if not (self.active and self.losses):
            return False
        self._rows.append((trainer.global_step + 1, row.detach()))
        return _at_once(trainer, row) or len(self._rows) >= _every(trainer)

    def see_examples(self, trainer: Trainer, where: str, gist: Tensor) -> bool:
        """Store the :meth:`Family.gist` of a batch; returns whether it is time to :meth:`look`."""
        if self.active:
            self._gists.append((where, gist))
        return not trainer.training and trainer.world_size == 1 and len(self._gists) >= _every(trainer)

    def look(self, trainer: Trainer, names: Sequence[str], likelihood: Family | None = None) -> None:
        """Check the values stored since the last time.

        Args:
            trainer: The trainer.
            names: Names of the terms of a loss.
            likelihood: Likelihood whose support must contain the examples.

        Raises:
            NonFiniteLossError: If a loss is not finite.
            ValueError: If examples are outside the support.
        """
        rows, gists = self._rows, self._gists
        if not rows and not gists and trainer.world_size == 1:
            return
        self._rows, self._gists = [], []
        found = _first_outside(gists, likelihood), _first_broken(rows, names)
        report = next(filter(None, found), "")
        if trainer.world_size > 1:
            if trainer.strategy.reduce_boolean_decision(not report, all=True):
                return
            report = _of_all(report, trainer.world_size)
        if report:
            kind = NonFiniteLossError if "not finite" in report else ValueError
            raise kind(f"{report}; last good checkpoint: {newest(trainer) or 'none'}" if rows else f"{report}.")

    def check_validation(self, trainer: Trainer, metrics: dict[str, Tensor]) -> None:
        """Refuse to continue after a validation with a NaN or infinite loss.

        Args:
            trainer: The trainer.
            metrics: Metrics of the validation, over all processes, by name.

        Raises:
            NonFiniteLossError: If the loss or the bound is not finite.
        """
        if trainer.state.fn != "fit" or not (self.active and self.losses):
            return
        if any(not torch.isfinite(metrics[name]) for name in TOTALS if name in metrics):
            where = "before the first step" if trainer.sanity_checking else f"after step {trainer.global_step}"
            raise NonFiniteLossError(
                f"the validation loss is not finite {where}: {_broken(metrics)}; "
                f"last good checkpoint: {newest(trainer) or 'none'}"
            )


def newest(trainer: Trainer) -> str:
    """The newest checkpoint of a run, or else the one that it was resumed from; empty if there is none."""
    written = {
        str(getattr(callback, name, ""))
        for callback in trainer.checkpoint_callbacks
        for name in ("best_model_path", "last_model_path")
    }
    there = [path for path in written if path and Path(path).is_file()]
    return max(there, key=os.path.getmtime, default=str(trainer.ckpt_path or ""))


def tunes(trainer: Trainer) -> bool:
    """Whether a learning rate finder is running, which ends when the loss breaks."""
    return any(isinstance(callback, _LRCallback) for callback in trainer.callbacks)  # type: ignore[attr-defined]


def _at_once(trainer: Trainer, row: Tensor) -> bool:
    return row.device.type == "cpu" and trainer.world_size == 1


def _every(trainer: Trainer) -> int:
    return int(trainer.log_every_n_steps) or 50  # type: ignore[attr-defined]


def _first_broken(rows: list[tuple[int, Tensor]], names: Sequence[str]) -> str:
    """The first step whose loss is not finite, and its term; empty if there is none."""
    if not rows:
        return ""
    if bool(torch.isfinite(rows[0][1] if len(rows) == 1 else torch.cat([row for _, row in rows])).all()):
        return ""
    step, row = next((step, row) for step, row in rows if not torch.isfinite(row).all())
    terms = dict(zip(names if len(names) == len(row) else ["loss"], row, strict=False))
    return f"the loss is not finite at step {step}: {_broken(terms)}"


def _first_outside(gists: list[tuple[str, Tensor]], likelihood: Family | None) -> str:
    """The first batch outside the support, and why; empty if there is none."""
    if not gists or likelihood is None:
        return ""
    fine = likelihood.allows(torch.stack([gist for _, gist in gists])).tolist()
    bad = next((seen for seen, ok in zip(gists, fine, strict=True) if not ok), None)
    return f"{likelihood.complaint(bad[1])} in {bad[0]}" if bad else ""


def _broken(terms: dict[str, Tensor]) -> str:
    """The first term that is not finite."""
    order = sorted(terms, key=lambda name: name in TOTALS)
    name = next(name for name in order if not torch.isfinite(terms[name]).all())
    return f"{name} is {float(terms[name])}"


def _of_all(report: str, world_size: int) -> str:
    """The distinct reports of all processes, for the first process to print."""
    reports: list[str] = [""] * world_size
    torch.distributed.all_gather_object(reports, report)
    ranks: dict[str, list[str]] = {}
    for rank, text in enumerate(reports):
        if text:
            ranks.setdefault(text, []).append(str(rank))
    return "; ".join(f"{text} (process {' and '.join(who)} of {world_size})" for text, who in ranks.items())
