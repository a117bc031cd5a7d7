"""Annealed importance sampling of log p(x)."""

from __future__ import annotations

import torch
from torch import Tensor

from vae_zoo.elbo import Generative
from vae_zoo.elbo.importance import LogEvidence
from vae_zoo.evaluation.chains import Run
from vae_zoo.evaluation.schedules import Schedule, sigmoid
from vae_zoo.system.modes import in_evaluation_mode
from vae_zoo.system.seeding import forked


@in_evaluation_mode
def ais(
    model: Generative,
    x: Tensor,
    c: Tensor | None = None,
    *,
    num_chains: int = 16,
    num_steps: int = 500,
    num_leapfrog: int = 10,
    schedule: Schedule = sigmoid,
    from_posterior: bool = False,
    step_size: float | None = None,
    seed: int = 0,
) -> LogEvidence:
    r"""Estimate of log p(x) by annealed importance sampling: a lower bound in expectation, independent of the encoder.

    .. math:: \log w = \sum_{t=1}^T (\beta_t - \beta_{t-1}) \log \frac{p(z_{t-1}) \, p(x|z_{t-1})}{p_0(z_{t-1})},
        \quad z_t \sim T_{\beta_t}(\cdot|z_{t-1})

    Chains move from the prior to the posterior by Hamiltonian Monte Carlo. Step sizes are tuned for each
    example and each part of the path by a pilot run with a tenth of the steps, and are then fixed: with adaptive step
    sizes, the mean of the weights would not be p(x).

    References:
        | On the Quantitative Analysis of Decoder-Based Generative Models (Wu et al., 2017)
        | https://arxiv.org/abs/1611.04273

    Args:
        model: A model whose `prior` and `decode` give the joint density of latent and example.
        x: Examples, (B, \*shape).
        c: Conditions, (B, ...).
        num_chains: Number M of chains of each example.
        num_steps: Number T of distributions between the base and the posterior.
        num_leapfrog: Leapfrog steps of each transition.
        schedule: From the number of steps to the exponents β.
        from_posterior: Whether chains start at q(z|x), which takes fewer steps but may miss the same mass as q.
        step_size: Step size of every transition; by default from the pilot run.
        seed: Seed of the chains. The generators of torch do not change.

    Returns:
        The estimate, its standard error and effective sample size over the chains, (B,) each.

    Raises:
        ValueError: If a number is less than 1, or the schedule does not rise from 0 to 1.
        TypeError: If the model has no bound, or one that prior and decode do not determine.
    """
    run = Run(num_chains, num_steps, num_leapfrog, schedule, from_posterior, step_size)
    with torch.inference_mode(False), forked(seed, x.device):
        return LogEvidence.from_weights(torch.cat([run.forward(path) for path in run.paths(model, x, c)], 1))
