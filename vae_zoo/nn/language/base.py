"""Distributions of the next token, given those before it and features of a latent."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from torch import Tensor, nn


class LanguageModel(nn.Module, ABC):
    """Logits of every token of a string, given the tokens before it and features of the whole string.

    Args:
        num_tokens: Number V of tokens.
        length: Number T of tokens of the longest string.
        width: Number F of features.
    """

    head: nn.Linear
    """The last layer, from features to the logits of all tokens."""

    def __init__(self, num_tokens: int, length: int, width: int) -> None:
        super().__init__()
        self.num_tokens, self.length, self.width = num_tokens, length, width

    @abstractmethod
    def forward(self, features: Tensor, before: Tensor) -> Tensor:
        """Logits at every place, at once: teacher forcing.

        Args:
            features: Features of the strings, (N, F).
            before: The token before each place, of which that before the first is 0, (N, T).

        Returns:
            (N, T, V); those at a place depend on the tokens before it only.
        """

    @abstractmethod
    def step(self, features: Tensor, before: Tensor, state: Any) -> tuple[Tensor, Any]:
        """Logits at one place, and what to pass on to the next.

        Args:
            features: Features of the strings, (N, F).
            before: The token before the place, (N,).
            state: What the step before passed on; None at the first place.

        Returns:
            Logits, (N, V), and the state.
        """
