"""Pictures during training: samples, reconstructions, traversals, to disk and to the loggers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_only
from torch import Tensor

from vae_zoo.callbacks.pictures import drawing, labels
from vae_zoo.callbacks.pictures.folders import save_picture
from vae_zoo.callbacks.pictures.labelled import Picture
from vae_zoo.callbacks.pictures.labels import Source
from vae_zoo.callbacks.pictures.themes import Format, Look, ThemeName
from vae_zoo.callbacks.pictures.traversals import traversals
from vae_zoo.models.base.autoencoder import Autoencoder
from vae_zoo.system.seeding import forked


class Grid(Callback, ABC):
    """A picture of the model every few epochs and at the end of training, ``images/<name>_<epoch>.png``.

    Sequences are drawn as lines, volumes by their central slices; nothing is drawn for vectors. With several validation
    loaders, the first is shown.

    Args:
        every_n_epochs: Epochs between pictures; 0 for none.
        num: Number of examples in the picture.
        labels: Whether a title and labels are around the grid; without them, the file has the bare pixels.
        format: Format of the files, png, svg or pdf. Pixels are not smoothed, and text remains text.
        theme: Colours of background and text: white, transparent or dark.

    Raises:
        ValueError: If every_n_epochs is negative, num is less than 1, or format or theme is another; when a fit starts,
            if the picture would be too large for memory.
    """

    name: str
    of_images = True
    """Whether the picture shows examples, and needs those that can be drawn."""

    def __init__(
        self,
        *,
        every_n_epochs: int = 10,
        num: int = 64,
        labels: bool = True,
        format: Format = "png",
        theme: ThemeName = "white",
    ) -> None:
        if every_n_epochs < 0 or num < 1:
            raise ValueError(f"every_n_epochs must be at least 0 and num at least 1, got {every_n_epochs} and {num}.")
        self.every_n_epochs, self.num = every_n_epochs, num
        self.look = Look(labels, format, theme).checked()
        self._data: Any = None
        self.path: Path | None = None
        self._batch: tuple[Tensor, Tensor | None] | None = None

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        shape = tuple(getattr(pl_module, "shape", ()))
        if self.every_n_epochs and drawing.drawable(shape):
            drawing.check_size(f"{self.name}.num", self.num, shape)

    @abstractmethod
    def draw(self, model: Any, x: Tensor, c: Tensor | None) -> Picture | Tensor | None:
        """The picture, or its pixels, (3, H, W) in [0, 1]; None if it is undefined for the model."""

    @rank_zero_only
    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,  # noqa: ARG002
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        first = batch_idx == dataloader_idx == 0
        if first and trainer.state.fn == "fit" and not trainer.sanity_checking and isinstance(pl_module, Autoencoder):
            x, c = pl_module.unpack(batch)
            self._batch = x[: self.num], None if c is None else c[: self.num]
            if self.every_n_epochs and (trainer.current_epoch + 1) % self.every_n_epochs == 0:
                self._save(trainer, pl_module)

    @rank_zero_only
    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.every_n_epochs and self._batch is not None:
            self._save(trainer, pl_module)

    def _save(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not isinstance(pl_module, Autoencoder) or self._batch is None:
            return
        if self.of_images and not drawing.drawable(pl_module.shape):
            return
        was_training = pl_module.training
        pl_module.eval()
        self._data = getattr(trainer, "datamodule", None)
        with torch.no_grad(), forked(0, pl_module.device):
            picture = self.draw(pl_module, *self._batch)
        pl_module.train(was_training)
        if picture is None:
            return
        self.path = save_picture(trainer, self.name, picture, self.look.format)

    def source(self, model: Any) -> Source:
        """The model and the data that a picture is of."""
        return Source.of(model, self._data)


class SampleGrid(Grid):
    """Samples from the model's own prior, with the same noise every time.

    Columns are classes, or clusters, if the model has any. Models without a prior have no such picture.
    """

    name = "samples"

    def draw(self, model: Any, x: Tensor, c: Tensor | None) -> Picture | Tensor | None:  # noqa: ARG002
        if not hasattr(model, "sample"):
            return None
        images, columns = drawing.samples(model, self.num, c)
        written = labels.samples(self.source(model), len(images), **labels.columns_of(model, columns))
        return drawing.picture(images, columns, written, self.look)


class ReconstructionGrid(Grid):
    """Validation examples, each beside its reconstruction."""

    name = "reconstructions"

    def __init__(
        self,
        *,
        every_n_epochs: int = 10,
        num: int = 32,
        labels: bool = True,
        format: Format = "png",
        theme: ThemeName = "white",
    ) -> None:
        super().__init__(every_n_epochs=every_n_epochs, num=num, labels=labels, format=format, theme=theme)

    def draw(self, model: Any, x: Tensor, c: Tensor | None) -> Picture | Tensor:
        written = labels.reconstructions(self.source(model), len(x), paired=x.ndim == 3)
        return drawing.picture(drawing.reconstructions(model, x, c), 8, written, self.look, paired=True)


class TraversalGrid(Grid):
    """One latent dimension per row, varied across the bulk of the prior, with the others fixed to those of an example.

    The rows are the dimensions that vary most over ``num`` validation examples, in descending order. On each are the
    latent, its mean rate KL(q(z_d|x) ‖ p(z_d)) over those examples in nats, where the prior is a product over
    dimensions, and its range. Discrete latents have no such picture.
    """

    name = "traversals"

    def draw(self, model: Any, x: Tensor, c: Tensor | None) -> Picture | Tensor | None:
        if not model.continuous:
            return None
        found = traversals(model, x, c)
        written = labels.traversals(self.source(model), model, x, c, found) if self.look.labels else None
        return drawing.picture(found.images.flatten(0, 1), found.images.shape[1], written, self.look)
