"""Quality of reconstructions of images in [0, 1]."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torchmetrics.image import PeakSignalNoiseRatio, StructuralSimilarityIndexMeasure

_WINDOW = 11


class PSNR(PeakSignalNoiseRatio):
    r"""Peak signal-to-noise ratio of images in [0, 1], the mean over images.

    .. math:: -10 \log_{10} \frac{1}{D} \sum_i (x_i - \hat x_i)^2

    Args:
        kwargs: Arguments of :class:`torchmetrics.Metric`.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(data_range=(0.0, 1.0), dim=(1, 2, 3), **kwargs)

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Add reconstructions and images, (B, C, H, W) each."""
        check_images(target)
        super().update(preds.detach().float(), target.float())


class SSIM(StructuralSimilarityIndexMeasure):
    """Structural similarity of images in [0, 1], the mean over images; 1 for equal images.

    The window is Gaussian, 11 pixels wide with σ = 1.5; images with a shorter side use the largest odd window that
    fits, with a proportional σ, and are not comparable with papers.

    References:
        | Image Quality Assessment: From Error Visibility to Structural Similarity (Wang et al., 2004)
        | https://doi.org/10.1109/TIP.2003.819861

    Args:
        kwargs: Arguments of :class:`torchmetrics.Metric`.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(data_range=(0.0, 1.0), **kwargs)

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Add reconstructions and images, (B, C, H, W) each.

        Raises:
            ValueError: If the images have a side of less than 3 pixels.
        """
        check_images(target)
        side = min(_WINDOW, *target.shape[2:])
        if side < 3:
            raise ValueError(f"SSIM needs images of at least 3x3 pixels, got {tuple(target.shape[2:])}.")
        width = side - 1 + side % 2
        self.sigma = 1.5 * (width - 1) / (_WINDOW - 1)
        super().update(preds.detach().float(), target.float())


def check_images(x: Tensor) -> None:
    """Refuse anything but a batch of images in [0, 1].

    Raises:
        ValueError: With what was given.
    """
    if x.ndim != 4:
        raise ValueError(f"PSNR and SSIM are of images (B, C, H, W), got examples of shape {tuple(x.shape[1:])}.")
    if x.min() < 0 or x.max() > 1:
        raise ValueError(f"PSNR and SSIM need images in [0, 1], got {x.min():.4g} to {x.max():.4g}.")
