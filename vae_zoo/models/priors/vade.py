"""Variational deep embedding, a VAE that clusters."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution

from vae_zoo.distributions import MixtureNormal, Normal, at_temperature, check_temperature, mean_of
from vae_zoo.distributions.estimation.mixtures import fit_mixture
from vae_zoo.distributions.normal import independent, is_normal
from vae_zoo.elbo import ELBO, check_number
from vae_zoo.functional import exact, kl_normal
from vae_zoo.models.plain.vae import VAE
from vae_zoo.system.seeding import global_seed, mix
from vae_zoo.training.trainers import is_ours

_CHUNK = 1000
"""Training examples encoded at once."""

_MOST = 100_000
"""Examples that clusters are fitted to."""


class VaDE(VAE):
    r"""VAE that finds clusters: its prior is a mixture of normal distributions, one for each cluster.

    .. math:: \mathcal{L}(x) = \mathbb{E}_{q(z|x)}[\log p(x|z)]
        - \sum_k q(k|x) \, \mathrm{KL}(q(z|x) \,\|\, p(z|k)) - \mathrm{KL}(q(k|x) \,\|\, p(k))

    .. math:: q(k|x) \propto p(k) \, e^{-\mathrm{KL}(q(z|x) \,\|\, p(z|k))}

    This q(k|x) maximises the bound, whose rate is therefore
    :math:`-\log \sum_k p(k) \, e^{-\mathrm{KL}(q(z|x) \,\|\, p(z|k))}`, without samples: the curve ``joint_kl``, of
    which ``cluster_kl`` is the last term. The paper estimates q(k|x) by p(k|z) for one draw of z. ``elbo`` is the
    bound with the mixture as p(z), which is higher.

    In the first epochs the rate has no weight, as in an autoencoder. Then a mixture is fitted to the means of the
    training examples' posteriors by expectation maximisation, and training goes on from its components.

    When to use it:
        For clusters without labels, with samples of each. Without the first epochs clusters hardly form. The number of
        clusters is yours to choose, and which properties of the examples they follow is not.

    References:
        | Variational Deep Embedding: An Unsupervised and Generative Approach to Clustering (Jiang et al., 2017)
        | https://arxiv.org/abs/1611.05148

    Args:
        num_clusters: Number of clusters.
        num_pretraining: Epochs without the rate; by default a fifth of the epochs of the fit.
        kwargs: Arguments of :class:`VAE`; ``prior`` must keep its default.

    Raises:
        ValueError: If num_clusters is less than 1, num_pretraining is negative, or the posterior is not normal with
            independent dimensions; at the start of a fit, if it has no further epochs; in it, if there are fewer
            examples than clusters.
    """

    units = {"joint_kl": "nats, of latent and cluster", "cluster_kl": "nats, of the cluster alone"}
    fixed = {
        "prior": "it is the mixture of the clusters",
        "free_bits": "the divergence that it would floor is not that of the objective",
    }
    apart = {
        "ConditionalVAE": "clusters are found without knowing the class",
        **dict.fromkeys(("HamiltonianVAE", "TwoStageVAE"), "its rate is not that of a normal distribution"),
    }

    latent_prior: MixtureNormal
    found: Tensor
    """Whether the clusters have been fitted."""

    _fitted, _until = False, 0
    pretraining = False
    """Whether this epoch of a fit is one without the rate."""

    def __init__(self, *, num_clusters: int = 10, num_pretraining: int | None = None, **kwargs: Any) -> None:
        if num_clusters < 1:
            raise ValueError(f"num_clusters must be at least 1, got {num_clusters}.")
        if num_pretraining is not None:
            check_number("num_pretraining", num_pretraining)
        super().__init__(prior=partial(MixtureNormal, num_components=num_clusters), **kwargs)
        if not is_normal(self.posterior.at_zeros()):
            name = type(self.posterior).__name__
            raise ValueError(f"{type(self).__name__} needs a posterior that is normal in each dimension, got {name}.")
        self.num_clusters, self.num_pretraining = num_clusters, num_pretraining
        self.register_buffer("found", torch.tensor(False))

    def divergence(self, q: Distribution, p: Distribution, z: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        rates, curves = super().divergence(q, p, z)
        joint = self._log_joint(q)
        total = joint.logsumexp(1, keepdim=True)
        gain = joint - total - exact(self.latent_prior.logits).log_softmax(0)  # log q(k|x) - log p(k)
        of_cluster = ((joint - total).exp() * gain).sum(1)
        return rates, {**curves, "joint_kl": -total.squeeze(1), "cluster_kl": of_cluster}

    def objective(self, elbo: ELBO) -> dict[str, Tensor]:
        weight = 0.0 if self.pretraining else elbo.weight
        return super().objective(elbo._replace(kl=weight * elbo.curves["joint_kl"], weight=weight, rates=None))

    def on_fit_start(self) -> None:
        super().on_fit_start()
        self._fitted, epochs, least = bool(self.found), self.trainer.max_epochs or 0, self.num_pretraining or 0
        if 0 < epochs <= least and not self._fitted and not getattr(self.trainer, "fast_dev_run", False):
            raise ValueError(f"max_epochs must be above the num_pretraining of {least}, got {epochs}.")

    def on_train_start(self) -> None:
        super().on_train_start()
        trainer: Any = self.trainer
        steps = max(trainer.max_steps, 0) * trainer.accumulate_grad_batches
        epochs = trainer.max_epochs if (trainer.max_epochs or 0) > 0 else steps // trainer.num_training_batches
        self._until = epochs // 5 if self.num_pretraining is None else self.num_pretraining

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        super().on_train_batch_start(batch, batch_idx)
        self.pretraining = not self._fitted and self.current_epoch < self._until
        if not (self.pretraining or self._fitted):
            data: Any = getattr(self.trainer, "datamodule", None)
            self.fit_clusters(data.examples("train") if is_ours(data) else self.unpack(batch)[0])
            for parameter in self.latent_prior.parameters():
                parameter.data.copy_(self.trainer.strategy.broadcast(parameter.data))  # the same on every rank
            self._fitted = True

    def on_fit_end(self) -> None:
        super().on_fit_end()
        self.pretraining = False

    @torch.no_grad()
    def fit_clusters(self, x: Tensor) -> None:
        """Put the clusters where a mixture lies that is fitted to the latents of examples.

        A fit does so by itself after the first epochs, with all training examples, or the first batch of a foreign
        loader.

        Args:
            x: Examples, (N, \\*shape); of more than 100,000, evenly spaced ones are used.

        Raises:
            ValueError: If there are fewer examples than clusters.
        """
        was_training = self.training
        self.eval()
        x = x[torch.linspace(0, len(x) - 1, min(len(x), _MOST)).round().long()]
        z = torch.cat([self.embed(part.to(self.device)).flatten(1).cpu().double() for part in x.split(_CHUNK)])
        self.train(was_training)
        if len(z) < self.num_clusters:
            raise ValueError(f"{self.num_clusters} clusters need as many examples, got {len(z)}.")
        generator = torch.Generator().manual_seed(mix(global_seed(), 1))
        fitted, _ = fit_mixture(z, self.num_clusters, generator=generator)
        scale, prior = fitted.tril.square().sum(-1).sqrt(), self.latent_prior
        starts = {prior.logits: fitted.log_shares, prior.loc: fitted.loc, prior.log_scale: scale.log()}
        for parameter, start in starts.items():
            parameter.copy_(start.view_as(parameter))
        self.found.fill_(True)

    def clusters(self, x: Tensor, c: Tensor | None = None) -> Tensor:
        """Logarithms of q(k|x), (B, num_clusters)."""
        return self._log_joint(self.encode(x, c)).log_softmax(1)

    def predict_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> dict[str, Tensor]:
        log_probs, found = self.clusters(*self.unpack(batch)).max(1)
        parts = super().predict_step(batch, batch_idx, dataloader_idx)
        return {**parts, "cluster": found, "cluster_probability": log_probs.exp()}

    @torch.no_grad()
    def sample(
        self,
        num: int,
        c: Tensor | None = None,
        *,
        mean: bool = True,
        temperature: float | Sequence[float] = 1.0,
        cluster: int | None = None,
    ) -> Tensor:
        """Draw latents from the prior, or from that of one cluster, and decode them.

        Args:
            num: Number of samples.
            c: Not used.
            mean: Whether to return the mean of p(x|z), or a draw from it.
            temperature: Factor on the spread of each cluster.
            cluster: Number k of a cluster, to draw from p(z|k).

        Returns:
            (num, \\*shape).

        Raises:
            ValueError: If there is no such cluster, num is negative, or the temperature is not positive and finite.
        """
        if cluster is None:
            return super().sample(num, c, mean=mean, temperature=temperature)
        check_number("num", num)
        check_temperature(temperature)
        if not 0 <= cluster < self.num_clusters:
            raise ValueError(f"cluster must lie in 0 .. {self.num_clusters - 1}, got {cluster}.")
        loc, log_scale = (exact(t[cluster]) for t in (self.latent_prior.loc, self.latent_prior.log_scale))
        p = at_temperature(independent(Normal(loc, log_scale), len(self.latent_shape)), temperature)
        px = self.decode(p.sample((num,)))
        return mean_of(px, self.device) if mean else px.sample()

    def _log_joint(self, q: Any) -> Tensor:
        """Logarithms of p(k) less the divergences of q from p(z|k), (B, K)."""
        prior, event = self.latent_prior, len(self.latent_shape)
        loc, log_scale = (t.flatten(-event).unsqueeze(1) for t in (q.base_dist.loc, q.base_dist.log_scale))
        of_clusters = (exact(t).flatten(1) for t in (prior.loc, prior.log_scale))
        return exact(prior.logits).log_softmax(0) - kl_normal(loc, log_scale, *of_clusters).sum(-1)
