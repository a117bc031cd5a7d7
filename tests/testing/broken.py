"""Models with one fault each, every one of which has been seen in a public implementation.

``FAULTS`` names the checks that must fail for each, the first of which names the fault.
"""

from __future__ import annotations

import math
import time
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Bernoulli as TorchBernoulli
from torch.distributions import Distribution, Independent, Normal, constraints
from torch.nn.functional import softplus

from vae_zoo.distributions import Family, Mixture, Prior
from vae_zoo.distributions.normal import Normal as OurNormal
from vae_zoo.distributions.normal import independent
from vae_zoo.elbo import ELBO
from vae_zoo.functional import kl_normal, permute_dims
from vae_zoo.models import IWAE, VAE, VQVAE, Autoencoder, FactorVAE, PriorAE, VampVAE
from vae_zoo.nn import Discriminator, frozen
from vae_zoo.penalties import Penalty


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
    """The weight of training in the metric that checkpoints are chosen by."""

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
    """Metrics that are not reduced over the processes."""

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


class MeanOverLatents(VAE):
    """The divergence averaged over the dimensions of the latent."""

    def elbo(self, x: Tensor, c: Tensor | None = None, num_samples: int = 1) -> ELBO:
        elbo = super().elbo(x, c, num_samples)
        return elbo._replace(kl=elbo.kl / self.latent_dim)


class Folding(Distribution):
    """Planar layers without the constraint that makes them invertible, and a small number inside the logarithm."""

    arg_constraints: dict[str, Any] = {}
    support = constraints.real
    has_rsample = True

    def __init__(self, base: Distribution, layers: Tensor) -> None:
        self.base, self.u, self.w, self.b = base, *layers.split([base.event_shape[0], base.event_shape[0], 1], -1)
        super().__init__(base.batch_shape, base.event_shape, validate_args=False)

    @property
    def mean(self) -> Tensor:
        return self.base.mean

    @property
    def stddev(self) -> Tensor:
        return self.base.stddev

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        z = self.base.rsample(sample_shape)
        log_q = self.base.log_prob(z)
        for u, w, b in zip(self.u.unbind(-2), self.w.unbind(-2), self.b.unbind(-2), strict=True):
            h = torch.tanh((w * z).sum(-1, keepdim=True) + b)
            log_q = log_q - torch.log((1 + (1 - h.square()) * (w * u).sum(-1, keepdim=True)).abs() + 1e-4).squeeze(-1)
            z = z + u * h
        self.drawn = log_q
        return z

    def log_prob(self, value: Tensor) -> Tensor:
        return self.drawn.expand(value.shape[:-1])


class FoldingFlow(Family):
    @property
    def param_shape(self) -> tuple[int, ...]:
        return (2 * self.shape[0] + 6 * (2 * self.shape[0] + 1),)

    def distribution(self, params: Tensor) -> Distribution:
        loc, log_scale, rest = params.tensor_split([self.shape[0], 2 * self.shape[0]], -1)
        return Folding(independent(OurNormal(loc, log_scale.clamp(-7, 7)), 1), rest.unflatten(-1, (6, -1)))


class Unconstrained(VAE):
    """Flows that fold the latent space: the bound gains what the density forgets."""

    def __init__(self, *, posterior: Any = FoldingFlow, **kwargs: Any) -> None:
        super().__init__(posterior=posterior, **kwargs)


class VarianceForScale(OurNormal):
    def log_prob(self, value: Tensor) -> Tensor:
        return OurNormal(self.loc, 2 * self.log_scale).log_prob(value)


class OtherScale(Family):
    """Draws of one standard deviation, and the density of another, its square."""

    @property
    def param_shape(self) -> tuple[int, ...]:
        return (2, *self.shape)

    def distribution(self, params: Tensor) -> Distribution:
        loc, log_scale = params.unbind(-2)
        return independent(VarianceForScale(loc, log_scale.clamp(-7, 7)), 1)


class TwoScales(VAE):
    """A posterior whose entropy is that of another one."""

    def __init__(self, *, posterior: Any = OtherScale, **kwargs: Any) -> None:
        super().__init__(posterior=posterior, **kwargs)


class SumOfComponents(Mixture):
    def log_prob(self, value: Tensor) -> Tensor:
        return super().log_prob(value) + math.log(self.components.batch_shape[0])


class Unnormalised(VampVAE):
    """A mixture without the weights of its components: a prior of mass P."""

    def __init__(self, *, num_pseudo: int = 6, **kwargs: Any) -> None:
        super().__init__(num_pseudo=num_pseudo, **kwargs)

    def prior(self, c: Tensor | None = None) -> Distribution:
        del c
        return SumOfComponents(self.encode(self.pseudo_inputs))


SMALL = partial(Discriminator, hidden=[32])


