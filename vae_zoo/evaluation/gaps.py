"""The gap between log p(x) and the bound, divided into what the encoder and what the family of posteriors lose."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.distributions import Distribution

from vae_zoo.distributions import score
from vae_zoo.elbo.importance import LogEvidence
from vae_zoo.evaluation.regret import check_regret
from vae_zoo.system.modes import in_evaluation_mode
from vae_zoo.system.seeding import forked, mix

_RATE = 0.05
_DECODED = 1024
"""Number of latents that are decoded at once."""


class Gaps(NamedTuple):
    r"""The two parts of :math:`\log p(x) - \mathcal{L}(x)` of each example, in nats.

    Args:
        amortisation: What the best posterior of the family gains over that of the encoder, (N,).
        approximation: What log p(x) exceeds the bound of that best posterior by, (N,).
        pareto_k: Tail shape of the importance weights of log p(x), (N,): see :func:`~.importance.pareto_shape`.
    """

    amortisation: Tensor
    approximation: Tensor
    pareto_k: Tensor


@in_evaluation_mode
def inference_gaps(
    model: Any, x: Tensor, *, num_steps: int = 200, num_samples: int = 64, num_importance: int = 1000, seed: int = 0
) -> Gaps:
    r"""Amortisation and approximation gap of examples.

    .. math:: \log p(x) - \mathcal{L}(\phi(x)) = \underbrace{\log p(x) - \mathcal{L}(\tau^*)}_{\text{approximation}}
        + \underbrace{\mathcal{L}(\tau^*) - \mathcal{L}(\phi(x))}_{\text{amortisation}}

    The parameters τ of q(z|x) start from those of the encoder, and take steps of Adam with new noise at each. The
    two bounds are then estimated with the same noise, which has not been optimised on, so that the first gap may come
    out below 0; log p(x) is estimated by importance sampling from the best posterior, and is on average too low, so
    that the second gap is a lower bound.

    References:
        | Inference Suboptimality in Variational Autoencoders (Cremer et al., 2018)
        | https://arxiv.org/abs/1801.03558

    Args:
        model: A model whose encoder gives the parameters of its posterior, in evaluation mode.
        x: Examples, (N, \*shape).
        num_steps: Steps of Adam.
        num_samples: Samples of the posterior in each bound.
        num_importance: Importance samples of log p(x).
        seed: Seed of the noise.

    Raises:
        ValueError: If the model has another posterior or another bound, its samples are relaxed or have no gradient, or
            a number is less than 1.
    """
    check_regret(model)
    if not model.posterior.weights_valid:
        raise ValueError(
            f"samples of {type(model.posterior).__name__} are relaxed: its posteriors cannot be optimised."
        )
    for name, value in (("num_steps", num_steps), ("num_samples", num_samples), ("num_importance", num_importance)):
        if value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}.")
    parts = x.split(max(1, _DECODED // num_samples))
    sizes = (num_steps, num_samples, num_importance)
    found = [_gaps(model, part, *sizes, mix(seed, n)) for n, part in enumerate(parts)]
    return Gaps(*(torch.cat(each) for each in zip(*found, strict=True)))


def _gaps(model: Any, x: Tensor, num_steps: int, num_samples: int, num_importance: int, seed: int) -> Gaps:
    with torch.inference_mode(False), forked(seed, x.device):
        x = x.clone()  # of a tensor that allows no gradients
        with torch.no_grad():
            start = model.run_encoder(x).float()
        best = _best(model, x, start.clone(), num_steps)
        key = mix(seed, 1)
        with torch.no_grad():
            with forked(key, x.device):
                encoded = _bound(model, model.posterior(start), x, num_samples)
            with forked(key, x.device):
                chosen = _bound(model, model.posterior(best), x, num_samples)
            evidence = _evidence(model, model.posterior(best), x, num_importance)
    return Gaps(chosen - encoded, evidence.value - chosen, evidence.pareto_k)


def _best(model: Any, x: Tensor, params: Tensor, num_steps: int) -> Tensor:
    with torch.enable_grad():
        params.requires_grad_()
        optimizer = torch.optim.Adam([params], lr=_RATE)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, num_steps)
        for _ in range(num_steps):
            (params.grad,) = torch.autograd.grad(-_bound(model, model.posterior(params), x, 4).sum(), params)
            optimizer.step()
            schedule.step()
    return params.detach()


def _bound(model: Any, q: Distribution, x: Tensor, num_samples: int) -> Tensor:
    z = q.rsample((num_samples,))
    rates, _ = model.divergence(q, model.prior(), z)
    return score(model.decode(z), x, z.shape[:2]).mean(0) - rates.sum(1)


def _evidence(model: Any, q: Distribution, x: Tensor, num_samples: int) -> LogEvidence:
    p, log_w = model.prior(), []
    for num in torch.arange(num_samples).split(max(1, _DECODED // len(x))):
        z = q.rsample((len(num),))
        log_w.append(score(model.decode(z), x, z.shape[:2]) + p.log_prob(z) - q.log_prob(z))
    return LogEvidence.from_weights(torch.cat(log_w))
