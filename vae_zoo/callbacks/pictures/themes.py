"""Colours and formats of pictures."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple, TypeAlias, get_args

Format: TypeAlias = Literal["png", "svg", "pdf"]
ThemeName: TypeAlias = Literal["white", "transparent", "dark"]

COLOURS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#000000", "#F0E442")
"""Colours of Okabe and Ito, which are told apart with any kind of colour vision. Of more than eight classes the colours
start again with another marker, of lines with another dash."""

MARKERS = "o^sDvP"
DASHES = ("-", "--", ":")
SEQUENTIAL = "cividis"
"""Colour map of ordered values: perceptually uniform, and much the same with any kind of colour vision."""


class Theme(NamedTuple):
    """Colours of a picture.

    Args:
        background: Colour of the background; "none" for transparent.
        text: Colour of text and axes.
        faint: Colour of frames and grids.
    """

    background: str
    text: str
    faint: str

    def colour(self, number: int) -> str:
        """The colour of a class or channel; black becomes the colour of the text."""
        found = COLOURS[number % len(COLOURS)]
        return self.text if found == "#000000" and self is not WHITE else found


WHITE = Theme("white", "#222222", "#bfbfbf")
THEMES: dict[str, Theme] = {
    "white": WHITE,
    "transparent": Theme("none", "#7a7a7a", "#9a9a9a"),  # as legible on white as on black
    "dark": Theme("#131416", "#cfd0d0", "#55585c"),  # those of the documentation
}


class Look(NamedTuple):
    """How pictures look.

    Args:
        labels: Whether titles and labels are around them.
        format: Format of their files.
        theme: Name of their colours.
    """

    labels: bool = True
    format: Format = "png"
    theme: ThemeName = "white"

    @property
    def colours(self) -> Theme:
        """The colours themselves."""
        return THEMES[self.theme]

    def checked(self) -> Look:
        """The same, after unknown formats and themes are refused.

        Raises:
            ValueError: With the known ones.
        """
        for name, value, known in (
            ("format", self.format, get_args(Format)),
            ("theme", self.theme, get_args(ThemeName)),
        ):
            if value not in known:
                raise ValueError(f"{name} must be {', '.join(known[:-1])} or {known[-1]}, got {value!r}.")
        return self


PLAIN = Look()


def paint(axes: Any, theme: Theme) -> None:
    """Give plain axes, with ticks and spines, the colours of a theme."""
    axes.set_facecolor("none")
    axes.tick_params(colors=theme.text)
    for spine in axes.spines.values():
        spine.set_color(theme.text)
    for text in (axes.xaxis.label, axes.yaxis.label, axes.title):
        text.set_color(theme.text)
    axes.grid(color=theme.faint, alpha=0.4)
    axes.set_axisbelow(True)


def paint_legend(legend: Any, theme: Theme) -> None:
    """Give a legend the colours of a theme."""
    legend.get_frame().set(facecolor="none", edgecolor=theme.faint)
    for text in (*legend.get_texts(), legend.get_title()):
        text.set_color(theme.text)


def paint_bar(bar: Any, theme: Theme) -> None:
    """Give a colour bar the colours of a theme."""
    bar.ax.tick_params(colors=theme.text)
    bar.ax.yaxis.label.set_color(theme.text)
    bar.outline.set_edgecolor(theme.text)
