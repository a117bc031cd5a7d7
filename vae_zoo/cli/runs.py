"""What a run needs before it starts: a folder of its own, a checkpoint to go on from, devices."""

from __future__ import annotations

import os
import shutil
from itertools import count
from pathlib import Path
from typing import Any

import torch

_INHERITED = "VAE_ZOO_RUN_FOLDER"


class RunFolder:
    """A new folder ``<root>/<name>_<n>``, claimed so that two runs never share one, gone again if none starts.

    Processes that this one launches for further devices find the same folder.
    """

    def __init__(self, root: Path, name: str) -> None:
        self.owner = _INHERITED not in os.environ
        self._made = [folder for folder in (root, *root.parents) if not folder.exists()]  # not the user's own
        self.path = self._claim(root, name) if self.owner else Path(os.environ[_INHERITED])
        os.environ[_INHERITED] = str(self.path)

    @staticmethod
    def _claim(root: Path, name: str) -> Path:
        for n in count():
            path = root / f"{name}_{n}"
            try:
                path.mkdir(parents=True)
            except FileExistsError:
                if not path.exists():  # a link to nothing on the way
                    raise
                continue
            return path
        raise AssertionError

    def release(self, *, keep: bool) -> None:
        """Forget the folder, and remove it unless there is something in it to keep."""
        if not self.owner:
            return
        os.environ.pop(_INHERITED, None)
        if not keep:
            shutil.rmtree(self.path, ignore_errors=True)
            for folder in self._made:
                if folder.is_dir() and not any(folder.iterdir()):
                    folder.rmdir()


def check_devices(accelerator: Any, devices: Any) -> None:
    """Refuse more processes than there are cores, which would start all the same, and hang.

    Raises:
        ValueError: If more devices are asked for than there are.
    """
    on_cpu = accelerator == "cpu" or (accelerator == "auto" and not torch.accelerator.is_available())
    cores = os.cpu_count() or 1
    if on_cpu and str(devices).isdigit() and not 1 <= int(devices) <= cores:
        raise ValueError(f"trainer.devices must be between 1 and the {cores} CPU cores there are, got {devices}.")
