"""The ladder VAE against normal distributions with a known evidence, and against explicit sums over layers."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import Record, quiet_trainer, small, tiny, tiny_data
from torch import Tensor
from torch.distributions import Independent, MultivariateNormal
from torch.distributions import Normal as TorchNormal

from vae_zoo.callbacks import CollapseWarning, Evidence, LinearAnnealing, Report
from vae_zoo.distributions import FixedNormal, Normal, combine, tempered_layers
from vae_zoo.distributions.normal import independent
from vae_zoo.elbo import ELBOMixin
from vae_zoo.functional import kl_normal, log_mean_exp
from vae_zoo.models import BetaVAE, LadderVAE
from vae_zoo.nn import Dense


def ladder(dims: list[int], **kwargs: Any) -> LadderVAE:
    return tiny(LadderVAE, **{"latent_dims": dims, "width": 8, "layer": small, **kwargs})


class BetaLadder(BetaVAE, LadderVAE):
    """Two variants in one."""


def linear_ladder() -> tuple[LadderVAE, Tensor, Tensor]:
    """A ladder whose generative model is linear with constant scales, examples, and their exact log evidence."""
    torch.manual_seed(2)
    line = partial(Dense, hidden=[])
    likelihood = partial(FixedNormal, scale=0.5)
    kwargs = {"shape": (3,), "decoder": line, "layer": line, "likelihood": likelihood}
    model = ladder([2, 1], **kwargs).double()
    assert model.latent_dim == 3
    weight, bias = model.down[0].layers[1].weight, model.down[0].layers[1].bias
    with torch.no_grad():
        weight.normal_()
        bias.normal_()
        weight[2:] = 0  # of the scales
        model.decoder.layers[1].weight.normal_()
    across = weight[:2] @ weight[:2].T + torch.diag(torch.exp(2 * bias[2:]))
    out = model.decoder.layers[1]
    covariance = out.weight @ across @ out.weight.T + 0.5**2 * torch.eye(3, dtype=torch.float64)
    exact = MultivariateNormal(out.weight @ bias[:2] + out.bias, covariance)
    x = exact.sample((4,))
    return model, x, exact.log_prob(x).detach()


class TestCombine:
    def test_is_the_normalised_product(self) -> None:
        grid = torch.linspace(-20, 20, 20_001, dtype=torch.float64)[:, None]
        a = independent(Normal(torch.tensor([1.0]).double(), torch.tensor([0.3]).double()), 1)
        b = independent(Normal(torch.tensor([-2.0]).double(), torch.tensor([-0.4]).double()), 1)
        product = a.log_prob(grid) + b.log_prob(grid)
        product = product - torch.log(torch.exp(product).sum() * 0.002)
        torch.testing.assert_close(combine(a, b).log_prob(grid), product, rtol=0, atol=1e-6)

    def test_extreme_scales(self) -> None:
        a = independent(Normal(torch.tensor([1.0]), torch.tensor([-60.0])), 1)
        b = independent(Normal(torch.tensor([5.0]), torch.tensor([40.0])), 1)
        assert combine(a, b).mean.item() == combine(b, a).mean.item() == 1


@pytest.mark.parametrize("dims", [[3], [3, 2], [4, 3, 2, 1]])
class TestAnyNumberOfLayers:
    def test_divergence_is_the_mean_log_ratio(self, dims: list[int]) -> None:
        model, x = ladder(dims).double(), torch.rand(2, 1, 8, 8).double()
        for p in model.parameters():
            p.data.mul_(2)  # so that the layers matter
        terms = model.elbo(x, num_samples=20_000)
        ratio = terms.log_qz - terms.log_pz
        assert terms.z.shape == (20_000, 2, sum(dims))
        error = ratio.std(0) / 20_000**0.5
        assert ((ratio.mean(0) - terms.kl).abs() < 4 * error).all()
        torch.testing.assert_close(torch.stack(list(terms.curves.values())).sum(0), terms.kl)
        assert list(terms.curves) == [f"kl_{n + 1}" for n in range(len(dims))]
        assert all((rate > 0).all() for rate in terms.curves.values())

    def test_is_what_the_generic_bound_gives(self, dims: list[int]) -> None:
        model, x = ladder(dims), torch.rand(2, 1, 8, 8)
        torch.manual_seed(0)
        mine = model.elbo(x, num_samples=3)
        torch.manual_seed(0)
        other = ELBOMixin.elbo(model, x, num_samples=3)
        for name in ("z", "log_px", "log_pz", "log_qz", "log_w"):
            torch.testing.assert_close(getattr(mine, name), getattr(other, name))

    def test_densities_are_sums_over_layers(self, dims: list[int]) -> None:
        model, x = ladder(dims), torch.rand(2, 1, 8, 8)
        terms = model.elbo(x, num_samples=5)
        z = terms.z.split(dims, -1)
        log_pz = Independent(TorchNormal(torch.zeros(dims[-1]), 1.0), 1).log_prob(z[-1])
        for n in range(len(dims) - 1):
            loc, log_scale = model.down[n](z[n + 1].flatten(0, 1)).unflatten(0, (5, 2)).unbind(-2)
            log_pz = log_pz + TorchNormal(loc, log_scale.exp()).log_prob(z[n]).sum(-1)
        torch.testing.assert_close(terms.log_pz, log_pz)

    def test_shapes_and_determinism(self, dims: list[int]) -> None:
        model, x = ladder(dims), torch.rand(2, 1, 8, 8)
        assert model.embed(x).shape == model.encode(x).stddev.shape == (2, sum(dims))
        assert torch.equal(model.embed(x), model.embed(x))
        assert torch.equal(model.reconstruct(x), model.reconstruct(x))
        assert not torch.equal(model.embed(x, sample=True), model.embed(x, sample=True))
        assert model.sample(5).shape == (5, 1, 8, 8)


def test_one_layer_is_the_vae() -> None:
    model, x = ladder([3]), torch.rand(2, 1, 8, 8)
    features = torch.nn.functional.leaky_relu(model.encoder(x))
    loc, log_scale = model.heads[0](features).unbind(1)
    expected = kl_normal(loc, log_scale, torch.zeros(3), torch.zeros(3)).sum(-1)
    torch.testing.assert_close(model.elbo(x).kl, expected)
    torch.testing.assert_close(model.embed(x), loc)


class TestLinear:
    def test_evidence(self) -> None:
        model, x, exact = linear_ladder()
        torch.testing.assert_close(model.log_evidence(x, num_samples=60_000), exact, rtol=0, atol=0.1)

    def test_bounds_rise_towards_it(self) -> None:
        model, x, exact = linear_ladder()
        log_w = model.elbo(x, num_samples=8192).log_w
        bounds = torch.stack([log_mean_exp(log_w.unflatten(0, (-1, k)), 1).mean(0) for k in (1, 8, 64, 512)])
        assert (bounds.diff(dim=0) > 0).all()
        assert (bounds[:3] < exact + 0.02).all()  # the noise of 8192 samples

    def test_samples_of_the_prior(self) -> None:
        model, *_ = linear_ladder()
        z = model.prior().sample((50_000,))
        weight, bias = model.down[0].layers[1].weight[:2], model.down[0].layers[1].bias
        across = weight @ weight.T + torch.diag(torch.exp(2 * bias[2:]))
        torch.testing.assert_close(torch.cov(z[:, :2].T), across, rtol=0.05, atol=0.05)
        torch.testing.assert_close(z[:, 2].var(), torch.ones(()).double(), rtol=0, atol=0.03)


def test_layers_are_logged_and_annealed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, logger = ladder([3, 2]), Record()
    callbacks = [LinearAnnealing(num_epochs=2), Evidence(num_samples=2), CollapseWarning(), Report()]
    trainer = quiet_trainer(tmp_path, max_epochs=2, callbacks=callbacks, logger=logger)
    trainer.fit(model, tiny_data())
    kl, layers = logger.curve("train/kl"), [logger.curve(f"train/kl_{n}") for n in (1, 2)]
    assert kl == pytest.approx({step: sum(layer[step] for layer in layers) for step in kl}, rel=1e-5)
    assert {name for _, row in logger.rows for name in row} >= {"val/active_units_1", "val/active_units_2"}
    (values,) = trainer.test(model, tiny_data(), verbose=False)
    assert values["test/active_units"] == values["test/active_units_1"] + values["test/active_units_2"]
    assert "of 2, in layer 2" in capsys.readouterr().out


def test_an_empty_upper_layer_is_warned_of(tmp_path: Path) -> None:
    model = ladder([3, 2])
    for p in model.heads[1].parameters():
        torch.nn.init.zeros_(p.requires_grad_(False))
    for p in model.encoder.parameters():
        p.data.mul_(4)
    with pytest.warns(UserWarning, match="collapse: 0 of 2 latent dimensions vary with the example in layer 2"):
        quiet_trainer(tmp_path, max_epochs=2, callbacks=[CollapseWarning(patience=2)]).fit(model, tiny_data())


def test_combines() -> None:
    values = tiny(BetaLadder, latent_dims=[3, 2], beta=2.0).losses(torch.rand(2, 1, 8, 8))
    torch.testing.assert_close(values["loss"], 2 * values["kl"] - values["reconstruction"])
    torch.testing.assert_close(values["kl"], values["kl_1"] + values["kl_2"])


@pytest.mark.parametrize("kwargs", [{"latent_dims": []}, {"latent_dims": [3, 0]}, {"width": 0}])
def test_bad_values(kwargs: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="latent_dims and width must be at least 1, got"):
        tiny(LadderVAE, **kwargs)


def test_temperatures_are_those_of_their_layers() -> None:
    model, *_ = linear_ladder()
    line = model.down[0].layers[1]
    torch.manual_seed(0)
    calm, wild = (tempered_layers(model.prior(), given).sample((500,)) for given in ([1e-6, 1.0], [1.0, 1e-6]))
    assert calm[:, 2].std() == pytest.approx(1, abs=0.15)
    torch.testing.assert_close(calm[:, :2], (line(calm[:, 2:]))[:, :2], atol=1e-4, rtol=0)
    assert wild[:, 2].abs().max() < 1e-4
    torch.testing.assert_close(wild[:, :2].std(0), line.bias[2:].exp(), atol=0, rtol=0.15)
    with pytest.raises(ValueError, match=r"2 layers need one each, the lowest first, got 3"):
        model.sample(2, temperature=[1.0] * 3)
