"""Deep hierarchies against a VAE of the same networks, sums over layers, and a normal model whose evidence is known."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from helpers import small, tiny
from torch import Tensor, nn
from torch.distributions import MultivariateNormal

from vae_zoo.distributions import FixedNormal, tempered, tempered_layers
from vae_zoo.elbo import ELBOMixin
from vae_zoo.functional import kl_normal
from vae_zoo.models import BIVA, IWAE, NVAE, VAE, VDVAE, ConditionalVAE, IWAEDReG
from vae_zoo.models.hierarchies.top_down import TopDownVAE
from vae_zoo.nn import Dense

LINE = partial(Dense, hidden=[])
every = pytest.mark.parametrize("cls", [VDVAE, NVAE, BIVA])


def deep(cls: type[TopDownVAE] = VDVAE, **kwargs: Any) -> Any:
    torch.manual_seed(3)
    model = tiny(cls, **{"latent_dim": 2, "layers": [1, 2], "width": 8, "layer": small, **kwargs})
    with torch.no_grad():
        for p in model.parameters():  # so that the layers matter
            p.add_(0.1 * torch.randn_like(p))
    return model.eval()


class DeepIWAE(IWAE, VDVAE):
    """Two variants in one."""


class Encoder(nn.Module):
    """The encoder of a hierarchy of one layer as that of a VAE."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        e = self.model.encoder(x)
        e = e + self.model.up[0](e)
        start = self.model.start.expand(len(x), -1)
        return self.model.blocks[0].posterior(torch.cat([start, e], 1)).unflatten(1, (2, -1))


