"""Texts from a file to a trained model, samples and scores by the command."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from helpers import load_arrays, saved, tiny

from vae_zoo.data import Tokens
from vae_zoo.distributions import FixedNormal
from vae_zoo.models import VAE

from .conftest import Outcome

FIT = ("fit", "--model", "SequenceVAE", "--data", "Tokens", "--data.path", "a.txt", "--model.latent_dim", "2")
SMALL = ("--trainer.max_epochs", "1", "--model.encoder.hidden", "4", "--model.decoder.hidden", "[8]")
CKPT = "results/SequenceVAE_Tokens/fit_0/checkpoints/last.ckpt"


@pytest.fixture
def fitted(run: Callable[..., Outcome], tmp_path: Path) -> Path:
    (tmp_path / "a.txt").write_text("\n".join(f"C{'C' * (n % 4)}{'ON'[n % 2]}" for n in range(40)))
    done = run(*FIT, "--data.level", "smiles", *SMALL)
    assert done.code == 0, done.err
    return tmp_path


@pytest.mark.exhaustive
@pytest.mark.filterwarnings("default")  # a step of training ends in a collapse, and is warned of
def test_from_a_file_to_samples_and_scores(fitted: Path, run: Callable[..., Outcome]) -> None:
    done = run("sample", "--ckpt_path", CKPT, "--num", "7")
    assert (done.code, done.out) == (0, "samples.txt\n")
    lines = (fitted / "samples.txt").read_text().split("\n")
    assert len(lines) == 8
    assert run("sample", "--ckpt_path", CKPT, "--num", "7", "--out", "again.txt").code == 0
    assert (fitted / "again.txt").read_text() == (fitted / "samples.txt").read_text()
    assert run("sample", "--ckpt_path", CKPT, "--num", "7", "--out", "s.npz").code == 0
    assert load_arrays(fitted / "s.npz")["x"].shape == (7, 5)
    assert run("predict", "--ckpt_path", CKPT, "--split", "all").code == 0
    folder = fitted / "results" / "SequenceVAE_Tokens" / "predict_0"
    with (folder / "texts.csv").open() as file:
        rows = list(csv.DictReader(file))
    texts = (fitted / "a.txt").read_text().split("\n")
    assert [row["text"] for row in rows] == [texts[int(row["index"])] for row in rows]
    assert len(load_arrays(folder / "scores.npz")["elbo"]) == 40
    assert run("test", "--ckpt_path", CKPT, "--evidence.num_samples", "3").code == 0


@pytest.mark.exhaustive
@pytest.mark.filterwarnings("default")
def test_new_files_and_mistakes(fitted: Path, run: Callable[..., Outcome]) -> None:
    (fitted / "new.txt").write_text("CO\nCBr\n")
    before = sorted(fitted.rglob("*"))
    done = run("predict", "--ckpt_path", CKPT, "--data.path", "new.txt")
    assert done.code == 2
    assert done.err.splitlines()[-1] == (
        "vae-zoo: error: new.txt, line 2 has the token 'Br', which is not in the vocabulary of the model: remove it, "
        "or set unknown to token."
    )
    assert sorted(path for path in fitted.rglob("*") if "predict_" not in str(path)) == before
    done = run("predict", "--ckpt_path", CKPT, "--data.path", "new.txt", "--data.unknown", "token")
    assert done.code == 0, done.err
    for out, said in (("x.csv", "texts go to a file that ends in .txt, and their tokens to .npz, got x.csv."),):
        done = run("sample", "--ckpt_path", CKPT, "--out", out)
        assert (done.code, done.err) == (2, f"vae-zoo: error: {said}\n")
    torch.manual_seed(0)
    other = saved(fitted, tiny(VAE, shape=(5,), likelihood=FixedNormal))
    done = run("sample", "--ckpt_path", str(other), "--out", "x.txt")
    assert (done.code, done.err) == (
        2,
        "vae-zoo: error: VAE is of no tokens: give an --out that ends in .png or .npz.\n",
    )


@pytest.mark.exhaustive
@pytest.mark.filterwarnings("default")
def test_a_chosen_likelihood_gets_the_vocabulary(run: Callable[..., Outcome], tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("\n".join("ab" * (1 + n % 3) for n in range(40)))
    chosen = ("--model.likelihood", "AutoregressiveTokens", "--model.likelihood.word_dropout", "0.5")
    network = ("--model.likelihood.network", "CausalTransformer", "--model.likelihood.network.hidden", "8")
    done = run("fit", "--model", "BetaVAE", *FIT[3:], *chosen, *network, "--trainer.max_epochs", "1")
    assert done.code == 0, done.err
    path = "results/BetaVAE_Tokens/fit_0/checkpoints/last.ckpt"
    assert run("sample", "--ckpt_path", path, "--num", "3").code == 0
    from vae_zoo import load

    model = load(tmp_path / path)
    assert model.likelihood.vocabulary == Tokens(path=str(tmp_path / "a.txt")).vocabulary
    assert (model.likelihood.word_dropout, type(model.likelihood.network).__name__) == (0.5, "CausalTransformer")
