from __future__ import annotations

import math

import pytest
import torch

from vae_zoo.metrics import PSNR, SSIM, AnomalyAUROC, KNNProbe, LinearProbe


class TestProbes:
    def test_what_is_linear_and_what_is_not(self) -> None:
        """The quadrants of a chessboard: neighbours tell them, a line does not."""
        z = torch.rand(600, 2) * 2 - 1
        linear, chess = (z[:, 0] > 0).long(), (z.prod(1) > 0).long()
        for y, low, high in ((linear, 0.97, 1.0), (chess, 0.3, 0.7)):
            probe, neighbours = LinearProbe(), KNNProbe()
            for metric in (probe, neighbours):
                metric.update(1000 * z[:400] + 7, y[:400], train=True)
                metric.update(1000 * z[400:] + 7, y[400:], train=False)
            assert low <= probe.compute() <= high
            assert neighbours.compute() > 0.9

    def test_noise_is_chance(self) -> None:
        z, y = torch.randn(2000, 4), torch.randint(4, (2000,))
        for metric in (LinearProbe(), KNNProbe()):
            metric.update(z[:1000], y[:1000], train=True)
            metric.update(z[1000:], y[1000:], train=False)
            assert metric.compute().item() == pytest.approx(0.25, abs=0.05)

    @pytest.mark.parametrize("cls", [LinearProbe, KNNProbe])
    def test_neither_batches_nor_order_matter(self, cls: type[LinearProbe]) -> None:
        z, y = torch.randn(90, 3), torch.randint(3, (90,))
        train = torch.arange(90) < 60
        whole, parts = cls(), cls()
        whole.update(z[train], y[train], train=True)
        whole.update(z[~train], y[~train], train=False)
        for rows in torch.randperm(90).split([1, 30, 59]):
            for is_train in (True, False):
                chosen = rows[train[rows] == is_train]
                parts.update(z[chosen], y[chosen], train=is_train)
        assert whole.compute() == parts.compute()

    def test_refusals(self) -> None:
        metric = LinearProbe()
        metric.update(torch.randn(4, 2), torch.arange(4), train=True)
        with pytest.raises(ValueError, match="needs latents to train on and to test on, got one of the two"):
            metric.compute()
        for bad in (0.0, math.nan):
            with pytest.raises(ValueError, match="strength must be positive"):
                LinearProbe(strength=bad)
        with pytest.raises(ValueError, match="neighbours must be at least 1, got 0"):
            KNNProbe(neighbours=0)


class TestAnomalyAUROC:
    @pytest.mark.parametrize("scale", [1.0, 1e3, 1e-3])
    def test_is_sklearns_at_any_scale(self, scale: float) -> None:
        """torchmetrics by itself loses the order of scores that a sigmoid takes to 1."""
        from sklearn.metrics import roc_auc_score

        anomalous = torch.arange(300) % 3 == 0
        scores = scale * ((torch.randn(300) + anomalous).mul(4).round() + 100)  # with ties
        metric = AnomalyAUROC()
        for s, a in zip(scores.split(70), anomalous.split(70), strict=True):
            metric.update(s, a)
        assert metric.compute().item() == pytest.approx(roc_auc_score(anomalous, scores), abs=1e-6)

    def test_ends(self) -> None:
        metric = AnomalyAUROC()
        anomalous = torch.tensor([True, False, True, False])
        assert metric(torch.tensor([3.0, 1.0, 2.0, 0.0]), anomalous) == 1
        assert metric(-torch.tensor([3.0, 1.0, 2.0, 0.0]), anomalous) == 0
        assert metric(torch.full((4,), -90.0), anomalous) == 0.5
        metric.reset()
        metric.update(torch.randn(3), torch.ones(3))
        with pytest.raises(ValueError, match="needs normal and anomalous examples, got only one of the two"):
            metric.compute()


class TestReconstruction:
    def test_psnr_is_the_mean_over_images(self) -> None:
        x = torch.rand(7, 3, 9, 8)
        y = (x + 0.1 * torch.randn_like(x) * torch.arange(1, 8).view(-1, 1, 1, 1)).clamp(0, 1)
        expected = (-10 * (x - y).square().flatten(1).mean(1).log10()).mean()
        metric = PSNR()
        for a, b in zip(y.split([1, 4, 2]), x.split([1, 4, 2]), strict=True):
            metric.update(a, b)
        torch.testing.assert_close(metric.compute(), expected)
        torch.testing.assert_close(PSNR()(torch.zeros(1, 1, 2, 2), torch.full((1, 1, 2, 2), 0.1)), torch.tensor(20.0))

    def test_ssim_of_grey_images(self) -> None:
        """Images without contrast: only the means of the two are compared."""
        for size in (3, 4, 8, 11, 28):
            x, y = torch.full((2, 1, size, size), 0.2), torch.full((2, 1, size, size), 0.6)
            expected = (2 * 0.2 * 0.6 + 1e-4) / (0.2**2 + 0.6**2 + 1e-4)
            assert SSIM()(x, y).item() == pytest.approx(expected, abs=2e-3)

    def test_ssim_of_equal_and_of_opposite_images(self) -> None:
        x = torch.rand(5, 1, 28, 20)
        assert SSIM()(x, x) == pytest.approx(1)
        assert SSIM()(1 - x, x) < 0
        assert 0.2 < SSIM()((x + 0.2 * torch.randn_like(x)), x) < 0.95

    def test_batches_do_not_matter(self) -> None:
        x, y = torch.rand(7, 1, 8, 8), torch.rand(7, 1, 8, 8)
        parts = SSIM()
        for a, b in zip(y.split([1, 6]), x.split([1, 6]), strict=True):
            parts.update(a, b)
        torch.testing.assert_close(parts.compute(), SSIM()(y, x))

    def test_refusals(self) -> None:
        with pytest.raises(ValueError, match=r"SSIM needs images of at least 3x3 pixels, got \(2, 9\)"):
            SSIM().update(torch.rand(1, 1, 2, 9), torch.rand(1, 1, 2, 9))
        for cls in (PSNR, SSIM):
            with pytest.raises(ValueError, match=r"are of images \(B, C, H, W\), got examples of shape \(17,\)"):
                cls().update(torch.rand(2, 17), torch.rand(2, 17))
            with pytest.raises(ValueError, match=r"need images in \[0, 1\], got -1 to 3"):
                cls().update(torch.rand(1, 1, 4, 4), torch.linspace(-1, 3, 16).view(1, 1, 4, 4))
