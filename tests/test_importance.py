"""The evidence in pieces: what a piece takes, how often an example is encoded, and that every sample counts once."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import torch
from helpers import BOUNDS, build, labels, linear, tiny
from torch import Tensor

from vae_zoo.distributions import FullNormal
from vae_zoo.elbo import ELBO, _log_px
from vae_zoo.memory import Peak
from vae_zoo.models import VAE, ConvVAE, LadderVAE, VampVAE


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
    monkeypatch.setattr("vae_zoo.importance.keep_freed_memory", lambda: None)
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


@pytest.mark.parametrize("cls", BOUNDS)
def test_one_encoding(cls: type[VAE]) -> None:
    """Encoder, pseudo-inputs and all: whatever the number of chunks."""
    model, x = build(cls).eval(), torch.rand(4, 1, 8, 8).round()
    calls: Counter[str] = Counter()
    for name, module in model.named_children():
        module.register_forward_hook(lambda *_, name=name: calls.update([name]))
    c = labels(model, x)
    model.evidence(x, c, num_samples=2, chunk=2)
    once = Counter(calls)
    calls.clear()
    model.evidence(x, c, num_samples=6, chunk=2)
    assert calls["encoder"] == once["encoder"] == (2 if cls is VampVAE else 1)
    assert calls["decoder"] == 3 * once["decoder"] == 3


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


def test_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """One graph for all sizes of pieces, and the same figures."""
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
