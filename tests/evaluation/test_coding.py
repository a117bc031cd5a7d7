"""Bits-back coding: the stack, the frequencies, the length against the bound, and files that are not to be trusted."""

from __future__ import annotations

import json
import math
import struct
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import build, small, tiny
from scipy.stats import norm
from short import few
from torch import Tensor

from vae_zoo.data import Digits
from vae_zoo.distributions import (
    Categorical,
    DiscretizedLogistic,
    MixtureNormal,
    MixtureOfDiscretizedLogistics,
    NegativeBinomial,
    Poisson,
)
from vae_zoo.evaluation.coding import Codec, read_coded, refusal, write_coded
from vae_zoo.evaluation.coding.ans import Stack
from vae_zoo.evaluation.coding.bits_back import bound_bits
from vae_zoo.evaluation.coding.discretised import BIN_BITS, TAIL, VALUE_BITS, NormalBins, Values, grid
from vae_zoo.evaluation.coding.files import MAGIC, decoded, original
from vae_zoo.evaluation.coding.sources import Source, to_symbols
from vae_zoo.models import AE, VAE, BetaVAE, ConditionalVAE, ConvVAE, FlowVAE, LadderVAE
from vae_zoo.nn import Dense


def frequencies(generator: np.random.Generator, num: int, precision: int) -> tuple[np.ndarray, np.ndarray]:
    """Intervals within the sum, among them one of everything and several of a single unit."""
    total = 1 << precision
    start = generator.integers(0, total, num)
    size = np.minimum(generator.integers(1, 1 << generator.integers(1, precision + 1), num), total - start)
    start[0], size[0] = 0, total
    return start.astype(np.uint64), size.astype(np.uint64)


@pytest.mark.parametrize("seed", range(20))
def test_what_is_pushed_comes_back(seed: int) -> None:
    generator = np.random.default_rng(seed)
    stack = Stack(int(generator.integers(1, 40)))
    pushed = []
    for _ in range(30):
        precision = int(generator.integers(2, 27))
        pushed.append((*frequencies(generator, int(generator.integers(1, 100)), precision), precision))
        before = stack.bits
        stack.push(*pushed[-1])
        cost = precision * len(pushed[-1][0]) - np.log2(pushed[-1][1].astype(float)).sum()
        assert stack.bits - before == pytest.approx(cost, abs=0.02 * len(pushed[-1][0]))
    stack = Stack.restored(stack.heads, stack.words)
    for start, size, precision in reversed(pushed):

        def find(slot: Any, at: slice, start: Any = start, size: Any = size) -> Any:
            assert ((start[at] <= slot) & (slot < start[at] + size[at])).all()
            return start[at], size[at]

        stack.pop(len(start), precision, find)
    assert stack.is_initial(0)


@pytest.mark.parametrize("seed", range(10))
def test_bits_of_a_draw_come_back(seed: int) -> None:
    """The order of bits-back: symbols are popped from an empty stack, and pushed again."""
    generator = np.random.default_rng(seed)
    stack, bins = Stack(int(generator.integers(1, 9))), NormalBins(np.zeros(7), np.ones(7))
    draws = [(generator.normal(0, 2, (3, 7)), np.exp(generator.normal(-2, 2, (3, 7)))) for _ in range(20)]
    found = [bins.pop(stack, *draw) for draw in draws]
    taken = stack.num_taken
    assert taken > 0
    for part, draw in zip(reversed(found), reversed(draws), strict=True):
        bins.push(stack, part, *draw)
    assert stack.is_initial(taken)


def test_bins_cover_the_line_and_come_back_under_the_prior() -> None:
    found = grid()
    num = (1 << BIN_BITS) + 2 * TAIL
    assert len(found.centres) == num
    assert (np.diff(found.edges[:num]) > 0).all()
    assert (found.edges[:num] <= found.centres).all()
    assert (found.centres <= found.edges[1 : num + 1]).all()
    width = norm.cdf(found.edges[TAIL + 1 : num - TAIL]) - norm.cdf(found.edges[TAIL : num - TAIL - 1])
    assert np.allclose(width[1:-1], 2.0**-BIN_BITS, rtol=1e-6)
    ends = [0, 1, TAIL - 1, TAIL, TAIL + 1, num - TAIL - 1, num - TAIL, num - 2, num - 1]
    bins = np.concatenate([ends, np.random.default_rng(0).integers(0, num, 300)]).astype(np.uint64)
    stack = Stack(4)
    NormalBins.push_prior(stack, bins)
    assert np.array_equal(NormalBins.pop_prior(stack, bins.shape), bins)
    assert stack.is_initial(0)


