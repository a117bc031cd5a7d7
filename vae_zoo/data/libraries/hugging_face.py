"""Data sets of Hugging Face."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from vae_zoo.data.base.checks import check_positive
from vae_zoo.data.base.splits import SPLITS, SplitName
from vae_zoo.data.files.image_files import decode_image
from vae_zoo.data.libraries.from_dataset import ItemSplits
from vae_zoo.system.extras import require

_NAMES: dict[str, SplitName] = {
    "train": "train",
    "validation": "val",
    "valid": "val",
    "val": "val",
    "dev": "val",
    "test": "test",
}


class HuggingFace(ItemSplits):
    """A data set of the package ``datasets``, from a folder that its ``save_to_disk`` has written.

    Splits ``train``, ``validation`` and ``test`` are used as they are, and those that are missing are taken from
    ``train`` at random. The example is a column of images or arrays, or several columns of numbers that make a vector.
    The only column of images is found without ``x_key``, the only column of classes without ``label_key``.
    Images are decoded here and not by ``datasets``, which opens any file or address that a data set names. A data set
    that is in memory is one for :class:`FromDataset`.

    Args:
        path: The folder; with ``hub``, the name of the data set.
        hub: Download the data set of that name instead, or take it from the cache of the package.
        image_size: Height and width to which images are resized, cropped around the centre; None for their own, if all
            have the same.
        channels: 1 for grey, 3 for colour, 4 for colour and opacity.
        kwargs: Arguments of :class:`ItemSplits`.

    Raises:
        ImportError: When the data are read, if ``datasets`` is not installed.
        FileNotFoundError: When the data are read, if there is no such folder or data set.
        ValueError: When the data are read, if there is no such column, or it holds something else.
    """

    def __init__(
        self,
        *,
        path: str,
        hub: bool = False,
        image_size: int | None = None,
        channels: Literal[1, 3, 4] = 3,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if channels not in (1, 3, 4):
            raise ValueError(f"channels must be 1, 3 or 4, got {channels}.")
        size = None if image_size is None else check_positive("image_size", image_size)
        self.source, self.hub = path, hub
        self.channels, self.size = channels, None if size is None else (size, size)

    @cached_property
    def given(self) -> dict[SplitName, Any]:  # type: ignore[override]  # only reading tells which splits there are
        """The data set of each split that there is."""
        loaded = _load(self.source, self.hub)
        if not isinstance(loaded, dict):
            return {"train": loaded}
        found = {split: loaded[name] for name, split in reversed(_NAMES.items()) if name in loaded}
        if "train" not in found:
            raise ValueError(f"{self.source} has no split train: there is {', '.join(loaded)}.")
        return {split: found[split] for split in SPLITS if split in found}

    @property
    def paths(self) -> dict[SplitName, Path]:  # type: ignore[override]  # the same
        return {split: Path(self.source, split) for split in self.given}

    def named(self, split: SplitName) -> str:
        return f"{self.source} ({split})"

    def opened(self, split: SplitName) -> Any:
        dataset, where = self.given[split], self.named(split)
        images, classes = (_of_kind(dataset, kind) for kind in ("Image", "ClassLabel"))
        if self.keys["x_key"] is None and len(images) == 1:
            self.keys["x_key"] = images[0]
        if self.keys["y_key"] is None and len(classes) == 1 and classes[0] != self.keys["x_key"]:
            self.keys["y_key"] = classes[0]
        x_key = self.keys["x_key"]
        wanted = [x_key] if isinstance(x_key, str) else list(x_key or [])
        wanted += [self.keys[key] for key in ("y_key", "id_key") if self.keys[key] is not None]
        names = dataset.column_names
        for name in wanted:
            if name not in names:
                raise ValueError(f"{where} has no column {name}: there is {', '.join(names)}.")
        if x_key:
            dataset = dataset.select_columns(list(dict.fromkeys(wanted)))
        return _Columns(
            dataset, where, [name for name in images if name in dataset.column_names], self.size, self.channels
        )


class _Columns:
    """Rows of a data set, with images decoded from their bytes."""

    def __init__(
        self, dataset: Any, where: str, images: Sequence[str], size: tuple[int, int] | None, channels: int
    ) -> None:
        from datasets import Image

        for name in images:
            dataset = dataset.cast_column(name, Image(decode=False))
        self.dataset, self.where, self.images, self.size, self.channels = dataset, where, images, size, channels

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, row: int) -> dict[str, Any]:
        return self._decoded(row, self.dataset[row])

    def __getitems__(self, rows: list[int]) -> Iterator[dict[str, Any]]:
        return (self._decoded(row, item) for row, item in zip(rows, self.dataset.__getitems__(rows), strict=True))

    def _decoded(self, row: int, item: dict[str, Any]) -> dict[str, Any]:
        return {**item, **{name: self._image(item[name], f"{self.where}, {name} {row}") for name in self.images}}

    def _image(self, value: Any, where: str) -> Any:
        if not value or not value.get("bytes"):
            raise ValueError(f"{where} has no bytes of an image, but names a file: save the data set with its images.")
        return decode_image(value["bytes"], where, size=self.size, channels=self.channels)


def _of_kind(dataset: Any, kind: str) -> list[str]:
    return [name for name, feature in dataset.features.items() if type(feature).__name__ == kind]


def _load(path: str, hub: bool) -> Any:
    datasets = require("datasets", "hf", "HuggingFace")
    folder = Path(path).expanduser()
    if not hub and not folder.is_dir():
        raise FileNotFoundError(
            f"There is no folder {path} of a data set: write one by save_to_disk, or set hub to true to download it."
        )
    try:
        return datasets.load_dataset(path) if hub else datasets.load_from_disk(str(folder))
    except Exception as error:  # of the file system, the network, pyarrow and the package itself
        said = str(error).strip().split("\n")[0][:100] or type(error).__name__
        if hub:
            raise FileNotFoundError(f"The data set {path} cannot be downloaded: {said}") from error
        raise ValueError(f"{path} is no folder that save_to_disk has written, or damaged: {said}") from error
