"""Latents of a hierarchy varied one at a time."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from helpers import tiny
from short import few
from torch import Tensor

from vae_zoo import models
from vae_zoo.callbacks.pictures.labels import Source
from vae_zoo.callbacks.pictures.labels import traversals as labelled
from vae_zoo.callbacks.pictures.traversals import traversals
from vae_zoo.models import VAE

LAYERED = ["LadderVAE", "TwoLevelVAE", "VDVAE", "NVAE", "BIVA"]


def trained(name: str, images: Tensor) -> Any:
    """A model whose layers have begun to differ from their start."""
    layers = {"latent_dim": 6, "latent_dims": [2, 2, 2]} if name == "LadderVAE" else {}
    model = tiny(getattr(models, name), **layers)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.2 * torch.randn_like(parameter)
    return model.eval()


@pytest.mark.parametrize("name", few(LAYERED, 2))
class TestHierarchies:
    def test_layers_below_are_at_their_means(self, name: str, images: Tensor) -> None:
        model = trained(name, images)
        with torch.no_grad():
            found = traversals(model, images, num_dims=5, num_steps=3)
            prior, z = model.prior(), model.embed(images)[:1]
            starts = torch.tensor([0, *prior.dims]).cumsum(0)
            for row, dim in enumerate(found.dims.tolist()):
                layer = int((starts[1:] <= dim).sum())
                own, place = prior.layers(z)[layer], dim - int(starts[layer])
                top = layer == len(prior.dims) - 1
                loc, scale = (0.0, 1.0) if top else (float(m.flatten()[place]) for m in (own.mean, own.stddev))
                torch.testing.assert_close(found.values[row], torch.tensor([loc - 3 * scale, loc, loc + 3 * scale]))
                for step, value in enumerate(found.values[row]):
                    moved = z.clone()
                    moved[0, dim] = value
                    for lower in reversed(range(layer)):  # one at a time, each given those above
                        moved[:, starts[lower] : starts[lower + 1]] = prior.layers(moved)[lower].mean
                    torch.testing.assert_close(
                        found.images[row, step], model.decode(moved).mean[0], rtol=1e-3, atol=1e-4
                    )

    def test_rows_are_those_that_change_the_image_most(self, name: str, images: Tensor) -> None:
        model = trained(name, images)
        with torch.no_grad():
            every = traversals(model, images, num_dims=99, num_steps=2)
            found = traversals(model, images, num_dims=3)
        effects = (every.images[:, 0] - every.images[:, 1]).flatten(1).square().sum(1)
        assert effects.tolist() == sorted(effects.tolist(), reverse=True)
        assert found.dims.tolist() == every.dims[:3].tolist()
        assert effects[0] > 0, "an upper layer is seen too"

    def test_what_is_written_around_them(self, name: str, images: Tensor) -> None:
        model = trained(name, images)
        with torch.no_grad():
            written = labelled(Source(name), model, images, None, traversals(model, images, num_dims=3))
        assert "the layers below at their means" in str(written.title)
        assert len(written.rows) == 3


def test_others_stay_as_in_the_example(images: Tensor) -> None:
    model = tiny(VAE)
    with torch.no_grad():
        found = traversals(model, images, num_dims=2, num_steps=5)
        z = model.embed(images)[0]
        torch.testing.assert_close(found.values, torch.linspace(-3, 3, 5).expand(2, -1))
        for row, dim in enumerate(found.dims):
            moved = z.clone()
            moved[dim] = 1.5
            torch.testing.assert_close(found.images[row, 3], model.decode(moved[None]).mean[0])


@pytest.mark.parametrize("name", ["AE", "VaDE", "VampVAE", "FlowVAE"])
def test_without_a_standard_prior_they_follow_the_scale_of_the_latents(name: str, images: Tensor) -> None:
    """From -3 to 3 would show nothing of latents of 100, and little but noise of latents of 0.01."""
    model = tiny(getattr(models, name))
    encode = model.run_encoder
    for factor in (100.0, 0.01):
        model.run_encoder = lambda x, *given, factor=factor: factor * encode(x, *given) + 5
        with torch.no_grad():
            z = model.embed(images)
            found = traversals(model, images, num_dims=3, num_steps=5)
        for dim, values in zip(found.dims.tolist(), found.values, strict=True):
            mean, scale = z[:, dim].mean(), z[:, dim].std(correction=0)
            torch.testing.assert_close(values, mean + scale * torch.linspace(-3, 3, 5))
