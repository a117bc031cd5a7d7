"""Quantizers without a codebook: every dimension is rounded to a few levels, or to its sign."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from vae_zoo.functional import exact
from vae_zoo.nn.quantizers.base import Quantized, Quantizer, rows_of
from vae_zoo.nn.quantizers.gradients import straight


class FSQ(Quantizer):
    r"""Finite scalar quantisation: dimension i is bounded, and rounded to one of :math:`L_i` levels from -1 to 1.

    .. math::
        e_i = \frac{\mathrm{round}(h_i \tanh(z_i + s_i) - o_i) + o_i}{(L_i - 1) / 2}, \quad h_i \approx (L_i - 1) / 2

    The offset o is a half for even numbers of levels and 0 for odd ones, and the shift s maps 0 to 0. The codes are all
    :math:`\prod_i L_i` combinations: nothing is learned, no code dies, and neither a codebook loss nor a commitment is
    needed. Unlike in the paper, even numbers of levels are symmetric as well. Its levels are 8, 6, 5 for about 2^8
    codes; 8, 5, 5, 5 for 2^10; 7, 5, 5, 5, 5 for 2^12; and 8, 8, 8, 6, 5 for 2^14.

    References:
        | Finite Scalar Quantization: VQ-VAE Made Simple (Mentzer et al., 2024)
        | https://arxiv.org/abs/2309.15505

    Args:
        num_codes: Number of codes, the product of the levels.
        dim: Dimensions D, one for each number of levels.
        levels: Numbers of levels, (D,).

    Raises:
        ValueError: If num_codes or dim does not agree with the levels, or one of them is less than 2.
    """

    levels: Tensor

    def __init__(self, num_codes: int, dim: int, *, levels: Sequence[int]) -> None:
        super().__init__(num_codes, dim)
        self.sizes = tuple(levels)
        if min(self.sizes, default=0) < 2:
            raise ValueError(f"levels must be at least 2 each, got {list(levels)}.")
        if (len(self.sizes), math.prod(self.sizes)) != (dim, num_codes):
            raise ValueError(
                f"levels {list(levels)} are {math.prod(self.sizes)} codes of {len(self.sizes)} dimensions, "
                f"got num_codes {num_codes} and dim {dim}."
            )
        self.register_buffer("levels", torch.tensor(self.sizes, dtype=torch.float32), persistent=False)

    def forward(self, z: Tensor) -> Quantized:
        bounded = self.bound(exact(z))
        rounded, nothing = straight(bounded, bounded.round()), torch.zeros_like(bounded).flatten(1).sum(1)
        digits = (rounded.detach() + (self._along(z.ndim) / 2).floor()).long()
        return Quantized(self._scaled(rounded), pack(digits, self.sizes), nothing, nothing)

    def bound(self, z: Tensor) -> Tensor:
        """Latents (B, D, *grid) in the interval whose whole numbers are the levels."""
        levels = self._along(z.ndim)
        # A little more, so that the outermost levels are reached, but less than the half step to levels beyond them.
        half = torch.minimum((levels - 1) * 1.001 / 2, (levels - 1) / 2 + 0.25)
        offset = self._offset(z.ndim)
        return torch.tanh(z + torch.atanh(offset / half)) * half - offset

    def lookup(self, codes: Tensor) -> Tensor:
        digits = unpack(codes, self.sizes)
        return self._scaled(digits - (self._along(digits.ndim) / 2).floor())

    def _scaled(self, rounded: Tensor) -> Tensor:
        return (rounded + self._offset(rounded.ndim)) / ((self._along(rounded.ndim) - 1) / 2)

    def _offset(self, ndim: int) -> Tensor:
        return torch.where(self._along(ndim) % 2 == 0, 0.5, 0.0)

    def _along(self, ndim: int) -> Tensor:
        return exact(self.levels).reshape(-1, *[1] * (ndim - 2))


class LFQ(Quantizer):
    r"""Lookup-free quantisation: the code is the signs of the latent, each one bit, and its vector is -1 and 1.

    .. math::
        w \, P \, \big( \mathbb{E}[H(p(e|z))] - \gamma H(\mathbb{E}[p(e|z)]) \big), \quad
        p(e|z) \propto \exp(-\|z - e\|^2 / \tau) = \prod_i \sigma(4 e_i z_i / \tau)

    is added to the objective, with means over all places in the batch, of which an example has P, so that
    latents are certain of their bits and all codes are used equally often. The first entropy is a sum over bits. The
    second would be one over all codes: it is exact for up to ``joint_bits`` dimensions, and above these the sum over
    blocks of so many, an upper bound. Several processes each use their own batch. A latent of 0 has the sign -1.

    References:
        | Language Model Beats Diffusion: Tokenizer is Key to Visual Generation (Yu et al., 2024)
        | https://arxiv.org/abs/2310.05737

    Args:
        num_codes: Number of codes, 2 to the power of dim.
        dim: Dimensions D, one for each bit.
        entropy_weight: Weight w of the entropies.
        gamma: Weight γ of the entropy of the batch, in terms of that of the latents.
        temperature: Temperature τ of p(e|z): at 1, latents near their codes are decided.
        joint_bits: Largest number of bits whose joint distribution over the batch is computed.

    Raises:
        ValueError: If num_codes is not 2 to the power of dim, a weight is negative, temperature is not positive, or
            joint_bits is less than 1.
    """

    def __init__(
        self,
        num_codes: int,
        dim: int,
        *,
        entropy_weight: float = 0.1,
        gamma: float = 1.0,
        temperature: float = 1.0,
        joint_bits: int = 8,
    ) -> None:
        super().__init__(num_codes, dim)
        if num_codes != 2**dim:
            raise ValueError(f"{dim} signs are {2**dim} codes, got num_codes {num_codes}.")
        weights = (entropy_weight, gamma)
        if not (all(0 <= w < math.inf for w in weights) and 0 < temperature < math.inf):
            raise ValueError(
                "entropy_weight and gamma must be at least 0, and temperature positive, "
                f"got {entropy_weight}, {gamma} and {temperature}."
            )
        if joint_bits < 1:
            raise ValueError(f"joint_bits must be at least 1, got {joint_bits}.")
        self.entropy_weight, self.gamma, self.temperature = entropy_weight, gamma, temperature
        self.joint_bits = joint_bits

    @property
    def size(self) -> float:
        """Absolute value of every entry of a code vector."""
        return 1.0

    def project(self, z: Tensor) -> Tensor:
        """Latents (B, D, *grid) as compared with the code vectors."""
        return z

    def forward(self, z: Tensor) -> Quantized:
        z = self.project(exact(z))
        bits = (z > 0).long()
        e = self._vectors(bits).to(z.dtype)
        with torch.autocast(z.device.type, enabled=False):
            each, all_ = self.entropies(z)
        places = z[0, 0].numel()
        loss = (self.entropy_weight * places * (each - self.gamma * all_)).expand(len(z))
        commitment = (z - e).square().flatten(1).sum(-1)
        return Quantized(straight(z, e), pack(bits, [2] * self.dim), loss, commitment)

    def lookup(self, codes: Tensor) -> Tensor:
        return self._vectors(unpack(codes, [2] * self.dim))

    def entropies(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Mean entropy of p(e|z) over all places, and the entropy of its mean, in nats of a place."""
        logits = 4 * self.size / self.temperature * rows_of(z)
        on, off = logsigmoid(logits), logsigmoid(-logits)
        each = -(on.exp() * on + off.exp() * off).sum(-1).mean()
        parts = zip(on.split(self.joint_bits, 1), off.split(self.joint_bits, 1), strict=True)
        return each, torch.stack([_joint_entropy(*part) for part in parts]).sum()

    def _vectors(self, bits: Tensor) -> Tensor:
        return self.size * (2.0 * bits - 1)


