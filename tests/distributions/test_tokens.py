"""The likelihood of strings of tokens is an exact density, and draws follow it."""

from __future__ import annotations

import itertools
from functools import partial
from typing import Any

import pytest
import torch
from helpers import MODELS, build, fixes, labels, small
from short import few
from torch import Tensor

from vae_zoo.distributions import AutoregressiveTokens
from vae_zoo.distributions.likelihoods.tokens import UNKNOWN
from vae_zoo.models import IWAE, M2, VAE, VQVAE, Autoencoder, ConditionalVAE
from vae_zoo.models.tokenizers.judged import Judged
from vae_zoo.nn import CausalTransformer, ConvEncoder, RecurrentDecoder, RecurrentEncoder

VOCABULARY = ["<end>", "<unknown>", "a", "b"]
NETWORKS = [
    partial(RecurrentDecoder, embedding=4, hidden=8),
    partial(CausalTransformer, hidden=8, num_layers=2, num_heads=2),
]
every_network = pytest.mark.parametrize("network", NETWORKS, ids=["recurrent", "transformer"])


def likelihood(network: Any = NETWORKS[0], length: int = 3, spread: float = 0.7, **kwargs: Any) -> AutoregressiveTokens:
    """A likelihood far from its start, where tokens depend on all that stands before them."""
    torch.manual_seed(0)
    made = AutoregressiveTokens((length,), vocabulary=VOCABULARY, width=3, network=network, **kwargs).eval()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.copy_(spread * torch.randn_like(parameter))
    return made


def strings(length: int = 3, num_tokens: int = 4) -> Tensor:
    """All strings of up to a number of tokens."""
    rows = [
        [*tokens, *[0] * (length - len(tokens))]
        for num in range(length + 1)
        for tokens in itertools.product(range(1, num_tokens), repeat=num)
    ]
    return torch.tensor(rows, dtype=torch.float32)


@every_network
def test_the_probabilities_of_all_strings_add_up_to_one(network: Any) -> None:
    px = likelihood(network)(torch.randn(6, 3))
    x = strings()
    assert len(x) == 1 + 3 + 9 + 27
    total = px.expand((len(x), 6)).log_prob(x[:, None].expand(-1, 6, -1)).exp().sum(0)
    torch.testing.assert_close(total, torch.ones(6), atol=1e-5, rtol=0)


@every_network
def test_the_terms_are_those_of_one_token_after_the_other(network: Any) -> None:
    """By the steps of a rollout, which know nothing of what follows."""
    made = likelihood(network, length=5)
    features, x = torch.randn(1, 3), torch.tensor([2, 3, 1, 0, 0])
    terms, before, state = [], torch.zeros(1, dtype=torch.long), None
    with torch.no_grad():
        for token in x[:4]:
            logits, state = made.network.step(features, before, state)
            terms.append(torch.log_softmax(logits, -1)[0, token])
            before = token[None]
        found = made(features).log_prob_per_token(x.float()[None])[0]
    torch.testing.assert_close(found[:4], torch.stack(terms))
    assert found[4] == 0, "what is behind the end has no term"


@every_network
def test_draws_follow_the_density(network: Any) -> None:
    px, x, num = likelihood(network)(torch.randn(2, 3)), strings(), 4000
    torch.manual_seed(1)
    drawn = px.sample((num,))
    assert px.support.check(drawn).all()
    place = torch.tensor([16.0, 4.0, 1.0])
    found = ((drawn @ place)[:, :, None] == (x @ place)).float().mean(0)
    wanted = px.expand((len(x), 2)).log_prob(x[:, None].expand(-1, 2, -1)).exp().T
    error = (wanted * (1 - wanted) / num).sqrt()
    assert ((found - wanted).abs() < 5 * error + 1e-3).all()


