"""Disentanglement of the latents of data whose factors are known."""

from __future__ import annotations

from typing import Any

from lightning.pytorch import Trainer
from torch import Tensor

from vae_zoo.callbacks.passes import Figures, data_of
from vae_zoo.distributions.normal import is_normal
from vae_zoo.metrics import DCI, MIG, SAP, BetaVAEScore, FactorVAEScore, Modularity, SampledMIG
from vae_zoo.models.steps import unpack


class Disentanglement(Figures):
    """Logs the disentanglement of test latents: two gaps of mutual information, SAP, DCI, FactorVAE, β-VAE, modularity.

    ``test/mig`` is :class:`vae_zoo.metrics.MIG`, of posterior means, and ``test/sampled_mig`` is
    :class:`vae_zoo.metrics.SampledMIG`, of samples; a model whose posterior is not a diagonal normal one has no second.
    The rest are of posterior means too. Figures rise or fall with the number of test examples: compare at one number.

    Args:
        estimator: Classifier of DCI: a class of scikit-learn, or gradient-boosted trees if not given.
            ``sklearn.ensemble.RandomForestClassifier`` is many times faster.
        num_votes: Votes that the FactorVAE and β-VAE scores learn from; half as many measure.
        seed: Seed of every draw.

    Raises:
        ValueError: If num_votes is less than 2; at the start of the test, if the data have no factors.
    """

    units = {
        "mig": "0 to 1, of posterior means",
        "sampled_mig": "0 to 1, of posterior samples",
        "sap": "difference of accuracies",
        "dci_disentanglement": "0 to 1",
        "dci_completeness": "0 to 1",
        "dci_informativeness": "accuracy",
        "factor_vae_score": "accuracy",
        "beta_vae_score": "accuracy",
        "modularity": "0 to 1",
    }

    def __init__(self, *, estimator: type | None = None, num_votes: int = 10_000, seed: int = 0) -> None:
        if num_votes < 2:
            raise ValueError(f"num_votes must be at least 2, got {num_votes}.")
        votes = {"num_train": num_votes, "num_test": num_votes // 2, "seed": seed}
        self._of_means = {
            "mig": MIG(),
            "sap": SAP(seed=seed),
            "dci": DCI(estimator=estimator, seed=seed),
            "factor_vae_score": FactorVAEScore(**votes),
            "beta_vae_score": BetaVAEScore(**votes),
            "modularity": Modularity(),
        }
        self._of_samples = SampledMIG(seed=seed)

    def start(self, trainer: Trainer, model: Any) -> None:
        data = data_of(trainer, "Disentanglement")
        factors = data.load("test").factors
        if factors is None:
            raise ValueError(
                f"Disentanglement needs data with known factors, such as Sprites: {type(data).__name__} has none."
            )
        self._factors = factors
        for metric in (*self._of_means.values(), self._of_samples):
            metric.to(model.device).reset()

    def add(self, model: Any, batch: Any) -> None:
        x, c = unpack(batch)
        q = model.encode(x, c)
        mean = model.embed(x, c)
        factors = self._factors[batch.index.cpu()].to(mean.device)
        for metric in self._of_means.values():
            metric.update(mean, factors)
        if is_normal(q):
            self._of_samples.update(q.base_dist.loc, q.base_dist.log_scale, factors)

    def figures(self, trainer: Trainer, model: Any) -> dict[str, Tensor]:  # noqa: ARG002
        values: dict[str, Any] = {}
        for name, metric in self._of_means.items():
            found = metric.compute()
            values |= {f"{name}_{k}": v for k, v in found.items()} if isinstance(found, dict) else {name: found}
        if self._of_samples.update_called:
            values["sampled_mig"] = self._of_samples.compute()
        return values