class Decoder(nn.Module):
    """Its decoder."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, z: Tensor) -> Tensor:
        h = self.model.start + self.model.blocks[0].project(z)
        return self.model.decoder(h + self.model.blocks[0].refine(h))


@pytest.mark.parametrize("residual", [False, True])
def test_one_layer_is_the_vae(images: Tensor, residual: bool) -> None:
    model = deep(layers=[1], shape=(64,), latent_dim=3, residual=residual)
    vae = tiny(VAE, shape=(64,), latent_dim=3)
    vae.encoder, vae.decoder = Encoder(model), Decoder(model)
    found = []
    for each in (model, vae):
        torch.manual_seed(0)
        found.append(each.elbo(images.flatten(1), num_samples=5))
    for name in ("z", "log_px", "log_pz", "log_qz", "kl", "rates", "value"):
        torch.testing.assert_close(getattr(found[0], name), getattr(found[1], name))


@every
class TestEachOfThem:
    def test_the_divergence_is_the_mean_log_ratio_and_the_sum_of_its_layers(
        self, cls: type[TopDownVAE], images: Tensor
    ) -> None:
        model = deep(cls).double()
        with torch.no_grad():
            terms = model.elbo(images[:2].double(), num_samples=4000)
            ratio = terms.log_qz - terms.log_pz
        assert ((ratio.mean(0) - terms.kl).abs() < 4 * ratio.std(0) / 4000**0.5 + 1e-9).all()
        assert list(terms.curves) == [f"kl_{n + 1}" for n in range(len(model.latent_dims))]
        torch.testing.assert_close(sum(terms.curves.values()), terms.kl)
        assert terms.rates is not None
        assert terms.rates.shape == (2, sum(model.latent_dims))
        if cls is not BIVA:  # of whose upward latents it is a difference of log-densities
            assert all((rate > 0).all() for rate in terms.curves.values())

    def test_densities_are_the_same_wherever_they_are_computed(self, cls: type[TopDownVAE], images: Tensor) -> None:
        """In one walk with the draws, or from given latents."""
        model, x = deep(cls).double(), images[:2].double()
        with torch.no_grad():
            terms = model.elbo(x, num_samples=3)
            z = terms.z.clone()
            torch.testing.assert_close(terms.log_pz, model.prior().log_prob(z))
            torch.testing.assert_close(terms.log_qz, model.encode(x).log_prob(z))
            torch.testing.assert_close(terms.log_px, model.decode(z).log_prob(x))
            torch.testing.assert_close(model.encode(x).log_prob(z[0]), terms.log_qz[0])
            torch.testing.assert_close(model.prior().log_prob(z[0, 0]), terms.log_pz[0, 0])

    def test_is_what_the_generic_bound_gives(self, cls: type[TopDownVAE], images: Tensor) -> None:
        model, found = deep(cls), []
        for elbo in (model.elbo, partial(ELBOMixin.elbo, model)):
            torch.manual_seed(0)
            if elbo is not model.elbo:
                model.divergence = partial(ELBOMixin.divergence, model)
            found.append(elbo(images[:2], num_samples=3))
        for name in ("z", "log_px", "log_pz", "log_qz", "log_w"):
            torch.testing.assert_close(getattr(found[0], name), getattr(found[1], name), rtol=1e-4, atol=1e-4)

    def test_temperature_of_each_layer(self, cls: type[TopDownVAE]) -> None:
        model = deep(cls)
        num = len(model.latent_dims)
        factors = [0.5 + n for n in range(num)]
        z = model.prior().sample((3,))
        plain, hot = (p.go((3,), latents=z) for p in (model.prior(), tempered_layers(model.prior(), factors)))
        for cold, warm, factor in zip(plain.p, hot.p, factors, strict=True):
            torch.testing.assert_close(warm.mean, cold.mean)
            torch.testing.assert_close(warm.stddev, factor * cold.stddev)
        torch.testing.assert_close(
            tempered(model.prior(), 2.0).log_prob(z), tempered_layers(model.prior(), [2.0] * num).log_prob(z)
        )
        torch.manual_seed(0)
        cold = model.sample(50, temperature=[1e-6] * num)
        assert cold.std(0).max() < 1e-3
        torch.manual_seed(0)
        top = model.sample(50, temperature=[1e-6] * (num - 1) + [1.0])
        assert top.std(0).max() > 1e-3
        with pytest.raises(ValueError, match=rf"temperature: {num} layers need one each, the lowest first, got 1\."):
            model.sample(2, temperature=[0.5])
        with pytest.raises(ValueError, match=r"temperature must be positive and finite, got -1\.0\."):
            model.sample(2, temperature=[1.0] * (num - 1) + [-1.0])

    def test_pictures_of_many_sides(self, cls: type[TopDownVAE]) -> None:
        for shape in [(2, 7), (1, 5, 3), (2, 4, 3, 5), (6,)]:
            model = cls(shape=shape, latent_dim=1, layers=[0, 1, 1], width=4)
            x = torch.rand(3, *shape)
            model.losses(x)["loss"].backward()
            assert model.sample(2).shape == (2, *shape)


def linear(cls: type[TopDownVAE] = VDVAE) -> tuple[Any, MultivariateNormal]:
    """A model of two layers in which everything is affine, and its p(x) by matrices."""
    torch.manual_seed(2)
    parts = {"encoder": LINE, "decoder": LINE, "layer": LINE, "likelihood": partial(FixedNormal, scale=0.5)}
    model = cls(shape=(3,), latent_dim=1, layers=[2], width=4, **parts).double()
    low, top = model.blocks
    head = low.prior.layers[1]
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.4 * torch.randn_like(p))
        head.weight[1] = 0  # the scale does not depend on the layer above
    eye = torch.eye(4).double()
    ahead = eye + top.refine.layers[1].weight  # of the state after z₂, whose bias the sums below have too
    state = ahead @ model.start[:, None] + ahead @ top.project.bias[:, None] + top.refine.layers[1].bias[:, None]
    state, column = state + low.bias[:, None], ahead @ top.project.weight  # as a function of z₂: state + column z₂
    feature, feature_bias = head.weight[2:], head.bias[2:, None]
    mean, slope = head.weight[:1] @ state + head.bias[:1, None], head.weight[:1] @ column
    scale = head.bias[1].exp()
    after = eye + low.refine.layers[1].weight
    out = model.decoder.layers[1]
    onto = out.weight @ after
    by_top = onto @ ((eye + feature) @ column + low.project.weight @ slope)  # noise of z₂, directly and through z₁
    by_low = onto @ low.project.weight * scale
    centre = (eye + feature) @ state + feature_bias + low.project.weight @ mean + low.project.bias[:, None]
    centre = onto @ centre + out.weight @ low.refine.layers[1].bias[:, None] + out.bias[:, None]
    covariance = by_top @ by_top.T + by_low @ by_low.T + 0.25 * torch.eye(3).double()
    return model, MultivariateNormal(centre[:, 0].detach(), covariance.detach())


def excess(model: Any, exact: MultivariateNormal, x: Tensor) -> float:
    """By how many standard errors the bound is above log p(x) after it has been trained, at its worst."""
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    own = [p for name, p in model.named_parameters() if not ("posterior" in name or name.startswith(("encoder", "up")))]
    for p in own:
        p.requires_grad_(False)  # so that p(x) stays what it is
    for _ in range(150):
        optimizer.zero_grad()
        (-model.elbo(x, num_samples=4).value.mean()).backward()
        optimizer.step()
    with torch.no_grad():
        values = torch.stack([model.elbo(x, num_samples=200).value for _ in range(10)])
    return ((values.mean(0) - exact.log_prob(x)) / (values.std(0) / 10**0.5)).max().item()


def test_evidence_and_bound_of_a_linear_model() -> None:
    model, exact = linear()
    torch.manual_seed(0)
    with torch.no_grad():
        x, drawn = model.sample(6, mean=False), model.sample(20_000, mean=False)
        torch.testing.assert_close(torch.cov(drawn.T), exact.covariance_matrix, rtol=0.06, atol=0.06)
        torch.testing.assert_close(drawn.mean(0), exact.mean, rtol=0, atol=0.06)
    assert excess(model, exact, x) < 4
    with torch.no_grad():
        found = model.log_evidence(x, num_samples=20_000)
        few = model.log_evidence(x.repeat(200, 1), num_samples=2).reshape(200, 6).mean(0)
        bound = model.elbo(x, num_samples=2000).value
    torch.testing.assert_close(found, exact.log_prob(x), rtol=0, atol=0.02)
    assert bound.mean() < few.mean()
    assert few.mean() < exact.log_prob(x).mean()


class Whole(TopDownVAE):
    """The lowest layer's divergence without its factor ½: a mistake."""

    def rates(self, walk: Any) -> list[Tensor]:
        low, *others = super().rates(walk)
        return [2 * low, *others]


