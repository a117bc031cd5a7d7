"""Mistakes in Python are answered in the caller's terms."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import linked, tiny
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import BackboneFinetuning
from short import few
from torch import Tensor, nn
from torch.distributions import Distribution, Normal

from vae_zoo.data import DataModule, Digits
from vae_zoo.distributions import DiagonalNormal
from vae_zoo.export import export
from vae_zoo.models import VAE, VQVAE, Autoencoder, ConditionalVAE, FactorVAE, LadderVAE


class Plain(nn.Module):
    def __init__(self, num_in: int, num_out: int) -> None:
        super().__init__()
        self.layer = nn.Linear(num_in, num_out)


class Buggy(nn.Module):
    def __init__(self, in_shape: Any, out_shape: Any) -> None:
        super().__init__()
        self.width = len(5)  # type: ignore[arg-type]


class Own(DataModule):
    def dataset(self, split: Any) -> Any:
        raise NotImplementedError


class NoMoments(Normal):
    @property
    def mean(self) -> Tensor:
        raise NotImplementedError

    stddev = mean


class MeanlessNormal(DiagonalNormal):
    def forward(self, params: Tensor) -> Distribution:
        q: Any = super().forward(params)
        return torch.distributions.Independent(NoMoments(q.mean, q.stddev, validate_args=False), 1, validate_args=False)


@pytest.mark.parametrize("num", [0, -1, 1.5])
def test_number_of_samples(num: Any) -> None:
    with pytest.raises(ValueError, match=f"num_samples must be a whole number of at least 1, got {num}"):
        tiny(VAE).elbo(torch.rand(2, 1, 8, 8), None, num)


@pytest.mark.parametrize("cls", [VAE, VQVAE, ConditionalVAE])
def test_samples_of_a_list_of_labels(cls: type[Autoencoder]) -> None:
    model: Any = tiny(cls)
    with pytest.raises(ValueError, match=r"c must be a tensor, as in torch.tensor\(\[0, 1\]\), got a list"):
        model.sample(2, [0, 1])
    if cls is not ConditionalVAE:
        with pytest.raises(ValueError, match="num must be a whole number of at least 0, got -1"):
            model.sample(-1)


def test_examples_that_are_no_tensor() -> None:
    with pytest.raises(ValueError, match=r"examples must be a tensor of shape \(B, 1, 8, 8\), got a ndarray"):
        tiny(VAE).elbo(torch.rand(2, 1, 8, 8).numpy())


@pytest.mark.parametrize("cls", [VAE, LadderVAE, Digits, Own])
def test_unknown_argument_is_of_the_class_that_was_called(cls: type) -> None:
    with pytest.raises(TypeError, match=f"^{cls.__name__} got an unexpected keyword argument 'size'"):
        cls(**({"shape": (4,)} if issubclass(cls, Autoencoder) else {}), size=3)


@pytest.mark.parametrize("cls", [VAE, LadderVAE, ConditionalVAE])
def test_missing_shape(cls: type[Autoencoder]) -> None:
    given = {name: value for name, value in linked(cls).items() if name != "shape"}
    with pytest.raises(TypeError, match=f"^{cls.__name__} needs shape: give it by name"):
        cls(**given)


@pytest.mark.parametrize("shape", [64, "64", (8.0,), ((8,),), (), (0,)])
def test_what_is_no_shape(shape: Any) -> None:
    with pytest.raises(ValueError, match="shape must hold the sides of one example"):
        VAE(shape=shape)


@pytest.mark.parametrize("network", [nn.Linear, Plain])
def test_network_that_takes_no_shapes(network: type[nn.Module]) -> None:
    for cls, role in ((VAE, "encoder"), (LadderVAE, "layer"), (FactorVAE, "discriminator")):
        with pytest.raises(
            TypeError, match=rf"^{role} must be made from .*, here \(\(.*, which {network.__name__} is not"
        ):
            cls(shape=(1, 8, 8), **{role: network})


def test_mistake_in_a_network_of_ones_own_is_left_alone() -> None:
    with pytest.raises(TypeError) as error:
        VAE(shape=(4,), encoder=Buggy)
    assert "encoder" not in str(error.value)


def test_backbone_that_is_not_there(tmp_path: Path) -> None:
    trainer = Trainer(
        callbacks=[BackboneFinetuning()], max_epochs=1, default_root_dir=tmp_path, accelerator="cpu", logger=False,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    with pytest.raises(ValueError, match="BackboneFinetuning needs a module named backbone, which VAE lacks"):
        trainer.fit(tiny(VAE), [torch.rand(2, 1, 8, 8)])


@pytest.mark.exhaustive
@pytest.mark.parametrize("role", few(["posterior", "likelihood"], 1))
def test_export_of_a_distribution_without_a_mean(role: str, tmp_path: Path) -> None:
    half = "encoder" if role == "posterior" else "decoder"
    model = tiny(VAE, **{role: MeanlessNormal if role == "posterior" else MeanlessImage})
    with pytest.raises(ValueError, match=f"the {half} of VAE cannot be traced: Independent has no mean"):
        export(model, tmp_path / "out", "torch-export")
    assert not list(tmp_path.iterdir())
    assert export(model, tmp_path / "out", "safetensors")


class MeanlessImage(DiagonalNormal):
    def forward(self, params: Tensor) -> Distribution:
        q: Any = super().forward(params)
        return torch.distributions.Independent(NoMoments(q.mean, q.stddev, validate_args=False), 3, validate_args=False)