@every_network
def test_the_mean_is_the_most_probable_token_at_each_place(network: Any) -> None:
    made = likelihood(network)
    px = made(torch.randn(9, 3))
    before, state, going = torch.zeros(9, dtype=torch.long), None, torch.ones(9, dtype=torch.bool)
    for place in range(3):
        logits, state = made.network.step(px.features, before, state)
        going = going & (logits.argmax(-1) != 0)
        before = torch.where(going, logits.argmax(-1), 0)
        assert torch.equal(px.mean[:, place], before.float())


def test_word_dropout_is_of_the_inputs_in_training_only() -> None:
    made = likelihood(length=200, word_dropout=0.3)
    tokens = torch.full((50, 200), 2)
    tokens[:, 100:] = 0
    assert (made.read_before(tokens)[:, 1:] == tokens[:, :-1]).all()
    made.train()
    torch.manual_seed(0)
    before = made.read_before(tokens)
    assert (before[:, 0] == 0).all(), "where a string begins is known"
    assert (before[:, 101:] == 0).all()
    assert abs((before[:, 1:101] == UNKNOWN).float().mean() - 0.3) < 0.03
    assert set(before[:, 1:101].unique().tolist()) == {1, 2}
    x, px = tokens.float(), made(torch.randn(50, 3))
    assert not torch.equal(px.log_prob(x), px.log_prob(x))
    made.eval()
    assert torch.equal(px.log_prob(x), px.log_prob(x))
    kept = likelihood(length=200, word_dropout=0.0).train()
    assert torch.equal(kept.read_before(tokens)[:, 1:], tokens[:, :-1])


@pytest.mark.parametrize("cls", few([VAE, IWAE], 1))
def test_the_bound_is_below_the_evidence_which_adds_up_to_one(cls: type[VAE]) -> None:
    """Over all strings, with the exact evidence by quadrature over a one-dimensional latent."""
    torch.manual_seed(0)
    of_tokens = partial(AutoregressiveTokens, vocabulary=VOCABULARY, width=3, network=NETWORKS[0])
    encoder = partial(RecurrentEncoder, width=4, hidden=6)
    model = cls(shape=(3,), latent_dim=1, encoder=encoder, likelihood=of_tokens).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
        x = strings()
        z = torch.linspace(-6, 6, 601)[:, None, None].expand(-1, len(x), 1)
        log_pz = model.prior().log_prob(z)
        exact = torch.logsumexp(model.decode(z).log_prob(x) + log_pz, 0) + torch.log(torch.tensor(12 / 600))
        torch.testing.assert_close(exact.exp().sum(), torch.tensor(1.0), atol=1e-4, rtol=0)
        bound = torch.stack([model.elbo(x, None, 32).value for _ in range(8)])
        error = bound.std(0) / 8**0.5
        assert (bound.mean(0) <= exact + 5 * error + 1e-4).all()
        estimate = model.evidence(x, num_samples=600)
        torch.testing.assert_close(estimate.value, exact, atol=0.1, rtol=0)


def test_encoders_see_one_hot_vectors() -> None:
    made = likelihood()
    x = torch.tensor([[2.0, 3.0, 0.0]])
    assert made.read_shape == (4, 3)
    assert made.read(x)[0].tolist() == [[0, 0, 1], [0, 0, 0], [1, 0, 0], [0, 1, 0]]
    of_tokens = partial(AutoregressiveTokens, vocabulary=VOCABULARY, network=NETWORKS[0])
    x = strings()[:5]
    for encoder in (RecurrentEncoder, ConvEncoder):
        model = VAE(shape=(3,), latent_dim=2, encoder=encoder, likelihood=of_tokens)
        model.losses(x)["loss"].backward()
        assert all(p.grad is not None for p in model.parameters())
        assert model.reconstruct(x).shape == x.shape
    model = ConditionalVAE(shape=(3,), latent_dim=2, num_classes=2, encoder=ConvEncoder, likelihood=of_tokens)
    assert model.encoder.layers[0].in_channels == 4 + 2
    model.losses(x, torch.arange(5) % 2)["loss"].backward()
    assert model.sample(4, mean=False).shape == (4, 3)


