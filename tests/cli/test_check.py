from __future__ import annotations

from pathlib import Path

import pytest

from vae_zoo.cli import main

WRONG = """
from vae_zoo.models import VAE

class WrongSign(VAE):
    def elbo(self, x, c=None, num_samples=1):
        elbo = super().elbo(x, c, num_samples)
        return elbo._replace(kl=-elbo.kl)
"""


def test_a_model_of_the_zoo(capsys: pytest.CaptureFixture[str]) -> None:
    main(["check", "vae_zoo.models.BetaVAE", "--only", "gradients", "divergence", "--set", "beta=2"])
    out = capsys.readouterr().out
    assert "BetaVAE: 2 passed, 0 failed" in out
    assert "divergence" in out


def test_a_users_own_that_is_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "wrong_sign.py").write_text(WRONG)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(SystemExit) as done:
        main(["check", "wrong_sign.WrongSign", "--only", "gradients", "divergence", "elbo_below_evidence"])
    assert done.value.code == 1
    out = capsys.readouterr().out
    assert "WrongSign: 1 passed, 2 failed, 0 do not apply: divergence, elbo_below_evidence" in out
    assert not [p for p in tmp_path.iterdir() if p.name not in ("wrong_sign.py", "__pycache__")]


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ([], "missing: CLASS: see vae-zoo check --help."),
        (["BetaVAX"], "there is no class BetaVAX in vae_zoo.models, did you mean BetaVAE?"),
        (["my_file.MyVAE"], "there is no module my_file in the working folder or installed."),
        (["vae_zoo.data.Digits"], "vae_zoo.data.Digits is no Autoencoder"),
        (["Autoencoder"], "Autoencoder is abstract: it lacks losses."),
        (["VAE", "--only", "gradient"], "there is no check gradient, did you mean gradients?"),
        (["VAE", "--set", "beta"], "--set takes NAME=VALUE, got beta."),
        (["BetaVAE", "--set", "beta=-1"], "beta must be at least 0 and finite, got -1."),
        (["BetaVAE", "--set", "gamma=1"], "unexpected keyword argument 'gamma'"),
        (["VAE", "--fast"], "unrecognized arguments: --fast"),
    ],
)
def test_mistakes(args: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as done:
        main(["check", *args])
    assert done.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line
