"""Annealed importance sampling against models whose evidence is exact."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from helpers import LinearGaussian, linear, tiny
from short import few
from torch import Tensor

from vae_zoo.elbo import ELBO
from vae_zoo.evaluation import ais, bidirectional, sigmoid
from vae_zoo.evaluation import linear as linear_schedule
from vae_zoo.evaluation.chains import Run
from vae_zoo.evaluation.hmc import Path, transition
from vae_zoo.models import AE, VAE

easy = partial(linear, scale=1.0)  # a wide likelihood, to which a few steps lead
quick = partial(ais, num_chains=50, num_steps=20, num_leapfrog=3, step_size=0.35)
both = partial(bidirectional, num=100, num_chains=4, num_steps=20, num_leapfrog=3, step_size=0.35)


def unbiased(ratio: Tensor) -> bool:
    """Whether ratios of densities, (N,), have mean 1 within three standard errors."""
    return bool((ratio.mean() - 1).abs() < 3 * ratio.std() / len(ratio) ** 0.5)


@pytest.mark.parametrize("seed", few(range(20), 2))
def test_within_three_standard_errors_of_the_exact_evidence(seed: int) -> None:
    """On 20 random models: of many replicates of an example, and of both directions on simulated examples."""
    model, x, exact = easy(seed)
    many = quick(model, x.repeat(25, 1), num_chains=10, seed=seed)
    assert unbiased((many.value - exact.repeat(25)).exp())
    model, x, _ = easy(seed, widen=1.3, shift=0.1)
    sandwich = both(model, num_steps=60, seed=seed)
    exact = model.exact_evidence(sandwich.x)
    assert unbiased((sandwich.lower - exact).exp())
    assert unbiased((exact - sandwich.upper).exp())


class TestEstimate:
    def test_stated_error_is_the_spread_of_replicates(self) -> None:
        model, x, _ = easy(1)
        many = quick(model, x.repeat(50, 1))
        spread = many.value.reshape(50, 4).std(0)
        torch.testing.assert_close(many.error.reshape(50, 4).mean(0), spread, rtol=0.4, atol=0)
        assert ((many.ess >= 1) & (many.ess <= 50)).all()

    @pytest.mark.parametrize("from_posterior", [True, False])
    def test_one_step_is_importance_sampling(self, from_posterior: bool) -> None:
        model, x, exact = easy(2)
        found = quick(model, x, num_steps=1, num_chains=500, from_posterior=from_posterior)
        if from_posterior:  # which is exact here
            torch.testing.assert_close(found.value, exact)
            torch.testing.assert_close(found.ess, torch.full_like(exact, 500))
        else:
            path = Path(model, x, None, from_posterior=False)
            log_w = path.at(path.start(20_000)).log_ratio
            expected = 500 * log_w.exp().mean(0) ** 2 / log_w.exp().square().mean(0)
            torch.testing.assert_close(found.ess, expected, rtol=1, atol=0)

    def test_more_steps_help(self) -> None:
        model, x, _ = easy(2)
        errors = [quick(model, x, num_steps=steps).error.mean() for steps in (2, 10, 40)]
        assert errors[0] > 1.5 * errors[1] > 2 * errors[2]

    def test_finds_what_the_posterior_misses(self) -> None:
        """A posterior far too narrow: importance sampling sits far below the evidence, and says nothing of it."""
        model, x, exact = easy(3, widen=0.05, shift=0.5)
        importance, annealed = model.log_evidence(x, num_samples=500), quick(model, x, num_steps=50)
        assert (importance < exact - 1).all()
        torch.testing.assert_close(annealed.value, exact, rtol=0, atol=0.3)

    @pytest.mark.parametrize("schedule", [sigmoid, linear_schedule])
    def test_schedules(self, schedule: object) -> None:
        beta = schedule(50)
        assert (beta[0], beta[-1], len(beta)) == (0, 1, 51)
        assert (beta.diff() > 0).all()
        model, x, exact = easy(4)
        found = quick(model, x, schedule=schedule, num_steps=50)
        assert ((found.value - exact).abs() < 4 * found.error).all()

    @pytest.mark.parametrize("scale", [0.1, 1.0])
    def test_the_pilot_run_finds_step_sizes_that_are_accepted(self, scale: float) -> None:
        """At the end of the way, whatever its length is."""
        model, x, _ = linear(4, scale=scale)
        run = Run(4, 60, 3, sigmoid, from_posterior=False, step_size=None)
        (path,) = run.paths(model, x, None)
        assert path.step_sizes.shape == (60, 4)
        state, total = path.at(model.encode(x).sample((1000,))), 0.0
        for _ in range(5):
            state, accept = transition(path, state, 1.0, path.step_sizes[-1], 3)
            total += accept.mean().item() / 5
        assert 0.45 < total < 0.9


class TestSandwich:
    def test_closes_on_the_exact_evidence(self) -> None:
        model, *_ = easy(5)
        gaps = []
        for steps in (2, 10, 50):
            found = both(model, num_steps=steps)
            exact = model.exact_evidence(found.x).mean()
            assert found.lower.mean() - 0.05 < exact < found.upper.mean() + 0.05
            gaps.append(found.gap)
        assert gaps[0] > 2 * gaps[1] > 4 * gaps[2]

    def test_a_wrong_gradient_opens_it(self, monkeypatch: pytest.MonkeyPatch) -> None:
        model, *_ = easy(5)
        right, at = both(model).gap, Path.at

        def wrong(self: Path, z: Tensor) -> object:
            state = at(self, z)
            return state._replace(ratio_slope=-state.ratio_slope)

        monkeypatch.setattr(Path, "at", wrong)
        assert both(model).gap > 5 * right

    def test_examples_come_from_the_model(self) -> None:
        model, *_ = easy(6)
        x = both(model, num=3000, num_chains=1, num_steps=1, num_leapfrog=1).x
        weight, bias = (p.detach() for p in model.decoder.layers[1].parameters())
        expected = weight @ weight.T + torch.eye(5, dtype=x.dtype)
        torch.testing.assert_close(x.mean(0), bias, rtol=0, atol=0.15)
        torch.testing.assert_close(torch.cov(x.T), expected, rtol=0.1, atol=0.4)


class TestTransition:
    @pytest.mark.parametrize("step_size", [0.1, 0.9])
    def test_leaves_the_posterior_as_it_is(self, step_size: float) -> None:
        model, x, _ = easy(7)
        posterior = model.encode(x)
        path = Path(model, x, None, from_posterior=False)
        state, rates = path.at(posterior.sample((4000,))), []
        for _ in range(10):
            state, accept = transition(path, state, 1.0, torch.full((4,), step_size, dtype=x.dtype), 3)
            rates.append(accept.mean())
        assert (min(rates) < 0.9) == (step_size > 0.5)  # or the test of Metropolis would not be tested
        torch.testing.assert_close(state.z.mean(0), posterior.mean, rtol=0, atol=0.03)
        for n in range(4):
            torch.testing.assert_close(torch.cov(state.z[:, n].T), posterior.covariance_matrix[n], rtol=0.1, atol=0.01)

    def test_states_hold_the_joint_density(self) -> None:
        model, x, exact = easy(7)
        for from_posterior in (False, True):
            path = Path(model, x, None, from_posterior=from_posterior)
            state = path.at(path.start(3))
            assert state.z.shape == (3, 4, 2)
            joint = exact + model.encode(x).log_prob(state.z)
            torch.testing.assert_close(state.log_density(1.0), joint)
            torch.testing.assert_close(state.log_density(0.0), path.base.log_prob(state.z))


class TestUse:
    def test_seeds(self, images: Tensor) -> None:
        model = tiny(VAE)
        before = torch.get_rng_state()
        runs = [quick(model, images, num_chains=3, num_steps=2, seed=seed).value for seed in (1, 1, 2)]
        assert torch.equal(before, torch.get_rng_state())
        assert torch.equal(runs[0], runs[1])
        assert not torch.equal(runs[0], runs[2])
        assert not runs[0].requires_grad
        assert all(p.grad is None for p in model.parameters())

    def test_in_inference_mode(self, images: Tensor) -> None:
        model = tiny(VAE)
        with torch.inference_mode():
            found = quick(model, images.clone(), num_chains=3, num_steps=2)
        torch.testing.assert_close(found.value, quick(model, images, num_chains=3, num_steps=2).value)

    def test_agrees_with_importance_sampling(self, images: Tensor) -> None:
        model = tiny(VAE)
        found = quick(model, images, num_steps=60)
        torch.testing.assert_close(found.value, model.log_evidence(images, num_samples=3000), rtol=0, atol=0.15)

    def test_a_few_examples_at_a_time(self, images: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("vae_zoo.evaluation.chains._CHUNK_ELEMENTS", 3 * 5 * 64)
        model, sizes = tiny(VAE), set()
        model.decoder.register_forward_hook(lambda _, given, __: sizes.add(len(given[0])))
        assert quick(model, images, num_chains=3, num_steps=2).value.shape == (16,)
        assert max(sizes) <= 4 * 5
        found = both(model, num=7, num_chains=3, num_steps=2)
        assert found.x.shape == (7, 1, 8, 8)
        assert found.upper.shape == found.lower.shape == (7,)

    @pytest.mark.parametrize("name", ["num_chains", "num_steps", "num_leapfrog"])
    def test_bad_numbers(self, images: Tensor, name: str) -> None:
        for call in (partial(ais, tiny(VAE), images), partial(bidirectional, tiny(VAE))):
            with pytest.raises(ValueError, match=f"{name} must be at least 1, got 0"):
                call(**{name: 0})

    def test_other_errors(self, images: Tensor) -> None:
        with pytest.raises(ValueError, match="step_size must be positive and finite, got nan"):
            ais(tiny(VAE), images, step_size=float("nan"))
        with pytest.raises(ValueError, match="num must be at least 1, got 0"):
            bidirectional(tiny(VAE), 0)
        for wrong in (lambda n: 0.9 * sigmoid(n), lambda n: sigmoid(n).flip(0), lambda n: sigmoid(n + 1)):
            with pytest.raises(ValueError, match="must give num_steps \\+ 1 exponents that rise from 0 to 1"):
                ais(tiny(VAE), images, schedule=wrong)
        with pytest.raises(TypeError, match="only a model with a prior and a likelihood has an evidence, got AE"):
            ais(tiny(AE), images)

    def test_a_bound_that_prior_and_decode_do_not_give(self) -> None:
        class Other(LinearGaussian):
            def elbo(self, x: Tensor, c: Tensor | None = None, num_samples: int = 1) -> ELBO:
                terms = super().elbo(x, c, num_samples)
                return terms._replace(log_px=terms.log_px + self.extra)

        model = Other(shape=(5,), latent_dim=2)
        model.extra, x = 0.0, torch.randn(3, 5, dtype=torch.float64)
        quick(model, x, num_steps=1)
        model.extra = 1.0
        with pytest.raises(TypeError, match="which Other does not give"):
            quick(model, x, num_steps=1)
