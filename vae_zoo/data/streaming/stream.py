"""Data larger than a disk, read shard by shard."""

from __future__ import annotations

from functools import cached_property, partial
from typing import Any

from vae_zoo.data.base import transfer
from vae_zoo.data.base.checks import check_positive
from vae_zoo.data.base.datamodule import DataModule
from vae_zoo.data.base.loader import TensorLoader
from vae_zoo.data.base.splits import Split, SplitName
from vae_zoo.data.streaming.shards import StreamLoader, collate, num_examples, open_shards
from vae_zoo.typing import Shape


class Stream(DataModule):
    """Examples in shards of litdata, on a disk or in a bucket; see :func:`write_shards`.

    Shards are read one after another, in an order that is a function of (seed, epoch), different shards on each rank;
    a run can resume after any batch. A batch comes from few shards, so the examples in them must be in random order.
    Callbacks and models that look at a split outside of its batches get the first ``num_held`` examples.

    Args:
        path: Folder, or address such as ``s3://bucket/folder``, with the shards of each split in ``train``, ``val`` and
            ``test``. A sample is a dictionary with an array ``x`` and optionally a label ``y``.
        num_classes: Number of classes; None for data without labels, or with unused labels.
        num_held: Examples of a split that are kept in memory.
        cache_size: Size of the local copies of remote shards, such as "100GB"; None for the engine's default.
        kwargs: Arguments of :class:`DataModule`; ``device_data`` always acts as "auto".

    Raises:
        ImportError: When data are read, if litdata is not installed.
        FileNotFoundError: When data are read, if a folder has no shards.
        ValueError: If num_held or num_classes is less than 1; when data are read, if samples are not such dictionaries.
    """

    def __init__(
        self,
        *,
        path: str,
        num_classes: int | None = None,
        num_held: int = 1024,
        cache_size: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if self.num_labels is not None:
            raise ValueError(
                "num_labels hides labels of splits that are in memory, which those of a stream are not: leave it out."
            )
        self.path, self._num_classes, self.cache_size = path.rstrip("/"), num_classes, cache_size
        self.num_held = check_positive("num_held", num_held)
        if num_classes is not None:
            check_positive("num_classes", num_classes)

    @cached_property
    def shape(self) -> Shape:
        return tuple(self._held("train", 1).x.shape[1:])

    @cached_property
    def num_train(self) -> int:
        return num_examples(self._open("train"))

    @property
    def num_classes(self) -> int | None:
        return self._num_classes

    def dataset(self, split: SplitName) -> Split:
        return self._held(split, self.num_held)

    def _held(self, split: SplitName, num: int) -> Split:
        dataset = self._open(split)
        samples = [dataset[row] for row in range(min(num, num_examples(dataset)))]
        return Split(*collate(samples, self._path(split)))

    def _open(self, split: SplitName) -> Any:
        return open_shards(self._path(split), cache_size=self.cache_size)

    def _path(self, split: SplitName) -> str:
        return f"{self.path}/{split}"

    def _loader(self, split: SplitName, *, training: bool | None = None) -> TensorLoader:
        device = self._device()
        ahead = partial(transfer.prefetch, device=device) if transfer.overlaps(device) else None
        return StreamLoader(
            self._path(split), cache_size=self.cache_size, **self._loading(split, training), ahead=ahead
        )
