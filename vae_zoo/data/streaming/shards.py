"""Loader and writer of litdata shards, which are read one after another."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vae_zoo.data.base.datamodule import DataModule
from vae_zoo.data.base.loader import TensorLoader
from vae_zoo.data.base.splits import Split, SplitName
from vae_zoo.data.streaming.shard_index import check_index
from vae_zoo.system.writing import replacing_folder
from vae_zoo.typing import Batch

_BLOCK = 1024
_UNREADABLE = (ValueError, TypeError, LookupError, AttributeError, AssertionError, RuntimeError, struct.error, OSError)
"""Exceptions of the engine on invalid samples."""


class StreamLoader(TensorLoader):
    """Loader of a folder of shards, with the epochs, keys and state of :class:`TensorLoader`.

    The order comes from the engine: shards, and the examples in each of them, are shuffled by (seed, epoch). On several
    ranks, training leaves out fewer examples than there are ranks, so that all ranks take equally many steps.

    Args:
        path: Folder or address of the shards.
        cache_size: Size of the local copies of remote shards, such as "100GB"; None for the engine's default.
        kwargs: Arguments of :class:`TensorLoader` other than the tensors.
    """

    def __init__(self, path: str, *, cache_size: str | None = None, **kwargs: Any) -> None:
        self.path, self.cache_size = path, cache_size
        super().__init__(torch.empty(num_examples(open_shards(path, cache_size=cache_size)), 0), **kwargs)

    @cached_property
    def _num_local(self) -> int:
        return len(self._dataset(0))

    def take(self, positions: Tensor) -> Batch:  # noqa: ARG002
        raise ValueError(f"Shards are read one after another, so that no example of {self.path} can be chosen.")

    def _batches(self, start: int) -> Iterator[Batch]:
        samples = iter(self._dataset(start))
        for position in range(start, len(self)):
            size = min(self.batch_size, self._num_local - position * self.batch_size)
            index, rows = zip(*(next(samples) for _ in range(size)), strict=True)
            yield Batch(*collate(rows, self.path), torch.tensor(index), self._key(position))

    def _dataset(self, start: int) -> Any:
        dataset = open_shards(
            self.path,
            cache_size=self.cache_size,
            shuffle=self.training and self.shuffle,
            seed=self.seed,
        )
        # Of batches of one, ranks get equal numbers to within one; of larger ones, to within a batch.
        dataset.set_batch_size(1)
        dataset.set_drop_last(self.training and self.world_size > 1)
        dataset.set_epoch(max(self.epoch, 0) + 1)
        if start:
            dataset.load_state_dict(dataset.state_dict(start * self.batch_size, 1, 1))
        return dataset


def open_shards(path: str, *, cache_size: str | None = None, **kwargs: Any) -> Any:
    """The engine's data set of a folder of shards, whose iterator also yields the index of each example.

    Args:
        path: Folder, or address such as ``s3://bucket/folder``.
        cache_size: Size of the local copies of remote shards, such as "100GB".
        kwargs: Arguments of ``litdata.StreamingDataset``.

    Raises:
        FileNotFoundError: If a local folder has no shards.
        ImportError: If litdata is not installed.
    """
    if "://" not in path and not Path(path, "index.json").is_file():
        raise FileNotFoundError(f"There are no shards in {path}: make some by vae_zoo.data.write_shards.")
    dataset_class = engine().StreamingDataset

    if "://" not in path:
        check_index(Path(path), local=True)

    class Numbered(dataset_class):  # type: ignore[misc,valid-type]
        def __getitem__(self, index: Any) -> Any:
            try:
                sample = super().__getitem__(index)
            except _UNREADABLE as error:
                number = index if isinstance(index, int) else index.index
                raise ValueError(f"Sample {number} in {path} is damaged, or not of the format of its index.") from error
            return sample if isinstance(index, int) else (index.index, sample)

    dataset = Numbered(path, max_cache_size=cache_size, **kwargs)
    check_index(
        Path(dataset.input_dir.path), local=False
    )  # of a bucket the index has now been copied there, and nothing read yet
    return dataset


def num_examples(dataset: Any) -> int:
    """Number of examples in shards, over all ranks."""
    len(dataset)  # opens them
    return sum(end - start for _, start, end, *_ in dataset.shuffler.cache.get_chunk_intervals())


def collate(samples: Sequence[Any], where: str) -> tuple[Tensor, Tensor | None]:
    """Examples, uint8 or float32, and labels of samples.

    Args:
        samples: Dictionaries with an array ``x`` and optionally a number ``y``.
        where: Name of the source in errors.

    Raises:
        ValueError: If a sample is not such a dictionary, examples differ in shape, or a label is negative.
    """
    first = samples[0]
    numbered = isinstance(first, dict) and all(isinstance(sample.get("y", 0), (int, np.integer)) for sample in samples)
    if not numbered or not hasattr(first.get("x"), "shape"):
        raise ValueError(
            f"Samples in {where} must be dictionaries with an array x, and a number y where there are labels."
        )
    shapes = sorted({tuple(sample["x"].shape) for sample in samples})
    if len(shapes) > 1:
        raise ValueError(f"Examples in {where} must have one shape, got {shapes[0]} and {shapes[1]}.")
    x = torch.from_numpy(np.stack([np.asarray(sample["x"]) for sample in samples]))
    if x.is_complex() or x.dtype == torch.bool or min(x.shape) < 1:
        raise ValueError(f"Examples in {where} must be numbers, got {x.dtype} of shape {tuple(x.shape[1:])}.")
    y = torch.tensor([int(sample["y"]) for sample in samples]) if "y" in first else None
    if y is not None and int(y.min()) < 0:
        raise ValueError(f"Labels in {where} must be at least 0, got {int(y.min())}: leave such samples out.")
    return x if x.dtype == torch.uint8 else x.float(), y


def write_shards(
    data: DataModule,
    folder: str,
    *,
    chunk_bytes: int | str = "64MB",
    splits: Sequence[SplitName] = ("train", "val", "test"),
) -> None:
    """Write the splits of a data module as shards for :class:`Stream`, one split after another, in blocks.

    Examples are shuffled, because a batch comes from few shards.

    Args:
        data: The data; of files and folders, at most ``in_memory_limit`` is in memory at a time.
        folder: Folder to write to, with a subfolder for each split.
        chunk_bytes: Size of a shard.
        splits: Splits to write.

    Raises:
        FileExistsError: If there are shards already.
        WriteError: If they cannot be written; an incomplete split is removed.
        ImportError: If litdata is not installed.
    """
    engine()
    for split in splits:
        path = Path(folder).expanduser() / split
        if (path / "index.json").exists():
            raise FileExistsError(f"There are shards in {path} already: remove them, or choose another folder.")
        loaded = data.load(split)

        def rows(index: Tensor, loaded: Split = loaded) -> tuple[np.ndarray, list[Any] | None]:
            return loaded.x[index].numpy(), None if loaded.y is None else loaded.y[index].tolist()

        write_samples(path, len(loaded.x), rows, chunk_bytes=chunk_bytes)


def write_samples(
    path: Path,
    num: int,
    rows: Callable[[Tensor], tuple[np.ndarray, list[Any] | None]],
    *,
    chunk_bytes: int | str = "64MB",
) -> None:
    """Write examples as shards of one folder, in random order and in blocks.

    Args:
        path: Folder, which is replaced as a whole.
        num: Number of examples.
        rows: Gives the examples (B, \\*shape) with some numbers, and their labels, (B,), or None.
        chunk_bytes: Size of a shard.

    Raises:
        WriteError: If they cannot be written.
        ImportError: If litdata is not installed.
    """
    engine()
    from litdata.streaming.cache import Cache

    with replacing_folder(path) as part:
        cache = Cache(str(part), chunk_bytes=chunk_bytes)
        order = torch.randperm(num, generator=torch.Generator().manual_seed(0))
        for number, index in enumerate(order.split(_BLOCK)):
            x, y = rows(index)
            for row in range(len(index)):
                sample = {"x": x[row]} if y is None else {"x": x[row], "y": y[row]}
                cache._add_item(number * _BLOCK + row, sample)
        cache.done()
        cache.merge()


def engine() -> Any:
    """The library of the format.

    Raises:
        ImportError: If litdata is not installed.
    """
    try:
        import litdata
    except ImportError as error:
        raise ImportError("Shards need litdata: pip install 'vae_zoo[stream]'.") from error
    return litdata
