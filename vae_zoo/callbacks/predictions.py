"""The files of predict."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import BasePredictionWriter
from torch import Tensor

from vae_zoo.callbacks.pictures import drawing, labels
from vae_zoo.callbacks.pictures.folders import output_folder
from vae_zoo.callbacks.pictures.labelled import Labels, Picture
from vae_zoo.callbacks.pictures.labels import Source
from vae_zoo.callbacks.pictures.themes import Format, Look, ThemeName
from vae_zoo.callbacks.pictures.traversals import traversals
from vae_zoo.callbacks.predicting import tables
from vae_zoo.callbacks.predicting.calibration import calibrated, reference_of, score_reference
from vae_zoo.callbacks.predicting.embedding import MOST, EmbeddingKind, check_embedding, embed
from vae_zoo.callbacks.predicting.embedding import draw as draw_embedding
from vae_zoo.callbacks.predicting.identity import Identity, predicted, size_of
from vae_zoo.callbacks.predicting.neighbours import nearest
from vae_zoo.callbacks.predicting.rows import MergedRows, RowFiles
from vae_zoo.callbacks.predicting.shards import ShardKind, check_shards, drawn_latents, measure_latents, write_latents
from vae_zoo.callbacks.predicting.tables import TableKind
from vae_zoo.callbacks.predicting.texts import write_texts
from vae_zoo.data import DataModule
from vae_zoo.distributions import observing
from vae_zoo.evaluation.conformal import check_rate
from vae_zoo.evaluation.regret import check_regret, likelihood_regret
from vae_zoo.evaluation.sampling import require_draws
from vae_zoo.evaluation.scores import scores, scores_per_feature
from vae_zoo.system.seeding import forked
from vae_zoo.system.writing import as_column, write_npz
from vae_zoo.training.steps import seed_of
from vae_zoo.typing import Batch

_CLUSTERS = ("cluster", "cluster_probability")

_FILES = {
    "latents": ("z", "z_scale", "codes", *_CLUSTERS, "y"),
    "scores": ("elbo", "kl", "log_px", "log_evidence", "regret", "log_p_columns", "y"),
    "features": ("log_px_per_feature",),
    "reconstructions": ("x", "reconstruction"),
}
"""Columns of the files of arrays, beside the identity of each row."""

_TABLES = {
    "latents": ("z", *_CLUSTERS, "y"),
    "scores": _FILES["scores"],
    "features": _FILES["features"],
}
"""Columns of the tables."""

_ROWS = 4096


class _Drawn(NamedTuple):
    """What goes into a picture and into the file of arrays beside it."""

    images: Tensor
    columns: int
    arrays: dict[str, Any]
    labels: Labels


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
        if num_neighbours < 0:
            raise ValueError(f"num_neighbours must be at least 0, got {num_neighbours}.")
        if min(num_importance, num_samples, num_paths, num_dims) < 0 or num_steps < 2:
            raise ValueError(
                "num_importance, num_samples, num_paths and num_dims must be at least 0 and num_steps at least 2, "
                f"got {num_importance}, {num_samples}, {num_paths}, {num_dims} and {num_steps}."
            )
        if num_regret < 0:
            raise ValueError(f"num_regret must be at least 0, got {num_regret}.")
        self.num_importance, self.num_regret, self.per_feature = num_importance, num_regret, per_feature
        self.num_samples, self.num_paths, self.num_dims, self.num_steps = num_samples, num_paths, num_dims, num_steps
        self.draw, self.pairs, self.num_neighbours = draw, _checked(pairs), num_neighbours
        check_embedding(embedding)
        self.embedding = embedding
        if calibrate not in (None, "val"):
            raise ValueError(f"calibrate must be val or none, got {calibrate!r}.")
        self.calibrate, self.false_alarms = calibrate, check_rate(false_alarms)
        self.reference: DataModule | None = None
        self._reference_rows: RowFiles | None = None
        check_shards(shards)
        self.shards = shards
        tables.check_kind(table)
        self.table = table
        self.look = Look(labels, format, theme).checked()
        self.paths: list[Path] = []
        self.num_rows = 0
        self._rows: list[RowFiles] = []
        self._seen: dict[int, int] = {}

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
        x, y = pl_module.unpack(batch)  # type: ignore[operator]
        begun = self._seen.get(dataloader_idx, 0)
        if isinstance(batch, Batch):
            index = batch.index
        else:  # Lightning knows the places of a DataLoader's examples, also those of a share of the ranks
            index = torch.as_tensor(batch_indices or range(begun, begun + len(x)))
        self._seen[dataloader_idx] = begun + len(x)
        seed = seed_of(batch, batch_idx, rank=trainer.global_rank)
        found = scores(pl_module, x, y, seed=seed, num_samples=self.num_importance)
        if self.num_regret:
            found["regret"] = likelihood_regret(pl_module, x, num_steps=self.num_regret, seed=seed)
        if self.per_feature:
            found["log_px_per_feature"] = scores_per_feature(pl_module, x, y)
        if self.draw == "sample" and "reconstruction" in prediction:
            with torch.no_grad(), forked(seed, pl_module.device):
                drawn = observing(pl_module.decode(pl_module.embed(x, y), y), x).sample()  # type: ignore[operator]
            prediction = {**prediction, "reconstruction": drawn}
        if self.shards != "none":
            found["latent"] = drawn_latents(pl_module, x, y, seed=seed)
        rows = {"index": index, "x": x, **prediction, **found} | ({} if y is None else {"y": y})
        self._rows[dataloader_idx].append(rows)
        if batch_idx == 0 and trainer.is_global_zero:
            known = Identity.of(predicted(trainer, dataloader_idx))
            folder, positions = self._folder(trainer, dataloader_idx), index.cpu().numpy()
            self._source = Source.of(pl_module, getattr(trainer, "datamodule", None))
            self._draw(pl_module, x, y, positions, known, folder)
            if pl_module.continuous:
                if self.pairs:
                    x, y, positions = self._chosen(trainer, pl_module, dataloader_idx)
                self._interpolate(pl_module, x, y, positions, known, folder)

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if sum(isinstance(callback, PredictionWriter) for callback in trainer.callbacks) > 1:  # type: ignore[attr-defined]
            raise ValueError("PredictionWriter is given twice, and both would write the same files: give one.")
        self._rows, self._seen, self.num_rows = [], {}, 0
        shape: Any = pl_module.shape
        if drawing.drawable(shape):
            drawing.check_size("num_samples", self.num_samples, shape)
            num = len(self.pairs or ()) or self.num_paths
            drawing.check_size("num_paths x num_steps", num * self.num_steps, shape)
            drawing.check_size("num_dims x num_steps", self.num_dims * self.num_steps, shape)
        self._check_examples(trainer, pl_module)
        if self.shards != "none":
            measure_latents(trainer, pl_module)
        for loader in range(len(trainer.num_predict_batches)):
            self._rows.append(RowFiles(self._folder(trainer, loader), trainer.global_rank))
            self._rows[-1].clear()
        if self.calibrate:
            reference = reference_of(trainer, self.reference)
            self._reference_rows = RowFiles(self._folder(trainer, 0), trainer.global_rank, "reference_")
            self._reference_rows.clear()
            score_reference(trainer, pl_module, reference, self._reference_rows, self.num_importance)

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        trainer.strategy.barrier()
        first = self._reference_rows
        reference = None if first is None or not trainer.is_global_zero else first.merged(trainer.world_size)
        for loader, files in enumerate(self._rows) if trainer.is_global_zero else ():
            if not files.layout:
                continue
            rows, folder = files.merged(trainer.world_size), self._folder(trainer, loader)
            identity = Identity.of(predicted(trainer, loader))
            more: dict[str, Mapping[str, np.ndarray]] = {}
            if reference is not None:
                more["scores"] = calibrated(rows, reference, self.false_alarms, folder / "calibration.json")
                self.paths.append(folder / "calibration.json")
            for name, columns in _FILES.items():
                self._merge(rows, identity, folder / f"{name}.npz", columns, more.get(name, {}))
            for name, columns in _TABLES.items():
                known = getattr(getattr(pl_module, "likelihood", None), "names", ())
                named = {"log_p_columns": [f"log_p_{column}" for column in known]}
                self._tabulate(rows, identity, folder / name, columns, more.get(name, {}), named)
            if hasattr(likelihood := getattr(pl_module, "likelihood", None), "vocabulary") and self.table != "none":
                self.paths.append(write_texts(rows, identity, folder / f"texts.{self.table}", self.table, likelihood))
            if "latent" in rows.layout:
                split = getattr(getattr(trainer, "datamodule", None), "predict_split", "all")
                scale: Any = pl_module.latent_scale
                self.paths.append(write_latents(rows, folder / "latents", split, self.shards, scale))
            if self.num_neighbours and "z" in rows.layout:
                self._find_neighbours(rows, identity, folder / "neighbours.npz")
            if self.embedding != "none" and "z" in rows.layout:
                self._embed(trainer, rows, identity, folder / "embedding.npz")
            self.num_rows += len(rows)
        for files in self._rows if trainer.is_global_zero else ():
            files.remove()

    def _merge(
        self,
        rows: MergedRows,
        identity: Identity,
        path: Path,
        names: Sequence[str],
        more: Mapping[str, np.ndarray] | None = None,
    ) -> None:
        """Write some columns of all ranks in order, a few megabytes at a time, with the identity of each row."""
        found = [name for name in names if name in rows.layout]
        if not found:
            return
        known = {k: as_column(v) for k, v in identity.columns(rows.positions).items()}
        added = {k: as_column(v) for k, v in (more or {}).items()}
        write_npz(path, {**known, **{name: rows.column(name) for name in found}, **added})
        self.paths.append(path)

    def _tabulate(
        self,
        rows: MergedRows,
        identity: Identity,
        path: Path,
        names: Sequence[str],
        more: Mapping[str, np.ndarray],
        named: Mapping[str, Sequence[str]],
    ) -> None:
        """The same as a table, if the columns fit into one."""
        found = [name for name in names if name in rows.layout]
        found = [name for name in found if name not in named or tables.fits(rows.layout[name][1])]
        if not found or self.table == "none" or not all(tables.fits(rows.layout[name][1]) for name in found):
            return

        def blocks() -> Iterator[dict[str, np.ndarray]]:
            for start in range(0, max(len(rows), 1), _ROWS):
                known = identity.columns(rows.positions[start : start + _ROWS])
                columns = {name: rows.take(name, start, start + _ROWS) for name in found}
                for name in set(named) & set(columns):
                    columns |= dict(zip(named[name], columns.pop(name).T, strict=True))
                yield {**known, **columns, **{name: values[start : start + _ROWS] for name, values in more.items()}}

        path = path.with_suffix(f".{self.table}")
        tables.write_table(path, self.table, blocks())
        self.paths.append(path)

    def _draw(
        self, model: Any, x: Tensor, c: Tensor | None, positions: np.ndarray, known: Identity, folder: Path
    ) -> None:
        with torch.no_grad(), forked(0, model.device):
            pictures: dict[str, _Drawn] = {}
            mean, labelled = self.draw == "mean", self.look.labels and drawing.drawable(model.shape)
            if num := len(x[:64]):
                images = drawing.reconstructions(model, x[:64], None if c is None else c[:64], mean=mean)
                written = labels.reconstructions(self._source, num, paired=images.ndim == 3, mean=mean)
                pictures["reconstructions"] = _Drawn(images, 16, {}, written)
            if self.num_samples and hasattr(model, "sample"):
                images, columns = drawing.samples(model, self.num_samples, c, mean=mean)
                written = labels.samples(self._source, len(images), mean=mean, **labels.columns_of(model, columns))
                pictures["samples"] = _Drawn(images, columns, {"x": images}, written)
            if self.num_dims and model.continuous:
                found = traversals(model, x, c, self.num_dims, self.num_steps)
                written = labels.traversals(self._source, model, x, c, found) if labelled else Labels()
                arrays = {**known.columns(positions[:1]), "x": found.images, "dims": found.dims}
                pictures["traversals"] = _Drawn(found.images.flatten(0, 1), self.num_steps, arrays, written)
        self._write_pictures(model, pictures, folder)

    def _interpolate(
        self, model: Any, x: Tensor, c: Tensor | None, positions: np.ndarray, known: Identity, folder: Path
    ) -> None:
        """Write paths between the first and the second half of some examples."""
        num = len(self.pairs) if self.pairs else min(self.num_paths, len(x) // 2)
        if not num:
            return
        x, c = x[: 2 * num], None if c is None else c[: 2 * num]
        with torch.no_grad(), forked(0, model.device):
            images = drawing.interpolations(model, x, c, self.num_steps)
        ends = known.columns(positions[: 2 * num].reshape(2, num).T)
        written = labels.interpolations(self._source, ends.get("id", ends["index"]).tolist())
        drawn = _Drawn(images.flatten(0, 1), self.num_steps, {**ends, "x": images}, written)
        self._write_pictures(model, {"interpolations": drawn}, folder)

    def _check_examples(self, trainer: Trainer, model: Any) -> None:
        """Refuse what the model or the examples do not allow, before anything is computed."""
        if self.draw == "sample":
            require_draws(model)
        if self.num_regret:
            check_regret(model)
        if self.pairs and not model.continuous:
            raise ValueError(f"pairs: {type(model).__name__} has latents between which there is no path.")
        if self.embedding != "none" and not model.continuous:
            raise ValueError(f"embedding: {type(model).__name__} has discrete latents, which are no points in a space.")
        for number in range(len(trainer.num_predict_batches)):
            loader = predicted(trainer, number)
            if self.pairs:
                self._positions(loader)
            size = size_of(loader)
            if size is not None and size < 3 and self.embedding != "none":
                raise ValueError(f"embedding needs at least 3 examples, got {size}.")
            if size is not None and self.num_neighbours >= size:
                raise ValueError(f"num_neighbours must be below the {size} examples, got {self.num_neighbours}.")

    def _positions(self, loader: Any) -> list[int]:
        """Positions of the first ends of all pairs, and then of the second ends."""
        size = size_of(loader)
        if size is None or not hasattr(loader, "take"):
            raise ValueError(f"pairs needs a data module or a loader of vae_zoo, got a {type(loader).__name__}.")
        known = Identity.of(loader)
        return [known.find(pair[end], size) for end in (0, 1) for pair in self.pairs or ()]

    def _chosen(self, trainer: Trainer, model: Any, number: int) -> tuple[Tensor, Tensor | None, np.ndarray]:
        """The examples of the pairs, prepared for the model."""
        loader, data = predicted(trainer, number), getattr(trainer, "datamodule", None)
        places = self._positions(loader)
        found = []
        for place in places:
            batch = loader.take(torch.tensor([place]))
            batch = batch._replace(x=batch.x.to(model.device), y=None if batch.y is None else batch.y.to(model.device))
            found.append(model.unpack(batch if data is None else data.on_after_batch_transfer(batch, number)))
        x, y = zip(*found, strict=True)
        return torch.cat(x), None if y[0] is None else torch.cat(y), np.array(places)

    def _find_neighbours(self, rows: MergedRows, identity: Identity, path: Path) -> None:
        num = min(self.num_neighbours, len(rows) - 1)  # fewer if batches were left out
        places, distances = nearest(lambda start, end: rows.take("z", start, end), len(rows), num)
        own, others = identity.columns(rows.positions), identity.columns(rows.positions[places])
        found = {**own, **{f"neighbour_{name}": values for name, values in others.items()}, "distance": distances}
        write_npz(path, {name: as_column(values) for name, values in found.items()})
        self.paths.append(path)
        if self.table != "none" and self.num_neighbours <= tables.WIDEST:
            tables.write_table(path := path.with_suffix(f".{self.table}"), self.table, iter([found]))
            self.paths.append(path)

    def _embed(self, trainer: Trainer, rows: MergedRows, identity: Identity, path: Path) -> None:
        kept = np.unique(np.linspace(0, len(rows) - 1, min(MOST, len(rows))).round().astype(int))
        if len(kept) < 3:  # as few if batches were left out
            return
        kind = next((name for name in ("y", "cluster") if name in rows.layout and not rows.layout[name][1]), None)
        z, *kinds = (_taken(rows, name, kept) for name in ("z", kind) if name)
        found = embed(z, self.embedding)
        known = {**identity.columns(rows.positions[kept]), "embedding": found.points.astype(np.float32)}
        known |= {kind: kinds[0]} if kind else {}
        write_npz(path, {name: as_column(values) for name, values in known.items()})
        picture = path.with_suffix(f".{self.look.format}")
        classes = getattr(getattr(trainer, "datamodule", None), "classes", None)
        names = classes if isinstance(classes, list) and kind == "y" else None
        title = None if self.look.labels else ""
        draw_embedding(picture, found, kinds[0] if kind else None, names, title=title, theme=self.look.colours)
        self.paths += [path, picture]
        if self.table != "none":
            tables.write_table(path := path.with_suffix(f".{self.table}"), self.table, iter([known]))
            self.paths.append(path)

    def _write_pictures(self, model: Any, pictures: Mapping[str, _Drawn], folder: Path) -> None:
        for name, drawn in pictures.items():
            if drawn.arrays:
                self.paths.append(folder / f"{name}.npz")
                write_npz(self.paths[-1], {k: as_column(_array(v)) for k, v in drawn.arrays.items()})
            if drawing.drawable(model.shape):
                paired = name == "reconstructions"
                picture = drawing.picture(drawn.images, drawn.columns, drawn.labels, self.look, paired=paired)
                kind = self.look.format if isinstance(picture, Picture) else "png"
                self.paths.append(drawing.save(picture, folder / f"{name}.{kind}"))

    @staticmethod
    def _folder(trainer: Trainer, dataloader_idx: int) -> Path:
        return output_folder(trainer) / (f"dataloader_idx_{dataloader_idx}" if dataloader_idx else "")


def _checked(pairs: Any) -> list[tuple[int | str, int | str]] | None:
    """Pairs of names of examples.

    Raises:
        ValueError: If they are something else.
    """
    if pairs is None:
        return None
    fine = isinstance(pairs, (list, tuple)) and all(
        isinstance(pair, (list, tuple)) and len(pair) == 2 for pair in pairs
    )
    if not fine or not all(isinstance(end, (int, str)) and not isinstance(end, bool) for pair in pairs for end in pair):
        raise ValueError(f"pairs must be pairs of ids or index numbers, such as [[3, 17]], got {pairs}.")
    return [(first, second) for first, second in pairs]


def _taken(rows: MergedRows, name: str, kept: np.ndarray) -> np.ndarray:
    """Some rows of a column."""
    starts = range(0, len(rows), _ROWS)
    blocks = (
        rows.take(name, start, start + _ROWS)[kept[(kept >= start) & (kept < start + _ROWS)] - start]
        for start in starts
    )
    return np.concatenate(list(blocks))


def _array(value: Tensor | np.ndarray) -> np.ndarray:
    return value.cpu().numpy() if isinstance(value, Tensor) else value
