"""Mathematics as pure functions of tensors."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor


def expm1_minus(t: Tensor) -> Tensor:
    r"""The function :math:`e^t - 1 - t` without cancellation near 0, which would make divergences negative.

    Args:
        t: Any shape.

    Returns:
        Values of at least 0, the shape of t.
    """
    return _Expm1Minus.apply(t)


class _Expm1Minus(torch.autograd.Function):
    """Implements the derivative e^t − 1, since autograd would differentiate every term of the series."""

    generate_vmap_rule = True

    @staticmethod
    def forward(t: Tensor) -> Tensor:
        small = t.clamp(-0.3, 0.3)
        series = torch.zeros_like(small)
        for n in range(10, 1, -1):
            series.add_(1 / math.factorial(n)).mul_(small)
        return torch.where(t.abs() < 0.3, series.mul_(small), torch.expm1(t) - t)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:  # noqa: ARG004
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (t,) = ctx.saved_tensors
        return grad * torch.expm1(t)


def kl_normal(q_loc: Tensor, q_log_scale: Tensor, p_loc: Tensor, p_log_scale: Tensor) -> Tensor:
    r"""Kullback–Leibler divergence of two normal distributions, element by element.

    .. math::
        \mathrm{KL}(q \,\|\, p) = \tfrac{1}{2} \Big( \frac{\sigma_q^2}{\sigma_p^2} - 1
        - \log \frac{\sigma_q^2}{\sigma_p^2} + \frac{(\mu_q - \mu_p)^2}{\sigma_p^2} \Big)

    References:
        | Auto-Encoding Variational Bayes, appendix B (Kingma and Welling, 2014)
        | https://arxiv.org/abs/1312.6114

    Args:
        q_loc: Mean of q.
        q_log_scale: Logarithm of the standard deviation of q.
        p_loc: Mean of p.
        p_log_scale: Logarithm of the standard deviation of p.

    Returns:
        Nats, the broadcast shape of the arguments; at least 0.

    Example:
        >>> zero = torch.zeros(2)
        >>> kl_normal(zero + 1, zero, zero, zero)
        tensor([0.5000, 0.5000])
    """
    standardised = (q_loc - p_loc) * torch.exp(-p_log_scale)
    return 0.5 * (expm1_minus(2 * (q_log_scale - p_log_scale)) + standardised.square())


def exact(x: Tensor) -> Tensor:
    """A tensor in float32, or in float64 if it is in that already: the precision of densities."""
    return x if x.dtype == torch.float64 else x.float()


def log_mean_exp(x: Tensor, dim: int = 0) -> Tensor:
    """Logarithm of the mean of exponentials along a dimension, which is removed."""
    return torch.logsumexp(x, dim) - math.log(x.shape[dim])


def log_normal(z: Tensor, loc: Tensor, log_scale: Tensor) -> Tensor:
    """Log-density of normal distributions, element by element.

    Args:
        z: Values.
        loc: Means.
        log_scale: Logarithms of the standard deviations.

    Returns:
        Nats, the broadcast shape of the arguments.
    """
    return -0.5 * ((z - loc) * torch.exp(-log_scale)).square() - log_scale - 0.5 * math.log(2 * math.pi)


def stirling_error(x: Tensor) -> Tensor:
    r"""Error of Stirling's formula for log Γ(x + 1), without the cancellation of its large terms.

    .. math:: S(x) = \log \Gamma(x + 1) - (x + \tfrac{1}{2}) \log x + x - \tfrac{1}{2} \log 2 \pi

    Args:
        x: Positive numbers, any shape.

    Returns:
        The shape of x.
    """
    small = x < _STIRLING
    low, high = torch.where(small, x, _STIRLING), torch.where(small, _STIRLING, x)  # a clamp has no slope at its end
    direct = torch.lgamma(low + 1) - (low + 0.5) * low.log() + low - 0.5 * math.log(2 * math.pi)
    inverse = high.reciprocal()
    square, series = inverse.square(), torch.zeros_like(high)
    for term in (-1 / 1680, 1 / 1260, -1 / 360, 1 / 12):
        series = series * square + term
    return torch.where(small, direct, series * inverse)


_STIRLING = 10.0
"""Argument from which the error of Stirling's formula is computed by its series, to 1e-12."""