@pytest.mark.parametrize("loc", [0.0, 3.0, 6.0, -15.0, 50.0])
def test_a_posterior_far_from_the_prior_is_drawn_from(loc: float) -> None:
    bins = NormalBins(np.zeros(500), np.ones(500))
    z = bins.centres(bins.pop(Stack(8), np.full((1, 500), loc), np.full((1, 500), 0.1)))
    assert z.mean() == pytest.approx(min(loc, 20.0), abs=0.02)
    assert z.std() == pytest.approx(0.1 if abs(loc) < 20 else 0.0, abs=0.01)


def test_draws_follow_the_posterior() -> None:
    """Kolmogorov-Smirnov against the normal distribution, beside which bins are fine."""
    stack, bins = Stack(50), NormalBins(np.full(1000, 0.5), np.full(1000, 2.0))
    z = bins.centres(bins.pop(stack, np.full((4, 1000), 1.0), np.full((4, 1000), 0.7))).ravel()
    order = np.sort(norm.cdf(z, 1.0, 0.7))
    assert np.abs(order - (np.arange(4000) + 0.5) / 4000).max() < 1.63 / math.sqrt(4000)


@pytest.mark.parametrize(
    "likelihood",
    [
        partial(Categorical, num_values=5),
        DiscretizedLogistic,
        partial(DiscretizedLogistic, edges=False),
        MixtureOfDiscretizedLogistics,
        partial(Poisson),
        NegativeBinomial,
    ],
)
def test_frequencies_are_the_probabilities(likelihood: Any) -> None:
    family = likelihood((3, 2))
    values = Values(family, 40)
    torch.manual_seed(0)
    px = family(torch.randn(2, *family.param_shape))
    with torch.no_grad():
        table = values.table(px)
    assert (table[0] == 0).all()
    assert (table[-1] == 1 << VALUE_BITS).all()
    frequency = np.diff(table.astype(np.int64), axis=0)
    assert (frequency >= 1).all()
    every = torch.arange(values.num) * values.step
    mass = torch.stack([px.base_dist.log_prob(torch.full((2, 3, 2), v)).exp() for v in every.tolist()]).flatten(1)
    share = frequency / (1 << VALUE_BITS)
    assert np.abs(share - (mass / mass.sum(0)).detach().numpy()).max() < 1e-4


@pytest.fixture(scope="module")
def digits() -> Tensor:
    data = Digits(binarization="threshold")
    return torch.cat([data.examples("train"), data.examples("test")])


@pytest.fixture(scope="module")
def trained(digits: Tensor) -> Any:
    torch.manual_seed(0)
    networks = {name: partial(Dense, hidden=[64]) for name in ("encoder", "decoder")}
    model = VAE(shape=(1, 8, 8), latent_dim=8, **networks)
    optimizer = torch.optim.Adam(model.parameters(), 5e-3)
    for _ in range(5):
        for rows in torch.randperm(1397).split(64):
            optimizer.zero_grad()
            model.losses(digits[rows])["loss"].backward()
            optimizer.step()
    return model.eval()


