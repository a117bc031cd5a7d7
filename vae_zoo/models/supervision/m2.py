"""The semi-supervised variational autoencoder M2."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Distribution
from torch.nn.functional import log_softmax

from vae_zoo.distributions import (
    Labelled,
    OptimalNormal,
    at_temperature,
    check_latents,
    check_temperature,
    kl_per_dim,
    mean_of,
    score,
)
from vae_zoo.elbo import ELBO, check_number
from vae_zoo.functional import exact
from vae_zoo.models.base.autoencoder import Autoencoder
from vae_zoo.models.base.components import make
from vae_zoo.models.plain.conditional_vae import ConditionalVAE
from vae_zoo.nn import Dense
from vae_zoo.nn.batching import apply_batched
from vae_zoo.typing import Network, Shape


class M2(ConditionalVAE):
    r"""Conditional VAE whose class is one more latent where no label is known: semi-supervised classification.

    .. math::
        \mathcal{L}(x, y) = \mathbb{E}_{q(z|x, y)}[\log p(x|z, y)] - \mathrm{KL}(q(z|x, y) \,\|\, p(z|y)) + \log p(y)

    .. math:: \mathcal{U}(x) = \sum_y q(y|x) \, \mathcal{L}(x, y) + \mathrm{H}(q(y|x))

    The loss is the mean of :math:`-\mathcal{L}` over the labelled and of :math:`-\mathcal{U}` over the other examples
    of a batch, in their own proportion, and of :math:`-\alpha \log q(y|x)` over the labelled ones, which is the paper's
    weight. The last is estimated without bias, by :math:`N / N_l` times the mean over all examples of a batch, 0 for
    those without a label, where the data have N examples and :math:`N_l` labels. p(y) is uniform. Every class of every
    example is decoded, without an estimate of the sum.

    The metrics are those of the whole model: ``elbo`` is U(x), a bound on log p(x) without labels, and a latent is
    z followed by the class as a one-hot vector. In a batch, a label of −1 is unknown.

    When to use it:
        For a classifier from few labels, with a density of all examples. Every class is decoded: with hundreds of
        classes, it is slow. With all labels known, ``ConditionalVAE`` is simpler.

    References:
        | Semi-Supervised Learning with Deep Generative Models (Kingma et al., 2014)
        | https://arxiv.org/abs/1406.5298

    Args:
        alpha: Weight α of the classification, 0.1 in the paper.
        classifier: Network from an example to the logits of q(y|x).
        num_train: Number N of training examples; linked from the data on the command line.
        num_labelled: Number of labelled ones; linked from the data. All are labelled if one of the two is not given.
        kwargs: Arguments of :class:`ConditionalVAE` except ``free_bits`` and ``penalties``.

    Raises:
        ValueError: If alpha is negative or not finite, num_train is less than 1, num_labelled is not in 1 .. num_train,
            the likelihood is OptimalNormal, the prior is of another number of classes, or free_bits or penalties are
            given.
    """

    units = {"accuracy": "share of the labelled examples", "class_nll": "nats, of the labelled examples"}
    continuous = False
    num_classes: int
    apart = {
        **dict.fromkeys(("IWAE", "BetaTCVAE", "FactorVAE"), "the loss of M2 has no samples of the joint posterior"),
        "TwoStageVAE": "the loss of M2 has no divergence of two stages",
        "DenoisingVAE": "the loss of M2 encodes every class of an example itself, without noise",
        "AdaGVAE": "the loss of M2 encodes every class of an example itself, without pairs",
    }

    fixed = dict.fromkeys(("free_bits", "penalties"), "its rate and its latents are those of all classes")

    def __init__(
        self,
        *,
        alpha: float = 0.1,
        classifier: Network = Dense,
        num_train: int | None = None,
        num_labelled: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if self.num_classes is None:
            raise ValueError(f"{type(self).__name__} learns one class of each example, got several conditions.")
        if not (alpha >= 0 and math.isfinite(alpha)):
            raise ValueError(f"alpha must be at least 0 and finite, got {alpha}.")
        if num_train is not None and num_train < 1:
            raise ValueError(f"num_train must be at least 1, got {num_train}.")
        if num_labelled is not None and not 1 <= num_labelled <= (num_train or num_labelled):
            raise ValueError(f"num_labelled must lie in 1 .. {num_train}, the number of examples, got {num_labelled}.")
        if isinstance(self.likelihood, OptimalNormal):
            raise ValueError(
                f"{type(self).__name__} decodes wrong classes too, whose errors OptimalNormal would mix into its σ: "
                "choose another likelihood, such as SharedNormal."
            )
        if (known := getattr(self.latent_prior, "num_classes", 0)) not in (0, self.num_classes):
            raise ValueError(f"the prior must be of {self.num_classes} classes, as the data, got {known}.")
        self.alpha, self.num_train, self.num_labelled = alpha, num_train, num_labelled
        self.classifier = make("classifier", classifier, nn.Module, self.likelihood.read_shape, (self.num_classes,))

    @property
    def latent_shape(self) -> Shape:
        return (self.latent_dim + self.num_classes,)

    @property
    def encoded_shape(self) -> Shape:
        return (self.latent_dim,)

    @property
    def decoder_shapes(self) -> tuple[Shape, Shape]:
        return self.latent_shape, self.likelihood.param_shape

    def classify(self, x: Tensor) -> Tensor:
        """Logarithms of q(y|x), (B, num_classes)."""
        self.check_examples(x)
        gives = (self.num_classes,)
        read, event_dims = self.read(x), len(self.likelihood.read_shape)
        logits = apply_batched(self.classifier, read, event_dims, gives=gives, name="classifier")
        return log_softmax(exact(logits), -1)

    def encode(self, x: Tensor, c: Tensor | None = None) -> Distribution:  # noqa: ARG002
        """Posterior q(y|x) q(z|x, y) of examples, without their labels."""
        log_qy, (tiled, y) = self.classify(x), self._tiled(x)
        params = self.run_encoder(tiled, self.one_hot(y, len(y)))
        return Labelled(log_qy, self.posterior(params.unflatten(0, (self.num_classes, len(x)))))

    def decode(self, z: Tensor, c: Tensor | None = None) -> Distribution:
        return Autoencoder.decode(self, z, c)  # of a latent that has the class in it

    def prior(self, c: Tensor | None = None) -> Distribution:  # noqa: ARG002
        """Prior p(y) p(z|y), with classes of equal probability."""
        dtype = torch.promote_types(next(self.parameters()).dtype, torch.float32)
        log_probs = torch.full((self.num_classes,), -math.log(self.num_classes), dtype=dtype, device=self.device)
        return Labelled(log_probs, self.latent_prior(torch.arange(self.num_classes, device=self.device)))

    def elbo(self, x: Tensor, c: Tensor | None = None, num_samples: int = 1) -> ELBO:
        """The terms of U(x) from draws of class and latent, whose gradient for q(y|x) is that of the score function."""
        terms = super().elbo(x, c, num_samples)
        log_qy = (terms.z[..., self.latent_dim :] * terms.q.log_probs).sum(-1)  # type: ignore[attr-defined]
        value = terms.log_w.detach()
        others = (value.sum() - value) / max(1, value.numel() - 1)  # independent of the draw, with less noise than 0
        return terms._replace(log_px=terms.log_px + (value - others) * (log_qy - log_qy.detach()))

    def losses(self, x: Tensor, c: Tensor | None = None) -> dict[str, Tensor]:
        log_qy, terms = self.classify(x), self.every_class(x)
        c = torch.full_like(log_qy[:, 0], -1, dtype=torch.long) if c is None else c
        y, qy, log_py = self.one_hot(c, len(x)).to(log_qy.dtype), log_qy.exp(), -math.log(self.num_classes)
        known, rate = y.sum(1), (qy * log_qy).sum(1) - log_py
        free = self._mean_over_classes(terms, qy, rate)
        given = torch.where(known[:, None] > 0, y, qy), torch.where(known > 0, -log_py, rate)
        seen = self._mean_over_classes(terms, *given)
        objective = self.objective(seen if self.kl_weight is None else seen.annealed(self.kl_weight))
        nll = -(y * log_qy).sum(1).mean()
        right = (known * (log_qy.argmax(1) == c)).mean()
        weight = self.alpha * (self.num_train / self.num_labelled if self.num_train and self.num_labelled else 1.0)
        values = objective | {"loss": objective["loss"] + weight * nll}
        values |= {"elbo": free.value.mean(), "reconstruction": free.log_px.mean(), "kl": free.kl.mean()}
        return values | {"class_kl": rate.mean(), "labelled": known.mean(), "accuracy": right, "class_nll": nll}

    def curves(self, means: dict[str, Tensor]) -> dict[str, Tensor]:
        share = means["labelled"].clamp(min=1e-9)  # a batch without labels has an accuracy of 0
        return means | {name: means[name] / share for name in ("accuracy", "class_nll")}

    def every_class(self, x: Tensor) -> ELBO:
        """The terms of log p(x|y) for all examples with the first class, then all with the second, and so on."""
        tiled, c = self._tiled(x)
        y = self.one_hot(c, len(c))
        q, p = self.posterior(self.run_encoder(tiled, y)), self.latent_prior(c)
        check_latents(q, p, len(tiled))
        z = q.rsample((self.num_draws,))
        latents = torch.cat([z, y.to(z.dtype).expand(*z.shape[:-1], -1)], -1)
        log_px = score(self.decode(latents), tiled, z.shape[:2])
        return ELBO(q=q, p=p, z=z, log_px=log_px, kl=kl_per_dim(q, p, z).sum(1))

    def _mean_over_classes(self, terms: ELBO, probs: Tensor, rate: Tensor) -> ELBO:
        """The terms of :meth:`every_class` averaged with probabilities of classes (B, C), whose own rate is (B,)."""
        sizes = (self.num_classes, len(probs))
        log_px, kl = terms.log_px.unflatten(1, sizes), terms.kl.unflatten(0, sizes)
        return terms._replace(log_px=(log_px * probs.T).sum(1), kl=(kl * probs.T).sum(0) + rate)

    def _tiled(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Examples once for every class, and these classes, (C · B, ...)."""
        classes = torch.arange(self.num_classes, device=x.device)
        return x.repeat(self.num_classes, *[1] * (x.ndim - 1)), classes[:, None].expand(-1, len(x)).flatten()

    def embed(self, x: Tensor, c: Tensor | None = None, *, sample: bool = False) -> Tensor:
        return Autoencoder.embed(self, x, c, sample=sample)

    @torch.no_grad()
    def sample(
        self,
        num: int,
        c: Tensor | None = None,
        *,
        mean: bool = True,
        temperature: float | Sequence[float] = 1.0,
        shares: bool = False,
    ) -> Tensor:
        """Draw latents from the prior and decode them, for chosen classes or for classes drawn from p(y).

        Args:
            num: Number of samples.
            c: Labels, (num,).
            mean: Whether to return the mean of p(x|z, y), or a draw from it.
            temperature: Factor on the spread of p(z|y).
            shares: Whether classes have their shares in the labelled training examples instead of p(y).

        Returns:
            (num, \\*shape).
        """
        check_temperature(temperature)
        check_number("num", num)
        if c is None:
            c = self.draw_classes(num) if shares else torch.randint(self.num_classes, (num,), device=self.device)
        super().check_labels(c, num)
        p = at_temperature(self.latent_prior(c.to(self.device)), temperature)
        y = self.one_hot(c.to(self.device), num)
        z = p.sample(() if p.batch_shape else (num,))
        px = self.decode(torch.cat([z, y.to(z.dtype)], -1))
        return mean_of(px, z.device) if mean else px.sample()

    def check_labels(self, c: Tensor | None, num: int) -> None:
        if c is not None:
            super().check_labels(c.where(c != -1, 0) if isinstance(c, Tensor) else c, num)