def log_add_exp(a: Tensor, b: Tensor) -> Tensor:
    r"""The function :math:`\log(e^a + e^b)`, twice differentiable.

    In float32, the second derivative of ``torch.logaddexp`` is NaN at numbers that are more than 88 apart.

    Args:
        a: Finite numbers, any shape.
        b: Finite numbers, a shape that broadcasts with that of a.

    Returns:
        The broadcast shape.

    Example:
        >>> log_add_exp(torch.tensor(0.0), torch.tensor(-200.0))
        tensor(0.)
    """
    first = a >= b
    return torch.where(first, a, b) + torch.nn.functional.softplus(torch.where(first, b - a, a - b))


def log_poisson(x: Tensor, log_mean: Tensor) -> Tensor:
    r"""Log-probability of Poisson counts, element by element, accurate in float32 for counts of any size.

    .. math:: \log p(x) = x \log \mu - \mu - \log \Gamma(x + 1)
        = -x \, (e^t - 1 - t) - S(x) - \tfrac{1}{2} \log 2 \pi x, \quad t = \log \mu - \log x

    The terms of the first form are of the size of x log x, and cancel; those of the second do not.

    References:
        | Fast and Accurate Computation of Binomial Probabilities (Loader, 2000)
        | https://stat.ethz.ch/R-manual/R-devel/library/stats/html/Binomial.html

    Args:
        x: Counts.
        log_mean: Logarithm of the mean μ.

    Returns:
        Nats, the broadcast shape of the arguments.
    """
    some = x > 0
    count = torch.where(some, x, 1.0)
    log_count = count.log()
    own = stirling_error(count) + 0.5 * (log_count + math.log(2 * math.pi))
    return torch.where(some, -count * expm1_minus(log_mean - log_count) - own, -log_mean.exp())


def log_negative_binomial(x: Tensor, log_mean: Tensor, log_dispersion: Tensor) -> Tensor:
    r"""Log-probability of negative binomial counts, element by element, accurate in float32 for counts of any size.

    .. math:: p(x) = \frac{\Gamma(x + \theta)}{\Gamma(\theta) \, x!} \Big( \frac{\theta}{\theta + \mu} \Big)^\theta
        \Big( \frac{\mu}{\theta + \mu} \Big)^x

    The variance is μ + μ²/θ. Computed, like :func:`log_poisson`, from terms that do not cancel.

    Args:
        x: Counts.
        log_mean: Logarithm of the mean μ.
        log_dispersion: Logarithm of the inverse dispersion θ.

    Returns:
        Nats, the broadcast shape of the arguments.
    """
    some = x > 0
    count = torch.where(some, x, 1.0)
    log_count, dispersion = count.log(), log_dispersion.exp()
    log_total = log_add_exp(log_dispersion, log_count)
    shift = log_total - log_add_exp(log_dispersion, log_mean)
    own = stirling_error(count) + stirling_error(dispersion) - stirling_error(count + dispersion)
    off = dispersion * expm1_minus(shift) + count * expm1_minus(log_mean - log_count + shift)
    scale = 0.5 * (log_dispersion - log_total - log_count - math.log(2 * math.pi))
    none = -dispersion * torch.nn.functional.softplus(log_mean - log_dispersion)
    return torch.where(some, scale - own - off, none)


