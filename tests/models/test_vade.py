from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import SHAPE, Batches, Spy, quiet_trainer, tiny, tiny_data
from torch import Tensor
from torch.distributions import Categorical, kl_divergence
from torch.optim import SGD, Adam

from vae_zoo.distributions import FixedNormal, FullNormal, Normal, kl
from vae_zoo.distributions.normal import independent
from vae_zoo.models import VaDE


def spread(**kwargs: Any) -> VaDE:
    """A model with three clusters of different shares, places and widths."""
    torch.manual_seed(0)
    model = tiny(VaDE, num_clusters=3, **kwargs).double()
    with torch.no_grad():
        for parameter in model.latent_prior.parameters():
            parameter.add_(torch.randn_like(parameter))
    return model


def by_hand(model: VaDE, x: Tensor, gamma: Tensor) -> Tensor:
    """The divergence of q(z|x) q(k|x) from p(z|k) p(k) for any q(k|x), as the paper has it, (B,)."""
    prior, q = model.latent_prior, model.encode(x).base_dist
    q = torch.distributions.Normal(q.loc[:, None], q.stddev[:, None])
    of_clusters = kl_divergence(q, torch.distributions.Normal(prior.loc, prior.log_scale.exp())).sum(-1)
    return (gamma * of_clusters).sum(1) + kl_divergence(Categorical(gamma), Categorical(logits=prior.logits))


class TestBound:
    def test_divergence_is_the_papers_at_its_own_clusters(self, images: Tensor) -> None:
        model, x = spread(), images.double()
        gamma = model.clusters(x).exp()
        torch.testing.assert_close(gamma.sum(1), torch.ones(len(x), dtype=torch.float64))
        torch.testing.assert_close(model.elbo(x).curves["joint_kl"], by_hand(model, x, gamma))

    def test_no_other_clusters_give_a_higher_bound(self, images: Tensor) -> None:
        """Among them the paper's, p(k|z) of a draw of z."""
        model, x = spread(), images.double()
        terms = model.elbo(x)
        p: Any = model.prior()
        at_draw = (p.mixture_distribution.logits + p.component_distribution.log_prob(terms.z[0][:, None])).softmax(1)
        for other in (at_draw, torch.rand_like(at_draw).softmax(1), torch.full_like(at_draw, 1 / 3)):
            assert (terms.curves["joint_kl"] <= by_hand(model, x, other) + 1e-9).all()

    def test_is_below_that_of_the_mixture(self, images: Tensor) -> None:
        """The divergence of the latents alone is smaller, by what q(k|x) is from p(k|z)."""
        model, x = spread(), images.double()
        terms = model.elbo(x, num_samples=4000)
        draws = terms.log_qz - terms.log_pz
        torch.testing.assert_close(terms.kl, draws.mean(0))
        assert (terms.curves["joint_kl"] > terms.kl - 4 * draws.std(0) / len(draws) ** 0.5).all()

    def test_one_cluster_is_a_vae_with_a_learned_normal_prior(self, images: Tensor) -> None:
        model, x = tiny(VaDE, num_clusters=1).double(), images.double()
        terms = model.elbo(x)
        p = Normal(model.latent_prior.loc[0], model.latent_prior.log_scale[0])
        torch.testing.assert_close(terms.curves["joint_kl"], kl(terms.q, independent(p, 1), terms.z))
        assert (terms.curves["cluster_kl"] == 0).all()

    def test_rate_of_the_cluster(self, images: Tensor) -> None:
        model, x = spread(), images.double()
        q, p = Categorical(logits=model.clusters(x)), Categorical(logits=model.latent_prior.logits)
        torch.testing.assert_close(model.elbo(x).curves["cluster_kl"], kl_divergence(q, p))


def blobs(num: int = 400) -> tuple[Tensor, Tensor]:
    """Images of four kinds, each a pattern with a little noise."""
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(num) % 4
    patterns = (torch.rand(4, *SHAPE, generator=generator) > 0.5).float()
    return (patterns[y] + 0.1 * torch.randn(num, *SHAPE, generator=generator)).clamp(0, 1), y


def trained(folder: Path, *, epochs: int, **kwargs: Any) -> tuple[VaDE, Tensor, Tensor]:
    x, y = blobs()
    torch.manual_seed(0)
    model = tiny(VaDE, num_clusters=4, num_pretraining=epochs - 1, likelihood=FixedNormal, **kwargs)
    data = tiny_data(num_examples=len(x), batch_size=20)
    loaded = data.load("train")
    data.load = lambda split: loaded._replace(x=x, y=y)
    quiet_trainer(folder, max_epochs=epochs, limit_val_batches=0).fit(model, data)
    return model, x, y


