"""Weights that come with the package: each is what its description says, and nothing else is loaded in its place."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from short import few

import vae_zoo
from vae_zoo import hub, weights
from vae_zoo.cli.commands.list import entries
from vae_zoo.data import Digits
from vae_zoo.models import IWAE, Autoencoder
from vae_zoo.weights import registry
from vae_zoo.weights.files import EXAMPLE, NUM_SAMPLES, bound, check_bound, load_weights, read, stored

NAMES = weights.names()
SMALL = "vae_digits"
KL = {"MNIST": 12.0, "Digits": 5.0, "Sprites": 5.0, "Counts": 4.0, "BreastCancer": 8.0, "Tokens": 4.0}
"""Least rates, in nats: a collapsed model is none to take home."""


def test_there_are_enough_of_them() -> None:
    found = [weights.find(name) for name in NAMES]
    assert len(found) >= 12
    families = {entry.name: entry.family for entry in entries("model")}
    assert len({families[one.model_name] for one in found}) >= 5
    assert {one.data_name for one in found} >= {"MNIST", "Digits", "Sprites", "Counts", "BreastCancer"}
    assert sum(path.stat().st_size for path in registry.FOLDER.rglob("*") if path.is_file()) <= 20e6


@pytest.mark.parametrize("name", NAMES)
def test_what_is_said_of_them(name: str) -> None:
    found = weights.find(name)
    assert found.name == name
    path = registry.FOLDER / found.name / found.file
    assert path.stat().st_size == found.num_bytes
    assert hashlib.sha256(path.read_bytes()).hexdigest() == found.sha256
    assert found.fit["command"].startswith("vae-zoo fit --config ")
    assert len(found.fit["commit"]) == 7, "of a checkout without changes"
    assert {"hardware", "torch", "lightning", "cpu_minutes"} <= found.fit.keys()
    assert found.licence["weights"] == "MIT"
    assert found.protocol["num_examples"] == 1000 or found.data_name != "MNIST", "as README says"
    assert found.transforms
    assert all(metric.error > 0 for metric in found.metrics.values())
    assert found.metrics["kl"].value >= KL[found.data_name]
    if "unexplained" in found.metrics:
        assert found.metrics["unexplained"].value <= 0.6
    if "log_evidence" in found.metrics:
        assert found.metrics["log_evidence"].value > found.metrics["elbo"].value
    tensors = load_file(path)
    assert all(t.dtype == torch.float16 for t in tensors.values() if t.is_floating_point() and t.numel() >= 1000)


@pytest.mark.parametrize("name", few(NAMES, 2, SMALL))
def test_each_loads_and_gives_its_bound_and_samples(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    offline(monkeypatch)
    found = weights.find(name)
    model: Any = vae_zoo.from_pretrained(name, verify=True)
    assert not model.training
    assert all(p.dtype == torch.float32 for p in model.parameters())
    assert sum(p.numel() for p in model.parameters()) == found.num_parameters
    x, c = stored(read(found))
    assert len(x) == found.stored["num"] == 8
    assert check_bound(model, found, x, c) == pytest.approx(found.stored["bound"], rel=1e-3)
    again = model.sample(4, None if c is None else c[:4])
    assert again.shape == (4, *model.shape)
    assert float(again.std(0).mean()) > 0, "samples are not all alike"
    with torch.no_grad():
        kl = model.elbo(x, c).kl.mean() if hasattr(model, "elbo") else model.losses(x, c)["kl"]
    assert float(kl) >= KL[found.data_name] / 2


def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    def connect(*_: Any) -> None:
        raise AssertionError("a connection")

    monkeypatch.setattr(socket.socket, "connect", connect)


def test_a_class_keeps_to_itself() -> None:
    with pytest.raises(ValueError, match="vae_digits holds a MLPVAE, which is no IWAE"):
        IWAE.from_pretrained(SMALL)


@pytest.mark.parametrize("name", ["vae_digts", "mnist_vae", "qqqq"])
def test_an_unknown_name(name: str) -> None:
    with pytest.raises(FileNotFoundError) as error:
        hub.from_pretrained(name)
    (line,) = str(error.value).splitlines()
    assert "no folder" in line
    assert "vae-zoo list weights" in line
    assert (SMALL in line) == (name == "vae_digts")


@pytest.fixture
def copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the one entry of a registry, to be changed."""
    shutil.copytree(registry.FOLDER / SMALL, tmp_path / SMALL)
    monkeypatch.setattr(registry, "FOLDER", tmp_path)
    assert weights.names() == [SMALL]
    return tmp_path / SMALL


def change(folder: Path, **values: Any) -> None:
    path = folder / f"{SMALL}.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def test_an_altered_byte_is_refused(copied: Path) -> None:
    path = copied / f"{SMALL}.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"the weights {SMALL} has been altered: its SHA-256 is another one"):
        vae_zoo.from_pretrained(SMALL)


def test_other_weights_of_the_right_checksum_are_found_by_their_bound(copied: Path) -> None:
    path = copied / f"{SMALL}.safetensors"
    tensors = load_file(path)
    tensors["decoder.layers.1.weight"] *= 1.1
    save_file(tensors, path)
    change(copied, sha256=hashlib.sha256(path.read_bytes()).hexdigest())
    assert isinstance(vae_zoo.from_pretrained(SMALL), Autoencoder)
    with pytest.raises(ValueError, match=r"give a bound of .* nats on their stored examples, and not 2"):
        vae_zoo.from_pretrained(SMALL, verify=True)


