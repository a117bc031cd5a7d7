from __future__ import annotations

import pytest
import torch

from vae_zoo.data import Digits
from vae_zoo.data.datasets.images import Binarization, bernoulli


def presented(data: Digits, epoch: int = 0) -> torch.Tensor:
    """The training images as a model gets them, in the order of the split."""
    loader = data.train_dataloader()
    loader.set_epoch(epoch)
    batches = [data.on_after_batch_transfer(batch) for batch in loader]
    return torch.cat([b.x for b in batches])[torch.cat([b.index for b in batches]).argsort()]


def test_none_keeps_grey_levels() -> None:
    assert len(presented(Digits()).unique()) == 17


def test_threshold() -> None:
    grey, binary = Digits(), Digits(binarization="threshold")
    for split in ("train", "val", "test"):
        assert torch.equal(binary.load(split).x == 255, grey.load(split).x > 127)
        assert binary.load(split).x.unique().tolist() == [0, 255]


def test_static_is_one_draw() -> None:
    data = Digits(binarization="static")
    assert torch.equal(presented(data, 0), presented(data, 1))
    assert torch.equal(presented(data, 0), presented(Digits(binarization="static", batch_size=7), 3))
    assert presented(data).unique().tolist() == [0, 1]
    grey = Digits().load("train").x.double().mean() / 255
    assert abs(presented(data).mean() - grey) < 0.003


def test_dynamic_is_fresh_at_each_epoch_and_has_the_grey_level_as_its_mean() -> None:
    data = Digits(binarization="dynamic", batch_size=1397)
    draws = torch.stack([presented(data, epoch) for epoch in range(80)])
    assert draws.unique().tolist() == [0, 1]
    assert not torch.equal(draws[0], draws[1])
    grey = data.load("train").x / 255
    error = (draws.mean(0) - grey) / (grey * (1 - grey) / 80).sqrt().clamp(min=1e-9)
    assert torch.equal(draws.mean(0)[grey == 0], grey[grey == 0])
    assert torch.equal(draws.mean(0)[grey == 1], grey[grey == 1])
    inside = error[(grey > 0) & (grey < 1)]
    assert abs(inside.mean()) < 0.02
    assert abs(inside.std() - 1) < 0.02


def test_dynamic_repeats_with_the_key() -> None:
    data = Digits(binarization="dynamic")
    assert torch.equal(presented(data, 3), presented(Digits(binarization="dynamic"), 3))


def test_draw_is_apart_from_noise_that_is_seeded_with_the_key() -> None:
    data = Digits(binarization="dynamic")
    batch = next(iter(data.train_dataloader()))
    assert not torch.equal(data.on_after_batch_transfer(batch).x * 255, bernoulli(batch.x, batch.key))


@pytest.mark.parametrize("split", ["val", "test"])
def test_dynamic_evaluation_is_the_static_draw(split: str) -> None:
    static = Digits(binarization="static").load(split).x
    for batch_size in (1, 16, 200):
        data = Digits(binarization="dynamic", eval_batch_size=batch_size)
        loader = data.val_dataloader() if split == "val" else data.test_dataloader()
        for epoch in (0, 1):
            loader.set_epoch(epoch)
            x = torch.cat([data.on_after_batch_transfer(batch).x for batch in loader])
            assert torch.equal(x * 255, static)


def test_splits_are_drawn_apart() -> None:
    data = Digits(binarization="static")
    grey = Digits()
    agree = (data.load("val").x == data.load("test").x)[(grey.load("val").x == 127) & (grey.load("test").x == 127)]
    assert not agree.numel() or 0.2 < agree.float().mean() < 0.8


def test_bernoulli_is_exact() -> None:
    levels = torch.arange(256, dtype=torch.uint8).repeat(20_000, 1)
    drawn = bernoulli(levels, 0)
    assert torch.equal(drawn[:, [0, 255]], levels[:, [0, 255]])
    assert torch.allclose(drawn.float().mean(0) / 255, torch.arange(256) / 255, atol=5 * 0.5 / 20_000**0.5)


@pytest.mark.parametrize("name", ["Static", "", "binary"])
def test_unknown_binarization(name: Binarization) -> None:
    with pytest.raises(ValueError, match=rf"^binarization must be one of none, threshold, .*, got '{name}'\.$"):
        Digits(binarization=name)
