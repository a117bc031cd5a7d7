from __future__ import annotations

import math
from functools import partial
from typing import Any

import pytest
import torch
from latents import SIZES, factors, noise, perfect, rotated
from torch import Tensor

from vae_zoo.metrics import DCI, MIG, SAP, BetaVAEScore, FactorVAEScore, Modularity, SampledMIG
from vae_zoo.metrics.disentanglement.factors import FactorMetric
from vae_zoo.metrics.information import discretise, entropy, mutual_information


def forest() -> Any:
    from sklearn.ensemble import RandomForestClassifier

    return RandomForestClassifier(20)


def few(cls: type[FactorMetric]) -> Any:
    return partial(cls, num_train=400, num_test=200, batch_size=32)


FAST = [MIG, Modularity, SAP, partial(DCI, estimator=forest), few(FactorVAEScore), few(BetaVAEScore)]


def value(metric: Any, z: Tensor, v: Tensor) -> Any:
    metric.update(z, v)
    found = metric.compute()
    return {k: x.item() for k, x in found.items()} if isinstance(found, dict) else found.item()


class TestInformation:
    def test_mutual_information(self) -> None:
        from sklearn.metrics import mutual_info_score

        a, b = torch.randint(7, (300, 4)), torch.randint(5, (300, 3))
        b[:, 0] = a[:, 1] // 2
        expected = [[mutual_info_score(x.numpy(), y.numpy()) for y in b.T] for x in a.T]
        torch.testing.assert_close(mutual_information(a, b), torch.tensor(expected).double(), atol=1e-10, rtol=1e-7)
        torch.testing.assert_close(mutual_information(a, a).diagonal(), entropy(a))

    def test_discretise_is_numpys_histogram(self) -> None:
        import numpy as np

        z = torch.randn(500, 3) * torch.tensor([1.0, 10.0, 0.0])
        bins = discretise(z, 20)
        for x, found in zip(z[:, :2].double().numpy().T, bins.T, strict=False):
            assert np.bincount(found.numpy(), minlength=20).tolist() == np.histogram(x, 20)[0].tolist()
        assert (bins[:, 2] == 0).all()


class TestPerfectCode:
    def test_information(self) -> None:
        v = factors()
        assert value(MIG(), perfect(v), v) == pytest.approx(1, abs=0.06)  # the noise has information by chance
        z = torch.cat([v.float(), torch.zeros(len(v), 1)], 1)
        assert value(MIG(), z, v) == pytest.approx(1)
        assert value(Modularity(), v.float(), v) == pytest.approx(1)

    def test_predictors(self) -> None:
        v = factors(sizes=(2, 2, 2), repeats=60)
        assert value(SAP(), v.float(), v) == pytest.approx(0.5, abs=0.06)
        found = value(DCI(), v.float(), v)
        assert found == pytest.approx(dict.fromkeys(found, 1.0), abs=0.02)

    @pytest.mark.parametrize("cls", [FactorVAEScore, BetaVAEScore])
    def test_votes(self, cls: type[FactorMetric]) -> None:
        v = factors()
        assert value(few(cls)(), perfect(v), v) == pytest.approx(1, abs=0.01)


class TestRotatedCode:
    def test_low_gaps_though_everything_is_there(self) -> None:
        v = factors()
        z = rotated(v)
        assert value(MIG(), z, v) < 0.3
        assert value(SAP(), z, v) < 0.25
        found = value(DCI(estimator=forest), z, v)
        assert found["informativeness"] > 0.95
        assert max(found["disentanglement"], found["completeness"]) < 0.6
        assert value(Modularity(), z, v) < 0.8 * value(Modularity(), perfect(v)[:, :3], v)

    def test_a_code_with_two_latents_a_factor_is_modular_but_not_complete(self) -> None:
        v = factors()
        z = v.float().repeat(1, 2)
        assert value(Modularity(), z, v) == pytest.approx(1)
        assert value(MIG(), z, v) == pytest.approx(0)
        found = value(DCI(estimator=forest), z, v)
        assert found["disentanglement"] > 0.95
        assert found["completeness"] == pytest.approx(1 - math.log(2) / math.log(6), abs=0.1)


