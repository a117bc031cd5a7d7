"""Line plots of sequences."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from vae_zoo.callbacks.pictures.labelled import compose
from vae_zoo.callbacks.pictures.themes import COLOURS, DASHES, WHITE, Theme

WIDTH, HEIGHT = 150, 84
"""Pixels of a panel."""

_GAP = 8
_MARGIN, _TOP, _FOOT = 56, 18, 22
_MOST_CHANNELS = 10
"""Channels drawn."""


class Curves:
    """A panel for each sequence with a line for each channel.

    All panels have the same axes, whose ends are written at the first and the last. Lines end where values are missing.

    Args:
        x: Sequences, (N, C, L), in which NaN is missing.
        columns: Number of panels in a row.
        again: Their reconstructions, (N, C, L): thin lines over the thick and pale ones of the sequences.
    """

    def __init__(self, x: Tensor, columns: int, again: Tensor | None = None) -> None:
        self.num, self.channels, self.length = x.shape
        layers = [x] if again is None else [x, again]
        self.layers = [layer.detach()[:, :_MOST_CHANNELS].float().cpu().numpy() for layer in layers]
        self.columns, self.rows = columns, -(-self.num // columns)
        self.width = columns * (WIDTH + _GAP) + _MARGIN
        self.height = self.rows * (HEIGHT + _GAP) + _TOP + _FOOT
        places = [_MARGIN + n * (WIDTH + _GAP) for n in range(columns)]
        self.across = [(float(place), float(place + WIDTH)) for place in places]
        places = [_TOP + n * (HEIGHT + _GAP) for n in range(self.rows)]
        self.down = [(float(place), float(place + HEIGHT)) for place in places]

    def draw(self, axes: Any, theme: Theme) -> None:
        """Draw into axes whose units are pixels, from the upper left corner."""
        import numpy as np
        from matplotlib.collections import LineCollection

        finite = np.concatenate([layer[np.isfinite(layer)] for layer in self.layers])
        low, high = (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 1.0)
        span = high - low or 1.0
        number = np.arange(self.num)
        left = _MARGIN + number % self.columns * (WIDTH + _GAP)
        top = _TOP + number // self.columns * (HEIGHT + _GAP)
        shown = [layer.repeat(2, -1) for layer in self.layers] if self.length == 1 else self.layers  # a dash
        across = np.linspace(4, WIDTH - 4, shown[0].shape[-1])
        corners = np.array([[0, 0], [WIDTH, 0], [WIDTH, HEIGHT], [0, HEIGHT], [0, 0]])
        frames = [corners + place for place in np.stack([left, top], 1)]
        axes.add_collection(LineCollection(frames, colors=theme.faint, linewidths=0.6))
        wide = len(shown) > 1
        for layer, values in enumerate(shown):
            down = top[:, None, None] + 4 + (HEIGHT - 8) * (high - values) / span
            along = np.broadcast_to(left[:, None, None] + across, down.shape)
            for channel in range(values.shape[1]):
                lines = np.stack([along[:, channel], down[:, channel]], -1)
                thick = wide and layer == 0
                style: dict[str, Any] = {"linewidths": 2.6 if thick else 0.9, "alpha": 0.35 if thick else 1.0}
                style["linestyles"] = DASHES[channel // len(COLOURS)]
                axes.add_collection(LineCollection(list(lines), colors=[theme.colour(channel)], **style))
        self._annotate(axes, theme, low, high)

    def _annotate(self, axes: Any, theme: Theme, low: float, high: float) -> None:
        what = "thick: example, thin: reconstruction" if len(self.layers) > 1 else ""
        if self.channels > _MOST_CHANNELS:
            what += f"{', ' if what else ''}the first {_MOST_CHANNELS} of {self.channels} channels"
        foot = _TOP + self.rows * (HEIGHT + _GAP) + 8
        for text, place, where in (
            (f"{high:.3g}", (_MARGIN - 4, _TOP + 10), "right"),
            (f"{low:.3g}", (_MARGIN - 4, _TOP + HEIGHT), "right"),
            ("0", (_MARGIN + 4, foot), "left"),
            (f"{self.length - 1}", (_MARGIN + WIDTH, foot), "right"),
            (what, (_MARGIN, _TOP - 6), "left"),
        ):
            axes.text(*place, text, fontsize=8, color=theme.text, ha=where)


def panels(x: Tensor, columns: int, again: Tensor | None = None, theme: Theme = WHITE) -> Tensor:
    """The picture of :class:`Curves`, (3, H, W) in [0, 1]."""
    return compose(Curves(x, columns, again), theme=theme).pixels()