@pytest.mark.parametrize("batch_size", few([1, 7], 1))
def test_the_bound_is_the_length_of_the_code(trained: Any, digits: Tensor, batch_size: int) -> None:
    x = digits[1397:]
    codec = Codec(trained, batch_size=batch_size)
    symbols = codec.values.symbols(x)
    coded = codec.encode(symbols)
    bound = bound_bits(trained, x, num_samples=50)
    assert 20 < bound < 45
    assert coded.bits == pytest.approx(bound, rel=0.01)
    with torch.no_grad():
        z = coded.z
        log_w = trained.decode(z).log_prob(x) + trained.prior().log_prob(z) - trained.encode(x).log_prob(z)
    assert coded.bits == pytest.approx(-log_w.mean().item() / math.log(2), rel=0.001)
    whole = 64 * len(coded.stack.heads) + 16 * len(coded.stack.words)
    assert whole <= coded.num * coded.bits + coded.initial_bits + 64 * codec.num_heads
    assert np.array_equal(codec.decode(coded.stack, coded.num), symbols)
    assert torch.equal(codec.values.examples(symbols), x)


def test_training_shortens_the_code(trained: Any, digits: Tensor) -> None:
    x = digits[1397:1450]
    torch.manual_seed(1)
    fresh = tiny(VAE)
    symbols = Codec(trained).values.symbols(x)
    assert Codec(trained).encode(symbols).bits < 0.7 * Codec(fresh).encode(symbols).bits


@pytest.mark.parametrize(
    "likelihood",
    [
        DiscretizedLogistic,
        partial(DiscretizedLogistic, shared=True),
        partial(DiscretizedLogistic, edges=False),
        MixtureOfDiscretizedLogistics,
        partial(Categorical, num_values=17),
        Poisson,
        NegativeBinomial,
    ],
)
def test_every_discrete_likelihood_is_lossless(likelihood: Any) -> None:
    torch.manual_seed(0)
    model = tiny(VAE, likelihood=likelihood).eval()
    values = Values(model.likelihood, 30)
    x = values.symbols(model.sample(5, mean=False).clamp(max=29 * values.step))
    codec = Codec(model, num_values=30, batch_size=2)
    coded = codec.encode(x)
    assert np.array_equal(codec.decode(coded.stack, 5), x)
    assert Stack.is_initial(coded.stack, coded.stack.num_taken)
    with torch.no_grad():
        px = model.decode(coded.z)
        log_pz, log_qz = model.prior().log_prob(coded.z), model.encode(values.examples(x)).log_prob(coded.z)
        own = -(px.log_prob(values.examples(x)) + log_pz - log_qz).mean().item() / math.log(2)
    if getattr(likelihood, "keywords", {}).get("edges", True):
        assert coded.bits == pytest.approx(own, rel=0.01)
    else:
        assert coded.bits < own, "masses that do not sum to 1 are made to, which shortens the code"


def test_what_is_improbable_costs_no_more_than_a_single_unit() -> None:
    model = tiny(VAE, likelihood=partial(DiscretizedLogistic, shared=True, scale=0.001)).eval()
    x = torch.randint(0, 256, (2, 1, 8, 8)).numpy().astype(np.uint16)
    coded = Codec(model).encode(x)
    assert coded.bits < 64 * VALUE_BITS + 10
    assert np.array_equal(Codec(model).decode(coded.stack, 2), x)


def test_other_networks_and_colours() -> None:
    torch.manual_seed(0)
    model = build(ConvVAE, shape=(3, 12, 9), likelihood=partial(DiscretizedLogistic, shared=True)).eval()
    x = torch.randint(0, 256, (3, 3, 12, 9)).numpy().astype(np.uint16)
    codec = Codec(model, batch_size=2)
    assert np.array_equal(codec.decode(codec.encode(x).stack, 3), x)


class OwnTerms(VAE):
    def elbo(self, *args: Any, **kwargs: Any) -> Any:
        return super().elbo(*args, **kwargs)