class TestFit:
    def test_finds_kinds_of_examples(self, tmp_path: Path) -> None:
        model, x, y = trained(tmp_path, epochs=8, optimizer=partial(Adam, lr=0.01))
        assert bool(model.found)
        table = torch.zeros(4, 4)
        table.index_put_((model.clusters(x).argmax(1), y), torch.ones(len(y)), accumulate=True)
        assert (table.max(0).values == 100).all()  # of each kind all are in one cluster
        assert (table.max(1).values == 100).all()  # and in no cluster there are two kinds

    def test_the_rate_has_no_weight_at_first(self, images: Tensor) -> None:
        model = tiny(VaDE)
        torch.manual_seed(0)
        terms = model.elbo(images)
        assert model.objective(terms)["loss"] == (terms.curves["joint_kl"] - terms.log_px[0]).mean()
        model.pretraining = True
        torch.testing.assert_close(model.objective(terms)["loss"], -terms.log_px[0].mean())
        model.objective(terms)["loss"].backward()
        assert all(p.grad is not None and not p.grad.any() for p in model.latent_prior.parameters())

    def test_clusters_start_from_the_moments_of_latents(self, tmp_path: Path) -> None:
        """With hardly any learning rate they stay where they were put: means of the latents of each kind."""
        model, x, _ = trained(tmp_path, epochs=3, optimizer=partial(SGD, lr=1e-12))
        z = model.embed(x)
        found = model.prior().component_distribution.log_prob(z[:, None]).argmax(1)
        assert len(found.unique()) == 4
        for k in range(4):
            torch.testing.assert_close(model.latent_prior.loc[k], z[found == k].mean(0), atol=1e-3, rtol=1e-3)
            scale = z[found == k].std(0, correction=0)
            torch.testing.assert_close(model.latent_prior.log_scale[k].exp(), scale, atol=1e-3, rtol=1e-2)
        torch.testing.assert_close(model.latent_prior.logits.softmax(0), torch.full((4,), 0.25), atol=1e-3, rtol=0)

    @pytest.mark.parametrize(("epochs", "expected"), [(1, [False]), (5, [True, False, False, False, False])])
    def test_by_default_a_fifth_of_the_epochs(self, tmp_path: Path, epochs: int, expected: list[bool]) -> None:
        spy = Spy(lambda trainer, model: model.pretraining)
        trainer = quiet_trainer(tmp_path, max_epochs=epochs, limit_train_batches=2, callbacks=[spy])
        trainer.fit(tiny(VaDE, num_clusters=2), tiny_data())
        assert spy.seen[1::2] == expected  # at the second batch: callbacks come before the model

    def test_a_fifth_of_a_number_of_steps(self, tmp_path: Path) -> None:
        spy = Spy(lambda trainer, model: model.pretraining)
        options = {"max_epochs": -1, "max_steps": 20, "limit_train_batches": 2, "limit_val_batches": 0}
        quiet_trainer(tmp_path, callbacks=[spy], **options).fit(tiny(VaDE, num_clusters=2), tiny_data())
        assert spy.seen[1::2] == [True] * 2 + [False] * 8

    def test_a_second_fit_keeps_the_clusters(self, tmp_path: Path) -> None:
        model, _, _ = trained(tmp_path, epochs=3)
        place = model.latent_prior.loc.clone()
        trainer = quiet_trainer(tmp_path, max_epochs=1, limit_train_batches=1)
        trainer.fit(model, tiny_data())  # 1 epoch is enough, since it is not the first time
        assert not model.pretraining
        assert (model.latent_prior.loc - place).abs().max() < 0.1

    def test_of_a_foreign_loader_by_its_first_batch(self, tmp_path: Path) -> None:
        model = tiny(VaDE, num_clusters=2, num_pretraining=1)
        loader = Batches(*torch.rand(2, 8, *SHAPE))
        quiet_trainer(tmp_path, max_epochs=2).fit(model, loader, loader)
        assert bool(model.found)

    def test_too_few_epochs_or_examples(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match="max_epochs must be above the num_pretraining of 10, got 10"):
            quiet_trainer(tmp_path, max_epochs=10).fit(tiny(VaDE, num_pretraining=10), tiny_data())
        model = tiny(VaDE, num_clusters=9, num_pretraining=0)
        with pytest.raises(ValueError, match="9 clusters need as many examples, got 8"):
            quiet_trainer(tmp_path, max_epochs=1).fit(model, *[Batches(torch.rand(8, *SHAPE))] * 2)


class TestSamples:
    def test_of_a_cluster(self) -> None:
        model = spread()
        with torch.no_grad():
            model.latent_prior.loc.copy_(torch.tensor([-30.0, 0.0, 30.0])[:, None].expand(-1, 4))
            model.latent_prior.log_scale.zero_()
            model.latent_prior.logits.zero_()
        seen: list[Tensor] = []
        decode = model.decode
        model.decode = lambda z, c=None: seen.append(z) or decode(z, c)
        assert model.sample(500, cluster=2).shape == (500, *SHAPE)
        assert (seen[0] - 30).abs().max() < 6
        assert seen[0].std().item() == pytest.approx(1, abs=0.1)
        assert model.sample(3, mean=False, cluster=0).shape == (3, *SHAPE)
        model.sample(500, cluster=2, temperature=0.1)
        assert seen[-1].std().item() == pytest.approx(0.1, abs=0.01)
        model.sample(500)
        assert seen[-1].std() > 10  # of all clusters

    def test_refusals(self) -> None:
        model = tiny(VaDE, num_clusters=3)
        for bad in (-1, 3):
            with pytest.raises(ValueError, match=rf"cluster must lie in 0 \.\. 2, got {bad}"):
                model.sample(1, cluster=bad)
        with pytest.raises(ValueError, match="num must be a whole number of at least 0"):
            model.sample(-1, cluster=0)


def test_prediction_has_the_cluster(images: Tensor) -> None:
    model = spread().float()
    found = model.predict_step(images, 0)
    torch.testing.assert_close(found["cluster_probability"], model.clusters(images).exp().max(1).values)
    assert (found["cluster"] == model.clusters(images).argmax(1)).all()


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"num_clusters": 0}, "num_clusters must be at least 1, got 0"),
        ({"num_pretraining": -1}, "num_pretraining must be a whole number of at least 0, got -1"),
        ({"posterior": FullNormal}, "VaDE needs a posterior that is normal in each dimension, got FullNormal"),
    ],
)
def test_refusals(bad: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tiny(VaDE, **bad)
