"""Disentanglement metrics from groups of examples that share the value of one factor."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from vae_zoo.metrics.checks import check_counts
from vae_zoo.metrics.disentanglement.factors import FactorMetric

_CHUNK = 500


class FactorVAEScore(FactorMetric):
    r"""Accuracy of a majority vote on the fixed factor, from the latent that varies least.

    .. math:: \text{vote} = \Big( \arg\min_j \frac{\mathrm{Var}_{n \in \text{batch}}(z_{nj})}{\mathrm{Var}(z_j)}, \; k \Big)

    Batches are drawn with replacement from the examples of the set that share the value of factor k with one of them,
    whereas the paper generates new images; both agree in the limit of a large set. Latents with a standard
    deviation below ``min_scale`` do not vote; the score is 0 if none is left. Chance level is 1 / number of factors.

    References:
        | Disentangling by Factorising (Kim and Mnih, 2018)
        | https://arxiv.org/abs/1802.05983

    Args:
        batch_size: Examples in a batch with one factor fixed.
        num_train: Votes that decide what the majority is.
        num_test: Votes that accuracy is measured on.
        min_scale: Standard deviation of the mean below which a latent is left out.
        seed: Seed of the batches.
        kwargs: Arguments of :class:`torchmetrics.Metric`.

    Raises:
        ValueError: If a count is less than 1 or batch_size less than 2, or min_scale is negative or not finite; when computing, if no two examples share a value.
    """  # noqa: E501

    def __init__(
        self,
        *,
        batch_size: int = 64,
        num_train: int = 10_000,
        num_test: int = 5_000,
        min_scale: float = 0.05,
        seed: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        check_counts(num_train=num_train, num_test=num_test)
        if batch_size < 2:
            raise ValueError(f"batch_size must be at least 2, got {batch_size}.")
        if not 0 <= min_scale < math.inf:
            raise ValueError(f"min_scale must be at least 0 and finite, got {min_scale}.")
        self.batch_size, self.num_train, self.num_test = batch_size, num_train, num_test
        self.min_scale, self.seed = min_scale, seed

    def score(self, z: Tensor, v: Tensor) -> Tensor:
        z, v = z.cpu(), v.cpu()
        scale = z.std(0)
        z = (z / scale)[:, scale >= self.min_scale]
        if z.shape[1] == 0:
            return torch.tensor(0.0)
        generator = torch.Generator().manual_seed(self.seed)
        train, test = (self._votes(z, v, num, generator) for num in (self.num_train, self.num_test))
        return test.gather(1, train.argmax(1, keepdim=True)).sum() / test.sum()

    def _votes(self, z: Tensor, v: Tensor, num: int, generator: torch.Generator) -> Tensor:
        """Number of votes of each latent for each factor, (D, F)."""
        votes = torch.zeros(z.shape[1], v.shape[1])
        chosen = torch.randint(v.shape[1], (num,), generator=generator).bincount(minlength=v.shape[1])
        for k, (column, count) in enumerate(zip(v.unbind(1), chosen.tolist(), strict=True)):
            shared = (column.bincount()[column] > 1).nonzero().squeeze(1)
            if len(shared) == 0:
                raise ValueError(f"FactorVAEScore needs examples that share a value, but factor {k} has none.")
            anchors = shared[torch.randint(len(shared), (count,), generator=generator)]
            for part in anchors.split(_CHUNK) if count else ():
                least = z[sharing(column, part, self.batch_size, generator)].var(1).argmin(1)
                votes[:, k] += least.bincount(minlength=z.shape[1])
        return votes


class BetaVAEScore(FactorMetric):
    r"""Accuracy of a linear classifier that tells which factor pairs of examples share, from how their latents differ.

    .. math:: \text{feature} = \frac{1}{L} \sum_{l=1}^L |z_l - z'_l|, \quad v_k(l) = v'_k(l)

    The second of each pair is drawn from the examples of the set that share the value of factor k with the first, and
    may be the same one, whereas the paper generates new images. Chance level is 1 / number of factors.

    References:
        | β-VAE: Learning Basic Visual Concepts with a Constrained Variational Framework (Higgins et al., 2017)
        | https://openreview.net/forum?id=Sy2fzU9gl

    Args:
        batch_size: Number L of pairs in an average.
        num_train: Averages for training the classifier.
        num_test: Averages for measuring accuracy.
        seed: Seed of the pairs.
        kwargs: Arguments of :class:`torchmetrics.Metric`.

    Raises:
        ValueError: If an argument is less than 1.
    """

    min_factors = 2

    def __init__(
        self,
        *,
        batch_size: int = 64,
        num_train: int = 10_000,
        num_test: int = 5_000,
        seed: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        check_counts(batch_size=batch_size, num_train=num_train, num_test=num_test)
        self.batch_size, self.num_train, self.num_test, self.seed = batch_size, num_train, num_test, seed

    def score(self, z: Tensor, v: Tensor) -> Tensor:
        from sklearn.linear_model import LogisticRegression

        z, v = z.cpu(), v.cpu()
        generator = torch.Generator().manual_seed(self.seed)
        x, y = self._features(z, v, self.num_train, generator)
        model = LogisticRegression(random_state=self.seed, max_iter=1000).fit(x.numpy(), y.numpy())
        x, y = self._features(z, v, self.num_test, generator)
        return torch.tensor(model.score(x.numpy(), y.numpy()), dtype=torch.float32)

    def _features(self, z: Tensor, v: Tensor, num: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Mean differences (num, D) and the numbers of the shared factors (num,), every factor as often as any."""
        y, x = torch.arange(num) % v.shape[1], z.new_empty(num, z.shape[1])
        for k, column in enumerate(v.unbind(1)):
            for part in (y == k).nonzero().squeeze(1).split(_CHUNK):
                first = torch.randint(len(z), (len(part) * self.batch_size,), generator=generator)
                second = sharing(column, first, 1, generator).squeeze(1)
                x[part] = (z[first] - z[second]).abs().reshape(len(part), self.batch_size, -1).mean(1)
        return x, y


def sharing(column: Tensor, rows: Tensor, num: int, generator: torch.Generator) -> Tensor:
    """Draw rows with the same value of a factor as given ones, with replacement.

    Args:
        column: Values of the factor, non-negative integers, (N,).
        rows: Indices of rows, (R,).
        num: Rows to draw for each.
        generator: Source of the draw.

    Returns:
        Indices of rows, (R, num).
    """
    counts = column.bincount()
    order, starts = column.argsort(stable=True), counts.cumsum(0) - counts
    size = counts[column[rows]][:, None]
    place = (torch.rand(len(rows), num, dtype=torch.float64, generator=generator) * size).long()
    return order[starts[column[rows]][:, None] + torch.minimum(place, size - 1)]
