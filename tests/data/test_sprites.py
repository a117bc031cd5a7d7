from __future__ import annotations

import pytest
import torch

from vae_zoo.data import Sprites
from vae_zoo.data.datasets.sprites import draw_sprites

SQUARE, ELLIPSE, HEART = 0, 1, 2
LARGEST = 5


def draw(*factors: list[int], size: int = 64) -> torch.Tensor:
    return draw_sprites(torch.tensor(factors), size)[:, 0] > 0


def centre(image: torch.Tensor) -> tuple[float, float]:
    rows, columns = image.nonzero().float().mean(0).tolist()
    return columns, rows


def test_splits() -> None:
    data = Sprites(num_examples=400, image_size=16)
    assert data.shape == (1, 16, 16)
    assert data.num_train == 300
    factors = [data.load(split).factors for split in ("train", "val", "test")]
    assert [len(f) for f in factors] == [300, 50, 50]
    assert len(torch.cat(factors).unique(dim=0)) == 400
    for split, f in zip(("train", "val", "test"), factors, strict=True):
        assert torch.equal(data.load(split).y, f[:, 0])
        assert torch.equal(data.load(split).x, draw_sprites(f, 16))
        assert (f >= 0).all()
        assert (f < torch.tensor(data.factor_sizes)).all()


def test_seed() -> None:
    first, same, other = (Sprites(num_examples=50, image_size=8, seed=seed).load("train") for seed in (1, 1, 2))
    assert torch.equal(first.factors, same.factors)
    assert not torch.equal(first.factors, other.factors)


def test_smallest() -> None:
    data = Sprites(num_examples=3, image_size=8)
    assert [len(data.load(split).x) for split in ("train", "val", "test")] == [1, 1, 1]


def test_area_grows_with_scale_only() -> None:
    areas = draw(*([SQUARE, scale, 0, 16, 16] for scale in range(6))).sum((1, 2)).float()
    assert (areas.diff() > 0).all()
    side = 64 * 2 * 0.17
    assert abs(areas[-1] - side**2) < 2 * side
    assert abs(areas[0] - side**2 / 4) < side
    turned = draw(*([HEART, LARGEST, rotation, 16, 16] for rotation in range(40))).sum((1, 2)).float()
    assert turned.std() / turned.mean() < 0.03


def test_places() -> None:
    for shape in (SQUARE, ELLIPSE):
        assert centre(draw([shape, LARGEST, 0, 0, 31])[0]) == pytest.approx((15.5, 47.5), abs=0.6)
        assert centre(draw([shape, LARGEST, 0, 31, 0])[0]) == pytest.approx((47.5, 15.5), abs=0.6)


def test_rotations() -> None:
    image = draw(*([shape, LARGEST, 10, 0, 0] for shape in range(3)), *([s, LARGEST, 0, 0, 0] for s in range(3)))
    box = image[:, :32, :32]  # rotation 10 of 40 is a quarter turn, counter-clockwise
    for turned, upright in zip(box[:3], box[3:], strict=True):
        assert (turned != torch.rot90(upright)).float().mean() < 0.02
    full = draw(*([HEART, LARGEST, rotation, 16, 16] for rotation in range(40))).flatten(1)
    assert len(full.unique(dim=0)) == 40


def test_a_heart_has_two_lobes_up_and_a_point_down() -> None:
    heart = draw([HEART, LARGEST, 0, 16, 16])[0]
    widths = heart.sum(1)[heart.any(1)]
    assert widths[-1] <= 3 < 20 <= widths.max()
    assert heart[heart.any(1)][0].int().diff().abs().sum() == 4  # two separate runs in the top row
    assert (heart[:, heart.any(0)] == heart[:, heart.any(0)].flip(1)).float().mean() > 0.97


def test_nothing_is_cut_off() -> None:
    grid = torch.meshgrid(*map(torch.tensor, ([0, 1, 2], [5], list(range(40)), [0, 31], [0, 31])), indexing="ij")
    images = draw_sprites(torch.stack(grid, -1).reshape(-1, 5))[:, 0]
    assert images[:, [0, -1]].max() == images[:, :, [0, -1]].max() == 0
    assert images.flatten(1).amax(1).min() == 255


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"num_examples": 2}, r"^num_examples must lie in 3 \.\. 737280, got 2\.$"),
        ({"num_examples": 737_281}, r"^num_examples must lie in 3 \.\. 737280, got 737281\.$"),
        ({"image_size": 0}, r"^image_size must be at least 1, got 0\.$"),
    ],
)
def test_bad_arguments(kwargs: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Sprites(**kwargs)
