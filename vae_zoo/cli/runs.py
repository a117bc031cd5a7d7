"""The folder of a run, and the configuration in it."""

from __future__ import annotations

import os
import shutil
from itertools import count
from pathlib import Path
from typing import Any

import yaml
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.cli import SaveConfigCallback

_INHERITED = "VAE_ZOO_RUN_FOLDER"


class RunFolder:
    """A new folder ``<root>/<name>_<n>``, claimed so that two runs never share one, gone again if none starts.

    Processes that this one launches for further devices find the same folder.
    """

    def __init__(self, root: Path, name: str) -> None:
        self.owner = _INHERITED not in os.environ
        self.path = self._claim(root, name) if self.owner else Path(os.environ[_INHERITED])
        os.environ[_INHERITED] = str(self.path)
        self.started = False

    @staticmethod
    def _claim(root: Path, name: str) -> Path:
        for n in count():
            path = root / f"{name}_{n}"
            try:
                path.mkdir(parents=True)
            except FileExistsError:
                continue
            return path
        raise AssertionError

    def release(self) -> None:
        """Forget the folder; remove it if the run never started."""
        os.environ.pop(_INHERITED, None) if self.owner else None
        if self.owner and not self.started:
            shutil.rmtree(self.path, ignore_errors=True)
            for parent in self.path.parents[:2]:
                if parent.is_dir() and not any(parent.iterdir()):
                    parent.rmdir()


class SaveConfig(SaveConfigCallback):
    """Writes the configuration beside the checkpoints, and hands it to every logger.

    Args:
        run: Folder of the run.
        kwargs: Arguments of Lightning's callback.
    """

    def __init__(self, *args: Any, run: RunFolder, **kwargs: Any) -> None:
        super().__init__(*args, save_to_log_dir=False, **kwargs)
        self.run = run

    def save_config(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:  # noqa: ARG002
        self.path = self.run.path / self.config_filename
        self.parser.save(self.config, self.path, skip_none=False, overwrite=True, multifile=self.multifile)
        config = yaml.safe_load(self.parser.dump(self.config, skip_none=False, skip_link_targets=False))
        for logger in trainer.loggers:
            logger.log_hyperparams(config)

    def on_sanity_check_end(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        """Refuse a monitor that no validation logs before an epoch is spent on finding out."""
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            monitor = getattr(callback, "monitor", None) or ""
            known = sorted({*trainer.callback_metrics, "val/active_units"})
            if monitor.startswith("val/") and monitor not in known:
                raise ValueError(f"{type(callback).__name__} monitors {monitor}, but there are {', '.join(known)}.")

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        self.run.started = True

    on_validation_start = on_test_start = on_predict_start = on_train_start