class TestNoise:
    def test_nothing_or_chance(self) -> None:
        v = factors(100)
        z = noise(v)
        assert value(MIG(), z, v) == pytest.approx(0, abs=0.02)
        assert value(SAP(), z, v) == pytest.approx(0, abs=0.06)
        assert value(few(FactorVAEScore)(), z, v) < 0.5
        assert value(few(BetaVAEScore)(), z, v) < 0.5
        found = value(DCI(estimator=forest), z, v)
        assert max(found["disentanglement"], found["completeness"]) < 0.05
        assert found["informativeness"] == pytest.approx(sum(1 / n for n in SIZES) / 3, abs=0.06)

    def test_latents_that_do_not_vary(self) -> None:
        v = factors()
        assert value(FactorVAEScore(), torch.zeros(len(v), 3), v) == 0
        assert value(MIG(), torch.zeros(len(v), 3), v) == 0
        assert value(Modularity(), torch.zeros(len(v), 3), v) == 0


class TestSampledMIG:
    def test_information_of_a_mixture_by_quadrature(self) -> None:
        """One latent says of a binary factor what a mixture of two normal distributions does; the other nothing."""
        v = torch.tensor([[0], [1]]).repeat(100, 1)
        mean = torch.cat([2.0 * v, torch.zeros(200, 1)], 1)
        metric = SampledMIG(num_samples=20_000)
        metric.update(mean, torch.full_like(mean, math.log(0.8)), v)
        z = torch.linspace(-8, 10, 20_001, dtype=torch.float64)
        p = torch.stack([torch.distributions.Normal(m, 0.8).log_prob(z).exp() for m in (0.0, 2.0)])
        mixture = p.mean(0)
        information = torch.trapezoid((p * (p / mixture).clamp(min=1e-300).log()).mean(0), z)
        assert metric.compute().item() == pytest.approx(information.item() / math.log(2), abs=0.015)

    def test_sharp_posteriors_give_what_the_means_do(self) -> None:
        v = factors(4)
        mean = torch.cat([v.float(), torch.zeros(len(v), 1)], 1)
        metric = SampledMIG(num_samples=300)
        metric.update(mean, torch.full_like(mean, -5.0), v)
        assert metric.compute().item() == pytest.approx(1, abs=0.02)
        metric = SampledMIG(num_samples=300)
        metric.update(mean, torch.full_like(mean, 3.0), v)
        assert metric.compute().item() == pytest.approx(0, abs=0.03)

    def test_needs_two_latents(self) -> None:
        metric = SampledMIG()
        metric.update(torch.randn(6, 1), torch.zeros(6, 1), torch.arange(6)[:, None] % 2)
        with pytest.raises(ValueError, match="SampledMIG needs at least 2 latent dimensions, got 1"):
            metric.compute()


@pytest.mark.parametrize("make", FAST)
def test_neither_batches_nor_order_matter(make: Any) -> None:
    v = factors(5)
    z = rotated(v) + 0.1 * torch.randn(len(v), 3)
    whole, parts, other = make(), make(), make(seed=1) if make not in (MIG, Modularity) else make(num_bins=7)
    order = torch.randperm(len(v))
    for rows in order.split([1, 50, 69]):
        parts.update(z[rows], v[rows])
    assert value(whole, z, v) == value(parts, z[:0], v[:0])
    assert value(other, z, v) != value(whole, z[:0], v[:0])


def test_a_constant_factor_is_left_out() -> None:
    v = factors()
    z = torch.cat([v.float(), torch.zeros(len(v), 1)], 1)
    more = torch.cat([v, torch.full((len(v), 1), 7)], 1)
    assert value(MIG(), z, more) == value(MIG(), z, v)


def test_refusals() -> None:
    v = factors(2)
    with pytest.raises(ValueError, match=r"factors must be integers.*got torch.float32 \(48, 3\) for 48 latents"):
        MIG().update(noise(v), v.float())
    with pytest.raises(ValueError, match="MIG needs at least 1 factors that vary and 2 latent dimensions, got 0 and 5"):
        value(MIG(), noise(v), torch.zeros_like(v))
    with pytest.raises(ValueError, match="factor 0 has none"):
        value(FactorVAEScore(), torch.randn(5, 2), torch.arange(5)[:, None])
    for make in (MIG, Modularity):
        with pytest.raises(ValueError, match="num_bins must be at least 1, got 0"):
            make(num_bins=0)
    for cls in (SAP, DCI):
        for bad in (0.0, 1.0, math.nan):
            with pytest.raises(ValueError, match="test_fraction must lie between 0 and 1"):
                cls(test_fraction=bad)
    with pytest.raises(ValueError, match="batch_size must be at least 2, got 1"):
        FactorVAEScore(batch_size=1)
    with pytest.raises(ValueError, match="num_train must be at least 1, got 0"):
        BetaVAEScore(num_train=0)
    with pytest.raises(ValueError, match="num_samples must be at least 1, got 0"):
        SampledMIG(num_samples=0)
