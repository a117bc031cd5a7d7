"""The hierarchical residual quantisation VAE."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from vae_zoo.models.codes.vqvae import VQVAE
from vae_zoo.nn import Exponential, RelaxedResidualQuantizer, Schedule


class HRQVAE(VQVAE):
    r"""VQ-VAE with several codes at each place, from coarse to fine, that are relaxed in training.

    .. math::
        \mathcal{L}(x) = -\log p(x | e) + w \sum_q \mathrm{KL}(q(k_q | r_q) \,\|\, \mathcal{U})
        + \sum_q \max \Big( 0, γ \frac{n_q}{n_{q-1}} - 1 \Big)^2 - \log p(s)

    .. math:: q(k | r_q) \propto e^{-\| r_q - c_{qk} \|^2}, \quad r_{q+1} = r_q - e_q, \quad e = \sum_q e_q

    Training draws a vector of each level by Gumbel noise, with the gradient of a mixture. Evaluation takes the nearest
    vectors: ``val/elbo`` is a bound, ``train/elbo`` is not. Some training examples are decoded from their first levels
    only, and the mean norm n of the vectors of a level is pushed below 1/γ of that of the level before. The prior over
    codes is trained along, as in :class:`VQVAE`; in the paper it is a network that reads the input sentence. The
    temperature follows the optimizer's steps.

    When to use it:
        If the first codes are to say what matters most, such as for retrieval or paraphrases. For the best
        reconstructions take ``ResidualVQVAE``, whose training sees the vectors that evaluation takes.

    References:
        | Hierarchical Sketch Induction for Paraphrase Generation (Hosking et al., 2022)
        | https://arxiv.org/abs/2203.03463

    Args:
        depth: Number of codes at each place.
        temperature: Schedule of the temperature of the mixtures.
        straight_through: Whether training takes one vector of a level, with the gradient of the mixture, as in the
            authors' code; else the mixture itself.
        kl_weight: Weight w of the divergence from uniform codes.
        dropout: Probability that a training example is decoded from a random number of levels.
        norm_decay: Factor γ; 0 for no penalty.
        kwargs: Arguments of :class:`VQVAE`.
    """

    fixed = {
        "codebook": "its codes are those of RelaxedResidualQuantizer",
        "beta": "its latents are trained through the mixtures",
    }

    def __init__(
        self,
        *,
        depth: int = 4,
        temperature: Callable[[], Schedule] = Exponential,
        straight_through: bool = True,
        kl_weight: float = 0.1,
        dropout: float = 0.1,
        norm_decay: float = 1.5,
        **kwargs: Any,
    ) -> None:
        settings: dict[str, Any] = {"kl_weight": kl_weight, "dropout": dropout, "norm_decay": norm_decay}
        settings |= {"temperature": temperature, "straight_through": straight_through}
        codebook = partial(RelaxedResidualQuantizer, depth=depth, **settings)
        super().__init__(codebook=codebook, beta=0.0, **kwargs)
