"""Scatter plots of latents."""

from __future__ import annotations

from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_only
from torch import Tensor

from vae_zoo.callbacks.pictures.grids import Grid
from vae_zoo.distributions.supports import Ball, Sphere
from vae_zoo.models.base.autoencoder import Autoencoder

_CHUNK = 256
_MOST_CLASSES = 20


class LatentScatter(Grid):
    """Scatter plot of validation latents in the two dimensions whose posterior mean varies most, coloured by label.

    These are the first two rows of :class:`TraversalGrid`; with several layers, the lowest is shown. A single latent is
    plotted against the label. Discrete latents have no such plot.

    Args:
        every_n_epochs: Epochs between pictures; 0 for none.
        num: Number of examples in the picture.

    Raises:
        ValueError: If every_n_epochs is negative or num is less than 1.
    """

    name = "latents"
    of_images = False

    def __init__(self, *, every_n_epochs: int = 0, num: int = 1000) -> None:
        super().__init__(every_n_epochs=every_n_epochs, num=num)

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

    def draw(self, model: Any, x: Tensor, c: Tensor | None) -> Tensor | None:
        if not model.continuous:
            return None
        conditions = [None] * len(x) if c is None else c.split(_CHUNK)
        parts = zip(x.split(_CHUNK), conditions, strict=False)
        z = torch.cat([model.embed(*part) for part in parts]).flatten(1)
        support = model.posterior.support
        radius = 1.0 if isinstance(support, Sphere) else None
        radius = support.curvature**-0.5 if isinstance(support, Ball) else radius
        return scatter(z, c, getattr(model, "latent_dims", None), radius)


def scatter(
    z: Tensor, labels: Tensor | None = None, layers: tuple[int, ...] | None = None, radius: float | None = None
) -> Tensor:
    """A picture (3, H, W) of latents in the two dimensions that vary most.

    Args:
        z: Latents, (B, D).
        labels: Labels for the colours, (B,); ignored in any other shape.
        layers: Dimensions of each layer of latents, the lowest first.
        radius: Radius of the sphere or ball that the latents are confined to, which is drawn as a circle.
    """
    import numpy as np
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.patches import Circle

    z = z.detach()[:, : layers[0] if layers else None].float().cpu()
    dims = z.var(0, correction=0).argsort(descending=True)[:2].tolist()
    label = labels.cpu().numpy() if labels is not None and labels.ndim == 1 else np.zeros(len(z))
    x, y = z[:, dims[0]].numpy(), z[:, dims[1]].numpy() if len(dims) == 2 else label
    figure = Figure(figsize=(6.4, 6.0), dpi=100, layout="constrained")
    canvas, axes = FigureCanvasAgg(figure), figure.add_subplot()
    kinds = np.unique(label)
    if 1 < len(kinds) <= _MOST_CLASSES:
        colours = "tab10" if len(kinds) <= 10 else "tab20"
        codes, most = np.searchsorted(kinds, label), int(colours[3:])
        drawn = axes.scatter(x, y, c=codes, cmap=colours, vmin=-0.5, vmax=most - 0.5, s=12)
        handles, _ = drawn.legend_elements(num=list(range(len(kinds))))
        axes.legend(handles, [f"{kind:g}" for kind in kinds], title="label", loc="center left", bbox_to_anchor=(1, 0.5))
    elif len(kinds) > 1:
        figure.colorbar(axes.scatter(x, y, c=label, s=12), label="label")
    else:
        axes.scatter(x, y, s=12)
    axes.set_xlabel(f"latent {dims[0]}")
    axes.set_ylabel(f"latent {dims[1]}" if len(dims) == 2 else "label")
    axes.set_title(f"posterior means of {len(z)} validation examples", fontsize=11)
    axes.grid(alpha=0.3)
    if radius is not None and len(dims) == 2:
        axes.add_patch(Circle((0, 0), radius, fill=False, alpha=0.5))
        axes.set(aspect="equal", xlim=(-1.05 * radius, 1.05 * radius), ylim=(-1.05 * radius, 1.05 * radius))
    canvas.draw()
    return torch.from_numpy(np.asarray(canvas.buffer_rgba())[..., :3].copy()).permute(2, 0, 1).float() / 255
