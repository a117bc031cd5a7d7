"""The bound against models with a known evidence."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from helpers import SHAPE, LinearGaussian, linear, tiny
from short import few
from torch import Tensor
from torch.distributions import Normal as TorchNormal

from vae_zoo.functional import log_mean_exp
from vae_zoo.models import IWAE, VAE, BetaVAE


class TestLinearGaussian:
    @pytest.mark.parametrize("seed", range(20))
    def test_elbo_is_below_the_evidence(self, seed: int) -> None:
        model, x, exact = linear(seed, widen=1.3, shift=0.1)
        terms = model.elbo(x, num_samples=4000)
        value = terms.log_px + terms.log_pz - terms.log_qz
        error = value.std(0) / 4000**0.5
        assert (terms.value < exact + 3 * error).all()
        # The gap is KL(q || p(z|x)), which is known too: the bound is no lower than it should be.
        posterior = model.encode(x)
        q = LinearGaussian.encode(model, x)
        model.widen, model.shift = 1.0, 0.0
        gap = torch.distributions.kl_divergence(q, model.encode(x))
        assert ((exact - terms.value - gap).abs() < 4 * error).all()
        assert posterior.event_shape == (2,)

    @pytest.mark.parametrize("seed", range(5))
    @pytest.mark.parametrize("num_samples", [1, 7])
    def test_exact_posterior_gives_the_exact_evidence(self, seed: int, num_samples: int) -> None:
        model, x, exact = linear(seed)
        torch.testing.assert_close(model.elbo(x, num_samples=num_samples).value, exact, rtol=1e-6, atol=1e-6)
        torch.testing.assert_close(model.log_evidence(x, num_samples=num_samples), exact, rtol=1e-6, atol=1e-6)

    @pytest.mark.parametrize("seed", few(range(3), 1))
    def test_evidence_is_unbiased_with_a_worse_posterior(self, seed: int) -> None:
        model, x, exact = linear(seed, widen=1.5, shift=0.2)
        ratios = torch.stack([(model.log_evidence(x, num_samples=50) - exact).exp() for _ in range(200)])
        error = ratios.std(0) / len(ratios) ** 0.5
        assert ((ratios.mean(0) - 1).abs() < 3 * error).all()
        torch.testing.assert_close(model.log_evidence(x, num_samples=50_000), exact, rtol=0, atol=0.05)

    def test_bound_does_not_fall_with_the_number_of_samples(self) -> None:
        model, x, exact = linear(widen=2.0, shift=0.3)
        log_w = model.elbo(x, num_samples=64 * 4000).log_w
        bounds = [log_mean_exp(log_w.reshape(k, -1, 4)).mean() for k in (1, 2, 4, 16, 64)]
        assert all(low < high for low, high in pairwise(bounds))
        assert bounds[-1] < exact.mean() + 0.01

    def test_gradient_of_the_bound_is_that_of_the_evidence(self) -> None:
        """With the exact posterior the bound is tight, and so is its gradient in the parameters of p."""
        model, x, _ = linear()
        bias = model.decoder.layers[1].bias
        (gradient,) = torch.autograd.grad(model.elbo(x, num_samples=3).value.sum(), bias)
        weight = model.decoder.layers[1].weight.detach()
        covariance = weight @ weight.T + model.scale**2 * torch.eye(5, dtype=torch.float64)
        expected = torch.linalg.solve(covariance, (x - bias.detach()).T).sum(1)
        torch.testing.assert_close(gradient, expected, rtol=1e-6, atol=1e-6)


class TestTerms:
    def test_value_is_reconstruction_minus_divergence(self, images: Tensor) -> None:
        terms = tiny(VAE).elbo(images, num_samples=3)
        torch.testing.assert_close(terms.value, terms.log_px.mean(0) - terms.kl)
        losses = tiny(VAE, num_samples=3).losses(images)
        torch.testing.assert_close(losses["elbo"], losses["reconstruction"] - losses["kl"])
        torch.testing.assert_close(losses["loss"], -losses["elbo"])

    def test_terms_agree_with_torch(self, images: Tensor) -> None:
        model = tiny(VAE)
        terms = model.elbo(images, num_samples=3)
        params = model.encoder(images)
        q = TorchNormal(params[:, 0], params[:, 1].exp())
        log_px = torch.distributions.Bernoulli(
            logits=model.decoder(terms.z.flatten(0, 1)).unflatten(0, (3, 16)), validate_args=False
        ).log_prob(images)
        torch.testing.assert_close(terms.log_qz, q.log_prob(terms.z).sum(-1))
        torch.testing.assert_close(terms.log_pz, TorchNormal(0, 1).log_prob(terms.z).sum(-1))
        torch.testing.assert_close(terms.log_px, log_px.sum((-1, -2, -3)))
        torch.testing.assert_close(terms.kl, torch.distributions.kl_divergence(q, TorchNormal(0, 1)).sum(-1))
        torch.testing.assert_close(terms.log_w, terms.log_px + terms.log_pz - terms.log_qz)

    def test_shapes(self, images: Tensor) -> None:
        terms = tiny(VAE).elbo(images[:5], num_samples=3)
        assert terms.z.shape == (3, 5, 4)
        assert {t.shape for t in (terms.log_px, terms.log_pz, terms.log_qz, terms.log_w)} == {(3, 5)}
        assert terms.kl.shape == terms.value.shape == (5,)

    @pytest.mark.parametrize("weight", [0.0, 0.3])
    def test_annealing_weighs_the_objective_and_not_what_is_reported(self, images: Tensor, weight: float) -> None:
        for cls, beta in ((VAE, 1.0), (BetaVAE, 4.0)):
            model = tiny(cls)
            torch.manual_seed(1)
            plain = model.losses(images)
            model.kl_weight = torch.tensor(weight)
            torch.manual_seed(1)
            annealed = model.losses(images)
            for name in ("elbo", "kl", "reconstruction"):
                assert plain[name] == annealed[name]
            expected = weight * beta * plain["kl"] - plain["reconstruction"]
            torch.testing.assert_close(annealed["loss"], expected)

    def test_annealed_iwae_still_reports_a_bound(self, images: Tensor) -> None:
        model = tiny(IWAE)
        torch.manual_seed(1)
        plain = model.losses(images)
        torch.testing.assert_close(plain["loss"], -plain["bound"])
        model.kl_weight = torch.tensor(0.0)
        torch.manual_seed(1)
        annealed = model.losses(images)
        assert annealed["loss"] != plain["loss"]
        torch.testing.assert_close(annealed["bound"], plain["bound"])


class TestIWAE:
    def test_one_sample_is_the_estimator_of_the_elbo(self, images: Tensor) -> None:
        model = tiny(IWAE, num_samples=1)
        terms = model.elbo(images, num_samples=1)
        torch.testing.assert_close(-model.objective(terms)["loss"], terms.log_w.mean())

    def test_agrees_with_a_double_loop(self, images: Tensor) -> None:
        model = tiny(IWAE)
        terms = model.elbo(images[:5], num_samples=3)  # K ≠ B: swapped axes would show
        params, total = model.encoder(images[:5]), 0.0
        for b in range(5):
            weights = []
            for k in range(3):
                z = terms.z[k, b]
                logits = model.decoder(z[None])[0]
                log_px = -torch.nn.functional.binary_cross_entropy_with_logits(logits, images[b], reduction="sum")
                log_pz = TorchNormal(0, 1).log_prob(z).sum()
                log_qz = TorchNormal(params[b, 0], params[b, 1].exp()).log_prob(z).sum()
                weights.append((log_px + log_pz - log_qz).double().exp())
            total = total + (sum(weights) / 3).log()
        torch.testing.assert_close(model.objective(terms)["loss"].double(), -total / 5)

    def test_is_between_the_elbo_and_the_evidence(self) -> None:
        model, x, exact = linear(widen=2.0, shift=0.3)
        terms = model.elbo(x, num_samples=5 * 10_000)
        bound = log_mean_exp(terms.log_w.reshape(5, -1, 4)).mean()
        assert terms.value.mean() < bound < exact.mean()


class TestLogEvidence:
    @pytest.mark.parametrize(
        ("num_samples", "chunk"), [(1, 1), (1, 10), (7, 3), (7, 7), (7, 1), (10, 4), (12, 4), (5, 1000), (13, None)]
    )
    def test_uses_exactly_the_samples_asked_for(self, images: Tensor, num_samples: int, chunk: int | None) -> None:
        model, decoded = tiny(VAE), []
        model.decoder.register_forward_hook(lambda _, given, __: decoded.append(len(given[0]) / 16))
        assert model.log_evidence(images, num_samples=num_samples, chunk=chunk).shape == (16,)
        assert sum(decoded) == num_samples
        assert max(decoded) <= (chunk or num_samples)

    def test_chunks_do_not_change_the_estimate(self) -> None:
        model, x, exact = linear(widen=1.2)
        for chunk in (1, 7, 300, 1000):
            torch.testing.assert_close(model.log_evidence(x, None, 1000, chunk), exact, rtol=0, atol=0.1)

    def test_is_the_log_mean_of_the_weights(self, images: Tensor) -> None:
        model = tiny(VAE)
        torch.manual_seed(1)
        estimate = model.log_evidence(images, num_samples=6, chunk=6)
        torch.manual_seed(1)
        log_w = model.elbo(images, num_samples=6).log_w.double()
        torch.testing.assert_close(estimate.double(), log_w.exp().mean(0).log())
        assert (estimate < 0).all()  # a probability: log p, not a loss

    def test_is_not_annealed(self, images: Tensor) -> None:
        model = tiny(VAE)
        torch.manual_seed(1)
        plain = model.log_evidence(images, num_samples=3)
        model.kl_weight = torch.tensor(0.0)
        torch.manual_seed(1)
        assert torch.equal(model.log_evidence(images, num_samples=3), plain)

    def test_float32_under_autocast(self) -> None:
        """In bfloat16 the sum of the weights is off by more than a nat."""
        torch.manual_seed(0)
        model, x = tiny(VAE), torch.rand(6, *SHAPE)
        with torch.autocast("cpu", torch.bfloat16):
            estimate = model.log_evidence(x, num_samples=2000)
            half_x = model.log_evidence(x.bfloat16(), num_samples=2000)
        assert estimate.dtype == half_x.dtype == torch.float32
        exact = model.double().log_evidence(x.double(), num_samples=2000)
        torch.testing.assert_close(estimate.double(), exact, rtol=0, atol=0.5)

    @pytest.mark.parametrize(("num_samples", "chunk"), [(0, None), (-1, None), (5, 0)])
    def test_errors(self, images: Tensor, num_samples: int, chunk: int | None) -> None:
        with pytest.raises(ValueError, match=r"(num_samples|chunk) must be at least 1, got"):
            tiny(VAE).log_evidence(images, num_samples=num_samples, chunk=chunk)

    def test_leaves_no_graph(self, images: Tensor) -> None:
        assert not tiny(VAE).log_evidence(images, num_samples=2).requires_grad
