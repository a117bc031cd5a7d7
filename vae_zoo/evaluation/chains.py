"""Chains from a base distribution to the posterior, and back."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from vae_zoo.distributions.supports import is_interval, support_of
from vae_zoo.elbo import ELBOMixin, Generative, require_density
from vae_zoo.evaluation.hmc import Path, transition
from vae_zoo.evaluation.schedules import Schedule

_ACCEPTANCE = 0.65
"""Target acceptance rate of the pilot run, at which Hamiltonian Monte Carlo is most efficient."""
_GAIN = 0.2
_PILOT_CHAINS = 4
_WARM_UP = 20
_CHUNK_ELEMENTS = 2**23
"""Elements of a decoder's output computed at once: 32 MiB of float32, and a few times that for gradients."""


class Run:
    """Settings of chains; see :func:`vae_zoo.evaluation.ais` for the arguments.

    Raises:
        ValueError: If a number is less than 1, step_size is not positive, or the schedule does not rise from 0 to 1.
    """

    def __init__(
        self,
        num_chains: int,
        num_steps: int,
        num_leapfrog: int,
        schedule: Schedule,
        from_posterior: bool,
        step_size: float | None,
    ) -> None:
        numbers = {"num_chains": num_chains, "num_steps": num_steps, "num_leapfrog": num_leapfrog}
        for name, number in numbers.items():
            if number < 1:
                raise ValueError(f"{name} must be at least 1, got {number}.")
        if step_size is not None and not (step_size > 0 and math.isfinite(step_size)):
            raise ValueError(f"step_size must be positive and finite, got {step_size}.")
        self.num_chains, self.num_leapfrog = num_chains, num_leapfrog
        self.from_posterior, self.step_size = from_posterior, step_size
        self.beta = _exponents(schedule, num_steps)
        self.pilot = _exponents(schedule, max(50, num_steps // 10))

    def paths(self, model: Generative, x: Tensor, c: Tensor | None) -> Iterator[Path]:
        """The paths of as many examples at a time as fit in memory, with their step sizes.

        Raises:
            TypeError: If prior and decode do not determine the joint density of the model's bound.
        """
        _check(model, x, c)
        size = max(1, _CHUNK_ELEMENTS // (self.num_chains * math.prod(x.shape[1:])))
        for start in range(0, len(x), size):
            part = slice(start, start + size)  # clones, because a test of Lightning's makes tensors without gradients
            path = Path(
                model, x[part].clone(), None if c is None else c[part].clone(), from_posterior=self.from_posterior
            )
            path.step_sizes = self._step_sizes(path)
            yield path

    def forward(self, path: Path) -> Tensor:
        """Logarithms of weights with mean p(x), (M, B)."""
        state = path.at(path.start(self.num_chains))
        log_w = torch.zeros_like(state.log_ratio)
        for t in range(1, len(self.beta)):
            log_w += (self.beta[t] - self.beta[t - 1]) * state.log_ratio
            if t + 1 < len(self.beta):
                state, _ = transition(path, state, self.beta[t], path.step_sizes[t - 1], self.num_leapfrog)
        return log_w

    def backward(self, path: Path, z: Tensor) -> Tensor:
        """Logarithms of weights w, (M, B), such that 1 / w has mean 1 / p(x), from draws (B, \\*latent) of p(z|x)."""
        state = path.at(z.expand(self.num_chains, *z.shape))
        log_w = torch.zeros_like(state.log_ratio)
        for t in reversed(range(1, len(self.beta))):
            state, _ = transition(path, state, self.beta[t], path.step_sizes[t - 1], self.num_leapfrog)
            log_w += (self.beta[t] - self.beta[t - 1]) * state.log_ratio
        return log_w

    def _step_sizes(self, path: Path) -> Tensor:
        """Step sizes of every step and example, (T, B), tuned to the target acceptance rate in a shorter run."""
        num, state = len(self.beta) - 1, path.at(path.start(_PILOT_CHAINS))
        if self.step_size is not None:
            return torch.full_like(state.log_base[0], self.step_size).expand(num, -1)
        log_step, found = torch.full_like(state.log_base, math.log(0.3)), []
        for beta in [self.pilot[1]] * _WARM_UP + self.pilot[1:]:
            state, accept = transition(path, state, beta, log_step.exp(), self.num_leapfrog)
            log_step = log_step + _GAIN * (accept - _ACCEPTANCE)
            found.append(log_step.mean(0))
        curve = torch.stack(found[_WARM_UP:], -1)[None]
        return torch.nn.functional.interpolate(curve, num, mode="linear", align_corners=True)[0].T.exp()


def _exponents(schedule: Schedule, num_steps: int) -> list[float]:
    beta = schedule(num_steps)
    if beta.shape != (num_steps + 1,) or beta[0] != 0 or beta[-1] != 1 or bool((beta.diff() < 0).any()):
        raise ValueError(f"a schedule must give num_steps + 1 exponents that rise from 0 to 1, got {schedule}.")
    return beta.tolist()


@torch.no_grad()
def _check(model: Generative, x: Tensor, c: Tensor | None) -> None:
    if not isinstance(model, Generative):
        raise TypeError(f"only a model with a prior and a likelihood has an evidence, got {type(model).__name__}.")
    require_density(model)
    p = model.prior(None if c is None else c[:1])
    support = support_of(p)
    if support is not None and not is_interval(support):
        raise TypeError(
            f"chains move through intervals of real numbers, and {type(model).__name__} has latents on {support}: take "
            "the importance-weighted evidence."
        )
    if not getattr(model, "continuous", True):
        raise TypeError(f"chains need continuous latents, which those of {type(model).__name__} are not.")
    if getattr(p, "is_bound", False):
        prior = type(getattr(model, "latent_prior", model)).__name__
        raise TypeError(f"chains need the density of the prior, of which {prior} gives draws of a bound.")
    if isinstance(model, ELBOMixin) and type(model).elbo is not ELBOMixin.elbo:
        x, c = x[:1], None if c is None else c[:1]
        terms = model.elbo(x, c, 1)
        joint = model.prior(c).log_prob(terms.z) + model.decode(terms.z, c).log_prob(x)
        if not torch.allclose(joint, terms.log_px + terms.log_pz, rtol=1e-3, atol=1e-3):
            raise TypeError(
                f"chains need p(z) p(x|z) from prior and decode, which {type(model).__name__} does not give."
            )