class Topless(TopDownVAE):
    """The highest layer's divergence is left out: a mistake."""

    def rates(self, walk: Any) -> list[Tensor]:
        *below, top = super().rates(walk)
        return [*below, 0 * top]


class BottomUp(TopDownVAE):
    """The divergence from what the posterior was given, and not from the prior given the layers above: a mistake."""

    def rates(self, walk: Any) -> list[Tensor]:
        found = super().rates(walk)
        standard = [kl_normal(q.base_dist.loc, q.base_dist.log_scale, *[torch.zeros(()).double()] * 2) for q in walk.q]
        return [*standard[:-1], found[-1]]


@pytest.mark.parametrize("cls", [TopDownVAE, Whole, Topless, BottomUp])
def test_mistakes_are_seen(cls: type[TopDownVAE]) -> None:
    model, exact = linear(cls)
    torch.manual_seed(0)
    with torch.no_grad():
        x = model.sample(6, mean=False)
        terms = model.elbo(x, num_samples=4000)
        ratio = terms.log_qz - terms.log_pz
    off = ((ratio.mean(0) - terms.kl).abs() / (ratio.std(0) / 4000**0.5)).max().item()
    if cls is TopDownVAE:
        assert off < 4.5
    else:
        assert off > 20
    if cls is Topless:
        assert excess(model, exact, x) > 20


class TestBIVA:
    def test_latents_of_the_way_up_reach_the_layers_above(self, images: Tensor) -> None:
        model = deep(BIVA)
        q = model.encode(images[:1])
        z = q.sample((2,))
        other = z.clone()
        other[..., model.latent_dims[0] : sum(model.latent_dims[:2])] += 1  # u of the lowest layer
        with torch.no_grad():
            first, second = (q.go((2,), latents=each) for each in (z, other))
        assert not torch.allclose(first.q[-1].mean, second.q[-1].mean)
        assert torch.equal(first.p[1].mean, second.p[1].mean)  # whose own prior sees the layers above alone

    def test_the_closed_form_of_upward_latents_is_not_that_of_the_bound(self) -> None:
        """Since the layers above depend on them."""
        torch.manual_seed(0)
        model: Any = BIVA(
            shape=(3,), latent_dim=1, layers=[2], width=4, encoder=LINE, decoder=LINE, layer=LINE
        ).double()
        low, top = model.blocks
        with torch.no_grad():
            for p in model.parameters():
                p.add_(0.1 * torch.randn_like(p))
            for network in (low.inference, low.posterior, top.posterior):
                network.layers[1].weight[1] = 0  # of the scale
            low.prior.layers[1].weight[2:4] = 0
            low.lifting.weight.fill_(1.0)
            for weight in (top.posterior.layers[1].weight[:1], top.project.weight, low.prior.layers[1].weight[1:2]):
                weight.fill_(0.3)
            terms = model.elbo(torch.rand(1, 3).double(), num_samples=10_000)
            ratio = terms.log_qz - terms.log_pz
            closed = sum(rate.sum(1) for rate in TopDownVAE.rates(model, terms.q.walk))[:, None]
        assert (terms.kl - ratio.mean(0)).abs().max() < 4.5 * ratio.std() / 100
        off = closed - ratio
        assert off.mean().abs() > 6 * off.std() / 100


