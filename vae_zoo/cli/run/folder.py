"""Folders of runs."""

from __future__ import annotations

import os
import shutil
from itertools import count
from pathlib import Path

from vae_zoo.cli.run.launched import agreed, rank

_INHERITED = "VAE_ZOO_RUN_FOLDER"


class RunFolder:
    """A new folder ``<root>/<name>_<n>``, which no other run can use, and which is removed if the run does not start.

    Further processes of the run use the same folder, whether they are started by this process or by another program.
    """

    def __init__(self, root: Path, name: str) -> None:
        self.owner = _INHERITED not in os.environ and rank() == 0
        self._made = [folder for folder in (root, *root.parents) if not folder.exists()]  # not the user's own
        inherited = os.environ.get(_INHERITED)
        self.path = Path(inherited) if inherited else agreed(root, name, self._claim)
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
        """Release the folder, and remove it if it has nothing to keep."""
        if not self.owner:
            return
        os.environ.pop(_INHERITED, None)
        if not keep:
            shutil.rmtree(self.path, ignore_errors=True)
            for folder in self._made:
                if folder.is_dir() and not any(folder.iterdir()):
                    folder.rmdir()