class BSQ(LFQ):
    r"""Binary spherical quantisation: signs of latents that are projected to the unit sphere.

    .. math:: u = z / \|z\|, \quad e_i = \mathrm{sign}(u_i) / \sqrt{D}

    The distance of a latent to its code is then bounded. The entropies are those of :class:`LFQ`, which see the bits of
    latents one by one in the paper: ``joint_bits`` 1.

    References:
        | Image and Video Tokenization with Binary Spherical Quantization (Zhao et al., 2024)
        | https://arxiv.org/abs/2406.07548

    Args:
        num_codes: Number of codes, 2 to the power of dim.
        dim: Dimensions D, one for each bit.
        entropy_weight: Weight w of the entropies.
        gamma: Weight γ of the entropy of the batch, in terms of that of the latents.
        temperature: Temperature τ of p(e|z).
        joint_bits: Largest number of bits whose joint distribution over the batch is computed.
    """

    def __init__(
        self,
        num_codes: int,
        dim: int,
        *,
        entropy_weight: float = 0.1,
        gamma: float = 1.0,
        temperature: float = 0.1,
        joint_bits: int = 8,
    ) -> None:
        super().__init__(
            num_codes,
            dim,
            entropy_weight=entropy_weight,
            gamma=gamma,
            temperature=temperature,
            joint_bits=joint_bits,
        )

    @property
    def size(self) -> float:
        return self.dim**-0.5

    def project(self, z: Tensor) -> Tensor:
        return torch.nn.functional.normalize(z, dim=1)


def pack(digits: Tensor, sizes: Sequence[int]) -> Tensor:
    """Codes (B, *grid) of digits (B, D, *grid) in the mixed radix of sizes (D,), the first one fastest."""
    codes = torch.zeros_like(digits[:, 0])
    for n in reversed(range(len(sizes))):
        codes = codes * sizes[n] + digits[:, n]
    return codes


def unpack(codes: Tensor, sizes: Sequence[int]) -> Tensor:
    """Digits (B, D, *grid) of codes (B, *grid)."""
    digits = []
    for size in sizes:
        digits.append(codes % size)
        codes = codes // size
    return torch.stack(digits, 1)


def _joint_entropy(on: Tensor, off: Tensor) -> Tensor:
    """Entropy of the mean over rows of products of Bernoulli distributions, from logs of their two values, (N, m)."""
    num = on.shape[1]
    bits = unpack(torch.arange(2**num, device=on.device), [2] * num).to(on.dtype)  # (2^m, m)
    mean = torch.exp(on @ bits.T + off @ (1 - bits).T).mean(0)
    least = torch.finfo(mean.dtype).tiny  # the logarithm of a code that no latent is near has a gradient
    return -(mean * mean.clamp_min(least).log()).sum()
