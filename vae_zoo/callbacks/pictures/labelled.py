"""Pictures with titles and labels around a grid, as pixels and as files."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from vae_zoo.callbacks.pictures.themes import WHITE, Theme
from vae_zoo.system.writing import explaining_write_errors, replacing

DPI = 100
_TITLE, _LABEL = 10.0, 8.5
"""Sizes of text, in points."""

_PAD = 8
_MOST_SIDE = 2**16 - 1
"""Pixels of a side that Agg can draw."""

_SETTINGS: Any = {"svg.fonttype": "none", "svg.hashsalt": "vae_zoo", "pdf.fonttype": 42}  # text stays text
_UNDATED = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}
"""Metadata that would differ from one writing to the next."""


class Labels(NamedTuple):
    """Text around a grid; none of it is needed.

    Args:
        title: Title, wrapped to the width of the picture.
        rows: For each row, the cells of its label, of which as many line up in columns.
        above: Headings of the first columns, set upright where they are too wide.
        below: Text under the first columns; empty for none.
    """

    title: str = ""
    rows: Sequence[tuple[str, ...]] = ()
    above: Sequence[str] = ()
    below: Sequence[str] = ()


class Content(Protocol):
    """What is in the middle of a picture: its size in pixels, where its cells are, and how it is drawn."""

    width: int
    height: int
    across: list[tuple[float, float]]
    """Left and right end of each column."""

    down: list[tuple[float, float]]
    """Upper and lower end of each row."""

    def draw(self, axes: Any, theme: Theme) -> None:
        """Draw into axes whose units are pixels, from the upper left corner."""
        ...


class Pixels:
    """A grid of images as :func:`~vae_zoo.callbacks.pictures.drawing.grid` makes it, with a border of 2 pixels.

    Args:
        picture: The grid, (3, H, W) in [0, 1].
        rows: Number of rows.
        columns: Number of columns.
    """

    def __init__(self, picture: Tensor, rows: int, columns: int) -> None:
        self.picture = picture
        self.height, self.width = picture.shape[1:]
        ends = [
            [(2 + n * (side - 2) / num, (n + 1) * (side - 2) / num) for n in range(num)]
            for side, num in ((self.width, columns), (self.height, rows))
        ]
        self.across, self.down = ends

    def draw(self, axes: Any, theme: Theme) -> None:  # noqa: ARG002
        levels = (self.picture * 255 + 0.5).clamp(0, 255).byte().permute(1, 2, 0).numpy()  # as torchvision rounds
        # "none" is nearest in pixels; in SVG and PDF, the image itself, marked as one that is not to be smoothed.
        axes.imshow(levels, extent=(0, self.width, self.height, 0), interpolation="none", aspect="auto")


class Picture:
    """A drawn figure.

    Args:
        figure: Figure of matplotlib, whose background is that of the theme.
        inside: Left and upper edge of the content in pixels.
    """

    def __init__(self, figure: Any, inside: tuple[int, int] = (0, 0)) -> None:
        self.figure, self.inside = figure, inside

    @cached_property
    def _levels(self) -> Any:
        """The pixels, (H, W, 3) or with their opacity (H, W, 4), of 8 bits."""
        import numpy as np
        from matplotlib.backends.backend_agg import FigureCanvasAgg

        canvas = FigureCanvasAgg(self.figure)
        canvas.draw()
        opaque = self.figure.get_facecolor()[3] == 1
        return np.asarray(canvas.buffer_rgba())[..., : 3 if opaque else 4].copy()

    def pixels(self) -> Tensor:
        """The picture, (3, H, W) in [0, 1], on white if it is transparent."""
        shown = torch.from_numpy(self._levels).permute(2, 0, 1).float() / 255
        if len(shown) == 3:
            return shown
        return shown[:3] * shown[3:] + 1 - shown[3:]

    def save(self, path: Path) -> Path:
        """Write the picture, in the format of the file's suffix, and create its folder.

        Raises:
            WriteError: If it cannot be written.
        """
        from matplotlib import rc_context
        from PIL import Image

        kind = path.suffix.removeprefix(".")
        with explaining_write_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
        with rc_context(_SETTINGS), replacing(path) as part:
            if kind == "png":
                Image.fromarray(self._levels).save(part, format=kind)
            else:
                self.figure.savefig(part, format=kind, metadata=_UNDATED[kind])
        return path


def compose(content: Content, labels: Labels | None = None, theme: Theme = WHITE) -> Picture:
    """A picture of a content with labels around it, in which each pixel of the content is one pixel.

    Without labels it is the content alone.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(dpi=DPI, facecolor=theme.background)
    measure = FigureCanvasAgg(figure).get_renderer()
    labels = labels or Labels()
    around = _Around(content, labels, measure)
    width, height = around.size
    figure.set_size_inches(width / DPI, height / DPI)
    left, top = around.left, around.top
    page = figure.add_axes((0, 0, 1, 1))
    page.set(xlim=(0, width), ylim=(height, 0))
    for place, text, style in around.texts():
        page.text(*place, text, color=theme.text, **style)
    page.axis("off")
    bounds = (left / width, 1 - (top + content.height) / height, content.width / width, content.height / height)
    axes = figure.add_axes(bounds)
    axes.axis("off")
    content.draw(axes, theme)
    axes.set(xlim=(0, content.width), ylim=(content.height, 0))
    return Picture(figure, (left, top))


