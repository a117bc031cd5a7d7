from __future__ import annotations

import inspect
import subprocess
import sys

import pytest

from vae_zoo import models
from vae_zoo.cli import main, packaged
from vae_zoo.cli.listing import entries

TORCH_FREE = "import sys; from vae_zoo.cli import main; main(['list']); sys.exit('torch' in sys.modules)"


def test_every_model_with_its_paper_and_configs() -> None:
    found = {entry.name: entry for entry in entries(list(packaged().values()))}
    assert set(found) == set(models.__all__) - {"Autoencoder"}
    for name, entry in found.items():
        assert entry.line
        assert entry.link.startswith("https://"), name
        assert entry.paper.split(" (")[0] in (inspect.getdoc(getattr(models, name)) or "")
        assert entry.configs or name == "VAE", f"{name} has no configuration"  # which MLPVAE and ConvVAE stand for


def test_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    main(["list"])
    out = capsys.readouterr().out
    for word in ("BetaVAE", "beta_vae_sprites", "Importance Weighted Autoencoders (Burda et al., 2016)"):
        assert word in out


def test_it_does_not_wait_for_torch() -> None:
    done = subprocess.run([sys.executable, "-c", TORCH_FREE], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_arguments_are_a_mistake(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as done:
        main(["list", "everything"])
    assert done.value.code == 2
    assert "list takes no arguments" in capsys.readouterr().err
