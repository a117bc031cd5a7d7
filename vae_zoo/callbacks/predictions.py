"""The files of predict."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import BasePredictionWriter
from torch import Tensor

from vae_zoo.callbacks.pictures import drawing
from vae_zoo.callbacks.pictures.folders import output_folder
from vae_zoo.evaluation.scores import scores
from vae_zoo.system.seeding import forked
from vae_zoo.system.writing import as_column, explaining_write_errors, write_npz
from vae_zoo.training.steps import seed_of
from vae_zoo.typing import Batch

_BLOCK = 2**22


class PredictionWriter(BasePredictionWriter):
    """Writes latents, scores, reconstructions, samples, interpolations and traversals as .npz, and pictures as .png.

    ``latents.npz`` contains ``z`` (means), ``z_scale`` (σ), the ``codes`` of discrete latents and, for data with
    labels, ``y``; ``reconstructions.npz`` contains ``x`` and ``reconstruction``; ``scores.npz`` contains ``log_px``
    and, for models with a bound, ``elbo``, ``kl`` and optionally ``log_evidence`` of each example in nats, all but the
    rate low for anomalies. Rows are in the order of the data set, also with several processes. Batches are written
    as they come, so memory use is constant. Discrete latents have neither interpolations nor traversals. Files of a
    second loader are in the folder ``dataloader_idx_1``, and so on.

    Args:
        num_importance: Importance samples for the log evidence of each example; 0 for none.
        num_samples: Samples from the prior; 0 for none.
        num_paths: Interpolations between two examples; 0 for none.
        num_dims: Latent dimensions to traverse; 0 for none.
        num_steps: Images on each path.
    """

    def __init__(
        self,
        *,
        num_importance: int = 0,
        num_samples: int = 64,
        num_paths: int = 8,
        num_dims: int = 10,
        num_steps: int = 11,
    ) -> None:
        super().__init__(write_interval="batch")
        if min(num_importance, num_samples, num_paths, num_dims) < 0 or num_steps < 2:
            raise ValueError(
                "num_importance, num_samples, num_paths and num_dims must be at least 0 and num_steps at least 2, "
                f"got {num_importance}, {num_samples}, {num_paths}, {num_dims} and {num_steps}."
            )
        self.num_importance = num_importance
        self.num_samples, self.num_paths, self.num_dims, self.num_steps = num_samples, num_paths, num_dims, num_steps
        self.paths: list[Path] = []
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
        rows = {"index": index, "x": x, **prediction, **found} | ({} if y is None else {"y": y})
        folder = self._folder(trainer, dataloader_idx)
        with explaining_write_errors(folder / "parts"):
            (folder / "parts").mkdir(parents=True, exist_ok=True)
        for name, value in rows.items():
            value = value.float() if value.dtype == torch.bfloat16 else value  # which numpy does not know
            array = value.detach().cpu().numpy()
            path = folder / "parts" / f"{trainer.global_rank}_{name}.bin"
            with explaining_write_errors(path), path.open("ab") as file:
                file.write(np.ascontiguousarray(array).tobytes())
            self._layout.setdefault(dataloader_idx, {})[name] = (array.dtype, array.shape[1:])
        if batch_idx == 0 and trainer.is_global_zero:
            self._draw(pl_module, x, y, folder)

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if sum(isinstance(callback, PredictionWriter) for callback in trainer.callbacks) > 1:  # type: ignore[attr-defined]
            raise ValueError("PredictionWriter is given twice, and both would write the same files: give one.")
        self._layout: dict[int, dict[str, tuple[np.dtype, tuple[int, ...]]]] = {}
        self._seen = {}
        shape: Any = pl_module.shape
        if drawing.drawable(shape):
            drawing.check_size("num_samples", self.num_samples, shape)
            drawing.check_size("num_paths x num_steps", self.num_paths * self.num_steps, shape)
            drawing.check_size("num_dims x num_steps", self.num_dims * self.num_steps, shape)
        for loader in range(len(trainer.num_predict_batches)):
            for stale in (self._folder(trainer, loader) / "parts").glob(f"{trainer.global_rank}_*.bin"):
                stale.unlink()

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        trainer.strategy.barrier()
        for loader, layout in self._layout.items() if trainer.is_global_zero else ():
            folder = self._folder(trainer, loader)
            files = {
                "latents": ("z", "z_scale", "codes", "y"),
                "scores": ("elbo", "kl", "log_px", "log_evidence", "y"),
                "reconstructions": ("x", "reconstruction"),
            }
            for file, names in files.items():
                self._merge(trainer, folder / f"{file}.npz", {n: layout[n] for n in names if n in layout})
            for part in (folder / "parts").iterdir():
                part.unlink()
            (folder / "parts").rmdir()

    def _merge(self, trainer: Trainer, path: Path, layout: dict[str, tuple[np.dtype, tuple[int, ...]]]) -> None:
        """Merge the rows of all ranks in order, a few megabytes at a time."""
        parts = path.parent / "parts"
        ranks = [np.fromfile(parts / f"{r}_index.bin", np.int64) for r in range(trainer.world_size)]
        # Of each example its first place: without those that fill up the last rank's share.
        seen, places = np.unique(np.concatenate(ranks), return_index=True)
        columns = {}
        for name, (dtype, shape) in layout.items():
            files = [(parts / f"{rank}_{name}.bin", len(index)) for rank, index in enumerate(ranks)]
            columns[name] = dtype, (len(seen), *shape), _gather(files, places, dtype, shape)
        write_npz(path, columns)
        self.paths.append(path)

    def _draw(self, model: Any, x: Tensor, c: Tensor | None, folder: Path) -> None:
        with torch.no_grad(), forked(0, model.device):
            pictures: dict[str, tuple[Tensor, int, dict[str, Tensor]]] = {}
            if x[:64].shape[0]:
                images = drawing.reconstructions(model, x[:64], None if c is None else c[:64])
                pictures["reconstructions"] = (images, 16, {})
            if self.num_samples and hasattr(model, "sample"):
                images, columns = drawing.samples(model, self.num_samples, c)
                pictures["samples"] = (images, columns, {"x": images})
            pairs = min(self.num_paths, len(x) // 2) if model.continuous else 0
            if pairs:
                images = drawing.interpolations(
                    model, x[: 2 * pairs], None if c is None else c[: 2 * pairs], self.num_steps
                )
                pictures["interpolations"] = (images.flatten(0, 1), self.num_steps, {"x": images})
            if self.num_dims and model.continuous:
                dims, images = drawing.traversals(model, x, c, self.num_dims, self.num_steps)
                pictures["traversals"] = (images.flatten(0, 1), self.num_steps, {"x": images, "dims": dims})
        for name, (images, columns, arrays) in pictures.items():
            if arrays:
                self.paths.append(folder / f"{name}.npz")
                write_npz(self.paths[-1], {k: as_column(v.cpu().numpy()) for k, v in arrays.items()})
            if drawing.drawable(model.shape):
                self.paths.append(drawing.save_png(drawing.grid(images, columns), folder / f"{name}.png"))

    @staticmethod
    def _folder(trainer: Trainer, dataloader_idx: int) -> Path:
        return output_folder(trainer) / (f"dataloader_idx_{dataloader_idx}" if dataloader_idx else "")


def _gather(
    files: list[tuple[Path, int]], places: np.ndarray, dtype: np.dtype, shape: tuple[int, ...]
) -> Iterator[np.ndarray]:
    """Rows at places of files that follow each other. A map is closed after each block: what it has read stays else."""
    block = max(1, _BLOCK // max(1, dtype.itemsize * math.prod(shape)))
    for start in range(0, len(places), block):
        wanted, begin = places[start : start + block], 0
        rows = np.empty((len(wanted), *shape), dtype)
        for file, num in files:
            here = (begin <= wanted) & (wanted < begin + num)
            if here.any():
                rows[here] = np.memmap(file, dtype=dtype, mode="r", shape=(num, *shape))[wanted[here] - begin]
            begin += num
        yield rows
