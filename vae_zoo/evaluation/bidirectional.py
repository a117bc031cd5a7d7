"""Bounds from both sides on the log evidence of data simulated by the model."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from vae_zoo.elbo import ELBOMixin
from vae_zoo.evaluation.chains import Run
from vae_zoo.evaluation.schedules import Schedule, sigmoid
from vae_zoo.functional import log_mean_exp
from vae_zoo.system.modes import in_evaluation_mode
from vae_zoo.system.seeding import forked


class Sandwich(NamedTuple):
    """Bounds, in expectation, on the log evidence of simulated examples.

    Args:
        x: The examples, (B, \\*shape).
        lower: Lower bounds, from chains that go from prior to posterior. Nats, (B,).
        upper: Upper bounds, from chains that go back from the latent that made the example. Nats, (B,).
    """

    x: Tensor
    lower: Tensor
    upper: Tensor

    @property
    def gap(self) -> Tensor:
        """Largest mean error of annealed importance sampling on these examples: nats, a scalar."""
        return (self.upper - self.lower).mean()


@in_evaluation_mode
def bidirectional(
    model: ELBOMixin,
    num: int = 16,
    c: Tensor | None = None,
    *,
    num_chains: int = 16,
    num_steps: int = 500,
    num_leapfrog: int = 10,
    schedule: Schedule = sigmoid,
    from_posterior: bool = False,
    step_size: float | None = None,
    seed: int = 0,
) -> Sandwich:
    r"""Check of annealed importance sampling on data simulated by the model, for which a posterior sample is known.

    .. math:: \mathbb{E}\Big[\log \frac{1}{M} \sum_m w_m\Big] \le \log p(x)
        \le \mathbb{E}\Big[-\log \frac{1}{M} \sum_m \frac{1}{w'_m}\Big]

    The latent that an example was simulated from is an exact sample of its posterior. Chains from it along the same
    distributions in reverse have weights w' that bound the evidence from above. A small gap validates the settings
    on the model's own samples; very different data may be harder.

    References:
        | Sandwiching the marginal likelihood using bidirectional Monte Carlo (Grosse et al., 2015)
        | https://arxiv.org/abs/1511.02543

    Args:
        model: A model whose `prior` and `decode` give the joint density of latent and example.
        num: Number B of examples to simulate.
        c: Conditions, (B, ...).
        num_chains: Number M of chains of each example, in each direction.
        num_steps: Number T of distributions between the base and the posterior.
        num_leapfrog: Leapfrog steps of each transition.
        schedule: From the number of steps to the exponents β.
        from_posterior: Whether the base is q(z|x) and not p(z).
        step_size: Step size of every transition; by default from a pilot run.
        seed: Seed of data and chains. The generators of torch do not change.

    Returns:
        The examples and their bounds.

    Raises:
        ValueError: If a number is less than 1, or the schedule does not rise from 0 to 1.
        TypeError: If the model has no bound, or one that prior, decode and drawn examples do not determine.
    """
    if num < 1:
        raise ValueError(f"num must be at least 1, got {num}.")
    _check_draws(getattr(model, "likelihood", None))
    run = Run(num_chains, num_steps, num_leapfrog, schedule, from_posterior, step_size)
    with torch.inference_mode(False), torch.no_grad(), forked(seed, _device(model)):
        p = model.prior(c)
        z = p.sample((num,) if not p.batch_shape else ())
        x = model.decode(z, c).sample()
        lower, upper, done = [], [], 0
        for path in run.paths(model, x, c):
            part = z[done : done + len(path.x)]
            lower.append(log_mean_exp(run.forward(path)))
            upper.append(-log_mean_exp(-run.backward(path, part)))
            done += len(path.x)
    return Sandwich(x, torch.cat(lower), torch.cat(upper))


def _check_draws(family: object) -> None:
    if not getattr(family, "draws_valid", True):
        raise TypeError(
            f"chains back need examples that follow p(x|z), and {type(family).__name__} takes the total of an example "
            "from itself: set library to false, or take ais on data."
        )


def _device(model: ELBOMixin) -> torch.device:
    return next((p.device for p in getattr(model, "parameters", tuple)()), torch.device("cpu"))
