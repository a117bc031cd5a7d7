"""Models as safetensors and JSON, in folders and on a stub of a hub."""

from __future__ import annotations

import csv
import json
import os
import re
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import MODELS, fit, labels, load_arrays, same_weights, saved, small, tiny, tiny_data
from PIL import Image
from safetensors.torch import load_file
from short import few
from torch import Tensor

import vae_zoo
from vae_zoo import hub
from vae_zoo.cli import main
from vae_zoo.cli.verbs import VERBS
from vae_zoo.data import Arrays
from vae_zoo.distributions import FixedNormal
from vae_zoo.models import AE, MLPVAE, VAE, Autoencoder, BetaVAE, ConditionalVAE
from vae_zoo.testing.subject import quiet_trainer


@pytest.mark.parametrize("cls", few(MODELS, 1), ids=lambda cls: cls.__name__)
def test_every_model_there_and_back(cls: type[Autoencoder], tmp_path: Path, images: Tensor) -> None:
    model = tiny(cls).eval()
    assert hub.save_pretrained(model, tmp_path / "a") == tmp_path / "a"
    for again in (
        hub.from_pretrained(tmp_path / "a"),
        vae_zoo.load(tmp_path / "a"),
        cls.from_pretrained(tmp_path / "a"),
    ):
        assert type(again) is cls
        assert not again.training
        assert same_weights(model, again)
        c = labels(cls, images)
        with torch.no_grad():
            assert torch.equal(again.reconstruct(images, c), model.reconstruct(images, c))
    names = {path.name for path in (tmp_path / "a").iterdir()}
    assert names == {"config.json", "model.safetensors", "README.md"} | (
        set() if issubclass(cls, AE) else {"samples.png"}
    )
    again.save_pretrained(tmp_path / "b")
    assert cls.from_pretrained(tmp_path / "b").recorded() == again.recorded()
    assert again._initialised, "a fit that goes on keeps what it starts from"


def test_what_is_written_is_plain(tmp_path: Path) -> None:
    model = tiny(BetaVAE, beta=3.0, likelihood=FixedNormal)
    model.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["model"] == model.recorded()
    assert config["model"]["class_path"] == "vae_zoo.models.BetaVAE"
    assert config["version"] == vae_zoo.__version__
    weights = load_file(tmp_path / "model.safetensors")  # without anything of ours
    assert weights.keys() == model.state_dict().keys()
    assert all(torch.equal(weights[key], value) for key, value in model.state_dict().items())
    modes = {(path.stat().st_mode & 0o777) for path in tmp_path.iterdir()}
    assert len(modes) == 1
    assert not list(tmp_path.glob(".*"))


def test_tied_weights_and_memory_formats(tmp_path: Path) -> None:
    model = tiny(VAE)
    model.decoder.extra = model.encoder  # one tensor under two names
    model.save_pretrained(tmp_path / "tied")
    weights = load_file(tmp_path / "tied" / "model.safetensors")
    assert torch.equal(weights["decoder.extra.layers.1.weight"], weights["encoder.layers.1.weight"])
    from vae_zoo.models import ConvVAE

    conv = ConvVAE(shape=(3, 8, 8), latent_dim=2, channels_last=True)
    conv.save_pretrained(tmp_path / "conv")
    assert same_weights(hub.from_pretrained(tmp_path / "conv"), conv)