OF_ANY_LIKELIHOOD = [cls for cls in MODELS if not (fixes(cls, "likelihood") or issubclass(cls, Judged))]


@pytest.mark.parametrize("cls", few(OF_ANY_LIKELIHOOD, 6, M2, VQVAE))
def test_every_model_takes_strings(cls: type[Autoencoder]) -> None:
    of_tokens = partial(AutoregressiveTokens, vocabulary=VOCABULARY, width=3, network=NETWORKS[0])
    model, x = build(cls, shape=(3,), likelihood=of_tokens, encoder=small, decoder=small), strings()[::5]
    c = labels(model, x)
    loss = model.losses(x, c)["loss"]
    loss.backward()
    assert loss.isfinite()
    assert model.likelihood.support.check(model.reconstruct(x, c)).all()
    if hasattr(model, "sample"):
        assert model.likelihood.support.check(model.sample(3, mean=False)).all()


def test_the_start_has_the_frequencies_of_the_tokens() -> None:
    made = AutoregressiveTokens((4,), vocabulary=VOCABULARY)
    made.initialise(torch.tensor([[2.0, 2, 3, 0], [2, 0, 0, 0]]))
    shares = torch.softmax(made.network.head.bias, -1)
    torch.testing.assert_close(shares, torch.tensor([2.5, 0.5, 3.5, 1.5]) / 8)


def test_errors() -> None:
    for given, message in (
        ({}, "needs the vocabulary of the data module Tokens, got none."),
        ({"vocabulary": ["<end>"]}, "needs the vocabulary of the data module Tokens, got 1 tokens."),
        ({"vocabulary": VOCABULARY, "word_dropout": 1.0}, "word_dropout must be at least 0 and below 1, got 1.0."),
        ({"vocabulary": VOCABULARY, "width": 0}, "width must be at least 1, got 0."),
    ):
        with pytest.raises(ValueError, match="got") as error:
            AutoregressiveTokens((3,), **given)
        assert message in str(error.value)
    with pytest.raises(ValueError, match=r"needs vectors of tokens, \(T,\), got examples of shape \(1, 8, 8\)"):
        AutoregressiveTokens((1, 8, 8), vocabulary=VOCABULARY)
    for network in (partial(RecurrentDecoder, hidden=0), partial(CausalTransformer, hidden=9)):
        with pytest.raises(ValueError, match="must be at least 1"):
            AutoregressiveTokens((3,), vocabulary=VOCABULARY, network=network)
    with pytest.raises(ValueError, match="width and hidden must be at least 1, got 0 and 64"):
        RecurrentEncoder((3, 8), (2,), width=0)


@pytest.mark.parametrize("wrong", [[2.0, 0.0, 2.0], [2.5, 0.0, 0.0], [4.0, 0.0, 0.0], [-1.0, 0.0, 0.0]])
def test_other_data_are_refused(wrong: list[float]) -> None:
    made, x = likelihood(), strings()
    made.check(x)
    with pytest.raises(ValueError, match=r"needs strings of whole numbers in 0 \.\. 3 .*: take the data module Tokens"):
        made.check(torch.cat([x, torch.tensor([wrong])]))
    with pytest.raises(ValueError, match="needs finite data"):
        made.check(torch.tensor([[float("nan"), 0, 0]]))
    with pytest.raises(ValueError, match="scores an example as a whole"):
        made.observe()


def test_signals_and_images_as_sequences() -> None:
    for shape in ((5,), (3, 20), (2, 4, 4)):
        model = VAE(shape=shape, latent_dim=2, encoder=partial(RecurrentEncoder, hidden=4))
        x = torch.rand(3, *shape)
        model.losses(x)["loss"].backward()
        assert not model.compilable
