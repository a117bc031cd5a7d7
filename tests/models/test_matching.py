"""WAE, SWAE, InfoVAE and DIP-VAE: the objectives of the papers, term by term."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from helpers import build, losses
from torch import Tensor

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
