"""Refusal of what does not fit into memory, before it is allocated."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from helpers import quiet_trainer, tiny, tiny_data
from torch import nn

from vae_zoo.models import VAE
from vae_zoo.system.memory import fitting, physical


def test_the_memory_of_this_machine() -> None:
    assert 2**28 < physical() < 2**50


def test_weights_that_do_not_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vae_zoo.system.memory.physical", lambda: 10_000)
    filled: list[int] = []
    monkeypatch.setattr(nn.Linear, "reset_parameters", lambda self: filled.append(self.weight.nbytes))
    with pytest.raises(ValueError, match=r"^the weights of a model of these sizes take more than the 0\.0 GiB"):
        tiny(VAE, latent_dim=1000)
    assert sum(filled) < 10_000, "it was filled before it was refused"
    nn.Linear(1000, 1000)  # what is no model's is left alone
    with fitting():
        nn.Linear(1000, 1000, device="meta")


def test_a_model_that_does_not_fit_with_its_gradients(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    model = tiny(VAE)
    size = sum(p.nbytes for p in model.parameters())
    monkeypatch.setattr("vae_zoo.system.memory.physical", lambda: 2 * size - 1)
    with pytest.raises(ValueError, match=r"^the model takes 0\.0 GiB with its gradients, there are 0\.0"):
        quiet_trainer(tmp_path).fit(model, tiny_data())
    quiet_trainer(tmp_path).test(model, tiny_data())
    assert torch.isfinite(model.embed(torch.rand(2, 1, 8, 8))).all()
