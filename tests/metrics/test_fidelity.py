from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from vae_zoo.data import Digits
from vae_zoo.metrics import FID, KID, PRDC, DataClassifier, InceptionFeatures
from vae_zoo.metrics.prdc import prdc, radii


def compare(metric: FID | KID | PRDC, real: Tensor, fake: Tensor) -> Tensor:
    for x, is_real in ((real, True), (fake, False)):
        for part in x.split([1, len(x) - 1]):
            metric.update(part, real=is_real)
    return metric.compute()


class TestFID:
    def test_of_two_normal_distributions(self) -> None:
        a, b = torch.tensor([1.0, 2.0, 0.5, 1.0]), torch.tensor([1.0, 1.0, 1.5, 1.0])
        real, fake = a * torch.randn(20_000, 4), b * torch.randn(20_000, 4) + 0.5
        exact = 4 * 0.5**2 + (a - b).square().sum()
        assert compare(FID(num_features=4), real, fake).item() == pytest.approx(exact.item(), rel=0.03)

    def test_of_one_distribution(self) -> None:
        assert compare(FID(num_features=4), torch.randn(5000, 4), torch.randn(5000, 4)).item() == pytest.approx(
            0, abs=0.01
        )
        x = torch.randn(100, 4)
        assert compare(FID(num_features=4), x, x).item() == pytest.approx(0, abs=1e-4)

    def test_images_go_through_the_extractor(self) -> None:
        extractor = nn.Sequential(nn.Flatten(), nn.Linear(64, 3))
        real, fake = torch.rand(50, 1, 8, 8), torch.rand(50, 1, 8, 8) / 2
        whole = compare(FID(num_features=3, extractor=extractor), real, fake)
        torch.testing.assert_close(whole, compare(FID(num_features=3), extractor(real), extractor(fake)))
        with pytest.raises(ValueError, match="the extractor gives 3 features, expected 4"):
            FID(num_features=4, extractor=extractor).update(real, real=True)


class TestKID:
    def test_closed_form(self) -> None:
        """E k(x, y) of the cubic kernel under normal distributions, from the moments of x·y."""
        s, shift = 0.4, 0.8
        real, fake = s * torch.randn(3000, 1), s * torch.randn(3000, 1) + shift

        def kernel(a: float, b: float) -> float:
            x, y = ([1, mean, mean**2 + s**2, mean**3 + 3 * mean * s**2] for mean in (a, b))
            return sum(math.comb(3, k) * x[k] * y[k] for k in range(4))

        exact = kernel(0, 0) + kernel(shift, shift) - 2 * kernel(0, shift)
        mean, spread = compare(KID(num_features=1, subsets=10, subset_size=1000), real, fake)
        assert mean.item() == pytest.approx(exact, rel=0.1)
        assert spread > 0

    def test_unbiased_seeded_and_of_small_sets(self) -> None:
        real, fake = torch.randn(300, 4), torch.randn(300, 4)
        first, again, other = (compare(KID(num_features=4, subset_size=100, seed=s), real, fake) for s in (0, 0, 1))
        assert first == again != other
        assert abs(first[0]) < 0.2
        order = torch.randperm(300)
        assert compare(KID(num_features=4, subset_size=100), real[order], fake) == first
        mean, spread = compare(KID(num_features=4), real, fake)  # 1000 in a subset: all 300
        assert spread == pytest.approx(0, abs=1e-5)
        assert abs(mean) < 0.1
        with pytest.raises(ValueError, match="subset_size must be at least 2, got 1"):
            KID(num_features=4, subset_size=1)


