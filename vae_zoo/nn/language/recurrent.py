"""Recurrent networks of sequences."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from vae_zoo.nn.language.base import LanguageModel
from vae_zoo.typing import Shape


class RecurrentEncoder(nn.Module):
    """Gated recurrent units that read a sequence in both directions, and a linear layer on their last states.

    Sequences are (C, L): signals, or tokens as one-hot vectors. Images are read row by row, volumes slice by slice, and
    vectors as sequences of one channel.

    References:
        | Generating Sentences from a Continuous Space (Bowman et al., 2016)
        | https://arxiv.org/abs/1511.06349

    Args:
        in_shape: Shape of one example, (C, L).
        out_shape: Shape of one output.
        width: Features of a place that the units read.
        hidden: Units of each direction.

    Raises:
        ValueError: If a size is less than 1.
    """

    def __init__(self, in_shape: Shape, out_shape: Shape, *, width: int = 32, hidden: int = 64) -> None:
        super().__init__()
        if min(width, hidden) < 1:
            raise ValueError(f"width and hidden must be at least 1, got {width} and {hidden}.")
        channels, _, *rest = in_shape if len(in_shape) > 1 else (1, *in_shape)
        self.out_shape = tuple(out_shape)
        self.features = nn.Linear(channels * math.prod(rest), width)
        self.units = nn.GRU(width, hidden, batch_first=True, bidirectional=True)
        self.out = nn.Linear(2 * hidden, math.prod(out_shape))

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, *in_shape) to (B, *out_shape)."""
        channels = x[:, None] if x.ndim == 2 else x
        _, last = self.units(self.features(channels.transpose(1, 2).flatten(2)))
        return self.out(last.transpose(0, 1).flatten(1)).unflatten(-1, self.out_shape)


class RecurrentDecoder(LanguageModel):
    """Gated recurrent units, which the features of a string start and accompany.

    References:
        | Generating Sentences from a Continuous Space (Bowman et al., 2016)
        | https://arxiv.org/abs/1511.06349
        | Learning Phrase Representations using RNN Encoder-Decoder for Statistical Machine Translation
          (Cho et al., 2014)
        | https://arxiv.org/abs/1406.1078

    Args:
        num_tokens: Number of tokens.
        length: Number of tokens of the longest string.
        width: Number of features of a string.
        embedding: Features of a token.
        hidden: Number of units.

    Raises:
        ValueError: If a size is less than 1.
    """

    def __init__(self, num_tokens: int, length: int, width: int, *, embedding: int = 32, hidden: int = 192) -> None:
        super().__init__(num_tokens, length, width)
        if min(embedding, hidden) < 1:
            raise ValueError(f"embedding and hidden must be at least 1, got {embedding} and {hidden}.")
        self.tokens = nn.Embedding(num_tokens, embedding)
        self.start = nn.Linear(width, hidden)
        self.units = nn.GRU(embedding + width, hidden, batch_first=True)
        self.head = nn.Linear(hidden, num_tokens)

    def forward(self, features: Tensor, before: Tensor) -> Tensor:
        return self._read(features, before, None)[0]

    def step(self, features: Tensor, before: Tensor, state: Tensor | None) -> tuple[Tensor, Tensor]:
        logits, state = self._read(features, before[:, None], state)
        return logits[:, 0], state

    def _read(self, features: Tensor, before: Tensor, state: Tensor | None) -> tuple[Tensor, Tensor]:
        state = torch.tanh(self.start(features))[None] if state is None else state
        beside = features[:, None].expand(-1, before.shape[1], -1)
        out, state = self.units(torch.cat([self.tokens(before), beside], -1), state)
        return self.head(out), state
