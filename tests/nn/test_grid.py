from __future__ import annotations

import pytest
import torch

from vae_zoo.models import VQVAE
from vae_zoo.nn import GridDecoder, GridEncoder

SIZES = [
    ((28, 28), (7, 7)),
    ((28, 20), (7, 5)),
    ((33, 47), (8, 11)),
    ((8, 8), (4, 4)),
    ((3, 40), (1, 10)),
    ((5, 5), (5, 5)),
]


@pytest.mark.parametrize(("size", "grid"), SIZES)
def test_shapes(size: tuple[int, int], grid: tuple[int, int]) -> None:
    encoder = GridEncoder((3, *size), (4, *grid), width=6)
    decoder = GridDecoder((4, *grid), (2, 3, *size), width=6)
    assert encoder(torch.rand(2, 3, *size)).shape == (2, 4, *grid)
    assert decoder(torch.rand(2, 4, *grid)).shape == (2, 2, 3, *size)


@pytest.mark.parametrize(("sides", "grid"), [((40,), (10,)), ((16, 16, 8), (4, 4, 2))])
def test_sequences_and_volumes(sides: tuple[int, ...], grid: tuple[int, ...]) -> None:
    encoder = GridEncoder((3, *sides), (4, *grid), width=6)
    decoder = GridDecoder((4, *grid), (2, 3, *sides), width=6)
    assert encoder(torch.rand(2, 3, *sides)).shape == (2, 4, *grid)
    assert decoder(torch.rand(2, 4, *grid)).shape == (2, 2, 3, *sides)
    model = VQVAE(shape=(3, *sides), encoder=GridEncoder, decoder=GridDecoder)
    assert model.codes(torch.rand(2, 3, *sides)).shape == (2, *grid)


def test_a_code_is_of_its_place() -> None:
    """No layer mixes all places: a far corner does not reach the first code."""
    encoder, x = GridEncoder((1, 64, 64), (4, 16, 16), width=6, num_blocks=1), torch.rand(1, 1, 64, 64)
    moved = x.clone()
    moved[..., -8:, -8:] = 0
    changed = (encoder(x) != encoder(moved))[0].any(0)
    assert changed[-1, -1]
    assert not changed[:8, :8].any()


@pytest.mark.parametrize(
    ("image", "grid", "message"),
    [
        (
            (1, 8, 8),
            (4, 3, 3),
            r"halved so many times, one of \[\(8, 8\), \(4, 4\), \(2, 2\), \(1, 1\)\], got \(3, 3\)",
        ),
        (
            (17,),
            (4, 3),
            r"needs a sequence, image or volume, .* \(D, h, w\), got \(17,\) and \(4, 3\): use Dense",
        ),
    ],
)
def test_errors(image: tuple[int, ...], grid: tuple[int, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        GridEncoder(image, grid)
    with pytest.raises(ValueError, match=message):
        GridDecoder(grid, image)
    with pytest.raises(ValueError, match="width must be at least 1 and num_blocks at least 0, got 0 and 2"):
        GridEncoder((1, 8, 8), (4, 4, 4), width=0)