@pytest.mark.parametrize(
    ("cls", "kwargs", "said"),
    [
        (AE, {}, "AE has no bound, which would be the length of its code"),
        (VAE, {"likelihood": "SharedNormal"}, "SharedNormal is a density of continuous values"),
        (ConditionalVAE, {}, "ConditionalVAE needs labels"),
        (VAE, {"missing": True}, "VAE is of examples with missing values"),
        (VAE, {"likelihood": partial(Poisson, library=True)}, "Poisson takes the total of the counts from themselves"),
        (LadderVAE, {}, "LadderVAE has another posterior than independent normal latents"),
        (OwnTerms, {}, "OwnTerms has a bound of its own terms"),
        (FlowVAE, {}, "FlowVAE has another posterior than independent normal latents"),
        (VAE, {"prior": MixtureNormal}, "VAE has another prior than independent normal latents"),
        (VAE, {"likelihood": "CoupledMixtureOfLogistics"}, "CoupledMixtureOfLogistics has values that depend on each"),
    ],
)
def test_models_that_cannot_code_say_why(cls: Any, kwargs: Any, said: str) -> None:
    from vae_zoo import distributions

    kwargs = {k: getattr(distributions, v) if isinstance(v, str) else v for k, v in kwargs.items()}
    model = tiny(cls, **kwargs).eval()
    assert refusal(model).startswith(said)
    assert "\n" not in refusal(model)
    with pytest.raises(ValueError, match=said):
        Codec(model)


def test_a_model_of_other_weights_in_the_bound_can_code() -> None:
    assert refusal(tiny(BetaVAE).eval()) == ""


@pytest.mark.parametrize(
    ("x", "kind", "top"),
    [
        (np.array([[0, 255], [255, 0]], np.uint8), "uint8", 255),
        (np.array([[0, 1], [1, 0]], np.uint8), "uint8", 1),
        (np.array([[True, False]]), "bool", 1),
        (np.array([[0.0, 1.0]], np.float32), "float32", 1),
    ],
)
def test_arrays_come_back_as_they_were(x: np.ndarray, kind: str, top: float) -> None:
    found = to_symbols(Source(x, "x"), tiny(shape=(2,)).likelihood)
    assert (found.kind, found.top) == (kind, top)
    again = original(found.x, found.kind, found.top, found.values.num)
    assert again.dtype == x.dtype
    assert np.array_equal(again, x)


def test_8_bit_images_and_counts_come_back_as_they_were() -> None:
    x = np.arange(256, dtype=np.uint8).reshape(4, 64)
    found = to_symbols(Source(x, "x"), DiscretizedLogistic((64,)))
    assert np.array_equal(original(found.x, found.kind, found.top, 256), x)
    floats = to_symbols(Source((torch.from_numpy(x) / 255).numpy(), "x"), DiscretizedLogistic((64,)))
    assert np.array_equal(floats.x, found.x)
    counts = np.array([[0, 3, 700]], np.int64)
    found = to_symbols(Source(counts, "x"), Poisson((3,)))
    assert found.values.num == 701
    assert np.array_equal(original(found.x, found.kind, found.top, 701), counts)


@pytest.mark.parametrize(
    ("x", "likelihood", "said"),
    [
        (
            np.full((2, 3), 0.5, np.float32),
            None,
            r"example 1 of x has 0.5 at index \[0\], and 0 or 1 are coded: fit on",
        ),
        (np.array([[0, 1, 2]], np.uint8), None, "example 1 of x has 0.00392157"),
        (np.array([[0, 1, np.nan]]), None, "example 1 of x has nan"),
        (np.full((2, 3), -1.0), Poisson, "example 1 of x has -1 at index"),
        (np.full((2, 3), 5000.0), Poisson, "at most 4096 values of an entry are coded, got counts up to 5000"),
        (np.full((2, 3), 1e30), Poisson, "at most 4096 values of an entry are coded, got counts up to"),
        (np.zeros((0, 3)), None, "x: there are no examples to code"),
        (np.zeros((2, 3), np.float16), None, "x is of type float16, and bool"),
        (np.full((2, 3), 1.0002 / 255), DiscretizedLogistic, "x has values next to the 256 that are coded"),
    ],
)
def test_values_that_have_no_symbol(x: np.ndarray, likelihood: Any, said: str) -> None:
    family = likelihood((3,)) if likelihood else tiny(shape=(3,)).likelihood
    with pytest.raises(ValueError, match=said):
        to_symbols(Source(x, "x"), family)


@pytest.fixture
def coded(tmp_path: Path) -> tuple[Path, Any, np.ndarray]:
    torch.manual_seed(0)
    model = tiny(VAE).eval()
    x = (torch.rand(9, 1, 8, 8) > 0.5).numpy().astype(np.uint16)
    codec = Codec(model, batch_size=2)
    write_coded(tmp_path / "x.vz", codec, codec.encode(x), x, kind="uint8", top=255)
    return tmp_path / "x.vz", model, x


