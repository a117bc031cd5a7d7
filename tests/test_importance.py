"""The evidence in chunks: their memory, how often an example is encoded, and that every sample counts once."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import pytest
import torch
from helpers import BOUNDS, build, labels, linear, tiny
from torch import Tensor

from vae_zoo.distributions import FullNormal
from vae_zoo.elbo import ELBO, _log_px
from vae_zoo.elbo.importance import HEAVY, LogEvidence, _Tail, pareto_shape, tail_size
from vae_zoo.models import M2, RHVAE, VAE, ConvVAE, ExemplarVAE, LadderVAE, VampVAE
from vae_zoo.system.memory import Peak


class Shifted(VAE):
    """Terms of its own: another density than that of its decoder."""

    def elbo(self, x: Tensor, c: Tensor | None = None, num_samples: int = 1) -> ELBO:
        terms = super().elbo(x, c, num_samples)
        return terms._replace(log_px=terms.log_px - 100)


def decoded(model: VAE) -> list[int]:
    """Fills up with the number of latents of each pass through the decoder."""
    rows: list[int] = []
    model.decoder.register_forward_hook(lambda _, given, __: rows.append(len(given[0])))
    return rows


def floats(peak: Peak) -> float:
    return peak.bytes / 4


def test_peak() -> None:
    with Peak() as peak:
        torch.zeros(1000).exp_().view(10, 100).sum()  # neither a change in place nor a view takes anything
    assert floats(peak) == 1001
    given = torch.zeros(1000)
    with Peak() as peak:
        for _ in range(3):
            given.add_(1)
            other = given + 1
            del other  # what is gone counts no longer
    assert floats(peak) == 1000


@pytest.mark.parametrize("cls", [VAE, ConvVAE, LadderVAE, VampVAE])
@pytest.mark.parametrize("memory", [0.1, 0.5])
def test_pieces_fit_into_memory(cls: type[VAE], memory: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is decoded at once, hidden activations and densities included: of a batch that would take far more."""
    monkeypatch.setattr("vae_zoo.elbo.importance.keep_freed_memory", lambda: None)
    model, x = tiny(cls).eval(), torch.rand(100, 1, 8, 8).round()
    rows = decoded(model)
    with Peak() as peak:
        model.evidence(x, num_samples=20, memory=memory)
    assert sum(rows) == 100 * 20
    assert rows[:2] == [16, 16]  # one sample each: the first measures nothing yet
    room = memory * 2**20
    some = model.encode(x[: max(rows)])
    kept = 3 * some.mean.numel() * 4 + x.nbytes + 2**16  # the posterior of a part, prior, estimates
    assert room / 2 < peak.bytes < room + kept


