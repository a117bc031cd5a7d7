"""The VAE with continuous and categorical latents."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

from torch import Tensor
from torch.distributions import Distribution

from vae_zoo.distributions import Gumbel, Joint, JointPrior
from vae_zoo.elbo import ELBO
from vae_zoo.models.plain.vae import VAE
from vae_zoo.nn import Ramp
from vae_zoo.typing import Shape


class JointVAE(VAE):
    r"""VAE with normal and categorical latents, the rate of each held at a capacity that grows during training.

    .. math:: \mathcal{L} = -\mathbb{E}[\log p(x|z)] + \gamma \, |\mathrm{KL}_c - C_c(t)| + \gamma \,
        |\mathrm{KL}_d - C_d(t)|

    Rates are those of the batch. Categorical latents hold at most N log K nats, where their capacity ends. As in
    :class:`CategoricalVAE`, they are relaxed in training, where ``elbo`` is a surrogate, and one-hot in evaluation,
    where bound and evidence are exact. A latent is the continuous vector followed by the one-hot vectors.

    A rate of log K does not mean that a variable is used: a variable that is certain of the same category for all
    examples has it too. This happens if the capacity grows faster than the decoder learns to use the categories, or if
    γ is large against the reconstruction in nats; ``active_units`` tells the two apart.

    When to use it:
        If some factors are categories and others continuous. Expect to tune capacities: a category may be certain and
        still unused, which ``active_units`` shows.

    References:
        | Learning Disentangled Joint Continuous and Discrete Representations (Dupont, 2018)
        | https://arxiv.org/abs/1804.00104

    Args:
        latent_dim: Number of continuous dimensions.
        num_variables: Number N of categorical variables.
        num_categories: Number K of categories of each.
        gamma: Weight γ of the distances from the capacities.
        continuous_capacity: Capacity of the continuous latents in nats, at the end.
        discrete_capacity: Capacity of the categorical latents in nats, at the end; at most N log K is used.
        num_steps: Steps of the optimizer in which the capacities grow from 0.
        temperature: Temperature of the relaxed latents.
        kwargs: Arguments of :class:`VAE`.

    Raises:
        ValueError: If gamma or a capacity is negative or not finite, or a number is too small.
    """

    units = {"elbo": "nats, of one-hot latents"}
    units |= dict.fromkeys(("kl_continuous", "kl_discrete", "continuous_capacity", "discrete_capacity"), "nats")
    own_schedule = "its capacities"
    apart = dict.fromkeys(("BetaVAE", "InfoVAE"), "its capacities set the rates")
    fixed = {
        "free_bits": "its capacities set the rates",
        **dict.fromkeys(("posterior", "prior"), "its latents are normal and categorical"),
    }

    def __init__(
        self,
        *,
        latent_dim: int = 10,
        num_variables: int = 1,
        num_categories: int = 10,
        gamma: float = 30.0,
        continuous_capacity: float = 5.0,
        discrete_capacity: float = 5.0,
        num_steps: int = 25_000,
        temperature: float = 0.67,
        **kwargs: Any,
    ) -> None:
        values = {
            "gamma": gamma,
            "continuous_capacity": continuous_capacity,
            "discrete_capacity": discrete_capacity,
        }
        for name, value in values.items():
            if not (value >= 0 and math.isfinite(value)):
                raise ValueError(f"{name} must be at least 0 and finite, got {value}.")
        if min(num_variables, num_categories - 1) < 1:
            given = f"{num_variables} and {num_categories}"
            raise ValueError(f"num_variables must be at least 1 and num_categories at least 2, got {given}.")
        self.num_variables, self.num_categories = num_variables, num_categories  # the latents' shape follows from them
        sizes: Any = {"num_variables": num_variables, "num_categories": num_categories}
        posterior = partial(Joint, discrete=partial(Gumbel, temperature=temperature), **sizes)
        super().__init__(latent_dim=latent_dim, posterior=posterior, prior=partial(JointPrior, **sizes), **kwargs)
        self.gamma, self.most = gamma, num_variables * math.log(num_categories)
        self.continuous_capacity = Ramp(0.0, continuous_capacity, num_steps)
        self.discrete_capacity = Ramp(0.0, discrete_capacity, num_steps)

    @property
    def latent_shape(self) -> Shape:
        return (self.latent_dim + self.num_variables * self.num_categories,)

    def divergence(self, q: Distribution, p: Distribution, z: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        rates, curves = super().divergence(q, p, z)
        continuous, discrete = rates.split([self.latent_dim, self.num_variables], 1)
        return rates, curves | {"kl_continuous": continuous.sum(1), "kl_discrete": discrete.sum(1)}

    def objective(self, elbo: ELBO) -> dict[str, Tensor]:
        capacities = self.continuous_capacity(), self.discrete_capacity().clamp(max=self.most)
        gaps = [elbo.curves[f"kl_{part}"].mean() - capacities[n] for n, part in enumerate(("continuous", "discrete"))]
        loss = self.gamma * (gaps[0].abs() + gaps[1].abs()) - elbo.log_px.mean()
        return {"loss": loss, "continuous_capacity": capacities[0], "discrete_capacity": capacities[1]}
