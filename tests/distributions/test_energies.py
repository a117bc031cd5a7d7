"""Energies score reconstructions and are not densities: nothing of a model with one is called a likelihood."""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path

import pytest
import torch
from helpers import FAMILIES, losses, quiet_trainer, tiny, tiny_data
from torch import Tensor, nn
from torchmetrics.functional.image import multiscale_structural_similarity_index_measure

from vae_zoo import hub
from vae_zoo.callbacks import Evidence, Report
from vae_zoo.distributions import MSSSIM, Perceptual, Point
from vae_zoo.models import AE, VAE
from vae_zoo.testing.losses import ONE_GRAPH


class Edges(nn.Module):
    """A network whose weights its constructor sets, as one that loads them does."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 2, bias=False)
        self.drop = nn.Dropout(0.5)
        with torch.no_grad():
            self.conv.weight.copy_(torch.tensor([[[[1.0, -1.0], [0.0, 0.0]]], [[[1.0, 0.0], [-1.0, 0.0]]]]))

    def forward(self, x: Tensor) -> list[Tensor]:
        edges = self.drop(self.conv(x))
        return [edges, edges.square()]


ENERGIES = {"MSSSIM": MSSSIM, "Perceptual": partial(Perceptual, network=Edges)}
energies = pytest.mark.parametrize("make", ENERGIES.values(), ids=ENERGIES)
x16 = torch.rand(5, 1, 16, 16, generator=torch.Generator().manual_seed(0))


def test_what_is_no_density() -> None:
    assert {f for f in FAMILIES if not f.is_density} == {MSSSIM, Perceptual, Point}


@energies
class TestEveryEnergy:
    def test_is_nothing_for_the_picture_itself_and_grows_from_there(self, make: partial) -> None:
        family, params = make((1, 16, 16)), torch.logit(x16, eps=1e-6)
        energy = -family(params).log_prob(x16)
        assert energy.shape == (5,)
        torch.testing.assert_close(energy, torch.zeros(5), rtol=0, atol=1e-3)
        noise = torch.randn(5, 1, 16, 16)
        further = [-family(params + s * noise).log_prob(x16) for s in (0.5, 1.0, 3.0)]
        assert (further[0] > energy).all()
        assert (further[1] > further[0]).all()
        assert (further[2] > further[1]).all()
        torch.testing.assert_close(-make((1, 16, 16), weight=3.0)(params + noise).log_prob(x16), 3 * further[1])

    def test_samples_lead(self, make: partial) -> None:
        family, params = make((1, 16, 16)), torch.randn(3, 5, 1, 16, 16)
        d = family(params)
        assert d.batch_shape == (3, 5)
        one_by_one = torch.stack([family(p).log_prob(x16) for p in params])
        torch.testing.assert_close(d.log_prob(x16), one_by_one)
        assert torch.equal(d.mean, params.sigmoid())
        assert torch.equal(d.sample((2,)), d.mean.expand(2, -1, -1, -1, -1, -1))

    def test_gradient(self, make: partial) -> None:
        for size in (0.0, 1.0, 100.0):
            params = (size * torch.randn(5, 1, 16, 16)).requires_grad_()
            (grad,) = torch.autograd.grad(make((1, 16, 16))(params).log_prob(x16).sum(), params)
            assert grad.isfinite().all()

    def test_float32_under_autocast(self, make: partial) -> None:
        family, params = make((1, 16, 16)), torch.randn(5, 1, 16, 16).bfloat16()
        with torch.autocast("cpu", torch.bfloat16):
            mixed = family(params).log_prob(x16)
        assert mixed.dtype == torch.float32
        exact = family.double()(params.double()).log_prob(x16.double())
        torch.testing.assert_close(mixed.double(), exact, rtol=1e-4, atol=1e-4)

    def test_refuses_other_data(self, make: partial) -> None:
        with pytest.raises(ValueError, match=r"needs data in \[0, 1\], got from 0 to 255"):
            make((1, 16, 16)).check(torch.tensor([0.0, 255.0]))
        with pytest.raises(ValueError, match="weight must be positive and finite, got 0"):
            make((1, 16, 16), weight=0.0)

    def test_no_nll_anywhere(self, make: partial, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        data = tiny_data(image_size=16)
        model = tiny(VAE, shape=(1, 16, 16), likelihood=make)
        trainer = quiet_trainer(tmp_path, callbacks=[Evidence(num_samples=2), Report()])
        trainer.fit(model, data)
        (values,) = trainer.test(model, data, verbose=False)
        assert not {"test/log_evidence", "test/bits_per_dim"} & set(values)
        rows = [line for line in capsys.readouterr().out.splitlines() if "│" in line]
        units = {row.split("│")[1].strip(): row.split("│")[3].strip() for row in rows}
        assert units["elbo"] == units["loss"] == units["reconstruction"] == "energy, not nats"
        assert units["kl"] == "nats"
        with pytest.raises(ValueError, match=r"is an energy and not a density: there is no evidence") as error:
            model.log_evidence(x16)
        assert "\n" not in str(error.value)

    def test_one_graph_and_a_checkpoint(self, make: partial, tmp_path: Path) -> None:
        model = tiny(VAE, shape=(1, 16, 16), likelihood=make)
        whole = torch.compile(VAE.losses, fullgraph=ONE_GRAPH, backend="eager")
        torch.manual_seed(1)
        torch.testing.assert_close(whole(model, x16), losses(model, x16))
        trainer = quiet_trainer(tmp_path)
        trainer.strategy.connect(model)
        trainer.save_checkpoint(tmp_path / "a.ckpt")
        again = hub.load(tmp_path / "a.ckpt")
        torch.testing.assert_close(losses(again, x16), losses(model, x16))


class TestMSSSIM:
    def test_agrees_with_torchmetrics(self) -> None:
        params, x = torch.randn(3, 2, 64, 48), torch.rand(3, 2, 64, 48)
        family = MSSSIM((2, 64, 48), weight=0.5)
        exponents = family.exponents
        assert len(exponents) == 3
        assert sum(exponents) == pytest.approx(1)
        for i in range(3):
            similarity = multiscale_structural_similarity_index_measure(
                params.sigmoid()[i : i + 1], x[i : i + 1], data_range=1.0, betas=exponents, normalize="simple"
            )
            expected = -0.5 * 2 * 64 * 48 * (1 - similarity)
            torch.testing.assert_close(family(params).log_prob(x)[i], expected)

    @pytest.mark.parametrize(("side", "scales"), [(11, 1), (21, 1), (22, 2), (28, 2), (44, 3), (99, 4), (176, 5)])
    def test_small_images_have_fewer_scales(self, side: int, scales: int) -> None:
        family = MSSSIM((1, side, side + 3))
        assert len(family.exponents) == scales
        assert family(torch.zeros(1, 1, side, side + 3)).log_prob(torch.rand(1, 1, side, side + 3)).isfinite().all()

    @pytest.mark.parametrize(("side", "window"), [(3, 3), (4, 3), (8, 7), (10, 9), (11, 11), (28, 11)])
    def test_images_smaller_than_the_window_have_a_smaller_one(self, side: int, window: int) -> None:
        family, x = MSSSIM((1, side, side)), torch.rand(2, 1, side, side)
        assert family.window == window
        same, other = family(torch.logit(x, 1e-6)).log_prob(x), family(torch.zeros_like(x)).log_prob(x)
        assert (same > -1e-2).all()
        assert (other < -1).all()

    @pytest.mark.parametrize("shape", [(17,), (28, 28), (1, 2, 8), (1, 28, 2)])
    def test_refuses_what_is_too_small(self, shape: tuple[int, ...]) -> None:
        with pytest.raises(ValueError, match=r"^MSSSIM needs images \(C, H, W\) of at least 3 x 3 pixels"):
            MSSSIM(shape)


class TestPerceptual:
    def test_agrees_with_the_definition(self) -> None:
        params, network = torch.randn(5, 1, 16, 16), Edges().eval()
        pairs = zip(network(params.sigmoid()), network(x16), strict=True)
        expected = 256 * sum((a - b).square().mean((1, 2, 3)) for a, b in pairs)
        torch.testing.assert_close(-Perceptual((1, 16, 16), network=Edges)(params).log_prob(x16), expected)

    def test_the_network_is_no_part_of_the_model(self) -> None:
        model = tiny(VAE, shape=(1, 16, 16), likelihood=ENERGIES["Perceptual"]).train()
        plain = tiny(VAE, shape=(1, 16, 16))
        assert model.state_dict().keys() == plain.state_dict().keys()
        assert len(model.param_groups()[0]["params"]) == len(list(plain.parameters()))
        (network,) = model.likelihood._hidden
        assert not network.training
        losses(model, x16)["loss"].backward()
        assert all(p.grad is None and not p.requires_grad for p in network.parameters())

    def test_the_network_moves_with_the_model(self) -> None:
        family = Perceptual((1, 16, 16), network=Edges).double()
        assert family._hidden[0].conv.weight.dtype == torch.float64
        assert family.to("meta")._hidden[0].conv.weight.device.type == "meta"


def test_a_point_has_no_evidence() -> None:
    with pytest.raises(ValueError, match=r"^Point cannot be the likelihood: it has no log_prob to score data by"):
        tiny(VAE, likelihood=Point)


def test_units_of_a_density(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from vae_zoo.distributions import SharedNormal

    for likelihood, phrase in ((SharedNormal, True), (None, False)):
        model = tiny(VAE, **({"likelihood": likelihood} if likelihood else {}))
        trainer = quiet_trainer(tmp_path, callbacks=[Evidence(num_samples=2), Report()])
        (values,) = trainer.test(model, tiny_data(), verbose=False)
        assert math.isfinite(values["test/bits_per_dim"])
        text = " ".join(capsys.readouterr().out.replace("│", " ").split())
        assert ("continuous density" in text) == phrase
        assert "energy" not in text
    quiet_trainer(tmp_path, callbacks=[Report()]).test(tiny(AE), tiny_data(), verbose=False)
    text = capsys.readouterr().out
    assert "nats" in text
    assert "energy" not in text
