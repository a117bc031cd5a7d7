"""Hamiltonian Monte Carlo between a base distribution and the joint density of a model."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.distributions import Distribution

from vae_zoo.elbo import ELBOMixin, Generative


class State(NamedTuple):
    """Positions of chains, with the densities and their gradients there.

    Args:
        z: Latents, (M, B, \\*latent).
        log_base: Log-density of the base distribution, (M, B).
        log_ratio: Logarithm of the joint density p(z) p(x|z) over the base, (M, B).
        base_slope: Gradient of log_base, the shape of z.
        ratio_slope: Gradient of log_ratio, the shape of z.
    """

    z: Tensor
    log_base: Tensor
    log_ratio: Tensor
    base_slope: Tensor
    ratio_slope: Tensor

    def log_density(self, beta: float) -> Tensor:
        return self.log_base + beta * self.log_ratio

    def slope(self, beta: float) -> Tensor:
        return self.base_slope + beta * self.ratio_slope


class Path:
    r"""Distributions between a base and the unnormalised posterior p(z) p(x|z).

    .. math:: \log f_\beta(z) = (1 - \beta) \log p_0(z) + \beta \log p(z) \, p(x|z)

    Args:
        model: Model with p(z) and p(x|z).
        x: Examples, (B, \*shape).
        c: Conditions, (B, ...).
        from_posterior: Whether the base p₀ is q(z|x) and not p(z).
    """

    step_sizes: Tensor

    def __init__(self, model: Generative, x: Tensor, c: Tensor | None, *, from_posterior: bool) -> None:
        self.model, self.x, self.c = model, x, c
        self.base: Distribution = model.prior(c)
        if from_posterior:
            if not isinstance(model, ELBOMixin):
                raise TypeError(f"{type(model).__name__} has no posterior density to start from: start at the prior.")
            self.base = model.encode(x, c)

    def start(self, num_chains: int) -> Tensor:
        """Draws from the base, (num_chains, B, \\*latent)."""
        return self.base.sample((num_chains, *(() if self.base.batch_shape else (len(self.x),))))

    @torch.enable_grad()
    def at(self, z: Tensor) -> State:
        """The densities and their gradients at latents."""
        z = z.detach().requires_grad_()
        log_base = self.base.log_prob(z)
        log_ratio = self.model.prior(self.c).log_prob(z) - log_base + self.model.decode(z, self.c).log_prob(self.x)
        (base_slope,) = torch.autograd.grad(log_base.sum(), z, retain_graph=True)
        (ratio_slope,) = torch.autograd.grad(log_ratio.sum(), z)
        return State(z.detach(), log_base.detach(), log_ratio.detach(), base_slope, ratio_slope)


def transition(path: Path, state: State, beta: float, step_size: Tensor, num_leapfrog: int) -> tuple[State, Tensor]:
    """One transition that leaves f_β invariant: momentum, leapfrog steps, and the Metropolis test.

    Each step size is varied by up to a fifth, so that no trajectory is periodic. The Metropolis test depends only on
    the densities and corrects for errors of the gradients, at the price of lower acceptance.

    Args:
        path: Densities and their gradients.
        state: Positions of the chains.
        beta: Exponent β of the distribution.
        step_size: Step sizes ε, (M, B) or (B,).
        num_leapfrog: Number of leapfrog steps.

    Returns:
        The next state, and the acceptance probability of each chain, (M, B).
    """
    step = step_size * (0.8 + 0.4 * torch.rand_like(state.log_base))
    step = step.reshape(step.shape + (1,) * (state.z.ndim - 2))
    start = torch.randn_like(state.z)
    momentum, end = start + 0.5 * step * state.slope(beta), state
    for n in range(num_leapfrog):
        end = path.at(end.z + step * momentum)
        momentum = momentum + (1.0 if n + 1 < num_leapfrog else 0.5) * step * end.slope(beta)
    gain = end.log_density(beta) - state.log_density(beta) - (_energy(momentum) - _energy(start))
    accept = gain.nan_to_num(nan=-torch.inf).clamp(max=0).exp()
    moved = torch.rand_like(accept) < accept
    chosen = (
        torch.where(moved.reshape(moved.shape + (1,) * (new.ndim - 2)), new, old)
        for new, old in zip(end, state, strict=True)
    )
    return State(*chosen), accept


def _energy(momentum: Tensor) -> Tensor:
    return 0.5 * momentum.square().flatten(2).sum(-1)
