from __future__ import annotations

import pytest
import torch

from vae_zoo.data import Signals, Solids
from vae_zoo.data.drawn.signals import draw_signals
from vae_zoo.data.drawn.solids import draw_solids


@pytest.mark.parametrize("cls", [Signals, Solids])
def test_splits(cls: type) -> None:
    data = cls(num_examples=40)
    assert data.num_train == 32 == len(data.load("train").x)
    rows = torch.cat([data.load(split).rows for split in ("train", "val", "test")])
    assert rows.sort().values.tolist() == list(range(40))
    assert tuple(data.load("val").x.shape[1:]) == data.shape
    again = cls(num_examples=40)
    assert torch.equal(data.load("train").x, again.load("train").x)
    assert not torch.equal(data.whole().x, cls(num_examples=40, split_seed=1).whole().x)
    with pytest.raises(ValueError, match="num_examples must be at least 1, got 0"):
        cls(num_examples=0)


def test_signals_rest_before_the_onset_and_decay() -> None:
    x, kind = draw_signals(400, 256, noise=0.0)
    assert x.shape == (400, 3, 256)
    assert (x[..., :12] == 0).all()
    energy = x.square().sum((0, 1))
    assert energy[100:160].sum() > 3 * energy[-60:].sum()
    square = x[kind == 1]
    assert (square.abs().diff(dim=-1) <= 0)[..., 120:].all(), "a square wave is as large as its envelope"
    with pytest.raises(ValueError, match="noise must be at least 0 and finite, got -1"):
        Signals(noise=-1.0)


def test_solids_have_their_volume() -> None:
    x, kind = draw_solids(600, 24)
    assert x.unique().tolist() == [0, 255]
    share = (x > 0).float().mean((1, 2, 3, 4))
    means = [share[kind == number].mean() for number in range(3)]
    ellipsoid, box, cylinder = (float(mean / means[1]) for mean in means)
    assert box == 1
    assert abs(ellipsoid - torch.pi / 6) < 0.08
    assert abs(cylinder - torch.pi / 4) < 0.08
