"""A causal transformer of strings."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from vae_zoo.nn.code_prior import Block, Past
from vae_zoo.nn.language.base import LanguageModel


class CausalTransformer(LanguageModel):
    """Causal self-attention over the tokens so far; the features of a string are added at every place.

    References:
        | Attention Is All You Need (Vaswani et al., 2017)
        | https://arxiv.org/abs/1706.03762

    Args:
        num_tokens: Number of tokens.
        length: Number of tokens of the longest string.
        width: Number of features of a string.
        hidden: Features of a place.
        num_layers: Number of blocks.
        num_heads: Attention heads of each block.

    Raises:
        ValueError: If a size is less than 1, or num_heads does not divide hidden.
    """

    def __init__(
        self,
        num_tokens: int,
        length: int,
        width: int,
        *,
        hidden: int = 128,
        num_layers: int = 2,
        num_heads: int = 4,
    ) -> None:
        super().__init__(num_tokens, length, width)
        if min(hidden, num_layers, num_heads) < 1 or hidden % num_heads:
            raise ValueError(
                f"sizes must be at least 1 and num_heads divide hidden, got {hidden}, {num_layers} and {num_heads}."
            )
        self.tokens = nn.Embedding(num_tokens, hidden)
        self.places = nn.Parameter(0.02 * torch.randn(length, hidden))
        self.features = nn.Linear(width, hidden)
        self.blocks = nn.Sequential(*[Block(hidden, num_heads) for _ in range(num_layers)])
        self.norm = nn.LayerNorm(hidden)
        self.head = nn.Linear(hidden, num_tokens)

    def forward(self, features: Tensor, before: Tensor) -> Tensor:
        places = self.tokens(before) + self.places[: before.shape[1]] + self.features(features)[:, None]
        return self.head(self.norm(self.blocks(places)))

    def step(self, features: Tensor, before: Tensor, state: list[Past] | None) -> tuple[Tensor, Any]:
        pasts = [Past(self.length) for _ in self.blocks] if state is None else state
        x = (self.tokens(before) + self.places[pasts[0].num] + self.features(features))[:, None]
        for block, past in zip(self.blocks, pasts, strict=True):
            x = block(x, past)
        return self.head(self.norm(x))[:, 0], pasts
