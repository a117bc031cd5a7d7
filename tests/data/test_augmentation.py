"""Training images are mirrored and shifted as a function of the key of their batch; no other images are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import seed_everything

from vae_zoo.data import Arrays, DataModule, Digits, Pairs, Sprites
from vae_zoo.data.base.augmentation import flipped_and_shifted
from vae_zoo.data.base.splits import SplitName

from .test_resume import Recorder, SaveAlways, forget_seed, trainer  # noqa: F401  # a fixture of every test


def by_hand(x: torch.Tensor, down: int, right: int, flip: bool) -> torch.Tensor:
    """The crop of the padded image."""
    pad = max(abs(down), abs(right), 1)
    padded = torch.nn.functional.pad(x[None].double(), (pad,) * 4, mode="reflect")[0]
    out = padded[:, pad + down : pad + down + x.shape[1], pad + right : pad + right + x.shape[2]]
    return (out.flip(-1) if flip else out).to(x.dtype)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_each_image_is_a_crop_of_the_padded_one(dtype: torch.dtype) -> None:
    x = (torch.rand(200, 2, 5, 6) * 255).to(dtype)
    again = flipped_and_shifted(x, 7, flip=True, shift=2)
    assert again.dtype == dtype
    seen = set()
    for before, after in zip(x, again, strict=True):
        moves = [(d, r, f) for d in range(-2, 3) for r in range(-2, 3) for f in (False, True)]
        found = [move for move in moves if torch.equal(by_hand(before, *move), after)]
        assert len(found) == 1
        seen |= set(found)
    assert len(seen) > 45, "all 50 of them are drawn"
    assert torch.equal(flipped_and_shifted(x, 7, flip=True, shift=2), again)
    assert not torch.equal(flipped_and_shifted(x, 8, flip=True, shift=2), again)


def test_only_one_of_both() -> None:
    x = torch.rand(64, 1, 4, 4)
    flipped = flipped_and_shifted(x, 0, flip=True, shift=0)
    same = torch.stack([torch.equal(a, b) * torch.ones(()) for a, b in zip(x, flipped, strict=True)]).bool()
    assert 16 < int(same.sum()) < 48
    assert torch.equal(flipped[~same], x[~same].flip(-1))
    assert torch.equal(flipped_and_shifted(x, 0, flip=False, shift=0), x)


def batches(data: DataModule, split: str) -> torch.Tensor:
    loader: Any = getattr(data, f"{split}_dataloader")()
    return torch.cat([data.on_after_batch_transfer(batch).x for batch in loader])


def test_of_training_batches_only() -> None:
    plain, augmented = Digits(), Digits(flip=True, shift=1)
    assert not torch.equal(batches(plain, "train"), batches(augmented, "train"))
    for split in ("val", "test", "predict"):
        assert torch.equal(batches(plain, split), batches(augmented, split))
    for data in (plain, augmented):
        data.predict_split = "train"
    assert torch.equal(batches(plain, "predict"), batches(augmented, "predict"))
    assert torch.equal(plain.examples("train"), augmented.examples("train"))
    order = next(iter(plain.train_dataloader())).index
    assert torch.equal(order, next(iter(augmented.train_dataloader())).index), "the order is that of the plain run"


def test_each_epoch_and_rank_draws_its_own() -> None:
    data = Digits(flip=True, batch_size=2000)
    loader = data.train_dataloader()
    first = next(iter(loader))
    loader.set_epoch(1)
    second = next(iter(loader))
    a, b = (batch.x[batch.index.argsort()] for batch in (first, second))
    assert not torch.equal(a, b)


def run(folder: Path, ckpt_path: Path | None = None, **kwargs: Any) -> Recorder:
    seed_everything(3, verbose=False)
    model = Recorder()
    data = Digits(flip=True, shift=2, batch_size=200)
    trainer(folder, max_epochs=2, **kwargs).fit(model, datamodule=data, ckpt_path=ckpt_path, weights_only=True)
    return model


def test_a_resumed_run_has_the_images_of_the_uninterrupted_one(tmp_path: Path) -> None:
    whole = run(tmp_path, callbacks=[SaveAlways(tmp_path)])
    for step in (3, 9):
        again = run(tmp_path, ckpt_path=tmp_path / f"step{step}.ckpt")
        assert again.seen == whole.seen[step:]
        assert torch.equal(again.layer.weight, whole.layer.weight)


@pytest.mark.parametrize("split", ["train", "test"])
def test_what_cannot_be_shifted(tmp_path: Path, split: SplitName) -> None:
    torch.save(torch.rand(20, 3), tmp_path / "a.pt")
    with pytest.raises(ValueError, match=r"^flip and shift need images \(C, H, W\), got examples of shape \(3,\)\.$"):
        Arrays(path=str(tmp_path / "a.pt"), flip=True).load(split)
    with pytest.raises(ValueError, match=r"^shift must be below the height and width .* \(1, 8, 8\), got 8\.$"):
        Digits(shift=8).load(split)
    with pytest.raises(ValueError, match=r"^shift must be at least 0 pixels, got -1\.$"):
        Digits(shift=-1)
    with pytest.raises(ValueError, match=r"^flip and shift would change the factors of Pairs: leave them out\.$"):
        Pairs(data=Sprites(num_examples=50, image_size=8, flip=True))
