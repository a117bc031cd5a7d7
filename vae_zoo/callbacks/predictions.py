"""The files of predict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import BasePredictionWriter
from torch import Tensor

from vae_zoo.callbacks.pictures.folders import output_folder
from vae_zoo.callbacks.pictures.labels import Source
from vae_zoo.callbacks.pictures.themes import Format, Look, ThemeName
from vae_zoo.callbacks.predicting import tables
from vae_zoo.callbacks.predicting.calibration import calibrated, write_reference
from vae_zoo.callbacks.predicting.columns import Columns
from vae_zoo.callbacks.predicting.embedding import EmbeddingKind, check_embedding, write_embedding
from vae_zoo.callbacks.predicting.examples import Examples, checked_pairs, chosen, positions_of
from vae_zoo.callbacks.predicting.identity import Identity, predicted, size_of
from vae_zoo.callbacks.predicting.neighbours import write_neighbours
from vae_zoo.callbacks.predicting.pictures import Pictures
from vae_zoo.callbacks.predicting.results import write_arrays, write_tables
from vae_zoo.callbacks.predicting.rows import MergedRows, RowFiles
from vae_zoo.callbacks.predicting.shards import ShardKind, check_shards, measure_latents, write_latents
from vae_zoo.callbacks.predicting.tables import TableKind
from vae_zoo.callbacks.predicting.texts import write_texts
from vae_zoo.data import DataModule
from vae_zoo.evaluation.conformal import check_rate
from vae_zoo.training.steps import seed_of
from vae_zoo.typing import Batch


class PredictionWriter(BasePredictionWriter):
    """Writes latents, scores, reconstructions, samples, interpolations and traversals as .npz, and pictures.

    Every file names its rows: ``index`` is the row of the source before any shuffling, or the position in the listing
    of a folder; ``id`` is the id or file name, for data that have them. ``latents.npz`` contains ``z`` (means),
    ``z_scale`` (σ), the ``codes`` of discrete latents, the ``cluster`` of models with clusters and its probability
    and, for data with labels, ``y``; ``reconstructions.npz`` contains ``x`` and ``reconstruction``; ``scores.npz``
    contains ``log_px`` and, for models with a bound, ``elbo``, ``kl`` and optionally ``log_evidence`` of each example
    in nats, all but the rate low for anomalies; for tables also ``log_p_columns``, how likely each cell is given the
    others of its row. Rows are in the order of the split, also with several processes. Batches are written as they
    come, so memory use is constant.
    For models of tokens, ``texts.csv`` has each text and its reconstruction.
    Discrete latents have neither interpolations nor traversals. Files of a second loader are in the folder
    ``dataloader_idx_1``, and so on.

    Args:
        num_importance: Importance samples for the log evidence of each example; 0 for none.
        num_regret: Steps of the search for each example's own posterior, for the column ``regret`` of the scores, see
            :func:`~vae_zoo.evaluation.likelihood_regret`, high for anomalies; 0 for none.
        per_feature: Write log p(x_d|z) of every feature to ``features.npz``, and of vectors to a table.
        num_samples: Samples from the prior; 0 for none.
        num_paths: Interpolations between two examples; 0 for none.
        num_dims: Latent dimensions to traverse; 0 for none.
        num_steps: Images on each path.
        draw: "mean" for reconstructions and samples that are means of p(x|z), "sample" for draws from it.
        pairs: Pairs of examples to interpolate between, by id or index, instead of the first ones: ``[[3, 17]]``. A
            number is an id if the ids of the data are numbers, and otherwise an index.
        num_neighbours: Nearest neighbours of each example among the others, by the Euclidean distance of ``z``, to
            write to ``neighbours.npz``; 0 for none. The time grows with the square of the number of examples.
        embedding: "auto" draws ``z`` in the plane, ``embedding.png``, by UMAP if it is installed, else by PCA; "pca"
            and "umap" choose one, "none" draws nothing. Points are coloured by label, or else by cluster. Their
            coordinates are written to ``embedding.npz`` and a table. Of more than 20,000 examples, evenly spaced ones
            are drawn.
        calibrate: "val" adds ``p_value`` to the scores, from those of the validation split of the training:
            :func:`~vae_zoo.evaluation.p_values` of the log evidence if there is one, else of the bound, else of log_px;
            and ``typicality``, the distance of that score from its mean there, high for anomalies. The score and its
            threshold are written to ``calibration.json``.
        false_alarms: Promised rate of false alarms of the threshold.
        shards: "scaled" also writes draws from the posteriors as shards for a model of the latents, in the folder
            ``latents`` and there in one with the name of the split, times the scale of the model's
            :class:`~vae_zoo.training.latent_scale.LatentScale`; "standard" writes them with mean 0 and variance 1 in
            each channel, "none" writes none. Needs litdata.
        table: "csv" for the tables ``latents.csv`` and ``scores.csv``, "parquet" for Parquet files, which need pyarrow,
            or "none". Latents that are not vectors of at most 256 dimensions have no table.
        labels: Whether titles and labels are around the pictures.
        format: Format of the pictures, png, svg or pdf.
        theme: Colours of background and text of the pictures: white, transparent or dark.

    Raises:
        ValueError: If a number is too small, or there is no such table, format or theme.
        ImportError: If pyarrow or UMAP is needed and not installed.
    """

    def __init__(
        self,
        *,
        num_importance: int = 0,
        num_regret: int = 0,
        per_feature: bool = False,
        num_samples: int = 64,
        num_paths: int = 8,
        num_dims: int = 10,
        num_steps: int = 11,
        draw: Literal["mean", "sample"] = "mean",
        pairs: list[tuple[int | str, int | str]] | None = None,
        num_neighbours: int = 0,
        embedding: EmbeddingKind = "none",
        calibrate: Literal["val"] | None = None,
        false_alarms: float = 0.05,
        shards: ShardKind = "none",
        table: TableKind = "csv",
        labels: bool = True,
        format: Format = "png",
        theme: ThemeName = "white",
    ) -> None:
        super().__init__(write_interval="batch")
        if draw not in ("mean", "sample"):
            raise ValueError(f"draw must be mean or sample, got {draw!r}.")
        _check_counts(num_importance, num_regret, num_samples, num_paths, num_dims, num_steps, num_neighbours)
        self.num_importance, self.num_regret, self.per_feature = num_importance, num_regret, per_feature
        self.num_samples, self.num_paths, self.num_dims, self.num_steps = num_samples, num_paths, num_dims, num_steps
        self.draw, self.pairs, self.num_neighbours = draw, checked_pairs(pairs), num_neighbours
        check_embedding(embedding)
        self.embedding = embedding
        if calibrate not in (None, "val"):
            raise ValueError(f"calibrate must be val or none, got {calibrate!r}.")
        self.calibrate, self.false_alarms = calibrate, check_rate(false_alarms)
        check_shards(shards)
        tables.check_kind(table)
        self.shards, self.table, self.look = shards, table, Look(labels, format, theme).checked()
        self.reference: DataModule | None = None
        self.paths: list[Path] = []
        self.num_rows = 0
        self._rows: list[RowFiles] = []
        self._reference_rows: RowFiles | None = None
        self._seen: dict[int, int] = {}

    @property
    def _columns(self) -> Columns:
        latent = self.shards != "none"
        return Columns(self.num_importance, self.num_regret, self.per_feature, self.draw == "sample", latent)

    @property
    def _pictures(self) -> Pictures:
        counts = self.num_samples, self.num_paths, self.num_dims, self.num_steps
        return Pictures(*counts, self.draw == "mean", self.look)

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if sum(isinstance(callback, PredictionWriter) for callback in trainer.callbacks) > 1:  # type: ignore[attr-defined]
            raise ValueError("PredictionWriter is given twice, and both would write the same files: give one.")
        self._seen, self.num_rows = {}, 0
        self._check(trainer, pl_module)
        if self.shards != "none":
            measure_latents(trainer, pl_module)
        folders = [self._folder(trainer, loader) for loader in range(len(trainer.num_predict_batches))]
        self._rows = [RowFiles(folder, trainer.global_rank) for folder in folders]
        for files in self._rows:
            files.clear()
        if self.calibrate:
            first = self._folder(trainer, 0)
            self._reference_rows = write_reference(trainer, pl_module, self.reference, first, self.num_importance)

    def _check(self, trainer: Trainer, model: Any) -> None:
        """Refuse what the model or the examples do not allow, before anything is computed."""
        self._pictures.check_sizes(model.shape, len(self.pairs or ()))
        self._columns.check(model)
        if self.pairs and not model.continuous:
            raise ValueError(f"pairs: {type(model).__name__} has latents between which there is no path.")
        if self.embedding != "none" and not model.continuous:
            raise ValueError(f"embedding: {type(model).__name__} has discrete latents, which are no points in a space.")
        for number in range(len(trainer.num_predict_batches)):
            loader = predicted(trainer, number)
            if self.pairs:
                positions_of(self.pairs, loader)
            size = size_of(loader)
            if size is not None and size < 3 and self.embedding != "none":
                raise ValueError(f"embedding needs at least 3 examples, got {size}.")
            if size is not None and self.num_neighbours >= size:
                raise ValueError(f"num_neighbours must be below the {size} examples, got {self.num_neighbours}.")

    def write_on_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        prediction: dict[str, Tensor],
        batch_indices: Sequence[int] | None,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int,
    ) -> None:
        if not isinstance(prediction, Mapping):
            came = type(prediction).__name__
            raise ValueError(f"PredictionWriter needs a predict_step that gives a dictionary of tensors, got a {came}.")
        x, c = pl_module.unpack(batch)  # type: ignore[operator]
        index = self._index(batch, batch_indices, len(x), dataloader_idx)
        seed = seed_of(batch, batch_idx, rank=trainer.global_rank)
        columns = self._columns.of(pl_module, x, c, prediction, seed)
        self._rows[dataloader_idx].append({"index": index, **columns})
        if batch_idx == 0 and trainer.is_global_zero:
            identity = Identity.of(predicted(trainer, dataloader_idx))
            self._draw(trainer, pl_module, Examples(x, c, index.cpu().numpy(), identity), dataloader_idx)

    def _index(self, batch: Any, batch_indices: Sequence[int] | None, num: int, dataloader_idx: int) -> Tensor:
        """Positions of the examples of a batch in their loader."""
        begun = self._seen.get(dataloader_idx, 0)
        self._seen[dataloader_idx] = begun + num
        if isinstance(batch, Batch):
            return batch.index
        # Lightning knows the places of a DataLoader's examples, also those of a share of the ranks
        return torch.as_tensor(batch_indices or range(begun, begun + num))

    def _draw(self, trainer: Trainer, model: Any, examples: Examples, loader: int) -> None:
        """Write pictures of the first examples of a loader, and of the chosen pairs."""
        folder, source = self._folder(trainer, loader), Source.of(model, getattr(trainer, "datamodule", None))
        self.paths += self._pictures.write(model, examples, source, folder)
        if model.continuous:
            some = examples.first(2 * min(self.num_paths, len(examples.x) // 2))
            ends = chosen(self.pairs, trainer, model, loader) if self.pairs else some
            self.paths += self._pictures.write_interpolations(model, ends, source, folder)

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        trainer.strategy.barrier()
        if not trainer.is_global_zero:
            return
        known = self._reference_rows
        reference = None if known is None else known.merged(trainer.world_size)
        for loader, files in enumerate(self._rows):
            if files.layout:
                rows = files.merged(trainer.world_size)
                self._write(trainer, pl_module, rows, reference, loader)
                self.num_rows += len(rows)
        for files in self._rows:
            files.remove()

    def _write(self, trainer: Trainer, model: Any, rows: MergedRows, reference: MergedRows | None, loader: int) -> None:
        """Write the files of the rows of a loader."""
        folder, identity = self._folder(trainer, loader), Identity.of(predicted(trainer, loader))
        data, likelihood = getattr(trainer, "datamodule", None), getattr(model, "likelihood", None)
        added: dict[str, Mapping[str, np.ndarray]] = {}
        if reference is not None:
            added["scores"] = calibrated(rows, reference, self.false_alarms, folder / "calibration.json")
            self.paths.append(folder / "calibration.json")
        self.paths += write_arrays(rows, identity, folder, added)
        named = {"log_p_columns": [f"log_p_{column}" for column in getattr(likelihood, "names", ())]}
        self.paths += write_tables(rows, identity, folder, self.table, added, named)
        if hasattr(likelihood, "vocabulary") and self.table != "none":
            self.paths.append(write_texts(rows, identity, folder / f"texts.{self.table}", self.table, likelihood))
        if "latent" in rows.layout:
            split, scale = getattr(data, "predict_split", "all"), model.latent_scale
            self.paths.append(write_latents(rows, folder / "latents", split, self.shards, scale))
        if self.num_neighbours and "z" in rows.layout:
            self.paths += write_neighbours(rows, identity, folder / "neighbours.npz", self.num_neighbours, self.table)
        if self.embedding != "none" and "z" in rows.layout:
            names = Source.of(model, data).classes or None
            self.paths += write_embedding(
                rows, identity, folder / "embedding.npz", self.embedding, self.table, self.look, names
            )

    @staticmethod
    def _folder(trainer: Trainer, dataloader_idx: int) -> Path:
        return output_folder(trainer) / (f"dataloader_idx_{dataloader_idx}" if dataloader_idx else "")


def _check_counts(
    num_importance: int,
    num_regret: int,
    num_samples: int,
    num_paths: int,
    num_dims: int,
    num_steps: int,
    num_neighbours: int,
) -> None:
    if num_neighbours < 0:
        raise ValueError(f"num_neighbours must be at least 0, got {num_neighbours}.")
    if min(num_importance, num_samples, num_paths, num_dims) < 0 or num_steps < 2:
        raise ValueError(
            "num_importance, num_samples, num_paths and num_dims must be at least 0 and num_steps at least 2, "
            f"got {num_importance}, {num_samples}, {num_paths}, {num_dims} and {num_steps}."
        )
    if num_regret < 0:
        raise ValueError(f"num_regret must be at least 0, got {num_regret}.")
