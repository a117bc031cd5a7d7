from __future__ import annotations

import pytest
import torch
from torch import nn

from vae_zoo.data.datasets.sprites import draw_sprites
from vae_zoo.nn import BurgessDecoder, BurgessEncoder, SpatialBroadcastDecoder


@pytest.mark.parametrize("shape", [(1, 64, 64), (3, 33, 47), (1, 28, 20), (1, 8, 8), (3, 3, 5), (1, 1, 1)])
def test_shapes(shape: tuple[int, ...]) -> None:
    x, z = torch.rand(2, *shape), torch.randn(2, 5)
    assert BurgessEncoder(shape, (2, 5))(x).shape == (2, 2, 5)
    for decoder in (BurgessDecoder, SpatialBroadcastDecoder):
        assert decoder((5,), shape)(z).shape == (2, *shape)
        assert decoder((5,), (4, *shape))(z).shape == (2, 4, *shape)


def test_the_layers_of_the_paper() -> None:
    """Weights of four 4x4 convolutions of 32 channels and two layers of 256, for images of 64x64 pixels."""
    convolutions = 16 * 32 + 32 + 3 * (16 * 32 * 32 + 32)
    dense = 512 * 256 + 256 + 256 * 256 + 256
    encoder = BurgessEncoder((1, 64, 64), (2, 10))
    assert sum(p.numel() for p in encoder.parameters()) == convolutions + dense + 256 * 20 + 20
    sizes = [tuple(m.kernel_size) + tuple(m.stride) for m in encoder.modules() if isinstance(m, nn.Conv2d)]
    assert sizes == [(4, 4, 2, 2)] * 4
    decoder = BurgessDecoder((10,), (1, 64, 64))
    mirror = 3 * (16 * 32 * 32 + 32) + 16 * 32 + 1
    assert sum(p.numel() for p in decoder.parameters()) == 10 * 256 + 256 + 256 * 256 + 256 + 256 * 512 + 512 + mirror


def test_coordinates() -> None:
    """x along the width first, then y along the height, from -1 to 1."""
    decoder = SpatialBroadcastDecoder((3,), (1, 4, 6))
    x, y = decoder.coordinates
    assert x.shape == y.shape == (4, 6)
    assert torch.equal(x[0], torch.linspace(-1, 1, 6))
    assert torch.equal(y[:, 0], torch.linspace(-1, 1, 4))
    assert torch.equal(x[0], x[3])
    seen: list[torch.Tensor] = []
    decoder.layers.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    z = torch.randn(2, 3)
    decoder(z)
    assert torch.equal(seen[0][:, :3, 1, 4], z)
    assert torch.equal(seen[0][1, 3:, 1, 4], torch.stack([x[1, 4], y[1, 4]]))


@pytest.mark.exhaustive
def test_a_position_moves_the_image() -> None:
    """After a short fit from the position of a sprite to its picture, a latent moves the centre along its axis."""
    torch.manual_seed(0)
    factors = torch.stack([*(torch.full((64,), n) for n in (0, 5, 0)), *torch.randint(0, 32, (2, 64))], 1)
    images, z = draw_sprites(factors, 16).float() / 255, factors[:, 3:] / 15.5 - 1
    decoder = SpatialBroadcastDecoder((2,), (1, 16, 16), channels=(16, 16))
    optimizer = torch.optim.Adam(decoder.parameters(), lr=5e-3)
    for _ in range(150):
        optimizer.zero_grad()
        nn.functional.binary_cross_entropy_with_logits(decoder(z), images).backward()
        optimizer.step()
    pixel = torch.arange(16.0)
    with torch.no_grad():
        drawn = decoder(torch.tensor([[-0.7, 0.0], [0.7, 0.0], [0.0, -0.7], [0.0, 0.7]])).sigmoid()[:, 0]
    mass = drawn.sum((1, 2))
    x, y = (drawn.sum(1) * pixel).sum(1) / mass, (drawn.sum(2) * pixel).sum(1) / mass
    assert x[1] - x[0] > 3 > abs(y[1] - y[0])
    assert y[3] - y[2] > 3 > abs(x[3] - x[2])


def test_bad_values() -> None:
    for network in (BurgessDecoder, SpatialBroadcastDecoder):
        with pytest.raises(ValueError, match=r"needs images \(C, H, W\), got shape \(7,\): use Dense"):
            network((5,), (7,))
    with pytest.raises(ValueError, match="kernel must be odd, for images to keep their size, got 4"):
        SpatialBroadcastDecoder((5,), (1, 8, 8), kernel=4)
    with pytest.raises(ValueError, match=r"channels must be at least 1, got \[\]"):
        SpatialBroadcastDecoder((5,), (1, 8, 8), channels=[])
