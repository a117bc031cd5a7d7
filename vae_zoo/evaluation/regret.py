"""Likelihood regret, a score of anomalies."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from vae_zoo.distributions import score
from vae_zoo.elbo import ELBOMixin, require_density
from vae_zoo.models.base.autoencoder import Autoencoder
from vae_zoo.system.modes import in_evaluation_mode
from vae_zoo.system.seeding import forked

_RATE = 0.05
_DECODED = 512
"""Number of latents that are decoded at once, with gradients."""


@in_evaluation_mode
def likelihood_regret(model: Any, x: Tensor, *, num_steps: int = 100, num_samples: int = 16, seed: int = 0) -> Tensor:
    r"""What the bound of each example gains from a posterior of its own.

    .. math:: \mathrm{LR}(x) = \max_\tau \mathcal{L}(x; \theta, \tau) - \mathcal{L}(x; \theta, \phi(x))

    The decoder θ stays as it is, and the parameters τ of q(z|x) start from those of the encoder φ. An encoder is good
    for what it was trained on, so that the regret is high for anomalies, also where their bound is as high as that of
    ordinary examples. The paper's optimizer takes steps of the whole encoder, or of τ as here. All steps have the same
    noise, so that the regret is at least 0.

    References:
        | Likelihood Regret: An Out-of-Distribution Detection Score For Variational Auto-encoder (Xiao et al., 2020)
        | https://arxiv.org/abs/2003.02977

    Args:
        model: A model whose encoder gives the parameters of its posterior, in evaluation mode.
        x: Examples, (B, \*shape).
        num_steps: Steps of Adam.
        num_samples: Samples of the posterior in each bound.
        seed: Seed of their noise.

    Returns:
        Nats, (B,).

    Raises:
        ValueError: If the model has another posterior or another bound, or num_steps or num_samples is less than 1.
    """
    check_regret(model)
    for name, value in (("num_steps", num_steps), ("num_samples", num_samples)):
        if value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}.")
    size = max(1, _DECODED // num_samples)
    return torch.cat([_gain(model, part, num_steps, num_samples, seed) for part in x.split(size)])


def _gain(model: Any, x: Tensor, num_steps: int, num_samples: int, seed: int) -> Tensor:
    with torch.inference_mode(False), torch.enable_grad():
        x = x.clone()  # of a tensor that allows no gradients
        params = model.run_encoder(x).detach().float().clone().requires_grad_()
        optimizer = torch.optim.Adam([params], lr=_RATE)
        bounds = []
        for step in range(num_steps + 1):
            with forked(seed, x.device):
                bound = _bound(model, params, x, num_samples)
            bounds.append(bound.detach())
            if step < num_steps:
                (params.grad,) = torch.autograd.grad(-bound.sum(), params)
                optimizer.step()
    return torch.stack(bounds).amax(0) - bounds[0]


def _bound(model: Any, params: Tensor, x: Tensor, num_samples: int) -> Tensor:
    q, p = model.posterior(params), model.prior()
    z = q.rsample((num_samples,))
    rates, _ = model.divergence(q, p, z)
    return score(model.decode(z), x, z.shape[:2]).mean(0) - rates.sum(1)


def check_regret(model: Any) -> None:
    """Refuse a model without a regret.

    Raises:
        ValueError: If it has another posterior than that of the encoder's output, or another bound.
    """
    name = type(model).__name__
    if not (isinstance(model, ELBOMixin) and type(model).encode is Autoencoder.encode):
        raise ValueError(f"regret: the posterior of {name} is not one family of the encoder's output.")
    if type(model).elbo is not ELBOMixin.elbo:
        raise ValueError(f"regret: {name} has a bound of its own.")
    require_density(model)
