"""Every model on a GPU, beside the CPU; ``VAE_ZOO_GPU=cpu`` tries the tests themselves where there is none."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import MODELS, build, labels, quiet_trainer, tiny, tiny_data
from torch import Tensor

from vae_zoo.models import MLPVAE, Autoencoder
from vae_zoo.testing.noise import RowNoise

DEVICE = torch.device(os.environ.get("VAE_ZOO_GPU", "cuda"))
TRIED = DEVICE.type == "cpu"

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.exhaustive,
    pytest.mark.skipif(not (TRIED or torch.cuda.is_available()), reason="there is no CUDA device"),
]
every_model = pytest.mark.parametrize("cls", MODELS)
TOLERANCE = 1e-3
"""Relative difference of float32 results on two devices: products are summed in another order."""


class _CPUNoise(RowNoise):
    """The noise of the CPU, whatever the device that asks for it."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if torch.Tag.nondeterministic_seeded not in func.tags or "attention" in str(func):
            return func(*args, **(kwargs or {}))
        device = next((a.device for a in args if isinstance(a, Tensor)), (kwargs or {}).get("device"))
        there = [a.cpu() if isinstance(a, Tensor) else a for a in args]
        given = {**(kwargs or {}), **({"device": "cpu"} if "device" in (kwargs or {}) else {})}
        drawn = super().__torch_dispatch__(func, types, there, given)
        return args[0].copy_(drawn) if there and drawn is there[0] else drawn.to(device or "cpu")


def losses(cls: type[Autoencoder], images: Tensor, device: torch.device) -> dict[str, float]:
    """What a model gives for images on a device, under the same noise on each."""
    torch.manual_seed(1)
    model = build(cls).to(device)
    x = images.to(device)
    c = labels(model, x)
    with _CPUNoise(3, len(x)):
        found = model.losses(x, None if c is None else c.to(device))
    return {name: value.detach().double().mean().item() for name, value in found.items()}


def trainer(folder: Path, **kwargs: Any) -> Any:
    return quiet_trainer(folder, accelerator="cpu" if TRIED else "gpu", **kwargs)


@every_model
class TestEveryModel:
    def test_losses_are_those_of_the_cpu(self, cls: type[Autoencoder], images: Tensor) -> None:
        here, there = (losses(cls, images, device) for device in (torch.device("cpu"), DEVICE))
        for name, value in here.items():
            assert there[name] == pytest.approx(value, rel=TOLERANCE, abs=TOLERANCE), name

    def test_a_resumed_fit_is_the_uninterrupted_one(self, cls: type[Autoencoder], tmp_path: Path) -> None:
        states = []
        for stops in ((4,), (2, 4)):
            path = None
            for epochs in stops:
                torch.manual_seed(0)
                model, runner = tiny(cls), trainer(tmp_path, max_epochs=epochs)
                runner.fit(model, tiny_data(), ckpt_path=path)
                path = tmp_path / f"{epochs}.ckpt"
                runner.save_checkpoint(path)
            states.append({name: value.cpu() for name, value in model.state_dict().items()})
        different = [name for name, value in states[0].items() if not torch.equal(value, states[1][name])]
        assert not different

    def test_fits_in_bfloat16_and_is_sampled_from(self, cls: type[Autoencoder], tmp_path: Path) -> None:
        model, runner = tiny(cls), trainer(tmp_path, max_epochs=1, precision="bf16-mixed")
        runner.fit(model, tiny_data())
        assert all(bool(p.isfinite().all()) for p in model.parameters())
        model.to(DEVICE)
        if hasattr(model, "sample") and cls.__name__ != "AE":
            c = torch.zeros(2, dtype=torch.long, device=DEVICE) if getattr(model, "num_classes", 0) else None
            assert bool(model.sample(2, c).isfinite().all())

    def test_compiles(self, cls: type[Autoencoder], tmp_path: Path) -> None:
        if TRIED:
            pytest.skip("test_contract.py compiles on the CPU")
        model, runner = tiny(cls, compiled=True), trainer(tmp_path, max_steps=3)
        runner.fit(model, tiny_data())
        assert runner.global_step == 3


def test_graphs_give_the_same_fit(tmp_path: Path) -> None:
    if TRIED:
        pytest.skip("CUDA graphs need CUDA; test_speed_options.py has stand-ins")
    states = []
    for options in ({}, {"cuda_graphs": True}):
        torch.manual_seed(0)
        model = tiny(MLPVAE, compiled=True, **options)
        trainer(tmp_path, max_epochs=2).fit(model, tiny_data())
        states.append({name: value.cpu() for name, value in model.state_dict().items()})
    for name, value in states[0].items():
        torch.testing.assert_close(states[1][name], value, rtol=1e-3, atol=1e-4, msg=name)


@pytest.mark.parametrize("device_data", [True, False])
def test_kept_or_copied_ahead_batches_are_the_same(device_data: bool, tmp_path: Path) -> None:
    seen: list[Tensor] = []

    class Watched(MLPVAE):
        def losses(self, x: Tensor, c: Tensor | None = None) -> dict[str, Tensor]:
            seen.append(x.cpu())
            return super().losses(x, c)

    torch.manual_seed(0)
    trainer(tmp_path, max_epochs=1).fit(tiny(Watched), tiny_data(device_data=device_data))
    kept = list(seen)
    seen.clear()
    torch.manual_seed(0)
    quiet_trainer(tmp_path, accelerator="cpu", max_epochs=1).fit(tiny(Watched), tiny_data())
    assert len(kept) == len(seen)
    assert all(torch.equal(a, b) for a, b in zip(kept, seen, strict=True))


def test_the_evidence_is_that_of_the_cpu(images: Tensor) -> None:
    model = build(MLPVAE).eval()
    values = [model.to(device).log_evidence(images.to(device), num_samples=2000).cpu() for device in ("cpu", DEVICE)]
    torch.testing.assert_close(*values, rtol=0.02, atol=0.05)
