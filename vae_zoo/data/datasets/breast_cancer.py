"""The table of breast cancers that comes with scikit-learn, without a download."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from vae_zoo.data.base.splits import SplitName
from vae_zoo.data.datasets.table import Table
from vae_zoo.data.files.frames import read_frame

_SOURCE = "breast_cancer.csv"


class BreastCancer(Table):
    """Thirty measurements of cell nuclei of 569 tumours, and the diagnosis: a table of real data to try models on.

    References:
        | Breast Cancer Wisconsin (Diagnostic) (Wolberg et al., 1995)
        | https://doi.org/10.24432/C5DW2B

    Args:
        kwargs: Arguments of :class:`Table`, all but ``path``.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(path=_SOURCE, **kwargs)

    @cached_property
    def _frames(self) -> dict[SplitName, Any]:
        from sklearn.datasets import load_breast_cancer

        loaded = load_breast_cancer(as_frame=True)
        frame = loaded.frame.rename(columns=lambda name: name.replace(" ", "_"))
        frame["diagnosis"] = loaded.target_names[frame.pop("target")]
        frames: dict[SplitName, Any] = {"train": frame}
        return frames | {split: read_frame(path) for split, path in self.paths.items() if split != "train"}