def changed(path: Path, **values: Any) -> Path:
    """The same file with another header."""
    content = path.read_bytes()
    start = len(MAGIC) + 8
    (length,) = struct.unpack("<I", content[start - 4 : start])
    header = {**json.loads(content[start : start + length]), **values}
    text = json.dumps({k: v for k, v in header.items() if v is not None}).encode()
    path.write_bytes(content[: start - 4] + struct.pack("<I", len(text)) + text + content[start + length :])
    return path


def test_files_are_read_again(coded: Any) -> None:
    path, model, x = coded
    header, found = decoded(path, model)
    assert (header.num, header.shape, header.kind) == (9, (1, 8, 8), "uint8")
    assert np.array_equal(found, x)


@pytest.mark.parametrize("length", [0, 4, 12, 100, 500, -4, -1])
def test_truncated_files(coded: Any, length: int) -> None:
    path, *_ = coded
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(ValueError, match=r"is truncated|no file of vae-zoo compress"):
        read_coded(path)


def test_damaged_files(coded: Any) -> None:
    path, *_ = coded
    content = bytearray(path.read_bytes())
    for place in (-1, -30, len(content) - 60):
        content[place] ^= 4
        path.write_bytes(content)
        with pytest.raises(ValueError, match="is damaged"):
            read_coded(path)
    path.write_bytes(coded[0].read_bytes() + b"more")
    with pytest.raises(ValueError, match="is damaged"):
        read_coded(path)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"num": 2**36}, "stands for 4398046511104 values"),
        ({"num": -1}, "its header is not one"),
        ({"num": "9"}, "its header is not one"),
        ({"num_heads": 2**39}, "is truncated"),
        ({"num_heads": 0}, "its header is not one"),
        ({"shape": []}, "its header is not one"),
        ({"shape": 3}, "its header cannot be read"),
        ({"shape": [8, 8]}, r"its examples are of shape \(8, 8\)"),
        ({"num_values": 3}, "it has 3 values, the model 2"),
        ({"batch_size": 2**30}, "choose a smaller batch_size"),
        ({"num": 10}, "does not decode to what was coded"),
        ({"num_taken": 0}, "does not decode to what was coded"),
        ({"content": "0"}, "does not decode to what was coded"),
        ({"kind": "object"}, "its header is not one"),
        ({"kind": None}, "its header cannot be read"),
        ({"further": 1}, "its header cannot be read"),
        ({"top": "1"}, "its header is not one"),
        ({"torch": "1.0"}, "was made with torch 1.0, and here is"),
        ({"machine": "vax"}, "was made on the processor vax"),
        ({"probe": "0"}, "was made on another machine"),
        ({"weights": "0"}, "was made by another model"),
        ({"model": "x" * 300}, "its header is not one"),
        ({"model": "x" * 20_000}, "its header has"),
    ],
)
def test_headers_are_not_trusted(coded: Any, values: Any, said: str) -> None:
    path, model, _ = coded
    with pytest.raises(ValueError, match=said):
        decoded(changed(path, **values), model)


def test_another_model_is_refused(coded: Any) -> None:
    path, model, _ = coded
    with torch.no_grad():
        model.decoder.layers[1].bias[0] += 1e-3
    with pytest.raises(ValueError, match="was made by another model, a VAE with other weights"):
        decoded(path, model)


def test_a_network_that_is_not_finite_is_refused() -> None:
    model = tiny(VAE, encoder=small).eval()
    x = np.zeros((2, 1, 8, 8), np.uint16)
    with torch.no_grad():
        model.encoder.layers[1].bias.fill_(torch.nan)
    with pytest.raises(ValueError, match="the posterior is not finite"):
        Codec(model).encode(x)
    model = tiny(VAE).eval()
    with torch.no_grad():
        model.decoder.layers[1].bias.fill_(torch.nan)
    with pytest.raises(ValueError, match="the likelihood is not finite"):
        Codec(model).encode(x)
