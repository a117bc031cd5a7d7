"""The pictures of predict, and the files of arrays beside them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from vae_zoo.callbacks.pictures import drawing, labels
from vae_zoo.callbacks.pictures.labelled import Labels, Picture
from vae_zoo.callbacks.pictures.labels import Source
from vae_zoo.callbacks.pictures.themes import Look
from vae_zoo.callbacks.pictures.traversals import traversals
from vae_zoo.callbacks.predicting.examples import Examples
from vae_zoo.system.seeding import forked
from vae_zoo.system.writing import as_column, write_npz

_MOST_RECONSTRUCTIONS = 64


class _Drawn(NamedTuple):
    """What goes into a picture and into the file of arrays beside it."""

    images: Tensor
    columns: int
    arrays: Mapping[str, Any]
    labels: Labels


class Pictures(NamedTuple):
    """Reconstructions, samples, traversals and interpolations of a model.

    Args:
        num_samples: Samples from the prior; 0 for none.
        num_paths: Interpolations between two examples; 0 for none.
        num_dims: Latent dimensions to traverse; 0 for none.
        num_steps: Images on each path.
        mean: Whether reconstructions and samples are means of p(x|z), or draws from it.
        look: Labels or none, format and colours.
    """

    num_samples: int
    num_paths: int
    num_dims: int
    num_steps: int
    mean: bool
    look: Look

    def check_sizes(self, shape: tuple[int, ...], num_pairs: int) -> None:
        """Refuse pictures that are too large for memory.

        Args:
            shape: Shape of an example.
            num_pairs: Pairs that were chosen to interpolate between; 0 for none.

        Raises:
            ValueError: With the largest allowed number.
        """
        if not drawing.drawable(shape):
            return
        drawing.check_size("num_samples", self.num_samples, shape)
        drawing.check_size("num_paths x num_steps", (num_pairs or self.num_paths) * self.num_steps, shape)
        drawing.check_size("num_dims x num_steps", self.num_dims * self.num_steps, shape)

    def write(self, model: Any, examples: Examples, source: Source, folder: Path) -> list[Path]:
        """Write reconstructions, samples and traversals, as far as the model has them.

        Returns:
            The files.
        """
        pictures: dict[str, _Drawn] = {}
        with torch.no_grad(), forked(0, model.device):
            if len(examples.x):
                pictures["reconstructions"] = self._reconstructions(model, examples, source)
            if self.num_samples and hasattr(model, "sample"):
                pictures["samples"] = self._samples(model, examples, source)
            if self.num_dims and model.continuous:
                pictures["traversals"] = self._traversals(model, examples, source)
        return [path for name, drawn in pictures.items() for path in self._save(model, name, drawn, folder)]

    def write_interpolations(self, model: Any, ends: Examples, source: Source, folder: Path) -> list[Path]:
        """Write paths between the first and the second half of some examples.

        Returns:
            The files.
        """
        if not len(ends.x):
            return []
        with torch.no_grad(), forked(0, model.device):
            images = drawing.interpolations(model, ends.x, ends.c, self.num_steps)
        pairs = ends.identity.columns(ends.positions.reshape(2, -1).T)
        written = labels.interpolations(source, pairs.get("id", pairs["index"]).tolist())
        drawn = _Drawn(images.flatten(0, 1), self.num_steps, {**pairs, "x": images}, written)
        return self._save(model, "interpolations", drawn, folder)

    def _reconstructions(self, model: Any, examples: Examples, source: Source) -> _Drawn:
        shown = examples.first(_MOST_RECONSTRUCTIONS)
        images = drawing.reconstructions(model, shown.x, shown.c, mean=self.mean)
        written = labels.reconstructions(source, len(shown.x), paired=images.ndim == 3, mean=self.mean)
        return _Drawn(images, 16, {}, written)

    def _samples(self, model: Any, examples: Examples, source: Source) -> _Drawn:
        images, columns = drawing.samples(model, self.num_samples, examples.c, mean=self.mean)
        written = labels.samples(source, len(images), mean=self.mean, **labels.columns_of(model, columns))
        return _Drawn(images, columns, {"x": images}, written)

    def _traversals(self, model: Any, examples: Examples, source: Source) -> _Drawn:
        x, c = examples.x, examples.c
        found = traversals(model, x, c, self.num_dims, self.num_steps)
        labelled = self.look.labels and drawing.drawable(model.shape)
        written = labels.traversals(source, model, x, c, found) if labelled else Labels()
        known = examples.identity.columns(examples.positions[:1])
        arrays = {**known, "x": found.images, "dims": found.dims}
        return _Drawn(found.images.flatten(0, 1), self.num_steps, arrays, written)

    def _save(self, model: Any, name: str, drawn: _Drawn, folder: Path) -> list[Path]:
        paths = []
        if drawn.arrays:
            paths.append(folder / f"{name}.npz")
            write_npz(paths[-1], {key: as_column(_array(value)) for key, value in drawn.arrays.items()})
        if drawing.drawable(model.shape):
            paired = name == "reconstructions"
            picture = drawing.picture(drawn.images, drawn.columns, drawn.labels, self.look, paired=paired)
            kind = self.look.format if isinstance(picture, Picture) else "png"
            paths.append(drawing.save(picture, folder / f"{name}.{kind}"))
        return paths


def _array(value: Tensor | np.ndarray) -> np.ndarray:
    return value.cpu().numpy() if isinstance(value, Tensor) else value
