"""Checkpoints of models with a part that is compiled by itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import build, same_weights, saved, small, tiny, tiny_data
from lightning.pytorch.callbacks import EMAWeightAveraging, ModelCheckpoint

import vae_zoo
from vae_zoo.callbacks import StartFrom
from vae_zoo.models import RAESN, VAE, BetaVAE
from vae_zoo.samplers import FittedNormal, with_prior
from vae_zoo.testing.subject import quiet_trainer


def with_compiled_encoder(model: Any) -> Any:
    model.encoder = torch.compile(model.encoder, backend="eager")
    return model


def fresh(compiled: bool, seed: int = 3) -> Any:
    torch.manual_seed(seed)
    model = build(VAE, encoder=small, decoder=small)
    return with_compiled_encoder(model) if compiled else model


def test_the_names_are_those_of_a_model_without(tmp_path: Path) -> None:
    model, other = with_compiled_encoder(tiny(BetaVAE)), tiny(BetaVAE)
    assert list(model.state_dict()) == list(other.state_dict())
    assert same_weights(BetaVAE.load_from_checkpoint(saved(tmp_path, model)), model)
    model.save_pretrained(tmp_path / "folder")
    assert same_weights(vae_zoo.load(tmp_path / "folder"), model)
    model.load_state_dict(other.state_dict())
    assert same_weights(model, other)


def test_files_with_the_mark_are_read(tmp_path: Path) -> None:
    model = tiny(BetaVAE)
    checkpoint = torch.load(saved(tmp_path, model), weights_only=True)
    marked = {name.replace("encoder.", "encoder._orig_mod."): x for name, x in checkpoint["state_dict"].items()}
    assert marked.keys() != checkpoint["state_dict"].keys()
    torch.save({**checkpoint, "state_dict": marked}, tmp_path / "marked.ckpt")
    assert same_weights(BetaVAE.load_from_checkpoint(tmp_path / "marked.ckpt"), model)
    whole: Any = torch.compile(model, backend="eager")
    torch.save({"state_dict": whole.state_dict()}, tmp_path / "whole.ckpt")
    other = tiny(BetaVAE, latent_dim=model.latent_shape[0])
    quiet_trainer(tmp_path, max_epochs=0, callbacks=[StartFrom(path=str(tmp_path / "whole.ckpt"))]).fit(
        other, tiny_data()
    )
    assert same_weights(other, model)


def test_all_names_must_fit(tmp_path: Path) -> None:
    model = with_compiled_encoder(tiny(BetaVAE))
    state = tiny(BetaVAE).state_dict()
    with pytest.raises(RuntimeError, match=r'Unexpected key\(s\) in state_dict: "encoder.other"'):
        model.load_state_dict({**state, "encoder._orig_mod.other": torch.zeros(1)})
    lost = state.popitem()[0]
    with pytest.raises(RuntimeError, match=rf'Missing key\(s\) in state_dict: "{lost}"'):
        model.load_state_dict(state)


@pytest.mark.parametrize("averaged", [False, True], ids=["plain", "averaged"])
@pytest.mark.parametrize("first", [False, True], ids=["compiled later", "compiled first"])
def test_a_resumed_run_is_the_uninterrupted_one(first: bool, averaged: bool, tmp_path: Path) -> None:
    def trained(model: Any, epochs: int, ckpt_path: Path | None = None) -> Any:
        save: list[Any] = [ModelCheckpoint(tmp_path, "{epoch}", save_top_k=-1, auto_insert_metric_name=False)]
        callbacks = [EMAWeightAveraging(decay=0.9), *save] if averaged else save
        trainer = quiet_trainer(tmp_path, max_epochs=epochs, callbacks=callbacks, enable_checkpointing=True)
        trainer.fit(model, tiny_data(), ckpt_path=ckpt_path)
        return model

    whole = trained(fresh(compiled=False), 2)
    trained(fresh(compiled=first), 1)
    assert same_weights(trained(fresh(compiled=not first, seed=9), 2, tmp_path / "0.ckpt"), whole)


def test_the_prior_of_one_is_replaced() -> None:
    model = tiny(RAESN).eval()
    density = FittedNormal(model.latent_shape).fit(torch.randn(50, *model.latent_shape))
    expected = with_prior(model, density).state_dict()
    model.decoder = torch.compile(model.decoder, backend="eager")
    found = with_prior(model, density).state_dict()
    assert all(torch.equal(x, expected[name]) for name, x in found.items())