class Adversarial(FactorVAE):
    """A FactorVAE with terms that a subclass gets wrong."""

    def __init__(self, *, discriminator: Any = SMALL, **kwargs: Any) -> None:
        super().__init__(discriminator=discriminator, **kwargs)

    def terms(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Total correlation, and the loss of the discriminator."""
        tc = self._logits(frozen(self.discriminator), z).mean()
        real, permuted = (self._logits(self.discriminator, rows) for rows in (z.detach(), permute_dims(z.detach())))
        return tc, (softplus(-real) + softplus(permuted)).mean() / 2

    def objective(self, elbo: ELBO) -> dict[str, Tensor]:
        tc, own = self.terms(elbo.z)
        loss = VAE.objective(self, elbo)["loss"] + self.gamma * tc + own
        return {"loss": loss, "tc": tc, "discriminator_loss": own}


class LeaksToEncoder(Adversarial):
    """The discriminator's loss with the gradient of the latents."""

    def terms(self, z: Tensor) -> tuple[Tensor, Tensor]:
        real, permuted = (self._logits(self.discriminator, rows) for rows in (z, permute_dims(z)))
        return super().terms(z)[0], (softplus(-real) + softplus(permuted)).mean() / 2


class TrainsItsAdversary(Adversarial):
    """A discriminator that also learns to make the total correlation small."""

    def terms(self, z: Tensor) -> tuple[Tensor, Tensor]:
        return self._logits(self.discriminator, z).mean(), super().terms(z)[1]


class Unreached(Adversarial):
    """A total correlation that does not reach the encoder."""

    def terms(self, z: Tensor) -> tuple[Tensor, Tensor]:
        return super().terms(z.detach())


class WrongWay(Adversarial):
    """The sign of the adversary's term swapped, so that the encoder helps it."""

    def routes(self) -> dict[str, dict[str, float]]:
        others = {"reconstruction": -1.0, "kl": 1.0, "tc": self.gamma}
        return {"discriminator": {"discriminator_loss": 1.0}, "": others}

    def objective(self, elbo: ELBO) -> dict[str, Tensor]:
        values = super().objective(elbo)
        return {**values, "loss": values["loss"] - 2 * self.gamma * values["tc"]}


class EncoderOfBoth(IWAE):
    """Two bounds, one for each network, of which both networks get the sum."""

    def routes(self) -> dict[str, dict[str, float]]:
        return {"encoder": {"single": -1.0}, "": {"bound": -1.0}}

    def objective(self, elbo: ELBO) -> dict[str, Tensor]:
        single, bound = elbo.log_w.mean(), super().objective(elbo)["bound"]
        return {"loss": -single - bound, "single": single, "bound": bound}


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


class Discrepancy(Penalty):
    min_batch_size = 2

    def forward(self, z: Tensor, q: Distribution, p: Distribution) -> tuple[Tensor, dict[str, Tensor]]:
        del q
        return discrepancy(z, p.sample((len(z),))), {}


class NegatedDiscrepancy(Discrepancy):
    def forward(self, z: Tensor, q: Distribution, p: Distribution) -> tuple[Tensor, dict[str, Tensor]]:
        return -super().forward(z, q, p)[0], {}


class LatentCritic(Penalty):
    """An adversary that tells latents from draws of the prior."""

    sign = -1.0

    def __init__(self, shape: Any, **kwargs: Any) -> None:
        super().__init__(shape, **kwargs)
        self.network = nn.Sequential(nn.Linear(shape[0], 8), nn.Tanh(), nn.Linear(8, 1))

    def forward(self, z: Tensor, q: Distribution, p: Distribution) -> tuple[Tensor, dict[str, Tensor]]:
        del q, p
        return softplus(self.sign * frozen(self.network)(z)).mean(), {}

    def own_loss(self, z: Tensor, p: Distribution) -> Tensor:
        return (softplus(self.network(z)) + softplus(-self.network(p.sample((len(z),))))).mean()


class FriendlyCritic(LatentCritic):
    sign = 1.0


class Matched(PriorAE):
    """An autoencoder with a penalty that a subclass gets wrong."""

    def __init__(self, *, penalties: Any = (Discrepancy,), **kwargs: Any) -> None:
        super().__init__(penalties=penalties, **kwargs)


class Rewarded(Matched):
    """A negative weight of the penalty, which drives the latents away from the prior."""

    def losses(self, x: Tensor, c: Tensor | None = None) -> dict[str, Tensor]:
        values = super().losses(x, c)
        return {**values, "loss": values["loss"] - 1.999 * values["discrepancy"]}


class Negated(Matched):
    """A penalty of the wrong sign."""

    def __init__(self, *, penalties: Any = (NegatedDiscrepancy,), **kwargs: Any) -> None:
        super().__init__(penalties=penalties, **kwargs)


class Criticised(Matched):
    """An autoencoder against an adversary."""

    def __init__(self, *, penalties: Any = (LatentCritic,), **kwargs: Any) -> None:
        super().__init__(penalties=penalties, **kwargs)


class Befriended(Matched):
    """An encoder that helps the adversary to tell its latents from the prior."""

    def __init__(self, *, penalties: Any = (FriendlyCritic,), **kwargs: Any) -> None:
        super().__init__(penalties=penalties, **kwargs)


RIGHT: dict[type[Autoencoder], tuple[str, ...]] = {
    Adversarial: ("routing",),
    Matching: ("scale_invariance",),
    Matched: ("penalty_sign", "scale_invariance"),
    Criticised: ("penalty_sign", "routing"),
}
"""What passes a check that subclasses, or models like it, fail by their fault alone."""

FAULTS: dict[type[Autoencoder], tuple[str, ...]] = {
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
    SummedOverBatch: ("scale_invariance",),
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
    MeanOverLatents: ("divergence", "unweighted"),
    Unconstrained: ("unit_likelihood",),
    TwoScales: ("unit_likelihood", "elbo_below_evidence"),
    Unnormalised: ("unit_likelihood", "evidence_exact"),
    LeaksToEncoder: ("routing",),
    TrainsItsAdversary: ("routing",),
    Unreached: ("routing",),
    WrongWay: ("routing",),
    EncoderOfBoth: ("routing",),
    SummedCodes: ("scale_invariance",),
    Shrinking: ("scale_invariance",),
    Rewarded: ("penalty_sign",),
    Negated: ("penalty_sign",),
    Befriended: ("penalty_sign",),
}
