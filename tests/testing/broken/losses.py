"""Models whose losses have a wrong scale, shape, precision or gradient."""

from __future__ import annotations

import math
import time
from typing import Any

from torch import Tensor, nn
from torch.distributions import Distribution, Independent, Normal

from vae_zoo.distributions import Family
from vae_zoo.elbo import ELBO
from vae_zoo.models import VAE, VQVAE


class MeanOverPixels(VAE):
    """Reconstruction averaged over pixels, rate summed over latents with a magic weight."""

    def losses(self, x: Tensor, c: Tensor | None = None) -> dict[str, Tensor]:
        elbo = self.elbo(x, c)
        reconstruction = elbo.log_px.mean() / x[0].numel()
        return {"loss": 0.00025 * elbo.kl.mean() - reconstruction, "elbo": reconstruction - 0.00025 * elbo.kl.mean()}


class HalfNormal(Family):
    """A density in whatever precision the network has."""

    def forward(self, params: Tensor) -> Distribution:
        return self.distribution(params)

    def distribution(self, params: Tensor) -> Distribution:
        return Independent(Normal(params, 0.1, validate_args=False), len(self.shape), validate_args=False)


class HalfPrecision(VAE):
    def __init__(self, *, likelihood: Any = HalfNormal, **kwargs: Any) -> None:
        super().__init__(likelihood=likelihood, **kwargs)


class Broadcasts(VAE):
    """Losses that take what comes, whatever its shape and type."""

    def check_batch(self, batch: Any, batch_idx: int = 0) -> None: ...

    def losses(self, x: Tensor, c: Tensor | None = None) -> dict[str, Tensor]:
        flat = nn.functional.adaptive_avg_pool1d(x.float().flatten(1)[:, None], math.prod(self.shape))
        return super().losses(flat.reshape(-1, *self.shape), c)


class OneSize(VAE):
    """Networks for one size of image."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.encoder = nn.Sequential(nn.Flatten(), nn.Linear(64, 2 * self.latent_dim), nn.Unflatten(1, (2, -1)))


class SummedOverBatch(VAE):
    """One term summed over the batch, the other averaged."""

    def objective(self, elbo: ELBO) -> dict[str, Tensor]:
        return {"loss": elbo.kl.sum() - elbo.log_px.mean()}


class Dead(VAE):
    """A layer that nothing uses."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.unused = nn.Linear(2, 2)


class Breaks(VAE):
    """A host sync in the hot function."""

    def losses(self, x: Tensor, c: Tensor | None = None) -> dict[str, Tensor]:
        values = super().losses(x, c)
        return values if values["kl"].item() >= 0 else {**values, "loss": values["loss"] * 0}


class Clock(VAE):
    """Noise from somewhere else than torch's generator."""

    def objective(self, elbo: ELBO) -> dict[str, Tensor]:
        loss = super().objective(elbo)["loss"]
        return {"loss": loss * (1 + 1e-3 * (time.perf_counter_ns() % 1000))}


class Ascends(VAE):
    """The bound minimised instead of maximised."""

    def objective(self, elbo: ELBO) -> dict[str, Tensor]:
        return {"loss": elbo.value.mean()}


class SummedCodes(VQVAE):
    """A commitment summed over the batch, beside averages."""

    def losses(self, x: Tensor, c: Tensor | None = None) -> dict[str, Tensor]:
        values = super().losses(x, c)
        return {**values, "loss": values["loss"] + (len(x) - 1) * self.beta * values["commitment"]}


class Matching(VAE):
    """A VAE with the discrepancy of its latents from the prior in place of the divergence."""

    min_batch_size = 2

    def objective(self, elbo: ELBO) -> dict[str, Tensor]:
        value = self.discrepancy(elbo.z[0], elbo.p.sample((len(elbo.z[0]),)))
        return {"loss": 10 * value - elbo.log_px.mean(), "discrepancy": value}

    def discrepancy(self, z: Tensor, y: Tensor) -> Tensor:
        return discrepancy(z, y)


class Shrinking(Matching):
    """A discrepancy divided by the number of pairs, of which it is a mean already."""

    def discrepancy(self, z: Tensor, y: Tensor) -> Tensor:
        return discrepancy(z, y) / (len(z) * (len(z) - 1))


def discrepancy(z: Tensor, y: Tensor) -> Tensor:
    """Squared maximum mean discrepancy of samples under the inverse multiquadratic kernel."""
    n, scale = len(z), 2 * z.shape[1]
    kernel = [scale / (scale + (a[:, None] - b).square().sum(-1)) for a, b in ((z, z), (y, y), (z, y))]
    own = sum((k.sum() - k.diagonal().sum()) / (n * (n - 1)) for k in kernel[:2])
    return own - 2 * kernel[2].mean()
