"""Scatter plots of latents."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_only
from torch import Tensor

from vae_zoo.callbacks.pictures.grids import Grid
from vae_zoo.callbacks.pictures.labelled import Picture
from vae_zoo.callbacks.pictures.themes import (
    COLOURS,
    MARKERS,
    SEQUENTIAL,
    WHITE,
    Format,
    Theme,
    ThemeName,
    paint,
    paint_bar,
    paint_legend,
)
from vae_zoo.distributions import StandardNormal
from vae_zoo.distributions.supports import Ball, Sphere
from vae_zoo.models.base.autoencoder import Autoencoder

_CHUNK = 256
_MOST_CLASSES = 20
_LONGEST = 24


class LatentScatter(Grid):
    """Scatter plot of validation latents in the two dimensions whose posterior mean varies most, coloured by label.

    These are the first two rows of :class:`TraversalGrid`; with several layers, the lowest is shown. A single latent is
    plotted against the label. Circles are at 1, 2 and 3 standard deviations of a standard normal prior, and at the
    radius of a sphere or ball. Colours are those of Okabe and Ito for up to 8 labels, then the same with other markers,
    and a colour map for more than 20. Discrete latents have no such plot.

    Args:
        every_n_epochs: Epochs between pictures; 0 for none.
        num: Number of examples in the picture.
        labels: Whether the plot has a title.
        format: Format of the files, png, svg or pdf.
        theme: Colours of background and text: white, transparent or dark.

    Raises:
        ValueError: If every_n_epochs is negative, num is less than 1, or format or theme is another.
    """

    name = "latents"
    of_images = False

    def __init__(
        self,
        *,
        every_n_epochs: int = 0,
        num: int = 1000,
        labels: bool = True,
        format: Format = "png",
        theme: ThemeName = "white",
    ) -> None:
        super().__init__(every_n_epochs=every_n_epochs, num=num, labels=labels, format=format, theme=theme)

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
        if not self.every_n_epochs or trainer.state.fn != "fit" or trainer.sanity_checking or dataloader_idx:
            return
        if not isinstance(pl_module, Autoencoder):
            return
        x, c = pl_module.unpack(batch)
        if batch_idx == 0 or self._batch is None:
            self._batch = x[: self.num], None if c is None else c[: self.num]
        elif len(self._batch[0]) < self.num:
            seen, labels = self._batch
            c = None if labels is None or c is None else torch.cat([labels, c])[: self.num]
            self._batch = torch.cat([seen, x])[: self.num], c

    @rank_zero_only
    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        due = self.every_n_epochs and (trainer.current_epoch + 1) % self.every_n_epochs == 0
        if due and trainer.state.fn == "fit" and not trainer.sanity_checking:
            self._save(trainer, pl_module)

    def draw(self, model: Any, x: Tensor, c: Tensor | None) -> Picture | None:
        if not model.continuous:
            return None
        conditions = [None] * len(x) if c is None else c.split(_CHUNK)
        parts = zip(x.split(_CHUNK), conditions, strict=False)
        z = torch.cat([model.embed(*part) for part in parts]).flatten(1)
        layers, source = getattr(model, "latent_dims", None), self.source(model)
        title = f"{source}: posterior means of {len(z)} validation examples" if self.look.labels else ""
        return scatter(z, c, layers, circles_of(model), source.classes, title=title, theme=self.look.colours)


class Circles(NamedTuple):
    """Circles around the origin.

    Args:
        radii: Their radii.
        confining: Whether no latent is beyond the last.
    """

    radii: tuple[float, ...] = ()
    confining: bool = False


NO_CIRCLES = Circles()


def circles_of(model: Any) -> Circles:
    """The sphere or ball that latents are confined to, or 1, 2 and 3 standard deviations of a standard normal prior."""
    support = model.posterior.support
    if isinstance(support, Sphere):
        return Circles((1.0,), confining=True)
    if isinstance(support, Ball):
        return Circles((support.curvature**-0.5,), confining=True)
    layered = getattr(model, "latent_dims", None) is not None  # the lowest has a prior given those above
    normal = isinstance(getattr(model, "latent_prior", None), StandardNormal) and not layered
    return Circles((1.0, 2.0, 3.0)) if normal else NO_CIRCLES


def scatter(
    z: Tensor,
    labels: Tensor | None = None,
    layers: tuple[int, ...] | None = None,
    circles: Circles = NO_CIRCLES,
    names: Sequence[Any] = (),
    *,
    title: str = "",
    theme: Theme = WHITE,
) -> Picture:
    """A picture of latents in the two dimensions that vary most.

    Args:
        z: Latents, (B, D).
        labels: Labels for the colours, (B,); ignored in any other shape.
        layers: Dimensions of each layer of latents, the lowest first.
        circles: Circles to draw.
        names: Names of the classes that labels are.
        title: Title of the plot.
        theme: Colours of background and text.
    """
    import numpy as np
    from matplotlib.figure import Figure

    z = z.detach()[:, : layers[0] if layers else None].float().cpu()
    dims = z.var(0, correction=0).argsort(descending=True)[:2].tolist()
    label = labels.cpu().numpy() if labels is not None and labels.ndim == 1 else np.zeros(len(z))
    x, y = z[:, dims[0]].numpy(), z[:, dims[1]].numpy() if len(dims) == 2 else label
    figure = Figure(figsize=(6.4, 6.0), dpi=100, layout="constrained", facecolor=theme.background)
    axes = figure.add_subplot()
    axes.set_xlabel(f"latent {dims[0]}")
    axes.set_ylabel(f"latent {dims[1]}" if len(dims) == 2 else "label")
    axes.set_title("\n".join(textwrap.wrap(title, 70)), fontsize=11)
    paint(axes, theme)
    kinds = np.unique(label)
    if 1 < len(kinds) <= _MOST_CLASSES:
        texts = [str(names[int(k)])[:_LONGEST] if 0 <= k < len(names) and k % 1 == 0 else f"{k:g}" for k in kinds]
        _scatter_classes(axes, x, y, np.searchsorted(kinds, label), texts, theme)
    elif len(kinds) > 1:
        paint_bar(figure.colorbar(axes.scatter(x, y, c=label, s=12, cmap=SEQUENTIAL), label="label"), theme)
    else:
        axes.scatter(x, y, s=12, color=COLOURS[0])
    if circles.radii and len(dims) == 2:
        _circle(axes, circles, theme)
    return Picture(figure)


def _scatter_classes(axes: Any, x: Any, y: Any, codes: Any, names: Sequence[str], theme: Theme) -> None:
    """Points in the order of the data, so that no class hides another, and a legend."""
    import numpy as np
    from matplotlib.lines import Line2D

    colours = np.array([theme.colour(number) for number in range(len(names))])
    groups = codes // len(COLOURS)
    for group in np.unique(groups):
        inside = groups == group
        style = {"marker": MARKERS[group], "s": 12, "linewidths": 0}
        axes.scatter(x[inside], y[inside], color=colours[codes[inside]], **style)
    handles = [
        Line2D([], [], color=colour, marker=MARKERS[n // len(COLOURS)], markeredgewidth=0, markersize=6, linestyle="")
        for n, colour in enumerate(colours)
    ]
    beside: Any = {"loc": "center left", "bbox_to_anchor": (1, 0.5), "title": "label"}
    paint_legend(axes.legend(handles, names, **beside), theme)


def _circle(axes: Any, circles: Circles, theme: Theme) -> None:
    from matplotlib.patches import Circle

    for number, radius in enumerate(circles.radii):
        dashed = "-" if circles.confining else "--"
        axes.add_patch(Circle((0, 0), radius, fill=False, edgecolor=theme.text, linestyle=dashed, alpha=0.6))
        if not circles.confining:
            behind = {"facecolor": theme.background, "alpha": 0.7, "edgecolor": "none", "pad": 0.5}
            style: Any = {"ha": "center", "va": "bottom", "fontsize": 8, "color": theme.text, "bbox": behind}
            axes.text(0, radius + 0.03, f"{number + 1} σ", **style)
    axes.set_aspect("equal")
    if circles.confining:
        end = 1.05 * circles.radii[-1]
        axes.set(xlim=(-end, end), ylim=(-end, end))
    else:
        axes.autoscale_view()
