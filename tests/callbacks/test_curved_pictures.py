"""Pictures of models with latents other than real vectors."""

from __future__ import annotations

import pytest
import torch
from helpers import tiny
from torch import Tensor

from vae_zoo.callbacks.pictures import drawing
from vae_zoo.callbacks.pictures.latent_scatter import LatentScatter
from vae_zoo.callbacks.pictures.traversals import traversals
from vae_zoo.functional import ball_distance
from vae_zoo.models import SVAE, VAE, VQVAE, Autoencoder, PoincareVAE

CURVED = [SVAE, PoincareVAE]


@pytest.mark.parametrize("cls", CURVED)
def test_pictures_stay_inside(cls: type[Autoencoder], images: Tensor) -> None:
    torch.manual_seed(0)
    model = tiny(cls)
    seen: list[Tensor] = []
    decode = model.decode
    model.decode = lambda z, c=None: seen.append(z.detach()) or decode(z, c)
    with torch.no_grad():
        paths = drawing.interpolations(model, images, None, 5)
        dims, _, rows, _ = traversals(model, images, None, num_dims=3, num_steps=7)
    assert paths.shape == (8, 5, 1, 8, 8)
    assert rows.shape == (3, 7, 1, 8, 8)
    assert len(dims) == 3
    assert all(model.posterior.support.check(z).all() for z in seen)
    torch.testing.assert_close(paths[:, 0], model.reconstruct(images[:8]))
    torch.testing.assert_close(paths[:, -1], model.reconstruct(images[8:]), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("cls", CURVED)
@pytest.mark.parametrize("latent_dim", [2, 4])
def test_scatter(cls: type[Autoencoder], latent_dim: int, images: Tensor) -> None:
    picture = LatentScatter(every_n_epochs=1).draw(tiny(cls, latent_dim=latent_dim), images, None)
    assert picture is not None
    assert picture.pixels().shape[0] == 3


def test_path_of_a_model(images: Tensor) -> None:
    model = tiny(PoincareVAE)
    z = model.embed(images).detach()
    way = model.path(z[:8], z[8:], 3)
    halves = [ball_distance(way[1], z[part], 1.0) for part in (slice(0, 8), slice(8, 16))]
    torch.testing.assert_close(*halves, rtol=1e-3, atol=1e-4)
    assert tiny(VAE).path(torch.randn(2, 4), torch.randn(2, 4)).shape == (11, 2, 4)


def test_codes_have_no_path() -> None:
    with pytest.raises(TypeError, match="VQVAE has latents between which there is no path"):
        tiny(VQVAE).path(torch.zeros(1, 4), torch.zeros(1, 4))
