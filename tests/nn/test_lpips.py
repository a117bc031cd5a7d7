"""LPIPS: against its formula written by hand, with stand-ins for its weights, and the file of the package."""

from __future__ import annotations

from functools import partial
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
import torchvision
from torch import Tensor, nn

from vae_zoo.distributions import Perceptual
from vae_zoo.models import AutoencoderKL
from vae_zoo.nn import LPIPSFeatures
from vae_zoo.nn.features.lpips import _CHANNELS, _linear
from vae_zoo.system.tensors import read_tensors


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, nn.Module, list[Tensor]]:
    """Random convolutions of VGG16 in torch's cache, and random weights of channels in a file."""
    folder = tmp_path_factory.mktemp("lpips")
    with torch.device("meta"):
        theirs = torchvision.models.vgg16().features[:30]
    theirs.to_empty(device="cpu")
    torch.manual_seed(0)
    for p in theirs.parameters():
        nn.init.normal_(p, std=0.03)
    (folder / "hub" / "checkpoints").mkdir(parents=True)
    file = folder / "hub" / "checkpoints" / torchvision.models.VGG16_Weights.IMAGENET1K_V1.url.rpartition("/")[2]
    torch.save({f"features.{name}": p for name, p in theirs.state_dict().items()}, file)
    linear = [torch.rand(channels) for channels in _CHANNELS]
    named = {f"lin{number}.model.1.weight": w.reshape(1, -1, 1, 1) for number, w in enumerate(linear)}
    torch.save(named, folder / "vgg.pth")
    return folder, theirs, linear


@pytest.fixture
def features(weights: tuple[Path, nn.Module, list[Tensor]], monkeypatch: pytest.MonkeyPatch) -> LPIPSFeatures:
    monkeypatch.setenv("TORCH_HOME", str(weights[0]))
    return LPIPSFeatures(weights=str(weights[0] / "vgg.pth"), min_side=16)


def by_hand(theirs: nn.Module, linear: list[Tensor], x: Tensor, y: Tensor) -> Tensor:
    """The published formula, from images in [-1, 1] that are shifted and scaled."""
    shift, scale = torch.tensor([-0.030, -0.088, -0.188]), torch.tensor([0.458, 0.448, 0.450])
    total = torch.zeros(len(x))
    a, b = ((2 * z - 1 - shift[:, None, None]) / scale[:, None, None] for z in (x, y))
    ends = {3: 0, 8: 1, 15: 2, 22: 3, 29: 4}
    for number, layer in enumerate(theirs):
        a, b = layer(a), layer(b)
        if number in ends:
            apart = (a / a.square().sum(1, keepdim=True).sqrt() - b / b.square().sum(1, keepdim=True).sqrt()).square()
            total += (linear[ends[number]][:, None, None] * apart).sum(1).mean((1, 2))
    return total


@torch.no_grad()
def test_the_formula(features: LPIPSFeatures, weights: tuple[Path, nn.Module, list[Tensor]]) -> None:
    x, y = torch.rand(2, 3, 3, 32, 40)
    wanted = by_hand(weights[1], weights[2], x, y)
    assert (wanted > 1e-3).all()
    torch.testing.assert_close(features.distance(x, y), wanted, rtol=1e-3, atol=1e-6)
    torch.testing.assert_close(features.distance(x, x), torch.zeros(3))


def test_a_perceptual_energy_and_the_term_of_a_tokenizer_are_the_distance(
    features: LPIPSFeatures, weights: tuple[Path, nn.Module, list[Tensor]]
) -> None:
    network = partial(LPIPSFeatures, weights=str(weights[0] / "vgg.pth"), min_side=16)
    energy = Perceptual((3, 16, 16), network=network)
    x, y = torch.rand(2, 2, 3, 16, 16)
    wanted = features.distance(x, y)
    torch.testing.assert_close(energy.distance(x, y), wanted)
    model = AutoencoderKL(shape=(3, 16, 16), network=network, discriminator=None).eval()
    torch.testing.assert_close(model.features.distance(x, y), wanted)
    torch.manual_seed(0)
    values = model.losses(x)
    torch.manual_seed(0)
    again = model.decode(model.encode(x).rsample()).mean
    torch.testing.assert_close(
        values["perceptual"], x[0].numel() * features.distance(again, x).mean(), rtol=1e-3, atol=0
    )


def test_black_pixels_have_finite_gradients(features: LPIPSFeatures) -> None:
    x = torch.zeros(1, 1, 16, 16, requires_grad=True)
    features.distance(x, torch.rand(1, 1, 16, 16)).sum().backward()
    assert x.grad is not None
    assert x.grad.isfinite().all()


def test_the_file_of_the_package() -> None:
    if find_spec("lpips") is None:
        pytest.skip("the extra perceptual is not installed")
    found = read_tensors(_linear(None), "LPIPS")
    assert [found[f"lin{n}.model.1.weight"].shape[1] for n in range(5)] == list(_CHANNELS)
    assert all((w >= 0).all() and w.any() for w in found.values())


def test_refusals(
    weights: tuple[Path, nn.Module, list[Tensor]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = str(weights[0] / "vgg.pth")
    monkeypatch.setenv("TORCH_HOME", str(weights[0]))
    with pytest.raises(ValueError, match=r"^min_side must be at least 16, got 8\.$"):
        LPIPSFeatures(weights=given, min_side=8)
    with pytest.raises(FileNotFoundError, match=r"^there is no file /no\.pth: LPIPSFeatures needs vgg\.pth of version"):
        LPIPSFeatures(weights="/no.pth")
    bad = tmp_path / "bad.pth"
    torch.save({"lin0.model.1.weight": -torch.ones(1, 64, 1, 1)}, bad)
    with pytest.raises(
        ValueError, match=r"^[^\n]*bad\.pth holds no weights of LPIPS: lin0\.model\.1\.weight has negative"
    ):
        LPIPSFeatures(weights=str(bad))
    torch.save({"lin0.model.1.weight": torch.ones(1, 96, 1, 1)}, bad)
    with pytest.raises(ValueError, match=r"lin0\.model\.1\.weight is not there or has another shape\.$"):
        LPIPSFeatures(weights=str(bad))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"^VGG16's weights are not at [^\n]*LPIPSFeatures\.download\(\)"):
        LPIPSFeatures(weights=given)
