"""What is written around pictures: the model and the data, the latents of traversals, the classes of samples."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from vae_zoo.callbacks.pictures.labelled import Labels
from vae_zoo.callbacks.pictures.traversals import Traversals
from vae_zoo.elbo import ELBOMixin
from vae_zoo.models.base.autoencoder import Autoencoder
from vae_zoo.system.seeding import forked

_LONGEST = 24
"""Letters of the name of a class."""


class Source(NamedTuple):
    """What a picture is of.

    Args:
        model: Name of the model's class.
        data: Name of the data, if they are known.
        classes: Names of the classes, if the data know them.
    """

    model: str
    data: str = ""
    classes: tuple[Any, ...] = ()

    @classmethod
    def of(cls, model: Any, data: Any = None) -> Source:
        """That of a model and its data module, if there is one."""
        classes = getattr(data, "classes", None)
        known = tuple(classes) if isinstance(classes, (list, tuple)) else ()
        return cls(type(model).__name__, "" if data is None else type(data).__name__, known)

    def __str__(self) -> str:
        return f"{self.model} on {self.data}" if self.data else self.model

    def class_name(self, label: int) -> str:
        """Name of a class, or its number."""
        text = str(self.classes[label]) if 0 <= label < len(self.classes) else str(label)
        return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def samples(
    source: Source,
    num: int,
    columns: int = 0,
    *,
    temperature: float | Sequence[float] = 1.0,
    label: int | None = None,
    cluster: int | None = None,
    mean: bool = True,
    clusters: bool = False,
) -> Labels:
    """Labels of samples.

    Args:
        source: What they are of.
        num: Number of samples.
        columns: Number of columns that are classes or clusters; 0 if they are not.
        temperature: Temperature of the prior, or of each layer.
        label: The class of all samples, if they are of one.
        cluster: Their cluster, if they are of one.
        mean: Whether they are means of p(x|z), or draws from it.
        clusters: Whether columns are clusters, which have numbers and no names.
    """
    what = f"{num} sample{'s' if num != 1 else ''}"
    what += "" if label is None else f" of class {source.class_name(label)}"
    what += "" if cluster is None else f" of cluster {cluster}"
    what += "" if mean else ", drawn from p(x|z)"
    what += " by cluster" if clusters else ""
    classes = [str(n) if clusters else source.class_name(n) for n in range(columns)]
    warm = [temperature] if isinstance(temperature, (int, float)) else temperature
    degrees = f"temperature{'s' if len(warm) > 1 else ''} {', '.join(f'{t:g}' for t in warm)}"
    return Labels(f"{source}: {what}, {degrees}", above=classes)


def columns_of(model: Any, columns: int) -> dict[str, Any]:
    """What the columns of a picture of samples are, as :func:`samples` takes it: classes, clusters or neither."""
    clusters = bool(getattr(model, "num_clusters", 0))
    return {"columns": columns if clusters or getattr(model, "num_classes", None) else 0, "clusters": clusters}


def reconstructions(source: Source, num: int, *, paired: bool = False, mean: bool = True) -> Labels:
    """Labels of examples and their reconstructions in turn.

    Args:
        source: What they are of.
        num: Number of examples.
        paired: Whether the two are in one panel, as those of sequences are.
        mean: Whether reconstructions are means of p(x|z), or draws from it.
    """
    what = f"{num} example{'s' if num != 1 else ''}, "
    what += "with reconstruction" if paired else "each to the left of its reconstruction"
    what += "" if mean else ", drawn from p(x|z)"
    return Labels(f"{source}: {what}")


def traversals(source: Source, model: Autoencoder, x: Tensor, c: Tensor | None, found: Traversals) -> Labels:
    """Labels of :func:`vae_zoo.callbacks.pictures.traversals.traversals`: latent, rate and range of each row.

    Args:
        source: What they are of.
        model: The model.
        x: Examples; the others of the latents are those of the first.
        c: Their conditions.
        found: The latents and their values.
    """
    values, rate = found.values.cpu(), rates(model, x, c)
    rows = [
        (
            f"z{dim}",
            *(() if rate is None else (f"{number(float(rate[dim]), 1)} nats",)),
            f"{number(float(value[0]))} … {number(float(value[-1]))}",
        )
        for dim, value in zip(found.dims.tolist(), values, strict=True)
    ]
    num_steps = values.shape[1]
    below = [""] * num_steps
    if len(values) and torch.allclose(values, values[:1].expand_as(values), atol=1e-4):
        marked = {0, num_steps - 1} | ({num_steps // 2} if num_steps % 2 else set())
        below = [number(float(value)) if n in marked else "" for n, value in enumerate(values[0])]
    others = "the layers below at their means" if found.layered else "the others as in one example"
    return Labels(f"{source}: one latent varied in each row, {others}", rows, below=below)


def interpolations(source: Source, ends: Sequence[Sequence[Any]]) -> Labels:
    """Labels of paths between the latents of two examples.

    Args:
        source: What they are of.
        ends: Names of the two examples of each row.
    """
    rows = [tuple(str(end)[:_LONGEST] for end in pair) for pair in ends]
    return Labels(f"{source}: paths between the latents of two examples", [(f"{a} → {b}",) for a, b in rows])


def rates(model: Any, x: Tensor, c: Tensor | None) -> Tensor | None:
    """Mean rate of each latent over some examples in nats, (D,); None where only their sum is known."""
    if not isinstance(model, ELBOMixin) or not len(x):
        return None
    with torch.no_grad(), forked(0, x.device):
        found = model.elbo(x, c, 1).rates
    layers = getattr(model, "latent_dims", None)
    size = sum(layers) if layers else math.prod(getattr(model, "latent_shape", ()))
    if found is None or found.shape[1] != size or (layers and len(layers) == size):
        return None
    return found.float().mean(0).cpu()


def number(value: float, places: int | None = None) -> str:
    """A number of at most three digits, or with some places, with a minus sign and without trailing zeros."""
    text = f"{value:.3g}" if places is None else f"{value:.{places}f}"
    text = "0" if places is None and abs(value) < 1e-6 else text.replace("-0.0", "0.0") if text == "-0.0" else text
    return text.replace("-", "−")
