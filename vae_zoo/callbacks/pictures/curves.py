"""Line plots of sequences."""

from __future__ import annotations

import torch
from torch import Tensor

WIDTH, HEIGHT = 150, 84
"""Pixels of a panel."""

_GAP = 8
_MARGIN = 56
_MOST_CHANNELS = 10
"""Channels drawn: as many as there are colours."""


def panels(x: Tensor, columns: int, again: Tensor | None = None) -> Tensor:
    """A panel for each sequence with a line for each channel, as a picture (3, H, W) in [0, 1].

    All panels have the same axes, whose ends are written at the first and the last. Lines end where values are missing.

    Args:
        x: Sequences, (N, C, L), in which NaN is missing.
        columns: Number of panels in a row.
        again: Their reconstructions, (N, C, L): thin lines over the thick and pale ones of the sequences.
    """
    import numpy as np
    from matplotlib import colormaps
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.collections import LineCollection
    from matplotlib.figure import Figure

    num, channels, length = x.shape
    layers = [x] if again is None else [x, again]
    shown = [layer.detach()[:, :_MOST_CHANNELS].float().cpu().numpy() for layer in layers]
    finite = np.concatenate([layer[np.isfinite(layer)] for layer in shown])
    low, high = (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 1.0)
    span = high - low or 1.0
    rows = -(-num // columns)
    left, top = np.arange(num) % columns * (WIDTH + _GAP), np.arange(num) // columns * (HEIGHT + _GAP)
    if length == 1:  # a dash
        shown = [layer.repeat(2, -1) for layer in shown]
    across = np.linspace(4, WIDTH - 4, shown[0].shape[-1])
    width, height = columns * (WIDTH + _GAP) + _MARGIN, rows * (HEIGHT + _GAP) + 40
    figure = Figure(figsize=(width / 100, height / 100), dpi=100)
    canvas, axes = FigureCanvasAgg(figure), figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(-_MARGIN, width - _MARGIN), ylim=(rows * (HEIGHT + _GAP) + 22, -18))
    axes.axis("off")
    corners = np.array([[0, 0], [WIDTH, 0], [WIDTH, HEIGHT], [0, HEIGHT], [0, 0]])
    frames = [corners + place for place in np.stack([left, top], 1)]
    axes.add_collection(LineCollection(frames, colors="0.75", linewidths=0.6))
    wide, colours = again is not None, colormaps["tab10"]
    for layer, values in enumerate(shown):
        down = top[:, None, None] + 4 + (HEIGHT - 8) * (high - values) / span
        along = np.broadcast_to(left[:, None, None] + across, down.shape)
        for channel in range(values.shape[1]):
            lines = np.stack([along[:, channel], down[:, channel]], -1)
            thick = wide and layer == 0
            style = {"linewidths": 2.6 if thick else 0.9, "alpha": 0.35 if thick else 1.0}
            axes.add_collection(LineCollection(list(lines), colors=[colours(channel)], **style))
    what = "thick: example, thin: reconstruction" if wide else ""
    if channels > _MOST_CHANNELS:
        what += f"{', ' if what else ''}the first {_MOST_CHANNELS} of {channels} channels"
    for text, place, where in (
        (f"{high:.3g}", (-4, 10), {"ha": "right"}),
        (f"{low:.3g}", (-4, HEIGHT), {"ha": "right"}),
        ("0", (4, rows * (HEIGHT + _GAP) + 8), {"ha": "left"}),
        (f"{length - 1}", (WIDTH, rows * (HEIGHT + _GAP) + 8), {"ha": "right"}),
        (what, (0, -6), {"ha": "left"}),
    ):
        axes.text(*place, text, fontsize=8, color="0.3", **where)  # type: ignore[arg-type]
    canvas.draw()
    return torch.from_numpy(np.asarray(canvas.buffer_rgba())[..., :3].copy()).permute(2, 0, 1).float() / 255
