"""The terms of a bound."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from torch import Tensor
from torch.distributions import Distribution


class ELBO(NamedTuple):
    r"""The terms of a bound, from K samples of the posterior of B examples, in nats.

    .. math:: \log p(x) \ge \mathbb{E}_{q(z|x)}[\log p(x|z)] - \mathrm{KL}(q(z|x) \,\|\, p(z))

    Args:
        q: Posterior q(z|x), batch shape (B,).
        p: Prior p(z), batch shape () or (B,).
        z: Samples of q, (K, B, \*latent).
        log_px: log p(x|z), (K, B).
        kl: Divergence of q from p, in closed form where known, (B,).
        weight: Weight of the divergence, from the objective and from annealing.
        annealing: The factor of that weight that comes from annealing; for terms that an objective adds to the
            divergence.
        penalty: Penalty of free bits on the divergence, a scalar.
        rates: The divergence before summation: of each dimension if that is known, (B, D), otherwise the total, (B, 1).
            By default the total ``kl``.
        curves: Further terms to log, such as the divergence of each layer, (B,).
        x: The examples, (B, \*shape).
        c: Their conditions, (B, ...), or None.
        px: Likelihood p(x|z) of the samples, batch shape (K, B); None where a model's own terms do not keep it.
    """

    q: Distribution
    p: Distribution
    z: Tensor
    log_px: Tensor
    kl: Tensor
    weight: Tensor | float = 1.0
    annealing: Tensor | float = 1.0
    penalty: Tensor | float = 0.0
    rates: Tensor | None = None
    curves: Mapping[str, Tensor] = {}
    x: Tensor | None = None
    c: Tensor | None = None
    px: Distribution | None = None

    @property
    def log_pz(self) -> Tensor:
        """log p(z), (K, B)."""
        return self.p.log_prob(self.z)

    @property
    def log_qz(self) -> Tensor:
        """log q(z|x), (K, B)."""
        return self.q.log_prob(self.z)

    @property
    def log_w(self) -> Tensor:
        """Logarithm of the importance weights p(x, z) / q(z|x), (K, B).

        In the objective, the divergence in it has its weight, and includes the penalty.
        """
        return self.log_px + self.weight * (self.log_pz - self.log_qz - self.penalty)

    @property
    def value(self) -> Tensor:
        """The bound, (B,)."""
        return self.log_px.mean(0) - self.kl

    def check(self, num: int) -> None:
        """Refuse terms of wrong shapes, which could broadcast to a plausible bound.

        Raises:
            ValueError: If log_px is not (K, B) or kl not (B,).
        """
        log_px, kl = tuple(self.log_px.shape), tuple(self.kl.shape)
        if log_px != (len(self.z), num) or kl != (num,):
            raise ValueError(
                f"log p(x|z) must be of shape (K, B) and the divergence (B,), here {(len(self.z), num)} and {(num,)}, "
                f"got {log_px} and {kl}."
            )

    def annealed(self, weight: Tensor) -> ELBO:
        """The same terms with an annealed divergence, as passed to the objective."""
        return self.weighted(weight)._replace(annealing=weight * self.annealing)

    def weighted(self, weight: Tensor | float) -> ELBO:
        """The same terms with a weighted divergence, for the objective of the next class."""
        return self._replace(kl=weight * self.kl, weight=weight * self.weight)

    def floored(self, free_bits: float) -> ELBO:
        r"""The same terms with a divergence that costs nothing below a floor: free bits.

        .. math:: \sum_j \max(\lambda, \overline{\mathrm{KL}}_j)
            = \sum_j \overline{\mathrm{KL}}_j + \sum_j \max(0, \lambda - \overline{\mathrm{KL}}_j)

        The mean is over the batch. The second sum is the penalty, which cancels the gradient of each dimension below
        the floor. A divergence that is not a sum over dimensions has a single floor, λ times the number of dimensions.
        A categorical variable counts as one dimension.

        References:
            | Improved Variational Inference with Inverse Autoregressive Flow (Kingma et al., 2016)
            | https://arxiv.org/abs/1606.04934

        Args:
            free_bits: Floor λ in nats per dimension.
        """
        rates = (self.kl[:, None] if self.rates is None else self.rates).mean(0)
        num_dims = getattr(self.q, "num_variables", self.z.shape[2:].numel())
        floor = free_bits * num_dims / len(rates)
        penalty = (floor - rates).relu().sum()
        return self._replace(kl=self.kl + penalty, penalty=penalty)
