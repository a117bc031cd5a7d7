"""Models with one fault each, every one of which has been seen in a public implementation.

``FAULTS`` names the checks that must fail for each, the first of which names the fault.
"""

from __future__ import annotations

import math
import time
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Bernoulli as TorchBernoulli
from torch.distributions import Distribution, Independent, Normal

from vae_zoo.distributions import Family, Prior
from vae_zoo.distributions.normal import Normal as OurNormal
from vae_zoo.distributions.normal import independent
from vae_zoo.elbo import ELBO
from vae_zoo.functional import kl_normal
from vae_zoo.models import IWAE, VAE


class WrongSign(VAE):
    def elbo(self, x: Tensor, c: Tensor | None = None, num_samples: int = 1) -> ELBO:
        elbo = super().elbo(x, c, num_samples)
        return elbo._replace(kl=-elbo.kl)


class MeanOverPixels(VAE):
    """Reconstruction averaged over pixels, rate summed over latents with a magic weight."""

    def losses(self, x: Tensor, c: Tensor | None = None) -> dict[str, Tensor]:
        elbo = self.elbo(x, c)
        reconstruction = elbo.log_px.mean() / x[0].numel()
        return {"loss": 0.00025 * elbo.kl.mean() - reconstruction, "elbo": reconstruction - 0.00025 * elbo.kl.mean()}


class WeightedCurve(VAE):
    """The weight of training in the figure that checkpoints are chosen by."""

    def losses(self, x: Tensor, c: Tensor | None = None) -> dict[str, Tensor]:
        values = super().losses(x, c)
        return {**values, "elbo": values["reconstruction"] - 4 * values["kl"]}


class Surrogate(IWAE):
    """The self-normalised surrogate logged as the bound: up to log K above log p(x)."""

    def objective(self, elbo: ELBO) -> dict[str, Tensor]:
        weight = torch.softmax(elbo.log_w, 0).detach()
        value = (weight * elbo.log_w).sum(0).mean()
        return {"loss": -value, "bound": value}


class WorstSample(IWAE):
    """The softmax taken over losses: the worst sample has the most weight."""

    def objective(self, elbo: ELBO) -> dict[str, Tensor]:
        weight = torch.softmax(-elbo.log_w, 0).detach()
        return {"loss": -(weight * elbo.log_w).sum(0).mean()}


class SwappedAxes(IWAE):
    """The mean over examples inside the logarithm, and that over samples outside."""

    def objective(self, elbo: ELBO) -> dict[str, Tensor]:
        value = (torch.logsumexp(elbo.log_w, 1) - math.log(elbo.log_w.shape[1])).mean()
        return {"loss": -value, "bound": value}


class PositiveNLL(VAE):
    def log_evidence(self, *args: Any, **kwargs: Any) -> Tensor:
        return -super().log_evidence(*args, **kwargs)


class WholeChunks(VAE):
    """An estimator that uses a number of samples that suits itself."""

    def log_evidence(
        self, x: Tensor, c: Tensor | None = None, num_samples: int = 1, chunk: int | None = None
    ) -> Tensor:
        return super().log_evidence(x, c, max(num_samples, len(x)), chunk)


class Sigmoid(Family):
    """Binary cross-entropy of probabilities, clamped."""

    def distribution(self, params: Tensor) -> Distribution:
        probs = torch.sigmoid(params)
        return Independent(TorchBernoulli(probs=probs, validate_args=False), len(self.shape), validate_args=False)


class Probabilities(VAE):
    def __init__(self, *, likelihood: Any = Sigmoid, **kwargs: Any) -> None:
        super().__init__(likelihood=likelihood, **kwargs)


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


class TwoOptimizers(VAE):
    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.automatic_optimization = False

    def configure_optimizers(self) -> Any:
        return [torch.optim.Adam(self.encoder.parameters()), torch.optim.Adam(self.decoder.parameters())]

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        loss = self.losses(batch[0])["loss"]
        self.manual_backward(loss)
        for optimizer in self.optimizers():
            optimizer.step()
            optimizer.zero_grad()
        return loss.detach()


class SummedOverBatch(VAE):
    """One term summed over the batch, the other averaged."""

    def objective(self, elbo: ELBO) -> dict[str, Tensor]:
        return {"loss": elbo.kl.sum() - elbo.log_px.mean()}