class TestPRDC:
    def test_equal_sets(self) -> None:
        x = torch.randn(200, 3)
        found = compare(PRDC(), x, x)
        assert (found["precision"], found["recall"], found["coverage"]) == (1, 1, 1)
        # Each sample lies in its own ball, and in those of the points that it is one of the 4 nearest of: 5 of 5.
        assert found["density"] == pytest.approx(1)

    def test_sets_apart(self) -> None:
        found = compare(PRDC(), torch.randn(100, 3), torch.randn(100, 3) + 100)
        assert all(v == 0 for v in found.values())

    def test_one_mode_of_two(self) -> None:
        """Samples of one half of the data: precise, and half of the data recalled and covered."""
        real = torch.cat([torch.randn(200, 2), torch.randn(200, 2) + 50])
        found = compare(PRDC(), real, torch.randn(200, 2))
        assert found["precision"] > 0.9
        assert found["recall"] == pytest.approx(0.5, abs=0.05)
        assert found["coverage"] == pytest.approx(0.5, abs=0.03)
        collapsed = compare(PRDC(), real, 0.01 * torch.randn(200, 2))
        assert collapsed["recall"] < 0.02
        assert collapsed["precision"] == 1

    def test_against_a_double_loop(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("vae_zoo.metrics.prdc._CHUNK_ELEMENTS", 100)
        real, fake, k = torch.randn(30, 2).double(), torch.randn(23, 2).double() * 1.5, 3

        def radius(x: Tensor) -> list[float]:
            return [sorted((x[i] - x[j]).norm().item() for j in range(len(x)))[k] for i in range(len(x))]

        r, f = radius(real), radius(fake)
        inside = [[(a - b).norm().item() < r[i] for b in fake] for i, a in enumerate(real)]
        recall = [any((a - b).norm().item() < f[j] for j, b in enumerate(fake)) for a in real]
        torch.testing.assert_close(radii(real, k), torch.tensor(r).double())
        expected = {
            "precision": sum(any(row[j] for row in inside) for j in range(23)) / 23,
            "recall": sum(recall) / 30,
            "density": sum(map(sum, inside)) / 23 / k,
            "coverage": sum(map(any, inside)) / 30,
        }
        assert {name: v.item() for name, v in prdc(real, fake, k).items()} == pytest.approx(expected, abs=1e-6)

    def test_too_few(self) -> None:
        with pytest.raises(ValueError, match="PRDC needs more than 5 examples and samples, got 5, 9"):
            compare(PRDC(), torch.randn(5, 2), torch.randn(9, 2))
        with pytest.raises(ValueError, match="nearest must be at least 1, got 0"):
            PRDC(nearest=0)


class TestExtractors:
    def test_classifier_learns_and_is_seeded(self) -> None:
        data = Digits()
        x, y = data.examples("train"), data.load("train").y
        torch.manual_seed(5)
        before = torch.random.get_rng_state()
        first, again = (DataClassifier((1, 8, 8), num_steps=50, batch_size=64).fit(x, y) for _ in range(2))
        assert torch.equal(before, torch.random.get_rng_state())
        torch.testing.assert_close(first(x), again(x), rtol=0, atol=0)
        torch.testing.assert_close(first(data.load("train").x), first(x))
        assert first(x).shape == (1397, 64)
        assert first.accuracy(x, y) > 0.7
        assert first.label("MNIST") == "classifier of MNIST"

    @pytest.mark.parametrize("shape", [(3, 9, 7), (17,)])
    def test_shapes(self, shape: tuple[int, ...]) -> None:
        network = DataClassifier(shape, num_steps=1, num_features=5).fit(torch.rand(6, *shape), torch.arange(6))
        assert network(torch.rand(2, *shape)).shape == (2, 5)

    def test_refusals(self) -> None:
        with pytest.raises(ValueError, match="DataClassifier needs data with labels"):
            DataClassifier((4,)).fit(torch.rand(3, 4), None)
        with pytest.raises(ValueError, match="must be at least 1, got 0, 500 and 128"):
            DataClassifier((4,), num_features=0)
        with pytest.raises(ValueError, match="no accuracy before it is fitted"):
            DataClassifier((4,)).accuracy(torch.rand(3, 4), torch.zeros(3))
        with pytest.raises(ValueError, match=r"1 or 3 channels, got examples of shape \(17,\)"):
            InceptionFeatures((17,))

    def test_inception_without_its_package(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("vae_zoo.metrics.extractors.find_spec", lambda name: None)
        with pytest.raises(ImportError, match=r"^Inception needs torch-fidelity: [^\n]*$"):
            InceptionFeatures((1, 28, 28))

    def test_inception_without_its_weights(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        pytest.importorskip("torch_fidelity")
        monkeypatch.setenv("TORCH_HOME", str(tmp_path))
        monkeypatch.setattr("urllib.request.urlopen", None)  # nothing is requested
        with pytest.raises(FileNotFoundError, match=r"^Inception.s weights are not at [^\n]*Features\.download"):
            InceptionFeatures((1, 28, 28))

    def test_inception_is_downloaded_on_demand_alone(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        pytest.importorskip("torch_fidelity")
        asked = []
        monkeypatch.setenv("TORCH_HOME", str(tmp_path))
        monkeypatch.setattr("torch.hub.download_url_to_file", lambda *args, **kwargs: asked.append((args, kwargs)))
        path = InceptionFeatures.download()
        (((url, to), kwargs),) = asked
        assert path.parent == tmp_path / "hub" / "checkpoints"
        assert path.parent.is_dir()
        assert (to, url.rpartition("/")[2], kwargs) == (str(path), path.name, {"hash_prefix": "6726825d"})
        path.touch()
        InceptionFeatures.download()
        assert len(asked) == 1

    def test_inception_is_given_three_channels_of_bytes(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        class Network(nn.Module):
            def __init__(self, *args: object) -> None:
                super().__init__()

            def forward(self, x: Tensor) -> Tensor:
                assert x.dtype == torch.uint8
                return x

        pytest.importorskip("torch_fidelity")
        monkeypatch.setattr("torchmetrics.image.fid.NoTrainInceptionV3", Network)
        torch.save({"a": torch.zeros(1)}, tmp_path / "weights.pth")
        x = torch.tensor([0.0, 0.5, 1.0, 2.0]).reshape(1, 1, 2, 2)
        features = InceptionFeatures((1, 2, 2), weights_path=str(tmp_path / "weights.pth"))
        assert features(x).tolist() == [[0, 128, 255, 255] * 3]
