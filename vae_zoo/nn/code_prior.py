"""A distribution over grids of codes, one code after the other."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from vae_zoo.functional import exact
from vae_zoo.typing import Shape

CACHE_BYTES = 2**28
"""Keys and values that are kept at once while codes are drawn; more grids than these allow are drawn in parts."""


class CodePrior(nn.Module):
    r"""Autoregressive distribution of a grid of codes in raster order: a small causal transformer.

    .. math:: \log p(s | c, h) = \sum_i \log p(s_i | s_1, \dots, s_{i-1}, c, h_i)

    It may be conditioned on a class c, which stands before the first place, and on a context h, features that are added
    at each place: see :meth:`condition`.

    References:
        | Attention Is All You Need (Vaswani et al., 2017)
        | https://arxiv.org/abs/1706.03762

    Args:
        grid: Shape of one grid of codes.
        num_codes: Number of codes.
        width: Features of each place.
        num_layers: Number of blocks.
        num_heads: Attention heads of each block.

    Raises:
        ValueError: If a size is less than 1, or num_heads does not divide width.
    """

    def __init__(
        self, grid: Shape, num_codes: int, *, width: int = 64, num_layers: int = 2, num_heads: int = 4
    ) -> None:
        super().__init__()
        if min(num_codes, width, num_layers, num_heads) < 1 or width % num_heads:
            raise ValueError(
                f"sizes must be at least 1 and num_heads divide width, got {width}, {num_layers} and {num_heads}."
            )
        self.grid, self.num_codes = tuple(grid), num_codes
        self.tokens = nn.Embedding(num_codes, width)
        self.places = nn.Parameter(0.02 * torch.randn(math.prod(grid), width))
        self.blocks = nn.Sequential(*[Block(width, num_heads) for _ in range(num_layers)])
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, num_codes)
        self.condition()

    def condition(self, num_classes: int = 0, context_dim: int = 0) -> None:
        """Condition the distribution on classes, and on a context of ``context_dim`` features at each place."""
        width = self.places.shape[1]
        self.classes = nn.Embedding(num_classes, width) if num_classes else None
        self.context = nn.Linear(context_dim, width) if context_dim else None

    def log_prob(self, codes: Tensor, c: Tensor | None = None, context: Tensor | None = None) -> Tensor:
        """Nats of grids of codes (B, \\*grid), (B,).

        Args:
            codes: Grids of codes.
            c: Classes, (B,), for a prior of classes; others ignore them.
            context: Features of the first dimensions of the grid, (B, context_dim, ...), if the prior has a context.
        """
        codes = codes.flatten(1)
        given = self._start(len(codes), c), self._places(context)
        return self._log_probs(codes[:, :-1], *given).gather(-1, codes[..., None]).squeeze(-1).sum(-1)

    @torch.no_grad()
    def sample(
        self, num: int, c: Tensor | None = None, context: Tensor | None = None, *, temperature: float = 1.0
    ) -> Tensor:
        """Draw grids of codes, (num, \\*grid).

        Args:
            num: Number of grids.
            c: Classes, (num,), for a prior of classes; others ignore them.
            context: Features of the first dimensions of the grid, (num, context_dim, ...), if the prior has a context.
            temperature: Divisor of the logits; below 1, likely codes become more likely.

        Raises:
            ValueError: If the temperature is not positive and finite.
        """
        if not (temperature > 0 and math.isfinite(temperature)):
            raise ValueError(f"temperature must be positive and finite, got {temperature}.")
        codes = torch.empty(num, len(self.places), dtype=torch.long, device=self.places.device)
        each = 2 * len(self.blocks) * self.places.numel() * self.places.element_size()
        size = max(1, CACHE_BYTES // each)
        start, places = self._start(num, c), self._places(context).expand(num, -1, -1)
        for parts in zip(codes.split(size), start.split(size), places.split(size), strict=True):
            self._draw(*parts, temperature)
        return codes.unflatten(1, self.grid)

    def _draw(self, codes: Tensor, start: Tensor, places: Tensor, temperature: float) -> None:
        """Fill in grids of codes (B, N), a place at a time: what earlier places give to later ones is kept."""
        pasts = [Past(len(self.places)) for _ in self.blocks]
        features = start
        for place in range(len(self.places)):
            x = features + places[:, place, None]
            for block, past in zip(self.blocks, pasts, strict=True):
                x = block(x, past)
            probs = torch.softmax(self._read(x)[:, 0] / temperature, -1)
            codes[:, place] = torch.multinomial(probs, 1)[:, 0]
            features = self.tokens(codes[:, place, None])

    def _start(self, num: int, c: Tensor | None) -> Tensor:
        """What stands before the first place, (num, 1, width)."""
        if self.classes is None:
            return torch.zeros_like(self.places[:1]).expand(num, 1, -1)
        if c is None:
            raise ValueError("a prior of classes needs the labels of the examples, c of shape (B,), got none.")
        start: Tensor = self.classes(c)[:, None]
        return start

    def _places(self, context: Tensor | None) -> Tensor:
        """Features of every place, (1, N, width), or with those of its context, (B, N, width)."""
        if self.context is None or context is None:
            if self.context is not None:
                raise ValueError("a prior with a context needs its features, got none.")
            return self.places[None]
        features = self.context(context.flatten(2).transpose(1, 2).to(self.places.dtype))
        return self.places + features.repeat_interleave(len(self.places) // features.shape[1], 1)

    def _log_probs(self, before: Tensor, start: Tensor | None = None, places: Tensor | None = None) -> Tensor:
        """Logits of the codes at places 0 to n, given the codes at places 0 to n - 1, (B, n): (B, n + 1, num_codes)."""
        start = self._start(len(before), None) if start is None else start
        places = self._places(None) if places is None else places
        features = torch.cat([start, self.tokens(before)], 1) + places[:, : before.shape[1] + 1]
        return self._read(self.blocks(features))

    def _read(self, features: Tensor) -> Tensor:
        logits = self.head(self.norm(features))
        return torch.log_softmax(exact(logits), -1)


class Block(nn.Module):
    """``nn.TransformerEncoderLayer(norm_first=True)``, but one that can keep keys and values while codes are drawn."""

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.attention_norm, self.dense_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.dense = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: Tensor, past: Past | None = None) -> Tensor:
        """Features of all places (B, N, W), or of the one that follows a past, (B, 1, W)."""
        qkv = self.qkv(self.attention_norm(x)).unflatten(-1, (3, self.num_heads, -1))
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        if past is not None:
            k, v = past.extend(k, v)
        found = scaled_dot_product_attention(q, k, v, is_causal=past is None)
        x = x + self.out(found.transpose(1, 2).flatten(2))
        return x + self.dense(self.dense_norm(x))


class Past:
    """Keys and values of the places so far in one block, with room for all places."""

    def __init__(self, num_places: int) -> None:
        self.num_places, self.num = num_places, 0
        self.kept: Tensor | None = None

    def extend(self, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Add those of the next place (B, heads, 1, D), and give all so far."""
        if self.kept is None:
            self.kept = k.new_empty(2, *k.shape[:2], self.num_places, k.shape[-1])
        self.kept[0, :, :, self.num], self.kept[1, :, :, self.num] = k[:, :, 0], v[:, :, 0]
        self.num += 1
        return self.kept[0, :, :, : self.num], self.kept[1, :, :, : self.num]
