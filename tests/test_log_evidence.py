"""The standard error and the effective sample size of the evidence against the quantities that they estimate."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from helpers import linear, tiny
from torch import Tensor

from vae_zoo.elbo import LogEvidence
from vae_zoo.models import VAE


@pytest.mark.parametrize("seed", range(20))
def test_within_three_standard_errors_of_the_exact_evidence(seed: int) -> None:
    """On 20 random models, from one sample up, over replicates: the mean ratio of the densities is 1."""
    model, x, exact = linear(seed, widen=1.3, shift=0.1)
    for num_samples, replicates in ((1, 4000), (5, 1000), (500, 20)):
        log_w = model.elbo(x, num_samples=num_samples * replicates).log_w.detach()
        ratio = (LogEvidence.from_weights(log_w.reshape(num_samples, -1)).value.reshape(-1, 4) - exact).exp().mean(1)
        assert (ratio.mean() - 1).abs() < 3 * ratio.std() / replicates**0.5
    found = model.evidence(x, num_samples=5000)
    assert ((found.value - exact).square().mean() < 9 * found.error.square().mean()).all()


def test_error_is_the_spread_of_replicates() -> None:
    model, x, _ = linear(widen=1.5, shift=0.2)
    runs = [model.evidence(x, num_samples=300, chunk=100) for _ in range(120)]
    spread = torch.stack([run.value for run in runs]).std(0)
    stated = torch.stack([run.error for run in runs]).mean(0)
    torch.testing.assert_close(stated, spread, rtol=0.25, atol=0)


def test_effective_samples_are_what_the_error_says() -> None:
    """For weights of variance v and mean m: K / (1 + v / m²), and v / m² is the squared error times K."""
    model, x, _ = linear(widen=1.5, shift=0.2)
    found = model.evidence(x, num_samples=20_000)
    torch.testing.assert_close(20_000 / (1 + 20_000 * found.error**2), found.ess, rtol=1e-3, atol=0)
    exact, x, _ = linear()
    perfect = exact.evidence(x, num_samples=100)
    torch.testing.assert_close(perfect.ess, torch.full_like(perfect.ess, 100))
    assert (perfect.error < 1e-6).all()


@pytest.mark.parametrize("chunk", [1, 3, 7, 100])
def test_streams_what_the_definitions_say(images: Tensor, chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny(VAE)
    elbo = model.elbo(images, num_samples=7)
    place = iter(range(0, 7, chunk))

    def pieces(x: Tensor, c: Tensor | None, num_samples: int) -> object:
        start = next(place)
        part = slice(start, start + num_samples)
        return elbo._replace(z=elbo.z[part], log_px=elbo.log_px[part])

    monkeypatch.setattr(model, "elbo", pieces)
    found = model.evidence(images, num_samples=7, chunk=chunk)
    w = elbo.log_w.double().exp()
    torch.testing.assert_close(found.value.double(), w.mean(0).log())
    torch.testing.assert_close(found.error.double(), w.std(0) / 7**0.5 / w.mean(0))
    torch.testing.assert_close(found.ess.double(), w.sum(0) ** 2 / w.square().sum(0))
    assert {t.dtype for t in found} == {torch.float32}


def test_one_sample() -> None:
    found = LogEvidence.from_weights(torch.tensor([[-80.0, 3.0]]))
    assert found.value.tolist() == [-80.0, 3.0]
    assert found.error.tolist() == [math.inf, math.inf]
    assert found.ess.tolist() == [1.0, 1.0]
    assert (tiny(VAE).evidence(torch.rand(3, 1, 8, 8), num_samples=1).ess == 1).all()


@pytest.mark.parametrize("kind", [list, Tensor.numpy])
def test_examples_that_are_no_tensor_are_refused(kind: Callable[[Tensor], object], images: Tensor) -> None:
    with pytest.raises(ValueError, match="examples must be a tensor, as of"):
        tiny(VAE).log_evidence(kind(images))  # type: ignore[arg-type]
