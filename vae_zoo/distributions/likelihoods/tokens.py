"""The likelihood of strings of tokens, one token after the other."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from torch import Tensor
from torch.distributions import Distribution, constraints
from torch.nn.functional import log_softmax

from vae_zoo.distributions.families import Family
from vae_zoo.functional import exact
from vae_zoo.nn.language import LanguageModel, RecurrentDecoder
from vae_zoo.typing import Shape

END, UNKNOWN = 0, 1
"""The tokens that end a string, and that stand for a token outside the vocabulary."""


class AutoregressiveTokens(Family):
    r"""Strings of tokens, each of which depends on the latent and on the tokens before it.

    .. math:: p(x|z) = \prod_{t=1}^{\min(n + 1, T)} p(x_t | x_1, \dots, x_{t-1}, z)

    A string of n tokens is a vector of their numbers in the vocabulary, (T,), filled up with 0. The first 0 ends it and
    has a term; those behind have none. A string of T tokens ends without one, so that the probabilities of all strings
    of up to T tokens add up to 1. The decoder of the model gives features of the string, from which a language model
    computes the terms: all at once for given strings, one after the other to draw. An encoder sees one-hot vectors,
    (V, T). The mean is the string of the most probable token at each place, given those before.

    In training, tokens that the language model reads are replaced by the unknown one at random: word dropout, so that
    it must rely on the latent. Its terms are those of all tokens, and in evaluation nothing is dropped.

    References:
        | Generating Sentences from a Continuous Space (Bowman et al., 2016)
        | https://arxiv.org/abs/1511.06349

    Args:
        shape: Shape of one string, (T,).
        vocabulary: The tokens by their numbers, of which the first two are the end and the unknown token; from the data
            on the command line.
        level: What a token is, by which texts are made of them: see :class:`~vae_zoo.data.Tokens`.
        network: Language model.
        width: Features of a string.
        word_dropout: Probability of dropping a token.

    Raises:
        ValueError: If examples are no vectors, there is no vocabulary, or a number is out of range.
    """

    is_discrete = True
    advice = "take the data module Tokens, which ends strings with 0"

    def __init__(
        self,
        shape: Shape,
        *,
        vocabulary: Sequence[str] | None = None,
        level: Literal["char", "word", "smiles"] = "char",
        network: Callable[[int, int, int], LanguageModel] = RecurrentDecoder,
        width: int = 64,
        word_dropout: float = 0.4,
    ) -> None:
        super().__init__(shape)
        if len(shape) != 1:
            raise ValueError(f"AutoregressiveTokens needs vectors of tokens, (T,), got examples of shape {self.shape}.")
        if vocabulary is None or len(vocabulary) < 3:
            came = "none" if vocabulary is None else f"{len(vocabulary)} tokens"
            raise ValueError(f"AutoregressiveTokens needs the vocabulary of the data module Tokens, got {came}.")
        if not 0 <= word_dropout < 1:
            raise ValueError(f"word_dropout must be at least 0 and below 1, got {word_dropout}.")
        if width < 1:
            raise ValueError(f"width must be at least 1, got {width}.")
        self.vocabulary, self.level = list(vocabulary), level
        self.width, self.word_dropout = width, word_dropout
        self.network = network(len(self.vocabulary), shape[0], width)

    @property
    def support(self) -> constraints.Constraint:
        return _Strings(len(self.vocabulary))

    @property
    def param_shape(self) -> Shape:
        return (self.width,)

    def distribution(self, params: Tensor) -> Distribution:
        return TokenStrings(params, self)

    @property
    def reads(self) -> bool:
        return True

    @property
    def read_shape(self) -> Shape:
        return (len(self.vocabulary), *self.shape)

    def read(self, x: Tensor) -> Tensor:
        return (x.round()[:, None] == torch.arange(len(self.vocabulary), device=x.device)[:, None]).to(x.dtype)

    def read_before(self, tokens: Tensor) -> Tensor:
        """The token before each place of strings (N, T), as the language model reads it; 0 before the first."""
        before = torch.cat([torch.zeros_like(tokens[:, :1]), tokens[:, :-1]], 1)
        if not (self.training and self.word_dropout):
            return before
        dropped = torch.rand(before.shape, device=before.device) < self.word_dropout
        return torch.where(dropped & (before != END), UNKNOWN, before)

    @torch.no_grad()
    def initialise(self, x: Tensor) -> None:
        """Start the language model from the frequencies of the tokens."""
        tokens = x.round().long()
        counts = torch.bincount(tokens[_counted(tokens)], minlength=len(self.vocabulary)).float() + 0.5
        self.network.head.bias.copy_((counts / counts.sum()).log())

    def gist(self, x: Tensor) -> Tensor:
        x = x.detach()
        low, high = torch.aminmax(x.float())
        return torch.stack([low, high, self.support.check(x).all().float()])

    def complaint(self, gist: Tensor) -> str:
        low, high = gist[:2].tolist()
        most = len(self.vocabulary) - 1
        if not (math.isfinite(low) and math.isfinite(high)):
            return super().complaint(gist)
        return (
            f"{type(self).__name__} needs strings of whole numbers in 0 .. {most} with only 0 behind the first 0, "
            f"got numbers from {low:.4g} to {high:.4g}: {self.advice}"
        )


class TokenStrings(Distribution):
    """Strings of tokens given their features: event shape (T,).

    Args:
        features: Features, (\\*batch, F).
        family: The likelihood, whose language model gives the terms.
    """

    arg_constraints = {}

    def __init__(self, features: Tensor, family: AutoregressiveTokens) -> None:
        self.features, self.family = features, family
        super().__init__(features.shape[:-1], torch.Size(family.shape), validate_args=False)

    @property
    def support(self) -> constraints.Constraint:
        return self.family.support

    def log_prob(self, value: Tensor) -> Tensor:
        return self.log_prob_per_token(value).sum(-1)

    def log_prob_per_token(self, value: Tensor) -> Tensor:
        """Log-probability of each token given those before it, 0 behind the end, (\\*batch, T)."""
        batch = torch.broadcast_shapes(value.shape[:-1], self.batch_shape)
        tokens = value.round().long().expand(*batch, -1).reshape(-1, value.shape[-1])
        features = self.features.expand(*batch, -1).flatten(0, -2)
        logits = self.family.network(self._as_weights(features), self.family.read_before(tokens))
        own = log_softmax(exact(logits), -1).gather(-1, tokens[..., None]).squeeze(-1)
        return torch.where(_counted(tokens), own, 0.0).reshape(*batch, -1)

    @property
    def mean(self) -> Tensor:
        """The string of the most probable token at each place."""
        return self._rollout(self.features, draw=False)

    @property
    def variance(self) -> Tensor:
        raise NotImplementedError("strings of tokens have no variance")

    @torch.no_grad()
    def sample(self, sample_shape: Any = ()) -> Tensor:
        shape = torch.Size(sample_shape)
        return self._rollout(self.features.expand(*shape, *self.features.shape), draw=True)

    @torch.no_grad()
    def _rollout(self, features: Tensor, *, draw: bool) -> Tensor:
        """Strings of features (\\*batch, F), one token after the other, (\\*batch, T)."""
        batch, (length,) = features.shape[:-1], self.family.shape
        rows = self._as_weights(features.reshape(-1, features.shape[-1]))
        tokens = torch.zeros(len(rows), length, dtype=torch.long, device=rows.device)
        before, state = tokens[:, 0], None
        going = torch.ones_like(before, dtype=torch.bool)
        for place in range(length):
            logits, state = self.family.network.step(rows, before, state)
            drawn = torch.multinomial(torch.softmax(exact(logits), -1), 1)[:, 0] if draw else logits.argmax(-1)
            token = torch.where(going, drawn, END)
            going = going & (token != END)
            tokens[:, place] = before = token
            if not bool(going.any()):
                break
        return tokens.to(self.features.dtype).reshape(*batch, length)

    def _as_weights(self, features: Tensor) -> Tensor:
        return features.to(self.family.network.head.weight.dtype)

    def expand(self, batch_shape: Any, _instance: Any = None) -> TokenStrings:
        return TokenStrings(self.features.expand(*batch_shape, -1), self.family)


def _counted(tokens: Tensor) -> Tensor:
    """Which places of strings (…, T) have a term: the tokens, and the first end."""
    ended = torch.cumsum(tokens == END, -1)
    return (ended == 0) | ((ended == 1) & (tokens == END))


class _Strings(constraints.Constraint):
    """Whole numbers below a number of tokens, and nothing but 0 behind the first 0."""

    event_dim = 1
    is_discrete = True

    def __init__(self, num_tokens: int) -> None:
        self.num_tokens = num_tokens

    def check(self, value: Tensor) -> Tensor:
        fine = (value == value.round()) & (value >= 0) & (value < self.num_tokens)
        if not value.ndim:
            return fine
        ended = torch.cumsum(value == END, -1) > 0
        return (fine & ((value == END) | ~ended)).all(-1)

    def __repr__(self) -> str:
        return "strings of tokens"