def fits(content: Content) -> bool:
    """Whether a picture of the content with labels is not too long for the library that draws it."""
    return max(content.width, content.height) + 2048 < _MOST_SIDE


class _Around:
    """Sizes and places of the labels around a content."""

    def __init__(self, content: Content, labels: Labels, renderer: Any) -> None:
        self.content, self.labels, self.renderer = content, labels, renderer
        widths = [[self.wide(text) for text in row] for row in labels.rows]
        self.cells = [max(column) for column in zip(*widths, strict=True)]
        gap = 14
        self.left = _PAD + sum(self.cells) + gap * (len(self.cells) - 1) + 6 if self.cells else 0
        self.gap = gap
        cell = min((end - start for start, end in content.across), default=0)
        widest = max((self.wide(text) for text in labels.above), default=0)
        self.upright = widest > cell
        heading = 0 if not labels.above else widest + 8 if self.upright else 18
        self.foot = 18 if any(labels.below) else 0
        self.lines = self._wrapped(labels.title, max(self.left + content.width - 2 * _PAD, 420))
        self.title = 16 * len(self.lines) + 10 if self.lines else 0
        self.top = self.title + heading
        wide = max((self.wide(line, _TITLE) + 2 * _PAD for line in self.lines), default=0)
        used = any((self.left, self.top, self.foot))
        right = _PAD if used else 0
        self.left = max(self.left, right)
        self.size = max(self.left + content.width + right, wide), self.top + content.height + max(self.foot, right)

    def wide(self, text: str, size: float = _LABEL) -> int:
        from matplotlib.font_manager import FontProperties

        return int(self.renderer.get_text_width_height_descent(text, FontProperties(size=size), False)[0]) + 1

    def _wrapped(self, text: str, width: int) -> list[str]:
        if not text:
            return []
        letter = self.wide(text, _TITLE) / len(text)
        return textwrap.wrap(text, max(20, int(width / letter * 0.97)))

    def texts(self) -> list[tuple[tuple[float, float], str, dict[str, Any]]]:
        """Place, text and style of every label; places in pixels from the upper left corner."""
        middle = {"ha": "center", "fontsize": _LABEL}
        found: list[tuple[tuple[float, float], str, dict[str, Any]]] = []
        for number, line in enumerate(self.lines):
            found.append(((max(_PAD, 2), 18 + 16 * number), line, {"fontsize": _TITLE, "va": "baseline"}))
        style = {"rotation": 90, "va": "bottom"} if self.upright else {"va": "bottom"}
        for text, (start, end) in zip(self.labels.above, self.content.across, strict=False):
            found.append(((self.left + (start + end) / 2, self.top - 3), text, {**middle, **style}))
        foot = self.top + self.content.height + 3
        for text, (start, end) in zip(self.labels.below, self.content.across, strict=False):
            found.append(((self.left + (start + end) / 2, foot), text, {**middle, "va": "top"}))
        for row, (start, end) in zip(self.labels.rows, self.content.down, strict=False):
            right = _PAD
            for text, width in zip(row, self.cells, strict=True):
                right += width
                place = (right, self.top + (start + end) / 2)
                found.append((place, text, {"ha": "right", "va": "center_baseline", "fontsize": _LABEL}))
                right += self.gap
        return [label for label in found if label[1]]
