"""The configuration of a run, beside its checkpoints."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import Namespace
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.cli import SaveConfigCallback

from vae_zoo.checkpoints.hyperparameters import Recorded
from vae_zoo.cli.run.checks import check_intervals, check_monitors
from vae_zoo.cli.run.folder import RunFolder
from vae_zoo.system.writing import replacing

FINDERS = ("LearningRateFinder", "BatchSizeFinder")
"""Callbacks that change an argument before the first step."""

UNCHECKED: dict[str, Any] = {"skip_unset": False, "skip_validation": True}
"""How a configuration is written: whole, and not checked again, as it was when it was read."""


class SaveConfig(SaveConfigCallback):
    """Writes the configuration beside the checkpoints, and logs it to every logger.

    Args:
        run: Folder of the run.
        kwargs: Arguments of Lightning's callback.
    """

    name = "config"

    def __init__(self, *args: Any, run: RunFolder, **kwargs: Any) -> None:
        super().__init__(*args, **{**kwargs, "save_to_log_dir": False})
        self.run = run
        self.path: Path | None = None
        self._recorded: dict[str, dict[str, Any]] = {}

    def save_config(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:  # noqa: ARG002
        self.path = self.run.path / self.config_filename
        _make_plain(self.config)
        self._recorded = _recorded(trainer, pl_module)
        self._write()
        with _untold():
            text = self.parser.dump(self.config, skip_link_targets=False, **UNCHECKED)
        config = yaml.safe_load(_readable(text))
        for logger in trainer.loggers:
            logger.log_hyperparams(config)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Check the monitors, and replace finders by their results, so that the file repeats this run."""
        check_intervals(trainer, pl_module)
        if self.path is None:  # of another process
            return
        found = False
        for group, now in _recorded(trainer, pl_module).items():
            before = self._recorded.get(group, {})
            for name in [name for name, value in now.items() if before.get(name) != value]:
                self.config[group].init_args[name] = _as_parsed(now[name])
                found = True
        if found:
            given = self.config.trainer.callbacks
            rest = [c for c in given if not c.class_path.endswith(FINDERS)] if isinstance(given, list) else given
            self.config.trainer.callbacks = rest
            self._write()

    def _write(self) -> None:
        with replacing(Path(str(self.path))) as part:
            with _untold():
                self.parser.save(self.config, part, overwrite=True, multifile=self.multifile, **UNCHECKED)
            text = part.read_text(encoding="utf-8")
            part.write_text(_readable(text), encoding="utf-8")

    def on_sanity_check_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        check_monitors(trainer, pl_module)


def _make_plain(value: Any) -> Any:
    """Turn members of an enumeration, which YAML lacks, into strings, in place; returns the value."""
    if isinstance(value, Namespace):
        for key, item in vars(value).items():
            setattr(value, key, _make_plain(item))
    elif isinstance(value, list):
        value[:] = [_make_plain(item) for item in value]
    return str(value.value) if isinstance(value, Enum) and isinstance(value, str) else value


def _as_parsed(value: Any) -> Any:
    """A class and its arguments in the form of the parser."""
    if isinstance(value, dict) and "class_path" in value:
        return Namespace(class_path=value["class_path"], init_args=Namespace(**value.get("init_args", {})))
    return value


@contextmanager
def _untold() -> Iterator[None]:
    """Suppress warnings of the parser about what :func:`_readable` corrects."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*Unable to serialize instance")
        yield


def _readable(text: str) -> str:
    """A dumped configuration in which devices and names of functions can be read back."""
    return re.sub(r"Unable to serialize instance ([\w:]+)$", r"\1", text, flags=re.MULTILINE)


def _recorded(trainer: Trainer, model: LightningModule) -> dict[str, dict[str, Any]]:
    """Current arguments of model and data, as plain data."""
    parts = {"model": model, "data": getattr(trainer, "datamodule", None)}
    return {group: part.recorded()["init_args"] for group, part in parts.items() if isinstance(part, Recorded)}
