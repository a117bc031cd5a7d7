"""The base class of data modules."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, TypeAlias, get_args

import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor

from vae_zoo.checkpoints.hyperparameters import Recorded
from vae_zoo.data.base import transfer
from vae_zoo.data.base.augmentation import augmenting
from vae_zoo.data.base.checks import (
    check_columns_known,
    check_drop_last,
    check_form,
    check_positive,
    check_split,
    check_varied,
)
from vae_zoo.data.base.loader import ChainedLoader, TensorLoader
from vae_zoo.data.base.mapped import Mapped, chunks
from vae_zoo.data.base.splits import SPLITS, STAGES, PredictSplit, Split, SplitName, as_float, hide_labels
from vae_zoo.data.base.transfer import DeviceData
from vae_zoo.distributions import Bernoulli, Family, OptimalNormal
from vae_zoo.system.seeding import global_seed
from vae_zoo.typing import Batch, Shape

_Ahead: TypeAlias = Callable[[Iterator[Batch]], Iterator[Batch]]

_SAMPLE = 2**28
_SCALED = 10.0
"""Largest absolute value of images that count as scaled, which includes standardised ones."""


class DataModule(Recorded, LightningDataModule, ABC):  # type: ignore[misc]
    """Data as whole splits, in memory or mapped, from which a batch is one indexing operation.

    A subclass defines :meth:`dataset`. It also defines ``shape``, ``num_train`` and ``num_classes`` if they are known
    before the data are read, because the command line needs them; by default they come from the training split.

    Args:
        batch_size: Training examples in a batch, on each device.
        eval_batch_size: The same for validation, test and prediction; None for ``max(batch_size, 256)``.
        drop_last: Leave out the last, smaller batch of a training epoch.
        device_data: Keep whole splits on the accelerator and index batches there. "auto" does so on CUDA
            for splits that take at most a quarter of the free memory. For other splits, the next batch is copied to a
            CUDA device during each step.
        num_labels: Labels of the training split to keep, for semi-supervised models; the others become −1, which
            means unknown. None keeps all of them.
        label_seed: Seed of the choice of those labels, which is as even over the classes as they allow.
        partly_labelled: Whether some labels are unknown, which are negative, NaN or empty in files, and become −1.

    Raises:
        ValueError: If a size or num_labels is less than 1; when the data are read, if num_labels exceeds the labels
            there are or is below the number of classes; when loaders are made, if device_data is true for data that
            stay in a file.
    """

    def __init__(
        self,
        *,
        batch_size: int = 128,
        eval_batch_size: int | None = None,
        drop_last: bool = False,
        device_data: DeviceData = "auto",
        num_labels: int | None = None,
        label_seed: int = 0,
        partly_labelled: bool = False,
    ) -> None:
        super().__init__()
        if num_labels is not None:
            check_positive("num_labels", num_labels)
        self.batch_size = check_positive("batch_size", batch_size)
        eval_batch_size = max(batch_size, 256) if eval_batch_size is None else eval_batch_size
        self.eval_batch_size = check_positive("eval_batch_size", eval_batch_size)
        self.drop_last, self.device_data = drop_last, device_data
        self.num_labels, self.label_seed, self.partly_labelled = num_labels, label_seed, partly_labelled
        self._resident = transfer.DeviceSplits()
        self._splits: dict[SplitName, Split] = {}
        self._whole: Split | None = None

    predict_split: PredictSplit = "test"
    """Split that predict goes through; "all" for every example of the source."""

    known_classes: list[Any] | None = None
    """Classes of the training, by which labels of new data are numbered; None to number those of the data."""

    new_source: bool = False
    """Whether the examples come from another source than those that a restored model was trained on."""

    sources: tuple[str, ...] = ("path", "folder")
    """Arguments that name where the examples come from. Given another source, the command predicts all of it."""

    missing: bool = False
    """Whether examples may have missing values, which are NaN."""

    @abstractmethod
    def dataset(self, split: SplitName) -> Split:
        """Read one split; called once for each.

        Args:
            split: "train", "val" or "test".
        """

    def adopt(self, model: Mapping[str, Any]) -> None:
        """Take over what a trained model knows of its data, such as their scaling, instead of fitting it to new data.

        Args:
            model: Arguments of the model, as plain data.
        """

    def whole(self) -> Split | None:
        """Every example of one source, in its order, for predict; None if there are only splits."""
        return None

    @property
    def num_rows(self) -> int | None:
        """Number of examples in all splits, or None if only reading them would tell."""
        return None

    @property
    def shape(self) -> Shape:
        """Shape of one example: (D,), (C, L), (C, H, W) or (C, D, H, W)."""
        return tuple(self.load("train").x.shape[1:])

    @property
    def num_train(self) -> int:
        """Number of training examples."""
        return len(self.load("train").x)

    @property
    def num_classes(self) -> int | None:
        """Number of classes, or None for data without labels."""
        return None

    @property
    def condition_sizes(self) -> tuple[int, ...] | None:
        """For labels of several values, (N, A): the number of classes of each, or 1 for a number; otherwise None."""
        return None

    @property
    def scaling(self) -> dict[str, list[float]] | None:
        """Shift and scale of each entry of vectors, as a model takes them; None if they are not scaled."""
        return None

    @property
    def num_labelled(self) -> int | None:
        """Number of training examples whose label is known, or None for data without labels."""
        if self.num_labels is not None or not self.num_classes:
            return self.num_labels
        y = self.load("train").y if self.partly_labelled else None
        return self.num_train if y is None else int((y >= 0).sum())

    @property
    def likelihood(self) -> Callable[[Shape], Family]:
        """Likelihood that suits the examples, the default of the command.

        Bernoulli if all values are 0 or 1. OptimalNormal for all others, because grey levels as probabilities often
        lead to a posterior collapse. For 8-bit images that were not divided by 255 it is Bernoulli, which refuses
        them.
        """
        return _suited(self.load("train").x)

    def complete(self, likelihood: Callable[[Shape], Family]) -> Callable[[Shape], Family]:
        """A chosen likelihood with what it needs to know of the data, such as a vocabulary; by default it is unchanged.

        Args:
            likelihood: Class of the likelihood, or a partial of it.
        """
        return likelihood

    def load(self, split: SplitName) -> Split:
        """One split, read and checked at the first call and then kept.

        Args:
            split: "train", "val" or "test".

        Raises:
            ValueError: If the split is empty, of another shape than ``shape``, not finite, or its labels do not fit it.
        """
        if split not in self._splits:
            loaded = self._read(split, self.dataset(split), f"{type(self).__name__}.dataset({split!r})")
            self._splits[split] = loaded  # before the check, which may ask for `shape` of this very split
            try:
                self._check(loaded, f"the {split} split")
                if split == "train" and self.missing:
                    check_columns_known(loaded.x, f"the train split of {type(self).__name__}")
                if split == "train" and self.num_labels is not None:
                    kept = hide_labels(loaded.y, self.num_labels, self.label_seed, type(self).__name__)
                    self._splits[split] = loaded._replace(y=kept)
            except ValueError:
                del self._splits[split]
                raise
        return self._splits[split]

    def _read(self, split: SplitName, given: Split, where: str) -> Split:
        check_form(given, where)
        return self.prepare(split, given)

    def _check(self, loaded: Split, what: str) -> None:
        where = f"{what} of {type(self).__name__}"
        lowest = -1 if self.partly_labelled else 0
        check_split(loaded, where, self.shape, self.num_classes, lowest=lowest, missing=self.missing)

    def _load_whole(self) -> Split | None:
        """The whole source, read and checked at the first call; None if there are only splits."""
        if self._whole is None and (given := self.whole()) is not None:
            loaded = self._read("test", given, f"{type(self).__name__}.whole()")
            self._check(loaded, "the whole")
            self._whole = loaded
        return self._whole

    def prepared(self, split: SplitName, rows: Tensor, key: int, device: torch.device | str = "cpu") -> Batch:
        """Some examples of a split as a model takes them, on a device.

        Args:
            split: "train", "val" or "test".
            rows: Their numbers, (B,).
            key: Seed of what is drawn of the batch, such as its binarisation.
            device: The device.
        """
        loaded = self.load(split)
        y = None if loaded.y is None else loaded.y[rows].to(device)
        return self.on_after_batch_transfer(Batch(loaded.x[rows].to(device), y, rows, key))

    def examples(self, split: SplitName) -> Tensor:
        """Examples of a split as float, before any randomisation, (N, \\*shape).

        All examples if they are in memory. If they stay in a file, evenly spaced examples that take 256 MiB.

        Args:
            split: "train", "val" or "test".
        """
        x = self.load(split).x
        return as_float(x.sample(_sample_size(x)) if isinstance(x, Mapped) else x)

    def positions(self, split: SplitName) -> Tensor:
        """Positions in a split of the examples that :meth:`examples` gives, by which ``Batch.index`` counts, (N,).

        Args:
            split: "train", "val" or "test".
        """
        x = self.load(split).x
        return x.sampled(_sample_size(x)) if isinstance(x, Mapped) else torch.arange(len(x))

    def chunks(self, split: SplitName) -> Iterator[Tensor]:
        """All examples of a split, unchanged, in chunks that fit into memory.

        Args:
            split: "train", "val" or "test".
        """
        return (x for _, x in chunks(self.load(split).x))

    def prepare(self, split: SplitName, loaded: Split) -> Split:
        """Change a split once, before it is checked and kept.

        Args:
            split: "train", "val" or "test".
            loaded: The split that :meth:`dataset` returned.
        """
        del split
        x = loaded.x
        return loaded._replace(x=x.float() if isinstance(x, Tensor) and x.is_floating_point() else x)

    def randomize(self, x: Tensor, key: int) -> Tensor:
        """Randomise a batch of examples, before uint8 images become float.

        Args:
            x: Examples as in the split, (B, \\*shape), on the device.
            key: Seed of the draw.
        """
        del key
        return x

    @property
    def augments(self) -> bool:
        """Whether training batches are augmented; by default if there is an :meth:`augment`."""
        return type(self).augment is not DataModule.augment

    def augment(self, x: Tensor, key: int) -> Tensor:
        """Augment a batch for training; batches of validation, test and prediction never come here.

        Args:
            x: Examples as in the split, (B, \\*shape), on CUDA already on the device.
            key: Seed of the draw, a function of (seed, epoch, rank, position).
        """
        del key
        return x

    def setup(self, stage: str | None = None) -> None:
        if stage == "predict":
            self._setup_predict()
        for split in STAGES.get(stage, SPLITS) if stage != "predict" else ():
            self.load(split)
        if stage == "fit":
            x = self.load("train").x
            check_varied(x, f"the train split of {type(self).__name__}")
            if self.drop_last:
                check_drop_last(len(x), self.batch_size, getattr(self.trainer, "world_size", 1))

    def _setup_predict(self) -> None:
        if self.predict_split not in get_args(PredictSplit):
            raise ValueError(f"predict_split must be all, train, val or test, got {self.predict_split!r}.")
        if self.predict_split != "all":
            self.load(self.predict_split)
        elif self._load_whole() is None:
            for split in SPLITS:
                self.load(split)

    def train_dataloader(self) -> TensorLoader:
        return self._loader("train")

    def val_dataloader(self) -> TensorLoader:
        return self._loader("val")

    def test_dataloader(self) -> TensorLoader:
        return self._loader("test")

    def predict_dataloader(self) -> TensorLoader | ChainedLoader:
        if self.predict_split != "all":
            return self._loader(self.predict_split, training=False)
        if (whole := self._load_whole()) is None:
            return ChainedLoader([self._loader(split, training=False) for split in SPLITS], SPLITS)
        device = self._device()
        ahead = partial(transfer.prefetch, device=device) if transfer.overlaps(device) else None
        return _named(TensorLoader(whole.x, whole.y, **self._loading("test"), ahead=ahead), whole)

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int = 0) -> Batch:
        """Prepare a batch for a model: uint8 images become float32 in [0, 1]."""
        del dataloader_idx
        x = self.randomize(batch.x, batch.key)
        return batch._replace(x=as_float(x))

    def teardown(self, stage: str | None = None) -> None:
        del stage
        self._resident.clear()

    def _loader(self, split: SplitName, *, training: bool | None = None) -> TensorLoader:
        """Loader of a split, for training if it is the training split and nothing else is asked for."""
        device, loaded, loading = self._device(), self.load(split), self._loading(split, training)
        ahead: _Ahead | None = None
        if transfer.on_device(loaded, device, self.device_data):
            loaded = self._resident.get(split, loaded, device)
        elif transfer.overlaps(device):
            ahead = partial(transfer.prefetch, device=device)
        if loading["training"] and self.augments:
            ahead = _then(ahead, partial(augmenting, change=self.augment))
        return _named(TensorLoader(loaded.x, loaded.y, **loading, ahead=ahead), loaded)

    def _loading(self, split: SplitName, training: bool | None = None) -> dict[str, Any]:
        """Arguments of a loader besides the split."""
        trainer, training = self.trainer, split == "train" if training is None else training
        return {
            "batch_size": self.batch_size if training else self.eval_batch_size,
            "seed": global_seed(),
            "training": training,
            "shuffle": trainer is None or not getattr(trainer, "overfit_batches", 0),
            "drop_last": self.drop_last,
            "rank": 0 if trainer is None else trainer.global_rank,
            "world_size": 1 if trainer is None else trainer.world_size,
        }

    def _device(self) -> torch.device:
        return getattr(getattr(self.trainer, "strategy", None), "root_device", torch.device("cpu"))


def _then(first: _Ahead | None, second: _Ahead) -> _Ahead:
    return second if first is None else lambda batches: second(first(batches))


def _named(loader: TensorLoader, split: Split) -> TensorLoader:
    loader.rows, loader.ids = split.rows, split.ids
    return loader


def _sample_size(x: Mapped) -> int:
    """Bytes in a file of the examples that take ``_SAMPLE`` as float."""
    return _SAMPLE // (4 // x.dtype.itemsize)


def _suited(x: Tensor | Mapped) -> type[Family]:
    """The likelihood that suits a split, reading only as much as necessary."""
    binary, largest, one = True, 0.0, 255 if x.dtype == torch.uint8 else 1
    for _, part in chunks(x):
        binary = binary and bool(((part == 0) | (part == one) | (part != part)).all())  # NaN is a missing value
        if x.dtype == torch.uint8 and not binary:
            return OptimalNormal
        largest = max(largest, part.abs().nan_to_num(0.0).max().item())
    unscaled = len(x.shape) == 4 and x.dtype != torch.uint8 and largest > _SCALED
    return Bernoulli if binary or unscaled else OptimalNormal