class LearnedNormal(Prior):
    def __init__(self, shape: Any) -> None:
        super().__init__(shape)
        self.loc, self.log_scale = nn.Parameter(torch.zeros(shape)), nn.Parameter(torch.zeros(shape))

    def forward(self, c: Tensor | None = None) -> Distribution:
        return independent(OurNormal(self.loc, self.log_scale), 1)


class StandardSamples(VAE):
    """Samples from N(0, I), whatever the prior."""

    def __init__(self, *, prior: Any = LearnedNormal, **kwargs: Any) -> None:
        super().__init__(prior=prior, **kwargs)

    def sample(self, num: int, c: Tensor | None = None, *, mean: bool = True) -> Tensor:
        weight = next(self.parameters())
        return self.decode(torch.randn(num, self.latent_dim, dtype=weight.dtype)).mean


class NoHalf(VAE):
    """The ½ of the divergence forgotten."""

    def elbo(self, x: Tensor, c: Tensor | None = None, num_samples: int = 1) -> ELBO:
        elbo = super().elbo(x, c, num_samples)
        return elbo._replace(kl=2 * elbo.kl)


class TopDropped(VAE):
    """The divergence of the last latent left out."""

    def elbo(self, x: Tensor, c: Tensor | None = None, num_samples: int = 1) -> ELBO:
        elbo = super().elbo(x, c, num_samples)
        q: Any = elbo.q
        zero = torch.zeros_like(q.base_dist.loc)
        return elbo._replace(kl=kl_normal(q.base_dist.loc, q.base_dist.log_scale, zero, zero)[:, :-1].sum(-1))


class SamplingEmbed(VAE):
    def embed(self, x: Tensor, c: Tensor | None = None, *, sample: bool = False) -> Tensor:
        return self.encode(x, c).rsample()


class OtherPath(VAE):
    """A prediction that takes another way than the loss."""

    def predict_step(self, batch: Any, batch_idx: int) -> dict[str, Tensor]:
        out = super().predict_step(batch, batch_idx)
        return {**out, "reconstruction": self.decode(torch.tanh(out["z"])).mean}


class ClassCounter(VAE):
    """A schedule that counts in an attribute of the class, which no checkpoint holds."""

    count = 0

    def objective(self, elbo: ELBO) -> dict[str, Tensor]:
        type(self).count += self.training
        return {"loss": (min(1.0, self.count / 20) * elbo.kl - elbo.log_px.mean(0)).mean()}


class RankZero(VAE):
    """Figures that are not reduced over the processes."""

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        for name, value in self.losses(batch[0], batch[1]).items():
            self.log(f"val/{name}", value, batch_size=len(batch[0]))

    def on_validation_epoch_end(self) -> None: ...


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


class Forgets(VAE):
    """An argument that the checkpoint does not get to know."""

    def __init__(self, *, width: float = 0.1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.width = width + 0.1 * (len(type(self).made) > 0)
        type(self).made.append(width)

    made: list[float] = []

    def decode(self, z: Tensor, c: Tensor | None = None) -> Distribution:
        return super().decode(self.width * z, c)


class Ascends(VAE):
    """The bound minimised instead of maximised."""

    def objective(self, elbo: ELBO) -> dict[str, Tensor]:
        return {"loss": elbo.value.mean()}


FAULTS: dict[type[VAE], tuple[str, ...]] = {
    WrongSign: ("divergence", "unweighted", "elbo_below_evidence", "objective"),
    MeanOverPixels: ("tiling", "unweighted"),
    WeightedCurve: ("unweighted",),
    Surrogate: ("objective",),
    WorstSample: ("objective",),
    SwappedAxes: ("objective",),
    PositiveNLL: ("evidence_exact", "evidence_grows"),
    WholeChunks: ("samples_used",),
    Probabilities: ("extremes",),
    HalfPrecision: ("autocast",),
    Broadcasts: ("mismatch",),
    OneSize: ("shapes",),
    TwoOptimizers: ("steps",),
    SummedOverBatch: ("batch_size",),
    StandardSamples: ("own_prior",),
    NoHalf: ("divergence", "unweighted"),
    TopDropped: ("divergence",),
    SamplingEmbed: ("answers",),
    OtherPath: ("answers",),
    ClassCounter: ("resuming",),
    RankZero: ("processes",),
    Dead: ("gradients",),
    Breaks: ("one_graph",),
    Clock: ("determinism",),
    Forgets: ("checkpoints",),
    Ascends: ("learning", "tiling"),
}
