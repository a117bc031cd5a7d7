"""Distances between samples and data in a feature space."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import Tensor, nn
from torchmetrics.image.fid import FrechetInceptionDistance
from torchmetrics.image.kid import KernelInceptionDistance
from torchmetrics.utilities.data import dim_zero_cat

from vae_zoo.metrics.checks import check_counts
from vae_zoo.metrics.information import canonical_order

_KEYS = 8  # features that rows are sorted by


class FID(FrechetInceptionDistance):
    r"""Fréchet distance between normal distributions with the moments of the features of data and of samples.

    .. math:: \|\mu - \hat \mu\|^2 + \mathrm{tr}\big( \Sigma + \hat \Sigma - 2 (\Sigma \hat \Sigma)^{1/2} \big)

    At least 0. It depends on the extractor and decreases with the number of samples: compare only if both are the
    same.

    References:
        | GANs Trained by a Two Time-Scale Update Rule Converge to a Local Nash Equilibrium (Heusel et al., 2017)
        | https://arxiv.org/abs/1706.08500

    Args:
        num_features: Number of features.
        extractor: Module from images (B, \*shape) to features (B, num_features); None where features are given.
        kwargs: Arguments of :class:`torchmetrics.Metric`.
    """

    feature_network = "inception"

    def __init__(self, *, num_features: int, extractor: nn.Module | None = None, **kwargs: Any) -> None:
        super().__init__(feature=Features(num_features, extractor), **kwargs)

    def update(self, imgs: Tensor, real: bool) -> None:
        """Add images or features, of data (real) or of samples."""
        super().update(imgs.detach(), real)


class KID(KernelInceptionDistance):
    r"""Kernel distance between the features of data and of samples: the mean over random subsets.

    .. math:: \mathrm{MMD}^2 \text{ with } k(x, y) = (x^\top y / D + 1)^3

    Unbiased, so about 0 for samples from the distribution of the data, and possibly negative. Rows are put into a
    canonical order before subsets are drawn.

    References:
        | Demystifying MMD GANs (Bińkowski et al., 2018)
        | https://arxiv.org/abs/1801.01401

    Args:
        num_features: Number of features.
        extractor: Module from images (B, \*shape) to features (B, num_features); None where features are given.
        subset_size: Examples in a subset; all examples if there are fewer.
        seed: Seed of the subsets.
        kwargs: Arguments of :class:`torchmetrics.image.kid.KernelInceptionDistance`.

    Raises:
        ValueError: If subset_size is less than 2.
    """

    def __init__(
        self,
        *,
        num_features: int,
        extractor: nn.Module | None = None,
        subset_size: int = 1000,
        seed: int = 0,
        **kwargs: Any,
    ) -> None:
        if subset_size < 2:
            raise ValueError(f"subset_size must be at least 2, got {subset_size}.")
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*will save all extracted features.*")  # the docstring says so too
            super().__init__(feature=Features(num_features, extractor), subset_size=subset_size, **kwargs)
        self.wanted, self.seed = subset_size, seed
        for name in ("real_features", "fake_features"):  # else processes with other numbers of batches wait for ever
            self._reductions[name] = dim_zero_cat

    def update(self, imgs: Tensor, real: bool) -> None:
        """Add images or features, of data (real) or of samples."""
        super().update(imgs.detach(), real)

    def compute(self) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation over subsets."""
        real, fake = dim_zero_cat(self.real_features), dim_zero_cat(self.fake_features)
        self.real_features, self.fake_features = ([x[canonical_order(x[:, :_KEYS])]] for x in (real, fake))
        self.subset_size = min(self.wanted, len(real), len(fake))
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(self.seed)
            return super().compute()


class Features(nn.Module):
    """Features of images, or features as they are, (B, num_features) in any case.

    Args:
        num_features: Number of features.
        extractor: Module from images to features, or None.
    """

    def __init__(self, num_features: int, extractor: nn.Module | None = None) -> None:
        super().__init__()
        check_counts(num_features=num_features)
        self.num_features, self.extractor = num_features, extractor or nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        features = self.extractor(x).flatten(1).float()
        if features.shape[1] != self.num_features:
            raise ValueError(f"the extractor gives {features.shape[1]} features, expected {self.num_features}.")
        return features
