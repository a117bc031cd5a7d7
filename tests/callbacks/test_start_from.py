"""Fits that start from the weights of another."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from helpers import fit, same_weights

from vae_zoo.callbacks import StartFrom
from vae_zoo.models import IWAE, FactorVAE, VampVAE


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[torch.nn.Module, Path]:
    """A VAE after an epoch, and its checkpoint."""
    folder = tmp_path_factory.mktemp("trained")
    model, trainer = fit(folder, max_epochs=1)
    trainer.save_checkpoint(folder / "a.ckpt")
    return model, folder / "a.ckpt"


def test_another_class_starts_from_the_weights(trained: tuple[torch.nn.Module, Path], tmp_path: Path) -> None:
    whole, path = trained
    model, trainer = fit(tmp_path, IWAE, max_epochs=0, callbacks=[StartFrom(path=str(path))])
    assert same_weights(model, whole)
    assert trainer.current_epoch == trainer.global_step == 0


def test_not_when_a_fit_goes_on(trained: tuple[torch.nn.Module, Path], tmp_path: Path) -> None:
    other, trainer = fit(tmp_path, max_epochs=1, seed=5)
    trainer.save_checkpoint(tmp_path / "b.ckpt")
    resumed, _ = fit(tmp_path, max_epochs=1, ckpt_path=tmp_path / "b.ckpt", callbacks=[StartFrom(path=str(trained[1]))])
    assert same_weights(resumed, other)


def test_what_starts_from_the_data_keeps_the_weights(tmp_path: Path) -> None:
    first, trainer = fit(tmp_path, VampVAE, max_epochs=1)
    trainer.save_checkpoint(tmp_path / "v.ckpt")
    second, _ = fit(tmp_path, VampVAE, max_epochs=0, seed=9, callbacks=[StartFrom(path=str(tmp_path / "v.ckpt"))])
    assert same_weights(first, second)


def test_missing_weights(trained: tuple[torch.nn.Module, Path], tmp_path: Path) -> None:
    whole, path = trained
    with pytest.raises(RuntimeError, match=r"Missing key\(s\)"):
        fit(tmp_path, FactorVAE, max_epochs=0, callbacks=[StartFrom(path=str(path))])
    model, _ = fit(tmp_path, FactorVAE, max_epochs=0, callbacks=[StartFrom(path=str(path), strict=False)])
    assert same_weights(model.encoder, whole.encoder)


def test_bad_files(tmp_path: Path) -> None:
    (tmp_path / "bad.ckpt").write_text("hello")
    torch.save({"state_dict": {"a": torch.zeros(1)}}, tmp_path / "foreign.ckpt")
    for name, error, said in (
        ("none.ckpt", FileNotFoundError, "no checkpoint at"),
        ("bad.ckpt", ValueError, "is no checkpoint"),
        ("foreign.ckpt", ValueError, "has none of the weights of a VAE"),
    ):
        with pytest.raises(error, match=said):
            fit(tmp_path, max_epochs=0, callbacks=[StartFrom(path=str(tmp_path / name))])
