"""Regularised autoencoders: each regulariser against its definition."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import build, losses, quiet_trainer, tiny, tiny_data
from torch import Tensor

from vae_zoo import hub
from vae_zoo.distributions import SquaredError
from vae_zoo.models import AE, RAE, RAEGP, RAEL2, RAESN
from vae_zoo.nn import ConvDecoder, ConvEncoder, Dense
from vae_zoo.nn.conv import LINEAR
from vae_zoo.typing import Shape

linear = partial(Dense, hidden=())


@pytest.mark.parametrize("cls", [RAE, RAEL2, RAEGP, RAESN])
def test_the_formula_of_the_paper(cls: type, images: Tensor) -> None:
    torch.manual_seed(0)
    given = {} if cls in (RAE, RAESN) else {"weight": 0.3}
    model = build(cls, beta=0.7, **given)
    found = losses(model, images)
    z = model.embed(images)
    squared = (images - model.reconstruct(images)).square().flatten(1).sum(1).mean()
    constant = images[0].numel() * 0.5 * torch.log(torch.tensor(torch.pi))
    expected = squared + constant + 0.35 * z.square().sum(1).mean() + (0.3 if given else 0) * found["roughness"]
    torch.testing.assert_close(found["loss"], expected, rtol=1e-4, atol=1e-4)


def test_without_weights_it_is_the_autoencoder(images: Tensor) -> None:
    def same_start(cls: type, **kwargs: Any) -> Tensor:
        torch.manual_seed(0)
        return losses(build(cls, likelihood=SquaredError, **kwargs), images)["loss"]

    assert torch.equal(same_start(RAE, beta=0.0), same_start(AE))


class TestGP:
    def test_of_an_affine_decoder_it_is_the_norm_of_its_matrix(self) -> None:
        torch.manual_seed(0)
        model = build(RAEGP, decoder=linear)
        wanted = model.decoder.layers[1].weight.square().sum().item()
        found = model.roughness(torch.randn(20_000, 4), None).item()
        assert found == pytest.approx(wanted, rel=0.02)

    @pytest.mark.exhaustive
    def test_it_is_that_of_the_jacobian_summed_over_basis_vectors(self) -> None:
        torch.manual_seed(0)
        model, z = build(RAEGP), torch.randn(1, 4)
        jacobian = torch.autograd.functional.jacobian(lambda z: model.decode(z).mean.flatten(1).sum(0), z)
        wanted = jacobian.square().sum().item()
        found = torch.stack([model.roughness(z, None) for _ in range(3000)]).mean().item()
        assert found == pytest.approx(wanted, rel=0.05)

    def test_it_trains_the_decoder_alone(self, images: Tensor) -> None:
        torch.manual_seed(0)
        model = build(RAEGP)
        found = losses(model, images)["roughness"]
        encoder = torch.autograd.grad(found, list(model.encoder.parameters()), allow_unused=True, retain_graph=True)
        assert all(g is None for g in encoder)
        (first, *_) = torch.autograd.grad(found, list(model.decoder.parameters()), allow_unused=True)
        assert first.abs().sum() > 0

    def test_it_is_measured_in_validation(self, tmp_path: Path) -> None:
        trainer = quiet_trainer(tmp_path)
        (metrics,) = trainer.validate(tiny(RAEGP), tiny_data(), verbose=False)
        assert metrics["val/roughness"] > 0


def test_l2_counts_the_decoder_alone() -> None:
    model = build(RAEL2)
    wanted = sum(p.square().sum() for p in model.decoder.parameters())
    torch.testing.assert_close(model.roughness(torch.zeros(1, 4), None), wanted)


class WithTable(Dense):
    """A decoder with a matrix that is in no layer."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.table = torch.nn.Parameter(torch.zeros(2, 3))


class TestSN:
    def test_layers_have_a_norm_of_at_most_1(self, tmp_path: Path) -> None:
        torch.manual_seed(0)
        model = tiny(RAESN)
        with torch.no_grad():
            for p in model.decoder.parameters():
                p.mul_(10)
        trainer = quiet_trainer(tmp_path, max_epochs=10)
        trainer.fit(model, tiny_data())
        layers = [m for m in model.decoder.modules() if isinstance(m, torch.nn.Linear)]
        norms = [torch.linalg.matrix_norm(layer.weight, 2).item() for layer in layers]
        assert len(norms) == 2
        assert all(norm == pytest.approx(1, abs=0.05) for norm in norms)

    @pytest.mark.parametrize("shape", [(2, 16), (1, 8, 8), (1, 8, 8, 8)], ids=["sequence", "image", "volume"])
    def test_convolutions_of_sequences_images_and_volumes_are_normalised(self, shape: Shape) -> None:
        torch.manual_seed(0)
        encoder, decoder = (partial(net, channels=[4, 8], hidden=8) for net in (ConvEncoder, ConvDecoder))
        model = RAESN(shape=shape, latent_dim=3, encoder=encoder, decoder=decoder)
        x = torch.rand(4, *shape)
        with torch.no_grad():
            for p in model.decoder.parameters():
                p.mul_(50)
        for _ in range(20):  # of the power method, one with each pass
            model.losses(x)
        model.eval()
        layers = [m for m in model.decoder.modules() if isinstance(m, LINEAR)]
        transposed = ["Transpose" in type(layer).__name__ for layer in layers]
        assert sum(transposed) == 2
        weights = [
            layer.weight.movedim(1, 0) if t else layer.weight for layer, t in zip(layers, transposed, strict=True)
        ]
        norms = [torch.linalg.matrix_norm(weight.flatten(1), 2).item() for weight in weights]
        assert all(norm == pytest.approx(1, abs=0.05) for norm in norms)

    def test_weights_that_it_cannot_normalise_are_refused(self) -> None:
        message = "RAESN bounds dense layers and convolutions alone, and table of the decoder WithTable is in none"
        with pytest.raises(ValueError, match=message):
            build(RAESN, decoder=WithTable)

    def test_a_checkpoint_gives_the_same(self, tmp_path: Path, images: Tensor) -> None:
        model = tiny(RAESN)
        trainer = quiet_trainer(tmp_path, max_epochs=1)
        trainer.fit(model, tiny_data())
        trainer.save_checkpoint(tmp_path / "a.ckpt")
        loaded = hub.load(tmp_path / "a.ckpt").eval()
        assert torch.equal(loaded.reconstruct(images), model.eval().reconstruct(images))

    def test_it_takes_no_weight(self) -> None:
        with pytest.raises(TypeError, match="RAESN takes no weight: the layers of its decoder"):
            build(RAESN, weight=0.1)
