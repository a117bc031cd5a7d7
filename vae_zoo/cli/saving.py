"""The configuration of a run, beside its checkpoints."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.cli import SaveConfigCallback

from vae_zoo.cli.monitors import check_monitors
from vae_zoo.cli.runs import RunFolder
from vae_zoo.writing import replacing


class SaveConfig(SaveConfigCallback):
    """Writes the configuration beside the checkpoints, and hands it to every logger.

    Args:
        run: Folder of the run.
        kwargs: Arguments of Lightning's callback.
    """

    name = "config"

    def __init__(self, *args: Any, run: RunFolder, **kwargs: Any) -> None:
        super().__init__(*args, **{**kwargs, "save_to_log_dir": False})
        self.run = run
        self.path: Path | None = None

    def save_config(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:  # noqa: ARG002
        self.path = self.run.path / self.config_filename
        with replacing(self.path) as part:
            self.parser.save(self.config, part, skip_unset=False, overwrite=True, multifile=self.multifile)
        config = yaml.safe_load(self.parser.dump(self.config, skip_unset=False, skip_link_targets=False))
        for logger in trainer.loggers:
            logger.log_hyperparams(config)

    def on_sanity_check_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        check_monitors(trainer, pl_module)