def decompose_kl(
    log_qz: Tensor, log_pz: Tensor, num_train: int, *, stratified: bool = True
) -> tuple[Tensor, Tensor, Tensor]:
    r"""Mutual information, total correlation and dimension-wise divergence, estimated from one batch.

    .. math::
        \mathbb{E}_x \, \mathrm{KL}(q(z|x) \,\|\, p(z)) = \mathrm{I}(x; z)
        + \mathrm{KL}\Big(q(z) \,\Big\|\, \prod_d q(z_d)\Big) + \sum_d \mathrm{KL}(q(z_d) \,\|\, p(z_d))

    The three add up to the mean of log q(z|x) − log p(z), whatever their errors. The density of the aggregate
    posterior q(z) is estimated from the batch: an example has the weight 1 / N for itself, and the others share the
    rest (stratified); or all have the weight 1 / (N B) (weighted), which is too low by up to log N, in every dimension.
    The paper gives one of the others a different weight; ours is the mean over the choice of that one: equally
    unbiased, with lower variance, exact when the batch is the whole set, and independent of the order of the batch.

    References:
        | Isolating Sources of Disentanglement in Variational Autoencoders (Chen et al., 2018)
        | https://arxiv.org/abs/1802.04942

    Args:
        log_qz: Log-density of each dimension of a sample of each example's posterior under that of every example,
            (..., B of the samples, B of the posteriors, D). The posteriors may be of any kind with independent
            dimensions.
        log_pz: Log-density of the samples under the prior, (..., B).
        num_train: Number N of examples that the batch was drawn from without replacement.
        stratified: Whether to use stratified weights.

    Returns:
        Mutual information, total correlation and dimension-wise divergence: scalars, nats. Estimates may be negative.

    Raises:
        ValueError: If num_train is less than 1.
    """
    if num_train < 1:
        raise ValueError(f"num_train must be at least 1, got {num_train}.")
    num = log_qz.shape[-2]
    same = torch.eye(num, dtype=torch.bool, device=log_qz.device)
    if stratified:
        others = torch.full_like(log_qz[..., 0], (num_train - 1) / (num_train * max(num - 1, 1))).log()
        log_weight = torch.where(same, -math.log(num_train), others)
    else:
        log_weight = torch.full_like(log_qz[..., 0], -math.log(num_train * num))
    joint = log_qz.sum(-1)
    own = joint.diagonal(dim1=-2, dim2=-1)
    aggregate = torch.logsumexp(joint + log_weight, -1)
    marginals = torch.logsumexp(log_qz + log_weight.unsqueeze(-1), -2).sum(-1)
    return (own - aggregate).mean(), (aggregate - marginals).mean(), (marginals - log_pz).mean()


def permute_dims(z: Tensor) -> Tensor:
    r"""Permute each dimension of latents independently across the batch: samples of the product of the marginals.

    .. math:: z'_{id} = z_{\pi_d(i) d}

    References:
        | Disentangling by Factorising (Kim and Mnih, 2018)
        | https://arxiv.org/abs/1802.05983

    Args:
        z: Latents, (..., B, D); leading dimensions are permuted independently.

    Returns:
        The values of each dimension in another order, (..., B, D).
    """
    return z.gather(-2, torch.rand_like(z, dtype=torch.float32).argsort(-2))


def bits_per_dim(nats: Tensor, num_dims: int) -> Tensor:
    """Bits per dimension of a negative log-likelihood in nats per example."""
    return nats / (num_dims * math.log(2))


def slerp(start: Tensor, end: Tensor, num_steps: int) -> Tensor:
    """Spherical interpolation: points between two latents at evenly spaced angles.

    Unlike on a straight line, the norm does not shrink in the middle, so the points stay in the shell that has nearly
    all of the mass of a high-dimensional normal distribution. Norms change evenly; by the paper's formula, which sums
    the latents as they are, they grow beyond all bounds between opposite latents of different norms. The path between
    exactly opposite ones, such as of one dimension, leads through 0.

    References:
        | Sampling Generative Networks (White, 2016)
        | https://arxiv.org/abs/1609.04468

    Args:
        start: First latents, (B, D).
        end: Last latents, (B, D).
        num_steps: Number of points, ends included.

    Returns:
        (num_steps, B, D).
    """
    t = torch.linspace(0, 1, num_steps, device=start.device, dtype=start.dtype).view(-1, 1, 1)
    cosine = torch.cosine_similarity(start, end, dim=-1).clamp(-1 + 1e-6, 1 - 1e-6)
    angle = torch.arccos(cosine)[:, None]
    first, last = (torch.nn.functional.normalize(z, dim=-1) for z in (start, end))
    way = (torch.sin((1 - t) * angle) * first + torch.sin(t * angle) * last) / torch.sin(angle)
    return torch.lerp(start.norm(dim=-1, keepdim=True), end.norm(dim=-1, keepdim=True), t) * way


