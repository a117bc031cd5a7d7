"""Disentanglement of latents, for data with known factors."""

from __future__ import annotations

from typing import Any

from lightning.pytorch import LightningModule, Trainer
from torch import Tensor

from vae_zoo.callbacks.evaluation.passes import TestMetrics, data_of
from vae_zoo.data.base.splits import SplitName
from vae_zoo.distributions.normal import is_normal
from vae_zoo.metrics import DCI, MIG, SAP, BetaVAEScore, FactorVAEScore, Modularity, SampledMIG
from vae_zoo.training.trainers import log_same


class Disentanglement(TestMetrics):
    """Logs the disentanglement of test latents: two mutual information gaps, SAP, DCI, FactorVAE, β-VAE, modularity.

    ``test/mig`` is :class:`vae_zoo.metrics.MIG` of posterior means, and ``test/sampled_mig`` is
    :class:`vae_zoo.metrics.SampledMIG` of samples, only for diagonal normal posteriors.
    The other metrics use posterior means too. All depend on the number of test examples: compare at equal numbers.

    In a fit it can also log ``val/mig``, as a criterion for checkpoints and sweeps.

    Args:
        val_every_n_epochs: Epochs between validations of a fit that log ``val/mig``; 0 for never.
        estimator: Classifier of DCI: a class of scikit-learn; gradient-boosted trees by default.
            ``sklearn.ensemble.RandomForestClassifier`` is many times faster.
        num_votes: Training votes of the FactorVAE and β-VAE scores; half as many are used for testing.
        seed: Seed of all draws.

    Raises:
        ValueError: If num_votes is less than 2 or val_every_n_epochs negative; at the start of the fit or the test, if
            the data have no factors.
    """

    val_curves: tuple[str, ...] = ()
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

    def __init__(
        self, *, val_every_n_epochs: int = 0, estimator: type | None = None, num_votes: int = 10_000, seed: int = 0
    ) -> None:
        if num_votes < 2:
            raise ValueError(f"num_votes must be at least 2, got {num_votes}.")
        if val_every_n_epochs < 0:
            raise ValueError(f"val_every_n_epochs must be at least 0, got {val_every_n_epochs}.")
        self.val_every_n_epochs = val_every_n_epochs
        self.val_curves = ("val/mig",) if val_every_n_epochs else ()
        self._of_validation = MIG()
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
        self._factors = _factors(trainer, "test")
        for metric in (*self._of_means.values(), self._of_samples):
            metric.to(model.device).reset()

    def add(self, model: Any, batch: Any) -> None:
        x, c = model.unpack(batch)
        q = model.encode(x, c)
        mean = model.embed(x, c)
        factors = self._factors[batch.index.cpu()].to(mean.device)
        for metric in self._of_means.values():
            metric.update(mean, factors)
        if is_normal(q):
            self._of_samples.update(q.base_dist.loc, q.base_dist.log_scale, factors)

    def metrics(self, trainer: Trainer, model: Any) -> dict[str, Tensor]:  # noqa: ARG002
        values: dict[str, Any] = {}
        for name, metric in self._of_means.items():
            found = metric.compute()
            values |= {f"{name}_{k}": v for k, v in found.items()} if isinstance(found, dict) else {name: found}
        if self._of_samples.update_called:
            values["sampled_mig"] = self._of_samples.compute()
        return values

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.val_every_n_epochs:
            self._of_validation.to(pl_module.device)
            self._val_factors = _factors(trainer, "val")

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,  # noqa: ARG002
        batch: Any,
        batch_idx: int,  # noqa: ARG002
        dataloader_idx: int = 0,
    ) -> None:
        if self._is_due(trainer) and not dataloader_idx:
            mean = pl_module.embed(*pl_module.unpack(batch))  # type: ignore[operator]
            self._of_validation.update(mean, self._val_factors[batch.index.cpu()].to(mean.device))

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._is_due(trainer):
            log_same(pl_module, "val/mig", self._of_validation.compute().float())
            self._of_validation.reset()

    def _is_due(self, trainer: Trainer) -> bool:
        every = trainer.state.fn == "fit" and not trainer.sanity_checking and self.val_every_n_epochs
        return bool(every) and (trainer.current_epoch + 1) % every == 0


def _factors(trainer: Trainer, split: SplitName) -> Tensor:
    data = data_of(trainer, "Disentanglement")
    factors = data.load(split).factors
    if factors is None:
        raise ValueError(
            f"Disentanglement needs data with known factors, such as Sprites: {type(data).__name__} has none."
        )
    return factors