@pytest.mark.parametrize("num_samples", [1, 2, 3, 50])
@pytest.mark.parametrize("num_examples", [1, 16, 17, 40])
@pytest.mark.parametrize("memory", [1e-6, 0.2, None])
def test_every_sample_of_every_example_once(num_samples: int, num_examples: int, memory: float | None) -> None:
    """From one latent at a time to all of them; with exact posteriors every sample says the same."""
    model, x, exact = linear()
    rows = decoded(model)
    index = torch.arange(num_examples) % len(x)
    found = model.evidence(x[index], num_samples=num_samples, memory=memory)
    assert sum(rows) == num_samples * num_examples
    torch.testing.assert_close(found.value, exact[index], rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(found.ess, torch.full_like(found.ess, num_samples))
    if memory == 1e-6 and num_examples > 16 and num_samples > 1:
        assert rows[-1] == 1


@pytest.mark.parametrize("cls", [cls for cls in BOUNDS if cls.reports == "E" and cls not in (M2, RHVAE)])
def test_one_encoding(cls: type[VAE]) -> None:
    """Encoder, pseudo-inputs, exemplars and all, whatever the number of chunks.

    M2 encodes examples with the classes that it draws, and RHVAE the anchors of its metric.
    """
    model, x = build(cls).eval(), torch.rand(4, 1, 8, 8).round()
    calls: Counter[str] = Counter()
    for name, module in model.named_children():
        module.register_forward_hook(lambda *_, name=name: calls.update([name]))
    c = labels(model, x)
    model.evidence(x, c, num_samples=2, chunk=2)
    once = Counter(calls)
    calls.clear()
    model.evidence(x, c, num_samples=6, chunk=2)
    assert calls["encoder"] == once["encoder"] == (2 if issubclass(cls, (VampVAE, ExemplarVAE)) else 1)
    decodings = getattr(model, "decodings", 1)  # of one latent
    assert calls["decoder"] == 3 * once["decoder"] == 3 * decodings


def test_terms_of_ones_own() -> None:
    """A bound that is overridden weighs the samples, and not the hooks that it overrides."""
    torch.manual_seed(0)
    plain = tiny(VAE)
    other = tiny(Shifted)
    other.load_state_dict(plain.state_dict())
    x = torch.rand(5, 1, 8, 8).round()
    values = []
    for model in (plain, other):
        torch.manual_seed(1)
        values.append(model.log_evidence(x, num_samples=7, chunk=3))
    torch.testing.assert_close(values[1], values[0] - 100)


@pytest.mark.parametrize("hook", ["encode", "prior", "decode"])
def test_hooks_that_are_overridden(hook: str) -> None:
    model, x, exact = linear(widen=1.3)
    original, calls = getattr(model, hook), []

    def own(*args: Any) -> Any:
        calls.append(args)
        return original(*args)

    setattr(model, hook, own)
    torch.testing.assert_close(model.log_evidence(x, num_samples=20_000), exact, rtol=0, atol=0.1)
    assert calls


def test_the_pieces_of_a_posterior_with_any_covariance() -> None:
    """Its factor is used as it is, not copied for every sample."""
    q = tiny(VAE, latent_dim=60, posterior=FullNormal).encode(torch.rand(2, 1, 8, 8))
    with torch.no_grad(), Peak() as peak:
        q.log_prob(q.rsample((100,)))
    assert floats(peak) < 6 * 100 * 2 * 60


@pytest.mark.exhaustive
def test_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """One graph for all sizes of pieces, and the same metrics."""
    graphs: list[Any] = []

    def backend(graph: Any, inputs: Any) -> Any:
        graphs.append(graph)
        return graph.forward

    compiled = torch.compile(_log_px, dynamic=True, fullgraph=True, backend=backend)
    monkeypatch.setattr("vae_zoo.elbo._compiled_log_px", lambda: compiled)
    model, x = tiny(VAE).eval(), torch.rand(90, 1, 8, 8).round()
    for num_examples, num_samples in ((90, 20), (33, 50), (2, 7)):
        values = []
        for model.compiled in (False, True):
            torch.manual_seed(1)
            values.append(model.log_evidence(x[:num_examples], num_samples=num_samples, memory=0.3))
        torch.testing.assert_close(*values)
    assert len(graphs) == 1
    torch._dynamo.reset()


@pytest.mark.parametrize("memory", [0, -1.0, float("nan"), float("inf")])
def test_errors(memory: float) -> None:
    with pytest.raises(ValueError, match="memory must be a positive number of MiB, got"):
        tiny(VAE).log_evidence(torch.rand(2, 1, 8, 8), memory=memory)


def by_loops(x: Tensor) -> float:
    """The fit of Zhang and Stephens in the signs of their paper, point by point, and the prior."""
    ordered = sorted(x.tolist())
    num = len(ordered)
    points, quartile = 30 + int(num**0.5), ordered[int(num / 4 + 0.5) - 1]

    def k(theta: float) -> float:
        return -sum(math.log(1 - theta * value) for value in ordered) / num

    grid = [1 / ordered[-1] + (1 - (points / (j - 0.5)) ** 0.5) / (3 * quartile) for j in range(1, points + 1)]
    profile = [num * (math.log(theta / k(theta)) + k(theta) - 1) for theta in grid]
    share = [1 / sum(math.exp(min(other - own, 700)) for other in profile) for own in profile]
    theta = sum(weight * value for weight, value in zip(share, grid, strict=True))
    return (-num * k(theta) + 5) / (num + 10)


class TestTail:
    @pytest.mark.parametrize("shape", [-0.4, 0.2, 0.7, 1.3])
    def test_shape_of_known_tails(self, shape: float) -> None:
        """Excesses over a threshold of a known generalised Pareto distribution, on weights of any size."""
        torch.manual_seed(0)
        excess = (torch.rand(900, 40, dtype=torch.float64) ** -shape - 1) / shape
        log_w = torch.cat([torch.full((1, 40), -300.0, dtype=torch.float64), (excess + 1).log() - 300])
        found = pareto_shape(log_w[torch.randperm(901)])
        assert found.mean().item() == pytest.approx((900 * shape + 5) / 910, abs=0.02)
        assert found.std().item() == pytest.approx((1 + shape) / 30, rel=0.35)
        assert found[0].item() == pytest.approx(by_loops(excess[:, 0]), rel=1e-6)

    def test_extremes_are_finite(self) -> None:
        assert (pareto_shape(torch.zeros(68, 2)) == 0).all()
        assert (pareto_shape(torch.randn(68, 50) * 1000) > 2).all()
        assert (pareto_shape(torch.randn(68, 50) * 1e-6 - 1e4).abs() < 2).all()

    @pytest.mark.parametrize(("num", "size"), [(1, 0), (20, 0), (21, 5), (225, 45), (500, 68), (100_000, 949)])
    def test_size(self, num: int, size: int) -> None:
        assert tail_size(num) == size

    @pytest.mark.parametrize("chunk", [1, 7, 60, 300, None])
    def test_chunks_keep_the_largest(self, chunk: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
        torch.manual_seed(0)
        model, drawn = tiny(VAE).eval(), []
        plain = _Tail.add
        monkeypatch.setattr(_Tail, "add", lambda self, log_w: drawn.append(log_w) or plain(self, log_w))
        found = model.evidence(torch.rand(3, 1, 8, 8).round(), num_samples=300, chunk=chunk)
        whole = LogEvidence.from_weights(torch.cat(drawn))
        assert len(torch.cat(drawn)) == 300
        torch.testing.assert_close(found.pareto_k, whole.pareto_k, rtol=1e-4, atol=1e-4)
        assert model.evidence(torch.rand(3, 1, 8, 8), num_samples=20).pareto_k.isnan().all()

    def test_tells_a_heavy_tail_that_the_error_does_not(self) -> None:
        """The reason for it: some of these estimates are off by more than six of their stated errors."""
        torch.manual_seed(0)
        z = 0.5 * torch.randn(20_000, 60)
        q, p = torch.distributions.Normal(0.0, 0.5), torch.distributions.Laplace(0.0, 1.0)
        heavy = LogEvidence.from_weights(p.log_prob(z) - q.log_prob(z))  # of log 1
        off = heavy.value.abs() / heavy.error
        assert heavy.ess.mean() > 500
        assert off.max() > 6
        assert heavy.pareto_k.mean() > HEAVY
        other = torch.distributions.Laplace(0.0, 0.5).sample((20_000, 60))
        fine = LogEvidence.from_weights(p.log_prob(other) - torch.distributions.Laplace(0.0, 0.5).log_prob(other))
        assert fine.pareto_k.mean() == pytest.approx(0.5, abs=0.06)  # w = e^|z| / 2, whose law is Pareto's