def test_another_likelihood_is_found_by_its_bound(copied: Path) -> None:
    model = json.loads((copied / f"{SMALL}.json").read_text())["model"]
    model["init_args"]["likelihood"]["init_args"]["scale"] = 0.19
    change(copied, model=model)
    with pytest.raises(ValueError, match="not used as they were measured"):
        load_weights(SMALL, verify=True)


def test_the_bound_is_the_mean_of_the_draws() -> None:
    found = weights.find(SMALL)
    model: Any = load_weights(SMALL)
    x, c = stored(read(found))
    value, error = bound(model, x, c)
    torch.manual_seed(0)
    with torch.no_grad():
        terms = model.elbo(x, c, num_samples=NUM_SAMPLES)
    assert value == pytest.approx(float(terms.value.mean()), rel=1e-5)
    assert 0 < error < 0.3
    assert torch.equal(x, Digits().examples("test")[: len(x)])


def test_stored_examples_are_no_weights() -> None:
    assert [key for key in read(weights.find(SMALL)) if key.startswith(EXAMPLE)] == [f"{EXAMPLE}x"]


def test_an_entry_on_the_hub(copied: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: Any) -> None:
    import huggingface_hub

    snapshot = tmp_path_factory.mktemp("snapshot")
    shutil.move(copied / f"{SMALL}.safetensors", snapshot / "model.safetensors")
    change(copied, file="hf-hub:me/mine")
    asked = []

    def download(repo_id: str, **kwargs: Any) -> str:
        asked.append(repo_id)
        return str(snapshot)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    assert vae_zoo.from_pretrained(SMALL, verify=True).latent_dim == 16
    assert asked == ["me/mine"]


def test_any_repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    load_weights(SMALL).save_pretrained(tmp_path)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda repo_id, **_: str(tmp_path))
    for source in ("hf-hub:me/mine", "me/mine"):
        assert vae_zoo.from_pretrained(source).latent_dim == 16
    with pytest.raises(ValueError, match="verify compares weights of the package"):
        vae_zoo.from_pretrained("hf-hub:me/mine", verify=True)
    with pytest.raises(FileNotFoundError, match="is no repository's name"):
        vae_zoo.from_pretrained("hf-hub:mine")


def test_an_entry_at_an_address(copied: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = (copied / f"{SMALL}.safetensors").read_bytes()
    change(copied, file="https://example.org/a.safetensors")
    monkeypatch.setenv("VAE_ZOO_CACHE", str(tmp_path / "cache"))
    answers = [content[:-1], content]
    monkeypatch.setattr("urllib.request.urlopen", lambda url, timeout: io.BytesIO(answers.pop(0)))
    with pytest.raises(ValueError, match="is not the weights vae_digits: its SHA-256 is another one"):
        vae_zoo.from_pretrained(SMALL)
    assert not list(tmp_path.glob("cache/weights/*"))
    for _ in range(2):  # the second time from the cache
        assert vae_zoo.from_pretrained(SMALL, verify=True).latent_dim == 16
    assert answers == []
    shutil.rmtree(tmp_path / "cache")
    monkeypatch.setattr("urllib.request.urlopen", refusing)
    with pytest.raises(OSError, match=r"the weights vae_digits cannot be fetched from https://example\.org"):
        vae_zoo.from_pretrained(SMALL)


def refusing(url: str, timeout: float) -> None:
    raise OSError("no route")


def test_samples_by_the_command(run: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    offline(monkeypatch)
    outcome = run("sample", "--pretrained", SMALL, "--num", "4", "--out", "s.png")
    assert (outcome.code, outcome.out, outcome.err) == (0, "s.png\n", "")
    assert (tmp_path / "s.png").is_file()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["sample", "--pretrained", "vae_digts"], "there are no weights vae_digts; there are vae_digits"),
        (["sample"], "one of the arguments --ckpt_path --pretrained is required"),
        (["sample", "--pretrained", SMALL, "--ckpt_path", "a.json"], "not allowed with argument"),
        (["list", "--verify"], "--verify measures weights: vae-zoo list weights --verify"),
        (["list", "models", "--verify"], "--verify measures weights"),
    ],
)
def test_mistakes(options: list[str], said: str, run: Callable, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("{}")
    outcome = run(*options)
    assert (outcome.code, outcome.err.count("\n")) == (2, 1)
    assert said in outcome.err
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_the_table(run: Callable) -> None:
    out = run("list", "weights").out
    for name in NAMES:
        found = weights.find(name)
        assert f"{name} " in out
        assert f"elbo {found.metrics['elbo'].value:g}" in out


def test_verified_by_the_command(copied: Path, run: Callable) -> None:
    assert run("list", "weights", "--verify").out.startswith(f"{SMALL}: ")
    change(copied, stored={"num": 8, "bound": 10.0, "error": 0.05})
    outcome = run("list", "weights", "--verify")
    assert outcome.code == 2
    assert "and not 10.00 ± " in outcome.err