def mobius_add(x: Tensor, y: Tensor, curvature: float) -> Tensor:
    r"""Möbius addition in the Poincaré ball of curvature -c: y carried along by the translation of the origin to x.

    .. math:: x \oplus y = \frac{(1 + 2 c \langle x, y \rangle + c \|y\|^2) x + (1 - c \|x\|^2) y}
        {1 + 2 c \langle x, y \rangle + c^2 \|x\|^2 \|y\|^2}

    References:
        | Hyperbolic Neural Networks (Ganea et al., 2018)
        | https://arxiv.org/abs/1805.09112

    Args:
        x: Points, (..., D), with :math:`c \|x\|^2 < 1`.
        y: Points, likewise.
        curvature: c, above 0.

    Returns:
        Points, the broadcast shape.
    """
    inner = 2 * curvature * (x * y).sum(-1, keepdim=True)
    xx, yy = (curvature * v.square().sum(-1, keepdim=True) for v in (x, y))
    return ((1 + inner + yy) * x + (1 - xx) * y) / (1 + inner + xx * yy)


def ball_distance(x: Tensor, y: Tensor, curvature: float) -> Tensor:
    r"""Distance of points in the Poincaré ball of curvature -c, without cancellation near its boundary.

    .. math:: \sinh \frac{\sqrt{c} \, d(x, y)}{2} = \frac{\sqrt{c} \, \|x - y\|}{\sqrt{(1 - c \|x\|^2) (1 - c \|y\|^2)}}

    Args:
        x: Points, (..., D).
        y: Points, (..., D).
        curvature: c, above 0.

    Returns:
        The broadcast shape without the last dimension.
    """
    gaps = (1 - curvature * x.square().sum(-1)) * (1 - curvature * y.square().sum(-1))
    # A number too small to matter, so that the square root has a derivative where the points are equal.
    squared = curvature * (x - y).square().sum(-1) / gaps + 1e-20
    return 2 / math.sqrt(curvature) * torch.asinh(torch.sqrt(squared))


def ball_exp(loc: Tensor, v: Tensor, curvature: float) -> Tensor:
    r"""The point of the Poincaré ball that is reached from loc along a geodesic: its exponential map.

    .. math:: z = \mu \oplus \tanh \Big( \frac{\sqrt{c} \, \|v\|}{2} \Big) \frac{v}{\sqrt{c} \, \|v\|}

    The tangent vector is in the orthonormal frame that parallel transport carries from the origin, so that its norm is
    the distance travelled.

    Args:
        loc: Points μ, (..., D).
        v: Tangent vectors, (..., D).
        curvature: c, above 0.

    Returns:
        Points, the broadcast shape.
    """
    half = 0.5 * math.sqrt(curvature) * torch.sqrt(v.square().sum(-1, keepdim=True) + 1e-20)
    return mobius_add(loc, 0.5 * v * torch.tanh(half) / half, curvature)


def ball_log(loc: Tensor, z: Tensor, curvature: float) -> Tensor:
    r"""The tangent vector at loc of the geodesic to z, as long as their distance: the inverse of :func:`ball_exp`.

    Args:
        loc: Points μ, (..., D).
        z: Points, (..., D).
        curvature: c, above 0.

    Returns:
        Tangent vectors in the frame of :func:`ball_exp`, the broadcast shape.
    """
    half = 0.5 * math.sqrt(curvature) * ball_distance(loc, z, curvature).unsqueeze(-1)
    return 2 * mobius_add(-loc, z, curvature) * half / torch.tanh(half)
