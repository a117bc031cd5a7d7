"""Options for speed change no result: the same noise, order and metrics up to a stated tolerance."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from helpers import Record, build, fit, tiny_data
from lightning.pytorch.callbacks import EMAWeightAveraging
from short import few
from torch import Tensor, nn

import vae_zoo
from vae_zoo.callbacks import TimedProgressBar
from vae_zoo.data import Digits
from vae_zoo.models import MLPVAE, VAEGAN, VDVAE, VQVAE2, ConvVAE
from vae_zoo.training.steps import compiled

EXACT, BF16 = 1e-4, 1e-2
"""Relative tolerances of the bound: rounding of float32, and the networks in bfloat16."""


def bounds(folder: Path, cls: type[ConvVAE], precision: str = "32-true", **kwargs: Any) -> Tensor:
    """The bound of every step of three epochs and of every validation, from the same initial weights."""
    logger = Record()
    options = {"precision": precision, "max_epochs": 3, "log_every_n_steps": 1, "logger": logger}
    fit(folder, cls, kwargs={"latent_dim": 3, **kwargs}, **options)
    curves = [logger.curve(f"{stage}/elbo").values() for stage in ("train", "val")]
    assert [len(curve) for curve in curves] == [15, 3]
    return torch.tensor([value for curve in curves for value in curve])


@pytest.fixture
def eager_noise() -> Iterator[None]:
    """Let compiled code draw the noise that eager code draws."""
    compiled.cache_clear()
    torch._dynamo.reset()
    with torch._inductor.config.patch(fallback_random=True):
        yield
    compiled.cache_clear()
    torch._dynamo.reset()


@pytest.fixture
def reference(tmp_path: Path) -> Tensor:
    return bounds(tmp_path, ConvVAE)


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    ("options", "tolerance"), [({"channels_last": True}, EXACT), ({"precision": "bf16-mixed"}, BF16)]
)
def test_the_bound_is_the_same(options: dict[str, Any], tolerance: float, reference: Tensor, tmp_path: Path) -> None:
    found = bounds(tmp_path, ConvVAE, **options)
    torch.testing.assert_close(found[:5], reference[:5], rtol=tolerance, atol=0)
    torch.testing.assert_close(found, reference, rtol=5 * tolerance, atol=0)  # a step adds to the differences before it
    if "precision" in options:
        assert not torch.equal(found, reference)


@pytest.mark.exhaustive
@pytest.mark.slow
@pytest.mark.usefixtures("eager_noise")
def test_compiled(tmp_path: Path) -> None:
    torch.testing.assert_close(bounds(tmp_path, MLPVAE, compiled=True), bounds(tmp_path, MLPVAE), rtol=EXACT, atol=0)


@pytest.mark.exhaustive
@pytest.mark.slow
@pytest.mark.usefixtures("eager_noise")
def test_a_compiled_fit_validates_and_saves_its_moving_average(tmp_path: Path) -> None:
    """As the same fit without the compiler does, and not as one without the average."""
    curves, states = {}, {}
    for name, on, average in (("eager", False, True), ("compiled", True, True), ("plain", True, False)):
        logger = Record()
        extra: list[Any] = [EMAWeightAveraging(decay=0.9, use_buffers=False)] if average else []
        path = tmp_path / f"{name}.ckpt"
        _, trainer = fit(
            tmp_path, MLPVAE, kwargs={"compiled": on}, max_epochs=3, log_every_n_steps=1, logger=logger, callbacks=extra
        )
        trainer.save_checkpoint(path)
        curves[name] = torch.tensor(list(logger.curve("val/elbo").values()))
        states[name] = vae_zoo.load(path).state_dict()
    torch.testing.assert_close(curves["compiled"], curves["eager"], rtol=EXACT, atol=0)
    torch.testing.assert_close(states["compiled"], states["eager"], rtol=1e-3, atol=1e-5)
    assert ((curves["plain"] - curves["compiled"]).abs() > 10 * EXACT * curves["eager"].abs()).any()


class TestCudaGraphs:
    """Which steps are recorded; torch.compile stands in for a GPU's, because graphs need one."""

    @pytest.fixture
    def modes(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
        """What torch.compile was asked for, at every step."""
        seen: list[str] = []

        def fake(function: Any, mode: str = "default", **kwargs: Any) -> Any:
            assert kwargs == ({"dynamic": False} if mode == "reduce-overhead" else {})
            return lambda *args: seen.append(mode) or function(*args)

        monkeypatch.setattr(torch, "compile", fake)
        monkeypatch.setattr(torch.compiler, "cudagraph_mark_step_begin", lambda: seen.append("mark"))
        compiled.cache_clear()
        yield seen
        compiled.cache_clear()

    @pytest.fixture
    def on_cuda(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Let the choice of what to run see a CUDA device, and nothing else."""
        choose = MLPVAE._compute

        def pretend(model: MLPVAE, stage: str) -> Any:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(MLPVAE, "device", SimpleNamespace(type="cuda"))
                return choose(model, stage)

        monkeypatch.setattr(MLPVAE, "_compute", pretend)

    @staticmethod
    def fit(folder: Path, **options: Any) -> None:
        fit(folder, MLPVAE, kwargs={"compiled": True, "cuda_graphs": True}, max_epochs=1, **options)

    @pytest.mark.usefixtures("on_cuda")
    def test_of_training_alone(self, modes: list[str], tmp_path: Path) -> None:
        self.fit(tmp_path)
        assert modes == ["mark", "reduce-overhead"] * 5 + ["default"] * 3

    @pytest.mark.usefixtures("on_cuda")
    def test_not_while_gradients_add_up(self, modes: list[str], tmp_path: Path) -> None:
        self.fit(tmp_path, accumulate_grad_batches=2)
        assert set(modes) == {"default"}

    def test_elsewhere_it_is_compiled_as_ever(self, modes: list[str], tmp_path: Path) -> None:
        self.fit(tmp_path)
        assert set(modes) == {"default"}

    def test_needs_what_is_compiled(self) -> None:
        with pytest.raises(ValueError, match="set compiled too"):
            build(MLPVAE, cuda_graphs=True)


@pytest.mark.parametrize("precision", few(["high", "medium"], 1))
def test_matmul_precision(precision: str, tmp_path: Path) -> None:
    before = torch.get_float32_matmul_precision()
    exact = bounds(tmp_path, MLPVAE)
    torch.set_float32_matmul_precision(precision)
    try:
        torch.testing.assert_close(bounds(tmp_path, MLPVAE), exact, rtol=BF16, atol=0)
    finally:
        torch.set_float32_matmul_precision(before)


def test_channels_last_is_how_the_weights_lie() -> None:
    model = build(ConvVAE, channels_last=True)
    convolutions = [
        m for m in model.modules() if isinstance(m, (nn.Conv2d, nn.ConvTranspose2d)) and min(m.weight.shape) > 1
    ]
    assert len(convolutions) >= 4
    assert all(m.weight.is_contiguous(memory_format=torch.channels_last) for m in convolutions)
    other = build(ConvVAE)
    other.load_state_dict(model.state_dict())
    x = torch.rand(5, *model.shape)
    torch.testing.assert_close(model.embed(x), other.embed(x))
    torch.testing.assert_close(model.reconstruct(x), other.reconstruct(x))


@pytest.mark.parametrize("cls", [VAEGAN, VQVAE2, VDVAE])
def test_so_do_weights_beside_encoder_and_decoder(cls: type) -> None:
    model = build(cls, channels_last=True)
    wide = [p for p in model.parameters() if p.ndim == 4 and min(p.shape) > 1]
    assert all(p.is_contiguous(memory_format=torch.channels_last) for p in wide)


def test_a_fit_does_not_copy_its_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that sets nothing from the data has no need of all of them as float."""
    data = tiny_data()
    monkeypatch.setattr(data, "examples", lambda split: pytest.fail(f"all of {split} as float"))
    fit(tmp_path, MLPVAE, data=data)


class TestTimedProgressBar:
    @pytest.fixture
    def bar(self, monkeypatch: pytest.MonkeyPatch) -> tuple[TimedProgressBar, list[int]]:
        """A bar in whose parent's place the steps are counted, on a clock that stands still."""
        shown: list[int] = []
        monkeypatch.setattr(
            "lightning.pytorch.callbacks.RichProgressBar.on_train_batch_end", lambda *args: shown.append(args[-1])
        )
        monkeypatch.setattr(time, "monotonic", lambda: self.now)
        self.now = 100.0
        return TimedProgressBar(interval=0.5), shown

    def step(self, bar: TimedProgressBar, batch_idx: int) -> None:
        bar.on_train_batch_end(SimpleNamespace(num_training_batches=10), None, None, None, batch_idx)  # type: ignore[arg-type]

    def test_first_last_and_by_time(self, bar: tuple[TimedProgressBar, list[int]]) -> None:
        timed, shown = bar
        for batch_idx in range(10):
            if batch_idx == 5:
                self.now += 0.6
            self.step(timed, batch_idx)
        assert shown == [0, 5, 9]

    def test_in_a_fit(self, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
        fit(tmp_path, MLPVAE, data=Digits(batch_size=600), callbacks=[TimedProgressBar()], enable_progress_bar=True)
        assert "3/3" in capfd.readouterr().out
