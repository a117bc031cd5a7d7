"""Models whose terms train what they should not, or the wrong way."""

from __future__ import annotations

from functools import partial
from typing import Any

from torch import Tensor, nn
from torch.distributions import Distribution
from torch.nn.functional import softplus

from broken.losses import discrepancy
from vae_zoo.elbo import ELBO
from vae_zoo.functional import permute_dims
from vae_zoo.models import IWAE, VAE, FactorVAE, PriorAE
from vae_zoo.nn import Discriminator, frozen
from vae_zoo.penalties import Penalty

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
