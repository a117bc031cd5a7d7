"""Pictures of sequences and volumes."""

from __future__ import annotations

import torch

from vae_zoo.callbacks.pictures import curves, drawing


def ink(picture: torch.Tensor) -> torch.Tensor:
    """Colourful pixels: lines, and neither the frames nor the text."""
    return picture.max(0).values - picture.min(0).values > 0.2


def panel(picture: torch.Tensor, number: int, columns: int) -> torch.Tensor:
    """The pixels of one panel."""
    top = 18 + number // columns * (curves.HEIGHT + 8)
    left = 56 + number % columns * (curves.WIDTH + 8)
    return ink(picture)[top : top + curves.HEIGHT, left : left + curves.WIDTH]


def test_a_panel_for_each_sequence_and_a_line_for_each_channel() -> None:
    x = torch.zeros(5, 2, 50)
    x[0, 0], x[0, 1] = 1.0, -1.0
    x[1] = float("nan")
    x[2, :, 25:] = float("nan")
    picture = drawing.grid(x, 3)
    assert picture.shape[0] == 3
    first = panel(picture, 0, 3)
    rows = first.any(1).nonzero().flatten()
    assert rows.min() < 8
    assert rows.max() > curves.HEIGHT - 9, "the highest and the lowest values are at the edges"
    assert not panel(picture, 1, 3).any(), "missing values have no line"
    half = panel(picture, 2, 3).any(0).nonzero().flatten()
    assert half.min() < 8
    assert abs(int(half.max()) - curves.WIDTH // 2) < 5
    assert panel(picture, 3, 3).any()


def test_an_example_and_its_reconstruction_are_in_one_panel() -> None:
    x = torch.stack([torch.zeros(1, 40), torch.ones(1, 40)] * 4)
    pairs, single = drawing.grid(x, 4, paired=True), drawing.grid(x, 4)
    assert pairs.shape[2] < single.shape[2]
    rows = panel(pairs, 0, 2).any(1).nonzero().flatten()
    assert rows.min() < 8
    assert rows.max() > curves.HEIGHT - 9


def test_odd_sequences() -> None:
    for shape in ((1, 1, 1), (3, 20, 5), (2, 1, 2)):
        assert drawing.grid(torch.full(shape, float("nan")), 2).isfinite().all()
        assert drawing.grid(torch.rand(shape), 2).isfinite().all()


def test_central_slices() -> None:
    x = torch.zeros(2, 1, 4, 6, 8)
    x[0, 0, 2, 1, 5] = 1.0
    views = drawing.slices(x)
    assert views.shape == (2, 1, 6, (8 + 1) + (8 + 1) + 6)
    assert (views[0, 0] == 1).nonzero().tolist() == [[1, 5]], "only the first slice passes through"
    x[0, 0, 0, 3, 4] = 1.0  # height and width are cut here
    assert (drawing.slices(x)[0, 0] == 1).nonzero().tolist() == [[0, 9 + 4], [0, 18 + 3], [1, 5]]
    assert drawing.slices(x - 3).unique().tolist() == [0.0, 0.5, 1.0], "other ranges are shown whole"
    assert drawing.slices(x.expand(-1, 5, -1, -1, -1)).shape[1] == 1
    assert drawing.grid(x, 2).shape[0] == 3
