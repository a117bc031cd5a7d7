"""Every configuration of the digits, from the fit to samples."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from short import few

import vae_zoo
from vae_zoo.cli import main

DIGITS = sorted((Path(__file__).parents[1] / "configs").glob("*_digits.yaml"))
SHORT = ["--trainer.limit_train_batches=2", "--trainer.limit_val_batches=1", "--trainer.check_val_every_n_epoch=1"]
QUIET = ["--trainer.enable_progress_bar=false"]


@pytest.mark.exhaustive
@pytest.mark.filterwarnings("default")  # two steps of training may end in a collapse, and are warned of
@pytest.mark.parametrize("path", few(DIGITS, 1), ids=lambda path: path.stem)
def test_fit_validate_test_predict_sample(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PL_GLOBAL_SEED", "0")
    last = ["--trainer.max_epochs=1"]
    if "num_epochs:" in path.read_text():  # of a callback that has the last epochs to itself
        last = ["--trainer.callbacks.init_args.num_epochs=1", "--trainer.max_epochs=2"]
    main(["fit", "--config", path.stem, *last, *SHORT, *QUIET])
    (checkpoint,) = tmp_path.glob("results/*/fit_0/checkpoints/last.ckpt")
    model = vae_zoo.load(checkpoint)
    generates = hasattr(model, "sample")
    assert generates != (path.stem in ("ae_digits", "rae_digits", "rae_l2_digits", "rae_gp_digits", "rae_sn_digits"))
    assert generates == bool(list(tmp_path.glob("results/*/fit_0/images/samples*.png")))
    for verb, more in (
        ("validate", ["--trainer.limit_val_batches=1"]),
        ("test", ["--trainer.limit_test_batches=1", "--evidence.num_samples=3"]),
        ("predict", ["--trainer.limit_predict_batches=1"]),
    ):
        main([verb, "--ckpt_path", str(checkpoint), *more, *QUIET])
        assert list(tmp_path.glob(f"results/*/{verb}_0/*"))
    assert list(tmp_path.glob("results/*/predict_0/*.npz"))
    if generates:
        x = model.sample(3)
        assert x.shape == (3, 1, 8, 8)
        assert torch.isfinite(x).all()