def test_the_class_is_kept_to(tmp_path: Path) -> None:
    tiny(BetaVAE).save_pretrained(tmp_path)
    assert type(VAE.from_pretrained(tmp_path)) is BetaVAE
    with pytest.raises(ValueError, match="holds a BetaVAE, which is no MLPVAE"):
        MLPVAE.from_pretrained(tmp_path)


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoint of a short run, with the folder that the command makes around it."""
    from lightning.pytorch.loggers import CSVLogger

    folder = tmp_path_factory.mktemp("run")
    logger = CSVLogger(folder, name="", version="")
    _, trainer = fit(folder, BetaVAE, logger=logger, max_epochs=2, data=tiny_data())
    trainer.save_checkpoint(folder / "checkpoints" / "last.ckpt")
    assert (folder / "metrics.csv").is_file()
    return folder / "checkpoints" / "last.ckpt"


def test_the_card(fitted: Path, tmp_path: Path) -> None:
    hub.save_pretrained(vae_zoo.load(fitted), tmp_path / "mine", ckpt_path=fitted)
    text = (tmp_path / "mine" / "README.md").read_text()
    header = re.match(r"---\n(.*?)\n---\n", text, re.DOTALL)
    assert header
    import yaml

    said = yaml.safe_load(header[1])
    assert said["library_name"] == "vae_zoo"
    assert said["pipeline_tag"] == "unconditional-image-generation"
    assert "\n# BetaVAE on Sprites\n" in text
    assert "https://openreview.net/forum?id=Sy2fzU9gl" in text
    assert '"num_examples": 64' in text
    assert "![Samples](samples.png)" in text
    with Image.open(tmp_path / "mine" / "samples.png") as picture:
        assert picture.height > 8 * 34 + 2 + 16, "with a title"
    last = (fitted.parents[1] / "metrics.csv").read_text().splitlines()
    column = last[0].split(",").index("val/elbo")
    elbo = [row.split(",")[column] for row in last[1:] if row.split(",")[column]][-1]
    assert f"| `val/elbo` | {float(elbo):.4f} | nats |" in text
    code = re.search(r"```python\n(.*?)```", text, re.DOTALL)
    assert code
    scope: dict[str, Any] = {"x": torch.rand(2, 1, 8, 8)}
    here = Path.cwd()
    os.chdir(tmp_path)
    try:
        exec(code[1], scope)
    finally:
        os.chdir(here)
    assert scope["x"].shape == (16, 1, 8, 8)
    assert scope["z"].shape == (2, 4)


@pytest.mark.parametrize("first", [0, 1])  # number of the first epoch: Lightning's loggers begin at 0
def test_metrics_are_those_of_the_checkpoints_step(tmp_path: Path, first: int) -> None:
    from vae_zoo.export.card import validation_metrics

    rows = (f"{first},1,5,", f"{first},1,,-7", f"{first + 1},3,4,", f"{first + 1},3,,-6")
    (tmp_path / "metrics.csv").write_text("\n".join(["epoch,step,train/loss,val/elbo", *rows]) + "\n")
    path = tmp_path / "checkpoints" / "0001.ckpt"
    assert validation_metrics(path, 0) == {}
    assert validation_metrics(path, 2) == {"val/elbo": -7}
    assert validation_metrics(path, 3) == {"val/elbo": -6}
    assert validation_metrics(tmp_path / "elsewhere" / "checkpoints" / "last.ckpt", 3) == {}


def test_metrics_of_the_best_epoch_are_on_its_card(tmp_path: Path) -> None:
    from lightning.pytorch.loggers import CSVLogger

    from vae_zoo.callbacks import BestCheckpoint
    from vae_zoo.export.pretrained import _origin

    best = BestCheckpoint(dirpath=str(tmp_path / "checkpoints"), save_top_k=-1)
    logger = CSVLogger(tmp_path, name="", version="")
    fit(tmp_path, max_epochs=2, callbacks=[best], logger=logger, enable_checkpointing=True)
    lines = (tmp_path / "metrics.csv").read_text(encoding="utf-8").splitlines()
    rows = [row for row in csv.DictReader(lines) if row["val/elbo"]]
    for n, row in enumerate(rows, 1):
        found = _origin(tiny(VAE), tmp_path / "checkpoints" / f"{n:04d}.ckpt")["figures"]
        assert found["val/elbo"] == float(row["val/elbo"])


def test_places_on_this_machine_stay_here(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.zeros((40, 8, 8), dtype=np.float32))
    path = saved(tmp_path, tiny(VAE), Arrays(path=str(tmp_path / "x.npy"), batch_size=8))
    hub.save_pretrained(vae_zoo.load(path), tmp_path / "a", ckpt_path=path)
    text = "".join((tmp_path / "a" / name).read_text() for name in ("README.md", "config.json"))
    assert str(tmp_path) not in text
    assert "vae_zoo.data.Arrays" in text
    assert '"batch_size": 8' in text


def test_data_of_a_fit_in_python(tmp_path: Path) -> None:
    model, _ = fit(tmp_path, VAE, max_epochs=1)
    model.save_pretrained(tmp_path / "a")
    config = json.loads((tmp_path / "a" / "config.json").read_text())
    assert config["data"]["class_path"] == "vae_zoo.data.Sprites"
    assert model.trainer is not None, "left as it was"


def test_data_of_a_loaded_model(tmp_path: Path, fitted: Path) -> None:
    """Of weights of the package, of a checkpoint, and of a folder that was written before."""
    for n, (model, name) in enumerate(
        [(hub.from_pretrained("vae_digits"), "Digits"), (vae_zoo.load(fitted), "Sprites")]
    ):
        for folder in (tmp_path / f"{n}_first", tmp_path / f"{n}_again"):
            model.save_pretrained(folder)
            assert json.loads((folder / "config.json").read_text())["data"]["class_path"] == f"vae_zoo.data.{name}"
            model = vae_zoo.load(folder)


class StubHub:
    """What of the Hub is used."""

    calls: list[tuple[str, Any]] = []
    files: dict[str, bytes] = {}

    def __init__(self, token: str | None = None) -> None:
        StubHub.calls = [("token", token)]

    def create_repo(self, repo_id: str, *, private: bool | None, exist_ok: bool) -> None:
        self.calls.append(("create", (repo_id, private, exist_ok)))

    def upload_folder(self, *, repo_id: str, folder_path: Path, commit_message: str) -> str:
        StubHub.files = {path.name: path.read_bytes() for path in folder_path.iterdir()}
        self.calls.append(("upload", (repo_id, commit_message)))
        return "address of the commit"


def test_push_and_pull(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    monkeypatch.setattr(huggingface_hub, "HfApi", StubHub)
    model = tiny(ConditionalVAE)
    assert model.push_to_hub("me/mine", private=True, token="secret") == "address of the commit"
    assert StubHub.calls == [
        ("token", "secret"),
        ("create", ("me/mine", True, True)),
        ("upload", ("me/mine", "Add the model")),
    ]
    assert StubHub.files.keys() == {"config.json", "model.safetensors", "README.md", "samples.png"}
    assert b'from_pretrained("me/mine")' in StubHub.files["README.md"]
    assert b"secret" not in b"".join(StubHub.files.values())
    for name, content in StubHub.files.items():
        (tmp_path / name).write_bytes(content)
    asked: list[Any] = []

    def download(repo_id: str, **kwargs: Any) -> str:
        asked.append((repo_id, kwargs))
        return str(tmp_path)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    again = ConditionalVAE.from_pretrained("me/mine", revision="v1")
    assert same_weights(model, again)
    (repo_id, kwargs), *_ = asked
    assert (repo_id, kwargs["revision"]) == ("me/mine", "v1")
    assert kwargs["allow_patterns"] == ["model.safetensors", "config.json"], "nothing else is fetched"


@pytest.fixture
def hub_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository me/mine in place of the Hub, with a model of binary pictures and their data."""
    import huggingface_hub

    path = saved(tmp_path, tiny(VAE), tiny_data())
    vae_zoo.load(path).save_pretrained(tmp_path / "snapshot", ckpt_path=path)

    def download(repo_id: str, **_: Any) -> str:
        if repo_id != "me/mine":
            raise huggingface_hub.errors.OfflineModeIsEnabled("offline mode is enabled.")
        return str(tmp_path / "snapshot")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    monkeypatch.chdir(tmp_path)
    return tmp_path


