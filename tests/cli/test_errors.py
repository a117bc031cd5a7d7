"""A user's mistake: exit code 2, one line that says what, where and what to do, nothing written."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from vae_zoo.cli.errors import WIDTH, explain, one_line

FIT = "fit --model BetaVAE --data Digits "

CATALOGUE = [
    ("", "subcommand"),
    ("fti", "there is no verb fti, did you mean fit?"),
    ("install", "there is no verb install: there is fit, validate"),
    ("--versoin", "there is no option --versoin, did you mean --version?"),
    ("fit", "missing: fit.data, fit.model"),
    ("fit --model BetaVAE", "missing: fit.data"),
    ("fit --model BetaVEA --data Digits", "model: there is no class BetaVEA, did you mean BetaVAE?"),
    ("fit --model BetaVAE --data Digit", "data: there is no class Digit, did you mean Digits?"),
    (FIT + "--model.betta 4", "model: unknown key betta, did you mean beta?"),
    (FIT + "--model.encoder Densee", "model.encoder: there is no class Densee, did you mean Dense?"),
    (FIT + "--model.encoder.hiden [9]", "model.encoder: unknown key hiden, did you mean hidden?"),
    (FIT + "--data.batch_sise 4", "data: unknown key batch_sise, did you mean batch_size?"),
    (FIT + "--matmul_precision low", "matmul_precision: expected 'highest' or 'high' or 'medium', got low"),
    (FIT + "--data.device_data sometimes", "data.device_data: expected one of bool, 'auto', got sometimes"),
    (FIT + "--matmul_precison high", "did you mean --matmul_precision?"),
    (FIT + "--trainer.max_epoch 4", "did you mean trainer.max_epochs?"),
    (FIT + "--evidence.num_sample 4", "did you mean evidence.num_samples?"),
    (FIT + "--trainer.max_epochs many", "trainer.max_epochs: expected one of int, NoneType, got many"),
    (FIT + "--model.beta four", "model.beta: expected float, got four"),
    (FIT + "--model.latent_dim 2.5", "model.latent_dim: expected int, got 2.5"),
    (FIT + "--data.binarization dynamo", "or 'dynamic', got dynamo"),
    (FIT + "--model.optimizer Adm", "model.optimizer"),
    (FIT + "--model.optimizer Adam --model.optimizer.lrr 1", "unknown key lrr, did you mean lr?"),
    (FIT + "--trainer.callbacks LinearAnealing", "did you mean LinearAnnealing?"),
    (FIT + "--model.beta", "--model"),
    ("fit --model os.system --data Digits", "model: os.system is not allowed here"),
    ("fit --model torch.nn.Linear --data Digits", "model: torch.nn.Linear is no Autoencoder"),
    ("fit --model my_vae.MyVAE --data Digits", "my_vae.MyVAE cannot be imported from the working folder"),
    ("fit --config vae_digit", "did you mean vae_digits?"),
    ("fit --config nothing.yaml", "no config file nothing.yaml"),
    ("fit --config key.yaml", "model: unknown key betaa, did you mean beta?"),
    ("fit --config group.yaml", "'modle', did you mean model?"),
    ("fit --config torn.yaml", "parsing torn.yaml, line 2: while parsing a flow sequence"),
    ("fit --config empty", "no config file empty"),
    ("fit --config numbers", "numbers must hold keys and their values"),
    (FIT + "--verbsoe 4", "unknown option --verbsoe"),
    ("show BetaVEA", "there is no BetaVEA, did you mean BetaVAE?"),
    ("show", "missing: NAME: see vae-zoo show --help."),
    ("test", "give --ckpt_path PATH"),
    ("predict --model BetaVAE --data Digits", "give --ckpt_path PATH"),
    ("test --ckpt_path nothing.ckpt", "no checkpoint at nothing.ckpt"),
    ("test --ckpt_path garbage.ckpt", "garbage.ckpt is no checkpoint: torch.save has not written it"),
    ("test --ckpt_path foreign.ckpt", "foreign.ckpt is not a checkpoint of vae_zoo"),
    (FIT + "--ckpt_path last", "nothing to resume"),
    (FIT + "--model.beta -1", "beta must be at least 0 and finite, got -1.0."),
    (FIT + "--model.beta nan", "model.beta: expected float, got nan"),
    (FIT + "--model.latent_dim 0", "latent_dim must be at least 1, got 0."),
    (FIT + "--model.num_samples 0", "num_samples must be at least 1, got 0."),
    (FIT + "--model.encoder.hidden [0]", "hidden widths must be at least 1, got [0]."),
    (FIT + "--data.batch_size 0", "batch_size must be at least 1, got 0"),
    (FIT + "--samples.num 0", "num at least 1"),
    (FIT + "--trainer.callbacks LinearAnnealing", "give either num_steps or num_epochs"),
    (FIT + "--trainer.devices 99", "trainer.devices must be between 1 and"),
    (FIT + "--trainer.accelerator cuda", "CUDAAccelerator"),
    (FIT + "--checkpoint.monitor val/elb", "monitors val/elb, but there are"),
    ("fit --model ConvVAE --data Arrays --data.path vectors.npy", "a convolutional network needs images"),
    ("fit --model VAE --data Arrays --data.path normalised.npy", "Bernoulli needs data in [0, 1], got from"),
    ("fit --model VAE --data Arrays --data.path raw.npy", "divide 8-bit images by 255"),
    ("fit --model VAE --data Arrays --data.path one_raw.npy", "Bernoulli needs data in [0, 1], got from 0 to 255"),
    ("fit --model VAE --data Arrays --data.path nan.npy", "finite"),
    ("fit --model VAE --data Arrays --data.path nothing.npy", "nothing.npy"),
    ("fit --model VAE --data Arrays --data.path garbage.npy", "garbage.npy"),
    ("fit --model VAE --data ImageFolder", "data: missing: folder"),
    ("fit --model VAE --data ImageFolder --data.folder nowhere", "nowhere"),
    ("fit --model VAE --data ImageFolder --data.folder empty", "no images in empty"),
    ("fit --model VAE --data ImageFolder --data.folder broken", "broken/zero.png"),
    ("fit --model VAE --data FreyFaces --data.root empty", "frey_rawface.mat"),
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """What a careless user has lying about."""
    rng = np.random.default_rng(0)
    (tmp_path / "key.yaml").write_text("model: {class_path: BetaVAE, init_args: {betaa: 3}}\ndata: Digits\n")
    (tmp_path / "group.yaml").write_text("modle: BetaVAE\ndata: Digits\n")
    (tmp_path / "torn.yaml").write_text("model: [BetaVAE\n")
    (tmp_path / "numbers").write_text("- 1\n- 2\n")
    (tmp_path / "garbage.ckpt").write_text("hello")
    (tmp_path / "garbage.npy").write_text("hello")
    torch.save({"state_dict": {}}, tmp_path / "foreign.ckpt")
    np.save(tmp_path / "vectors.npy", rng.random((50, 7), dtype=np.float32))
    np.save(tmp_path / "normalised.npy", rng.normal(size=(50, 8, 8)).astype(np.float32))
    np.save(tmp_path / "raw.npy", rng.integers(0, 256, (50, 8, 8)).astype(np.float32))
    one_raw = np.zeros((2000, 8, 8), dtype=np.float32)  # of all examples, one that is in some later batch
    one_raw[1234] = 255
    np.save(tmp_path / "one_raw.npy", one_raw)
    np.save(tmp_path / "nan.npy", np.full((50, 8, 8), np.nan, dtype=np.float32))
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken").mkdir()
    for i in range(9):
        Image.fromarray(rng.integers(0, 256, (9, 9), dtype=np.uint8)).save(tmp_path / "broken" / f"{i}.png")
    (tmp_path / "broken" / "zero.png").touch()
    return tmp_path


@pytest.mark.parametrize(("line", "said"), CATALOGUE, ids=[line or "nothing" for line, _ in CATALOGUE])
def test_a_mistake_is_one_line(run: Callable, folder: Path, line: str, said: str) -> None:
    before = sorted(path for path in folder.rglob("*"))
    outcome = run(*shlex.split(line))
    assert outcome.code == 2
    lines = outcome.err.strip().splitlines()
    assert len(lines) == 1, outcome.err
    assert lines[0].startswith("vae-zoo: error: ")
    assert said in lines[0]
    assert len(lines[0]) <= WIDTH
    assert sorted(path for path in folder.rglob("*")) == before


def test_a_users_own_empty_folder_stays(run: Callable, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    for root in ("mine", "new/one"):
        assert run(*shlex.split(FIT + f"--model.latent_dim 0 --trainer.default_root_dir {root}")).code == 2
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_the_traceback_is_there_for_who_asks(run: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VAE_ZOO_TRACEBACK", "1")
    with pytest.raises(ValueError, match="latent_dim must be at least 1"):
        run(*shlex.split(FIT + "--model.latent_dim 0"))


def test_errors_in_a_users_own_code_keep_their_traceback(run: Callable, tmp_path: Path) -> None:
    (tmp_path / "bug_vae.py").write_text(
        "from vae_zoo.models import VAE\n\n\n"
        "class BugVAE(VAE):\n    def objective(self, elbo):\n        return {'loss': int('x')}\n"
    )
    with pytest.raises(ValueError, match="invalid literal"):
        run(*shlex.split("fit --model bug_vae.BugVAE --data Digits"))
    assert not (tmp_path / "results").exists()


def test_long_messages_are_cut() -> None:
    assert len("vae-zoo: error: " + one_line("word " * 100)) <= WIDTH
    assert one_line("a\n  b") == "a b"


def test_explain_keeps_what_it_does_not_know() -> None:
    assert explain("something else") == "something else"
