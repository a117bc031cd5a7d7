from __future__ import annotations

import math
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import Batches, LinearGaussian, quiet_trainer, tiny, tiny_data

from vae_zoo.callbacks import Evidence, Report
from vae_zoo.models import AE, VAE
from vae_zoo.system.seeding import mix


def test_logs_the_exact_evidence(tmp_path: Path) -> None:
    model = LinearGaussian(shape=(5,), latent_dim=2)
    x = torch.randn(11, 5, dtype=torch.float64)
    trainer = quiet_trainer(tmp_path, callbacks=[Evidence(num_samples=3)])
    (values,) = trainer.test(model, Batches(x[:6], x[6:]), verbose=False)
    exact = model.exact_evidence(x).mean().item()
    assert values["test/log_evidence"] == pytest.approx(exact, rel=1e-5)
    assert values["test/bits_per_dim"] == pytest.approx(-exact / 5 / math.log(2), rel=1e-5)


def test_logs_what_log_evidence_gives(tmp_path: Path) -> None:
    model, data = tiny(VAE), tiny_data()
    trainer = quiet_trainer(tmp_path, callbacks=[Evidence(num_samples=7, chunk=2)])
    (values,) = trainer.test(model, data, verbose=False)
    total = torch.zeros(())
    for batch in data.test_dataloader():
        torch.manual_seed(mix(batch.key, 1))
        total += model.log_evidence(data.on_after_batch_transfer(batch).x, None, 7, 2).sum()
    assert values["test/log_evidence"] == pytest.approx(total.item() / 8, rel=1e-6)
    assert values["test/log_evidence"] > values["test/elbo"]
    means = model.embed(data.load("test").x.float() / 255)
    assert values["test/active_units"] == (means.var(0, correction=0) > 0.01).sum()
    (again,) = trainer.test(model, data, verbose=False)
    for metrics in (again, values):
        assert metrics.pop("test/evidence_images_per_second") > 0
    assert again == values


def test_a_model_without_a_bound(tmp_path: Path) -> None:
    (values,) = quiet_trainer(tmp_path, callbacks=[Evidence(num_samples=2)]).test(tiny(AE), tiny_data(), verbose=False)
    assert "test/log_evidence" not in values
    assert "test/active_units" in values


def test_errors() -> None:
    with pytest.raises(ValueError, match="num_samples must be at least 1, got 0"):
        Evidence(num_samples=0)
    with pytest.raises(ValueError, match="chunk must be at least 1, got 0"):
        Evidence(chunk=0)
    with pytest.raises(ValueError, match="memory must be a positive number of MiB, got 0"):
        Evidence(memory=0)


def test_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trainer = quiet_trainer(tmp_path, callbacks=[Evidence(num_samples=2), Report()])
    trainer.test(tiny(VAE), tiny_data(), verbose=False)
    text = capsys.readouterr().out
    assert "VAE on Sprites, test split" in text
    assert "log_evidence" in text
    assert "images/s, 2 samples each" in text
    trainer = quiet_trainer(tmp_path, callbacks=[Report()])
    trainer.test(tiny(VAE), Batches(torch.rand(4, 1, 8, 8)), verbose=False)
    assert "VAE, test split" in capsys.readouterr().out
    trainer.validate(tiny(VAE), tiny_data(), verbose=False)
    assert "val split" in capsys.readouterr().out


@pytest.mark.exhaustive
def test_standard_errors_and_effective_samples(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = LinearGaussian(shape=(5,), latent_dim=2, widen=1.5, shift=0.2)
    x = torch.randn(11, 5, dtype=torch.float64)
    trainer = quiet_trainer(tmp_path, callbacks=[Evidence(num_samples=200)])
    (values,) = trainer.test(model, Batches(x[:6], x[6:]), verbose=False)
    runs = torch.stack([model.log_evidence(x, num_samples=200) for _ in range(200)])
    assert values["test/log_evidence_se"] == pytest.approx(runs.mean(1).std().item(), rel=0.3)
    assert values["test/log_evidence_se_data"] == pytest.approx(runs[0].std().item() / math.sqrt(11), rel=0.1)
    assert values["test/ess"] == pytest.approx(model.evidence(x, num_samples=10_000).ess.mean().item() / 50, rel=0.2)


def test_heavy_tails_are_warned_of(tmp_path: Path) -> None:
    """A posterior of 0.4 times the right width gives weights a tail of shape 1 - 0.4² = 0.84."""
    x, values = torch.randn(12, 5, dtype=torch.float64), []
    for widen, warns in ((0.4, True), (1.2, False)):
        torch.manual_seed(0)
        model = LinearGaussian(shape=(5,), latent_dim=2, widen=widen)
        trainer = quiet_trainer(tmp_path, callbacks=[Evidence(num_samples=1000), Report()])
        expected = pytest.warns(UserWarning, match=r"tails so heavy \(Pareto shape 0\.[789]\d on average, above 0\.7\)")
        with expected if warns else nullcontext():
            values += trainer.test(model, Batches(x[:5], x[5:]), verbose=False)
    assert values[0]["test/pareto_k"] == pytest.approx(0.84, abs=0.1)
    assert values[0]["test/pareto_k_high"] > 0.6
    assert values[1]["test/pareto_k_high"] == 0
    (few,) = quiet_trainer(tmp_path, callbacks=[Evidence(num_samples=20)]).test(model, Batches(x), verbose=False)
    assert not any("pareto" in name for name in few)


def test_one_sample_says_nothing_of_its_error(tmp_path: Path) -> None:
    trainer = quiet_trainer(tmp_path, callbacks=[Evidence(num_samples=1), Report()])
    (values,) = trainer.test(tiny(VAE), tiny_data(), verbose=False)
    assert values["test/log_evidence_se"] == math.inf
    assert values["test/ess"] == 1


@pytest.mark.parametrize(("precision", "dtype"), [("32-true", torch.float32), ("bf16-mixed", torch.bfloat16)])
def test_networks_run_in_the_precision_of_the_trainer(tmp_path: Path, precision: Any, dtype: torch.dtype) -> None:
    """And densities do not: the estimate is that of float32 but for what the logits are rounded by."""
    model, data = tiny(VAE), tiny_data()
    seen: set[torch.dtype] = set()
    model.decoder.register_forward_hook(lambda _, __, logits: seen.add(logits.dtype))
    model.likelihood.register_forward_hook(lambda _, __, px: seen.add(px.log_prob(torch.zeros(1, 8, 8)).dtype))
    trainer = quiet_trainer(tmp_path, callbacks=[Evidence(num_samples=500, memory=0.5)], precision=precision)
    (values,) = trainer.test(model, data, verbose=False)
    assert seen == {dtype, torch.float32}
    trainer = quiet_trainer(tmp_path, callbacks=[Evidence(num_samples=500)])
    (exact,) = trainer.test(model, data, verbose=False)
    error = math.hypot(values["test/log_evidence_se"], exact["test/log_evidence_se"])
    assert values["test/log_evidence"] == pytest.approx(exact["test/log_evidence"], abs=4 * error + 0.05)