class TestNVAE:
    def test_posteriors_are_differences_from_priors(self, images: Tensor) -> None:
        model = deep(NVAE, spectral_weight=0.0)
        with torch.no_grad():
            for block in model.blocks:
                block.posterior.layers[-1].weight.zero_()
                block.posterior.layers[-1].bias.zero_()
            terms = model.elbo(images[:2])
            assert model.prior().log_prob(torch.ones(1, sum(model.latent_dims))) < -1
        torch.testing.assert_close(terms.kl, torch.zeros(2), rtol=0, atol=1e-5)
        assert model.normal(torch.full((1, 4), 1e4)).base_dist.loc.tolist() == [[5.0, 5.0]]

    def test_balancing_changes_the_loss_and_not_the_bound(self, images: Tensor) -> None:
        rows = []
        for balanced in (False, True):
            model = deep(NVAE, spectral_weight=0.0, balanced=balanced).train()
            model.kl_weight = torch.tensor(0.3)
            torch.manual_seed(0)
            rows.append(model.losses(images))
        plain, other = rows
        assert plain["loss"] != other["loss"]
        for name in plain.keys() - {"loss"}:
            assert plain[name] == other[name]
        rates = torch.stack([plain[f"kl_{n + 1}"] for n in range(3)])
        share = rates / torch.tensor(deep(NVAE).latent_dims)
        factors = share / share.mean()
        expected = 0.3 * (factors * rates).sum() - plain["reconstruction"]
        torch.testing.assert_close(other["loss"], expected, rtol=1e-3, atol=1e-3)

    @pytest.mark.parametrize("weight", [None, 1.0])
    def test_no_balancing_after_the_warm_up_or_in_evaluation(self, images: Tensor, weight: float | None) -> None:
        model = deep(NVAE, spectral_weight=0.0)
        for training in (True, False):
            model.train(training)
            model.kl_weight = None if weight is None else torch.tensor(weight)
            values = model.losses(images)
            torch.testing.assert_close(values["loss"], -values["elbo"])
        model.kl_weight = torch.tensor(0.3)
        values = model.losses(images)
        torch.testing.assert_close(values["loss"], 0.3 * values["kl"] - values["reconstruction"])

    def test_spectral_norms(self, images: Tensor) -> None:
        model = deep(NVAE, spectral_weight=0.1).train()
        for _ in range(200):
            model.spectral.step()
        found = model.spectral()
        exact = sum(torch.linalg.matrix_norm(m.weight.flatten(1), 2) for m in model.spectral.layers())
        torch.testing.assert_close(found, exact, rtol=1e-3, atol=0)
        values = model.eval().losses(images)
        torch.testing.assert_close(values["loss"], 0.1 * values["spectral"] - values["elbo"])
        with pytest.raises(ValueError, match="spectral_weight must be at least 0 and finite, got -1"):
            deep(NVAE, spectral_weight=-1)


def test_combines(images: Tensor) -> None:
    values = tiny(DeepIWAE, layers=[1, 1], width=8, num_samples=4).losses(images)
    assert values["bound"] == -values["loss"] > values["elbo"]


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"layers": []}, r"layers must be numbers of at least 0, of which the last, .* is at least 1, got \[\]\."),
        ({"layers": [1, 0]}, r"the last, at the coarsest resolution, is at least 1, got \[1, 0\]\."),
        ({"halvings": -1}, "halvings must be at least 0 and width at least 1, got -1 and 8"),
        ({"shape": (1, 2, 2, 2, 2)}, r"a hierarchy needs vectors .*, got shape \(1, 2, 2, 2, 2\): use Dense\."),
    ],
)
def test_bad_values(kwargs: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        deep(**kwargs)


@pytest.mark.parametrize("other", [ConditionalVAE, IWAEDReG])
def test_what_it_does_not_go_with(other: type) -> None:
    for bases in ((other, VDVAE), (VDVAE, other)):
        with pytest.raises(TypeError, match=r"do not go together"):
            tiny(type("Both", bases, {}))
