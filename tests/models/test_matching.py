"""WAE, SWAE, InfoVAE and DIP-VAE: the objectives of the papers, term by term."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from helpers import build, losses
from torch import Tensor

from vae_zoo.distributions import StandardNormal
from vae_zoo.models import AE, DIPVAE, SWAE, VAE, WAE, InfoVAE


def same_start(cls: type, images: Tensor, **kwargs: Any) -> dict[str, Tensor]:
    torch.manual_seed(0)
    return losses(build(cls, **kwargs), images)


class TestWAE:
    @pytest.mark.parametrize(("cls", "name"), [(WAE, "mmd"), (SWAE, "sliced_wasserstein")])
    def test_the_formula_of_the_paper(self, cls: type, name: str, images: Tensor) -> None:
        """Squared error summed over pixels, and λ times the distance; the rest is a constant of the likelihood."""
        torch.manual_seed(0)
        model = build(cls, weight=7.0)
        found = losses(model, images)
        squared = (images - model.reconstruct(images)).square().flatten(1).sum(1).mean()
        constant = images[0].numel() * 0.5 * torch.log(torch.tensor(torch.pi))
        torch.testing.assert_close(found["loss"], squared + constant + 7 * found[name])

    @pytest.mark.parametrize("cls", [WAE, SWAE])
    def test_without_its_weight_it_is_the_autoencoder(self, cls: type, images: Tensor) -> None:
        likelihood = build(cls).likelihood
        plain = same_start(AE, images, likelihood=type(likelihood))
        assert torch.equal(same_start(cls, images, weight=0.0)["loss"], plain["loss"])

    def test_it_has_no_bound(self, images: Tensor) -> None:
        assert "elbo" not in same_start(WAE, images)


class TestInfoVAE:
    def test_alpha_0_and_lambda_1_is_the_vae(self, images: Tensor) -> None:
        assert torch.equal(same_start(InfoVAE, images, alpha=0.0, lambd=1.0)["loss"], same_start(VAE, images)["loss"])

    @pytest.mark.parametrize(("alpha", "lambd"), [(0.0, 10.0), (1.0, 5.0), (-2.0, 8.0), (0.5, 0.5)])
    def test_coefficients(self, alpha: float, lambd: float, images: Tensor) -> None:
        found = same_start(InfoVAE, images, alpha=alpha, lambd=lambd)
        expected = (1 - alpha) * found["kl"] + (alpha + lambd - 1) * found["mmd"] - found["reconstruction"]
        torch.testing.assert_close(found["loss"], expected)
        torch.testing.assert_close(found["elbo"], found["reconstruction"] - found["kl"])

    def test_its_kernel_is_half_as_wide_as_the_latents_are_many(self) -> None:
        """For N(m, I / 4) with |m| = 1 in four dimensions and h² = 2: 0.2406, where h² = 4 gives 0.1790."""

        def mean(gap: float, variance: float, width: float = 2.0) -> float:
            return (width / (width + variance)) ** 2 * math.exp(-gap / (2 * (width + variance)))

        wanted = mean(0, 0.5) + mean(0, 2) - 2 * mean(1, 1.25)
        assert wanted == pytest.approx(0.2406, abs=5e-5)
        torch.manual_seed(0)
        mmd, p = build(InfoVAE).penalties[0], StandardNormal((4,))()
        values = torch.stack([mmd(0.5 + 0.5 * torch.randn(64, 4), None, p)[0] for _ in range(200)])
        assert values.mean().item() == pytest.approx(wanted, abs=4.5 * values.std().item() / 200**0.5)

    def test_the_default_of_the_other_kernel_is_that_of_wae(self) -> None:
        p = StandardNormal((4,))()
        (info,), (wae,) = build(InfoVAE, kernel="imq").penalties, build(WAE).penalties
        assert info._width(p, 4) == wae._width(p, 4) == 8

    @pytest.mark.parametrize("cls", [InfoVAE, WAE])
    @pytest.mark.parametrize("bandwidth", [3.0, "median"])
    def test_the_bandwidth_can_be_chosen(self, cls: type, bandwidth: Any, images: Tensor) -> None:
        model = build(cls, bandwidth=bandwidth)
        assert model.penalties[0].bandwidth == bandwidth
        assert losses(model, images)["mmd"] != same_start(cls, images)["mmd"]
        with pytest.raises(ValueError, match=r"bandwidth must be positive and finite, got -1\.0"):
            build(cls, bandwidth=-1.0)

    @pytest.mark.parametrize(("alpha", "lambd"), [(0.0, 1e-3), (1.5, 3.0), (0.0, float("nan"))])
    def test_refuses_what_would_drive_latents_away(self, alpha: float, lambd: float) -> None:
        with pytest.raises(ValueError, match=r"alpha must be at most 1, and alpha \+ lambd at least 1, got"):
            build(InfoVAE, alpha=alpha, lambd=lambd)


class TestDIPVAE:
    @pytest.mark.parametrize(("means_only", "diagonal"), [(True, 20.0), (False, 2.0)])
    def test_weights_of_the_paper(self, means_only: bool, diagonal: float) -> None:
        (penalty,) = build(DIPVAE, off_diagonal=2.0, means_only=means_only).penalties
        assert (penalty.off_diagonal, penalty.diagonal, penalty.means_only) == (2.0, diagonal, means_only)

    def test_the_objective(self, images: Tensor) -> None:
        found = same_start(DIPVAE, images)
        torch.testing.assert_close(found["loss"], found["covariance"] - found["elbo"])
