"""Checkpoints and configurations of an older version, with all defaults in them, still work."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import pytest
import torch
import yaml
from helpers import MODELS
from short import few

import vae_zoo
from vae_zoo.cli import main
from vae_zoo.distributions import DiagonalNormal, MixtureNormal, StandardNormal
from vae_zoo.hub import from_pretrained, save_pretrained
from vae_zoo.models import AE, VAE, VQVAE, Autoencoder, ConditionalVAE, LadderVAE, VampVAE

OLDER = Path(__file__).parent / "older"
METRICS = json.loads((OLDER / "metrics.json").read_text())
"""Terms of the losses of one batch, as the version computed them that wrote the checkpoints."""

QUIET = ["--trainer.enable_progress_bar=false", "--trainer.enable_model_summary=false", "--trainer.accelerator=cpu"]


def metrics(model: Autoencoder) -> dict[str, float]:
    x, c = (torch.arange(8 * 64) * 0.37 % 1).reshape(8, 1, 8, 8), torch.arange(8)
    torch.manual_seed(0)
    with torch.no_grad():
        terms = model.losses(x, c if isinstance(model, ConditionalVAE) else None)
    return {name: terms[name].item() for name in METRICS[type(model).__name__]}


def test_there_is_one_of_every_model_of_that_time() -> None:
    assert METRICS.keys() <= {cls.__name__ for cls in MODELS}
    assert METRICS.keys() == {path.stem for path in OLDER.glob("*.ckpt")}


@pytest.mark.parametrize("name", METRICS)
def test_gives_the_same_numbers(name: str) -> None:
    assert metrics(vae_zoo.load(OLDER / f"{name}.ckpt")) == pytest.approx(METRICS[name], abs=1e-3)


@pytest.mark.parametrize("cls", few([VampVAE, VQVAE, AE], 1))
def test_loads_by_its_class(cls: type[Autoencoder]) -> None:
    model = cls.load_from_checkpoint(OLDER / f"{cls.__name__}.ckpt").eval()
    assert metrics(model) == pytest.approx(METRICS[cls.__name__], abs=1e-3)


def test_is_shared_as_a_folder(tmp_path: Path) -> None:
    save_pretrained(vae_zoo.load(OLDER / "VampVAE.ckpt"), tmp_path / "shared")
    assert metrics(from_pretrained(tmp_path / "shared")) == pytest.approx(METRICS["VampVAE"], abs=1e-3)


def test_is_tested_by_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = OLDER / "VampVAE.ckpt"
    main(["test", f"--ckpt_path={path}", "--evidence.num_samples=2", "--trainer.limit_test_batches=1", *QUIET])
    assert "test/elbo" in Path("results/VampVAE_Digits/test_0/metrics.csv").read_text()


@pytest.mark.parametrize("name", few(["VampVAE", "VQVAE"], 1))
def test_configuration_repeats_the_run(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = OLDER / f"{name}.yaml"
    recorded = yaml.safe_load(path.read_text())["model"]["init_args"]
    assert {"posterior", "prior"} & recorded.keys()
    main(["fit", f"--config={path}", "--trainer.fast_dev_run=true", *QUIET])


def test_choice_of_ones_own_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        main(["fit", f"--config={OLDER / 'VampVAE.yaml'}", "--model.prior=MixtureNormal", *QUIET])
    lines = [line for line in capsys.readouterr().err.splitlines() if "error" in line]
    assert ended.value.code == 2
    assert lines == [
        "vae-zoo: error: VampVAE takes no prior: it is the mixture of the posteriors at the pseudo-inputs."
    ]


def test_only_the_default_passes() -> None:
    small = {"shape": (4,), "num_pseudo": 2}
    assert VampVAE(prior=StandardNormal, **small).recorded()["init_args"]["prior"]
    for prior in (MixtureNormal, partial(MixtureNormal, num_components=2)):
        with pytest.raises(TypeError, match="VampVAE takes no prior"):
            VampVAE(prior=prior, **small)
    with pytest.raises(TypeError, match="LadderVAE takes no posterior"):
        LadderVAE(shape=(4,), posterior=DiagonalNormal)
    assert VAE(shape=(4,), prior=StandardNormal)
