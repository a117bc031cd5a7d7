"""Losses that are no number and examples outside of a likelihood's support, noticed without a wait at every step."""

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
"""Curves that others add up to, which are therefore never the first to break."""


class NonFiniteLossError(ValueError):
    """A loss that has turned NaN or infinite."""


class Guard:
    """Ends a fit whose loss turns NaN or infinite, or whose examples have no density, with the step and the reason.

    What each step leaves stays on the device, and is read every ``log_every_n_steps``, at the end of an epoch and
    before a validation. On a CPU with one process every loss is looked at before its gradient is taken: the weights
    are then still those of the step before. Several processes look together, and all report what one has found.

    Setting ``active`` to false switches it off; ``losses`` is false for a fit whose callback skips such steps.
    """

    def __init__(self) -> None:
        self.active = self.losses = True
        self._rows: list[tuple[int, Tensor]] = []
        self._gists: list[tuple[str, Tensor]] = []

    def start(self) -> None:
        """Forget what a fit before this one has left."""
        self._rows, self._gists, self.losses = [], [], True

    def see_loss(self, trainer: Trainer, row: Tensor) -> bool:
        """Take a vector of terms of the step that begins; whether it is time to :meth:`look`."""
        if not (self.active and self.losses):
            return False
        self._rows.append((trainer.global_step + 1, row.detach()))
        return _at_once(trainer, row) or len(self._rows) >= _every(trainer)

    def see_examples(self, trainer: Trainer, where: str, gist: Tensor) -> bool:
        """Take what :meth:`Family.gist` gives of a batch; whether it is time to :meth:`look`."""
        if self.active:
            self._gists.append((where, gist))
        return not trainer.training and trainer.world_size == 1 and len(self._gists) >= _every(trainer)

    def look(self, trainer: Trainer, names: Sequence[str], likelihood: Family | None = None) -> None:
        """Read what has been taken since the last time.

        Args:
            trainer: The trainer.
            names: Names of the terms of a loss.
            likelihood: What examples must have a density under.

        Raises:
            NonFiniteLossError: If a loss is not finite.
            ValueError: If examples have no density.
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

    def check_validation(self, trainer: Trainer, figures: dict[str, Tensor]) -> None:
        """Refuse to go on after a validation whose loss is no number.

        Args:
            trainer: The trainer.
            figures: Those of the validation, over all processes, by their names.

        Raises:
            NonFiniteLossError: If the loss or the bound is not finite.
        """
        if trainer.state.fn != "fit" or not (self.active and self.losses):
            return
        if any(not torch.isfinite(figures[name]) for name in TOTALS if name in figures):
            where = "before the first step" if trainer.sanity_checking else f"after step {trainer.global_step}"
            raise NonFiniteLossError(
                f"the validation loss is not finite {where}: {_broken(figures)}; "
                f"last good checkpoint: {newest(trainer) or 'none'}"
            )


def newest(trainer: Trainer) -> str:
    """The newest checkpoint that a run has written, or else the one it has started from; empty if there is none."""
    written = {
        str(getattr(callback, name, ""))
        for callback in trainer.checkpoint_callbacks
        for name in ("best_model_path", "last_model_path")
    }
    there = [path for path in written if path and Path(path).is_file()]
    return max(there, key=os.path.getmtime, default=str(trainer.ckpt_path or ""))


def tunes(trainer: Trainer) -> bool:
    """Whether a learning rate is being looked for, which ends where the loss breaks."""
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
    """The first batch that has no density, and why; empty if there is none."""
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
    """The reports of all processes, each once: the first process prints what is wrong in any of them."""
    reports: list[str] = [""] * world_size
    torch.distributed.all_gather_object(reports, report)
    ranks: dict[str, list[str]] = {}
    for rank, text in enumerate(reports):
        if text:
            ranks.setdefault(text, []).append(str(rank))
    return "; ".join(f"{text} (process {' and '.join(who)} of {world_size})" for text, who in ranks.items())
