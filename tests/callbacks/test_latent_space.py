from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import quiet_trainer, tiny, tiny_data
from torch import Tensor, nn

from vae_zoo.callbacks import LatentSpace
from vae_zoo.metrics import Continuity
from vae_zoo.models import AE, VAE, VQVAE
from vae_zoo.nn.pictures import ResidualDecoder
from vae_zoo.typing import Shape


def logged(folder: Path, model: Any, **kwargs: Any) -> dict[str, float]:
    trainer = quiet_trainer(folder, callbacks=[LatentSpace(neighbours=3, **kwargs)])
    (found,) = trainer.test(model, tiny_data(image_size=model.shape[1]), verbose=False)
    names = ("continuity", "high_frequency", "zoom_error")
    return {name: found[f"test/{name}"] for name in names if f"test/{name}" in found}


def test_vectors_have_neighbourhoods_only(tmp_path: Path) -> None:
    found = logged(tmp_path, model := tiny(VAE).eval())
    metric, x = Continuity(neighbours=3), tiny_data().load("test").x.float() / 255
    with torch.no_grad():
        metric.update(x, model.embed(x))
    assert found == {"continuity": pytest.approx(metric.compute().item(), abs=1e-5)}


class Pooling(nn.Module):
    """Means of squares of pixels: an encoder that keeps what is where."""

    def __init__(self, in_shape: Shape, out_shape: Shape) -> None:
        super().__init__()
        self.shape, self.scale = out_shape, nn.Parameter(torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        z = nn.functional.avg_pool2d(x, x.shape[-1] // self.shape[-1]) * self.scale
        return z.reshape(len(x), *self.shape)


class Scrambled(Pooling):
    """The same in other places."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).roll((2, 1), (-2, -1))


class Spatial(AE):
    @property
    def latent_shape(self) -> Shape:
        return (self.latent_dim, *(side // 4 for side in self.shape[1:]))


def spatial(encoder: Any) -> Any:
    torch.manual_seed(0)
    decoder = partial(ResidualDecoder, width=4, multipliers=(1,), num_blocks=1)
    return Spatial(shape=(1, 16, 16), latent_dim=1, encoder=encoder, decoder=decoder).eval()


def test_grids(tmp_path: Path) -> None:
    pooled, scrambled = logged(tmp_path, spatial(Pooling)), logged(tmp_path, spatial(Scrambled))
    assert pooled.keys() == scrambled.keys() == {"continuity", "high_frequency", "zoom_error"}
    assert pooled["continuity"] == pytest.approx(scrambled["continuity"], abs=1e-6)
    assert 0 < pooled["zoom_error"] < 0.5 < 0.9 < scrambled["zoom_error"]
    assert 0 < pooled["high_frequency"] < 1


def test_what_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"^num must be at least 1, got 0\.$"):
        LatentSpace(num=0)
    with pytest.raises(ValueError, match=r"^VQVAE has discrete latents"):
        logged(tmp_path, tiny(VQVAE).eval())