VERBS_OF_MODELS = {
    "sample": ["--num", "4", "--out", "s.npz"],
    "explore": ["--num", "8", "--html", "e.html"],
    "compress": ["--num", "4", "--file", "c.vz"],
    "export": ["--format", "safetensors", "--out", "e"],
    "decompress": ["--file", "c.vz", "--out", "d.npz"],
}
"""Verbs that take ``--pretrained``, with options; the last reads what compress has written."""


def test_verbs_take_repositories_of_the_hub(hub_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for verb, options in VERBS_OF_MODELS.items():
        main([verb, "--pretrained", "hf-hub:me/mine", *options])
        out = capsys.readouterr().out.split()
        assert out, verb
        assert (hub_folder / options[-1]).exists(), verb
    same = load_arrays("s.npz")["x"]
    main(["sample", "--ckpt_path", str(hub_folder / "snapshot"), "--num", "4", "--out", "t.npz"])
    assert np.array_equal(load_arrays("t.npz")["x"], same)
    assert load_arrays("d.npz")["x"].shape[0] == 4
    assert same_weights(hub.from_pretrained("e"), hub.from_pretrained("hf-hub:me/mine"))


@pytest.mark.exhaustive
@pytest.mark.parametrize("verb", VERBS_OF_MODELS)
def test_a_repository_that_cannot_be_had_is_one_line(
    verb: str, hub_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path.name for path in hub_folder.iterdir()}
    if verb == "decompress":
        main(["compress", "--pretrained", "hf-hub:me/mine", *VERBS_OF_MODELS["compress"]])
        before |= {"c.vz"}
    capsys.readouterr()
    for name, said in {
        "hf-hub:me/other": "no such model can be had from the Hub: offline mode is enabled.",
        "hf-hub:mine": "is no repository's name such as user/model",
        "me/mine": "there are no weights me/mine",
    }.items():
        with pytest.raises(SystemExit) as stopped:
            main([verb, "--pretrained", name, *VERBS_OF_MODELS[verb]])
        err = capsys.readouterr().err
        assert stopped.value.code == 2
        assert err.count("\n") == 1, err
        assert said in err
    assert {path.name for path in hub_folder.iterdir()} == before


def test_verbs_of_models_are_all_here() -> None:
    found = set()
    for verb in VERBS:
        if verb.name not in ("fit", "validate", "test", "predict"):
            parser = getattr(import_module(verb.function.partition(":")[0]), "parser", None)
            found |= {verb.name} if parser and "pretrained" in parser().names() else set()
    assert found == VERBS_OF_MODELS.keys()


def test_a_model_that_cannot_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    def offline(repo_id: str, **kwargs: Any) -> str:
        raise huggingface_hub.errors.OfflineModeIsEnabled("Cannot reach it:\n offline mode is enabled.")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", offline)
    with pytest.raises(
        OSError, match=r"no folder me/nothing, and no such model can be had from the Hub: Cannot reach it: "
    ):
        hub.from_pretrained("me/nothing")
    for name in ("nothing", "../me/nothing", "/me/nothing", "a/b/c"):
        with pytest.raises(FileNotFoundError, match="is no repository's name such as user/model"):
            hub.from_pretrained(name)


def test_a_vector_model_has_no_pictures(tmp_path: Path) -> None:
    model = VAE(shape=(5,), latent_dim=2, encoder=small, decoder=small, likelihood=FixedNormal)
    model.save_pretrained(tmp_path)
    assert not (tmp_path / "samples.png").exists()
    text = (tmp_path / "README.md").read_text()
    assert "samples.png" not in text
    assert "pipeline_tag" not in text
    assert "## Metrics" not in text


def test_an_attached_trainer_is_no_hindrance(tmp_path: Path) -> None:
    model = tiny(VAE)
    quiet_trainer(tmp_path).strategy.connect(model)
    model.save_pretrained(tmp_path / "a")
    assert same_weights(hub.from_pretrained(tmp_path / "a"), model)
