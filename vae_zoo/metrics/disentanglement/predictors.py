"""Disentanglement metrics based on prediction of factors from latents."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from vae_zoo.metrics.disentanglement.factors import FactorMetric, check_fraction, halves
from vae_zoo.metrics.disentanglement.mutual_information_gap import gap


class SAP(FactorMetric):
    r"""Separated attribute predictability: the gap in accuracy between the best latent for a factor and the next.

    .. math:: \frac{1}{F} \sum_k \big( A_{j_k k} - \max_{j \ne j_k} A_{jk} \big), \quad j_k = \arg\max_j A_{jk}

    The accuracy A is that of a linear support vector machine on one latent (C = 0.01, balanced classes, as in
    disentanglement_lib), on held-out examples. The largest possible score is below 1: 1/2 for two values.

    References:
        | Variational Inference of Disentangled Latent Concepts from Unlabeled Observations (Kumar et al., 2018)
        | https://arxiv.org/abs/1711.00848

    Args:
        test_fraction: Part of the examples that accuracy is measured on.
        seed: Seed of which ones.
        kwargs: Arguments of :class:`torchmetrics.Metric`.

    Raises:
        ValueError: If test_fraction does not lie between 0 and 1.
    """

    def __init__(self, *, test_fraction: float = 1 / 3, seed: int = 0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.test_fraction, self.seed = check_fraction(test_fraction), seed

    def score(self, z: Tensor, v: Tensor) -> Tensor:
        from sklearn.svm import LinearSVC

        def make() -> Any:
            return LinearSVC(C=0.01, class_weight="balanced", dual=False, random_state=self.seed)

        train, test = halves(len(z), self.test_fraction, self.seed)
        latents, factors = z.cpu().numpy(), v.cpu().numpy()
        accuracy = [
            [_fit(make, x[train], y[train])[1](x[test], y[test]) for y in factors.T]
            for x in (latents[:, j : j + 1] for j in range(latents.shape[1]))
        ]
        return gap(torch.tensor(accuracy))


class DCI(FactorMetric):
    r"""Disentanglement, completeness and informativeness, from the importance of each latent for each factor.

    .. math:: D = \sum_j \rho_j \, \big( 1 - H_F(R_{j \cdot}) \big), \quad C = \sum_k \rho'_k \, \big( 1 - H_D(R_{\cdot k}) \big)

    R contains the importances of a classifier for each factor, the weights ρ are the sums of its rows and columns, and H
    is the entropy of a normalised row or column, relative to its maximum. Informativeness is the mean accuracy on
    held-out examples. Each is from 0 to 1. The classifiers are gradient-boosted trees, as in
    disentanglement_lib; a random forest takes a fraction of their time and gives different scores.

    References:
        | A Framework for the Quantitative Evaluation of Disentangled Representations (Eastwood and Williams, 2018)
        | https://openreview.net/forum?id=By-7dz-AZ

    Args:
        estimator: Class of a scikit-learn classifier with ``feature_importances_`` or ``coef_``, or a
            ``functools.partial`` of one; gradient-boosted trees by default.
        test_fraction: Part of the examples that accuracy is measured on.
        seed: Seed of which ones, and of the classifiers.
        kwargs: Arguments of :class:`torchmetrics.Metric`.

    Raises:
        ValueError: If test_fraction does not lie between 0 and 1.
    """  # noqa: E501

    min_factors = 2

    def __init__(
        self,
        *,
        estimator: Callable[..., Any] | None = None,
        test_fraction: float = 1 / 3,
        seed: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.estimator, self.test_fraction, self.seed = estimator, check_fraction(test_fraction), seed

    def score(self, z: Tensor, v: Tensor) -> dict[str, Tensor]:
        train, test = halves(len(z), self.test_fraction, self.seed)
        x, factors = z.cpu().numpy(), v.cpu().numpy()
        importance, accuracy = [], []
        for y in factors.T:
            model, measure = _fit(self._make, x[train], y[train])
            importance.append(_importance(model, x.shape[1]))
            accuracy.append(measure(x[test], y[test]))
        r = torch.stack(importance, 1)
        return {
            "disentanglement": _one_sidedness(r),
            "completeness": _one_sidedness(r.T),
            "informativeness": torch.tensor(accuracy).mean(),
        }

    def _make(self) -> Any:
        from sklearn.ensemble import GradientBoostingClassifier

        model = (self.estimator or GradientBoostingClassifier)()
        return model.set_params(random_state=self.seed) if "random_state" in model.get_params() else model


def _one_sidedness(r: Tensor) -> Tensor:
    """One minus the normalised entropy of each row of importances, weighted by the rows' sums."""
    p = r + 1e-11
    p = p / p.sum(1, keepdim=True)
    entropies = -(p * p.log()).sum(1) / torch.log(torch.tensor(float(r.shape[1])))
    weight = r.sum(1) / r.sum() if r.sum() > 0 else torch.full_like(r[:, 0], 1 / len(r))
    return (weight * (1 - entropies)).sum()


def _importance(model: Any, num_latents: int) -> Tensor:
    """Importance of each latent for a classifier, (D,)."""
    if model is None:
        return torch.zeros(num_latents, dtype=torch.float64)
    values = getattr(model, "feature_importances_", None)
    values = torch.as_tensor(model.coef_ if values is None else values, dtype=torch.float64).abs()
    return values.reshape(-1, num_latents).mean(0)


def _fit(make: Callable[[], Any], x: Any, y: Any) -> tuple[Any, Callable[[Any, Any], float]]:
    """A fitted classifier and its accuracy on held-out examples; None if there is only one class."""
    if (y == y[0]).all():
        return None, lambda _, target: float((target == y[0]).mean())
    with warnings.catch_warnings():
        # A factor with many values in a small set is still a class, not a number.
        warnings.filterwarnings("ignore", "The number of unique classes is greater than 50%", UserWarning)
        model = make().fit(x, y)
    return model, lambda other, target: float((model.predict(other) == target).mean())
