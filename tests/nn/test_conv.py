from __future__ import annotations

import pytest
import torch
from torch import nn

from vae_zoo.distributions import DiagonalNormal, OptimalNormal
from vae_zoo.models import ConvVAE
from vae_zoo.nn import ConvDecoder, ConvEncoder
from vae_zoo.nn.conv import CONVOLUTIONS

SIDES = [(256,), (7,), (16, 16, 16), (5, 6, 7), (1, 1, 9)]
SIZES = [(28, 28), (28, 20), (33, 47), (64, 64), (8, 8), (1, 1), (5, 3), (1, 40)]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", SIZES)
def test_shapes(size: tuple[int, int], channels: int) -> None:
    image = (channels, *size)
    encoder = ConvEncoder(image, (2, 5), channels=[2, 3, 4], hidden=6)
    decoder = ConvDecoder((5,), (2, *image), channels=[2, 3, 4], hidden=6)
    assert encoder(torch.randn(3, *image)).shape == (3, 2, 5)
    assert decoder(torch.randn(3, 5)).shape == (3, 2, *image)


@pytest.mark.parametrize("parameters", [(), (2,), (3, 2)])
@pytest.mark.parametrize("sides", SIDES)
def test_sequences_and_volumes(sides: tuple[int, ...], parameters: tuple[int, ...]) -> None:
    """Every value of the input counts, and every one of the output depends on the latent."""
    shape, made = (2, *sides), {"channels": [4, 4, 4], "hidden": 4, "activation": nn.Softplus}
    x = torch.randn(3, *shape, requires_grad=True)
    out = ConvEncoder(shape, (2, 5), **made)(x)
    assert out.shape == (3, 2, 5)
    out.sum().backward()
    assert (x.grad != 0).all()
    decoder = ConvDecoder((2,), (*parameters, *shape), **made, num_sides=len(sides))
    y = decoder(torch.tensor([[0.0, 0.0], [9.0, -9.0]]))
    assert y.shape == (2, *parameters, *shape)
    assert (y[0] != y[1]).all()


@pytest.mark.parametrize("likelihood", [OptimalNormal, DiagonalNormal])
@pytest.mark.parametrize("shape", [(2, 3, 8), (2, 3, 8, 8), (2, 8)])
def test_the_model_tells_parameters_from_sides(shape: tuple[int, ...], likelihood: type) -> None:
    """Two parameters of an image (2, 2, 3, 8) are of the shape of a volume."""
    model = ConvVAE(shape=shape, latent_dim=2, likelihood=likelihood, channels_last=True)
    x = torch.rand(2, *shape)
    assert model.reconstruct(x).shape == x.shape
    assert sum(isinstance(layer, CONVOLUTIONS[len(shape) - 1][1]) for layer in model.decoder.modules()) == 3
    with pytest.raises(ValueError, match=r"num_sides 2 does not fit a shape of \(3, 8\): give 1"):
        ConvDecoder((2,), (3, 8))


@pytest.mark.parametrize("size", SIZES)
def test_the_decoder_mirrors_the_encoder(size: tuple[int, int]) -> None:
    image = (1, *size)
    encoder, decoder = (ConvEncoder(image, (5,), hidden=6), ConvDecoder((5,), image, hidden=6))
    sizes: dict[str, list[torch.Size]] = {"encoder": [], "decoder": []}
    for name, network, kind in (("encoder", encoder, nn.Conv2d), ("decoder", decoder, nn.ConvTranspose2d)):
        for layer in network.modules():
            if isinstance(layer, kind):
                layer.register_forward_hook(
                    lambda _, given, out, name=name: sizes[name].extend([given[0].shape[1:], out.shape[1:]])
                )
    encoder(torch.randn(2, *image))
    decoder(torch.randn(2, 5))
    assert sizes["encoder"]
    assert sizes["encoder"] == sizes["decoder"][::-1]


@pytest.mark.parametrize("size", SIZES)
def test_every_pixel_counts(size: tuple[int, int]) -> None:
    """A stride that does not fit would leave the last row or column out, of the input or of the output."""
    image = (1, *size)
    x = torch.randn(1, *image, requires_grad=True)
    activation = nn.Softplus
    ConvEncoder(image, (1,), channels=[4, 4, 4], hidden=4, activation=activation)(x).sum().backward()
    assert (x.grad != 0).all()
    decoder = ConvDecoder((2,), image, channels=[4, 4, 4], hidden=4, activation=activation)
    first, second = decoder(torch.tensor([[0.0, 0.0], [9.0, -9.0]]))
    assert (first != second).all()


def test_latents_of_any_shape() -> None:
    assert ConvDecoder((2, 3), (1, 8, 8))(torch.randn(4, 2, 3)).shape == (4, 1, 8, 8)


@pytest.mark.parametrize("size", [8, 28])
def test_what_differs_in_the_input_differs_as_much_in_the_output(size: int) -> None:
    """With torch's own initial weights a ten-thousandth of the variance is left, and a VAE starts in a collapse."""
    torch.manual_seed(0)
    image = (1, size, size)
    x, z = torch.randn(200, *image), torch.randn(200, 5)
    with torch.no_grad():
        assert ConvEncoder(image, (5,))(x).var(0).mean() > 0.05
        assert 0.05 < ConvDecoder((5,), image)(z).var(0).mean() < 5


@pytest.mark.parametrize("network", [ConvEncoder, ConvDecoder])
def test_errors(network: type) -> None:
    def make(image: tuple[int, ...], **kwargs: object) -> None:
        network(*((image, (5,)) if network is ConvEncoder else ((5,), image)), **kwargs)

    with pytest.raises(ValueError, match=r"needs sequences \(C, L\), images .*, got shape \(784,\): use Dense"):
        make((784,))
    with pytest.raises(ValueError, match="at least 1, got"):
        make((1, 8, 8), channels=[])
    with pytest.raises(ValueError, match="at least 1, got"):
        make((1, 8, 8), channels=[4, 0])
    with pytest.raises(ValueError, match="at least 1, got"):
        make((1, 8, 8), hidden=0)
