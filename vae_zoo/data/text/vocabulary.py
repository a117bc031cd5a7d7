"""Tokens of texts, and their numbers."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Literal, TypeAlias, get_args

Level: TypeAlias = Literal["char", "word", "smiles"]
"""What a token is: a character, a word or punctuation mark, or an atom, bond, ring or branch of a SMILES string."""

SPECIAL = ("<end>", "<unknown>")
"""The first two tokens of every vocabulary."""

_PATTERNS: dict[str, re.Pattern[str]] = {
    "char": re.compile(r".", re.DOTALL),
    "word": re.compile(r"\S+"),
    # Atoms in brackets, the two-letter atoms of the organic subset, ring closures of two digits, single characters.
    "smiles": re.compile(r"\[[^\]]*\]|Br|Cl|%\d\d|.", re.DOTALL),
}
_JOINTS = {"word": " "}


def check_level(level: str) -> None:
    """Refuse unknown levels.

    Raises:
        ValueError: With the choices and what came.
    """
    if level not in get_args(Level):
        raise ValueError(f"level must be {', '.join(get_args(Level))}, got {level!r}.")


def split(text: str, level: Level) -> list[str]:
    """The tokens of a text.

    Args:
        text: The text.
        level: What a token is; words are what stands between spaces.
    """
    return _PATTERNS[level].findall(text)


def join(tokens: Sequence[str], level: Level) -> str:
    """The text of tokens."""
    return _JOINTS.get(level, "").join(tokens)


def make_vocabulary(texts: Iterable[Sequence[str]], min_count: int = 1) -> list[str]:
    """The special tokens, and those of texts that occur often enough, the most frequent first.

    Args:
        texts: Tokens of each text.
        min_count: Occurrences from which a token has a number of its own.
    """
    counts = Counter(token for tokens in texts for token in tokens)
    kept = [token for token, num in counts.items() if num >= min_count and token not in SPECIAL]
    return [*SPECIAL, *sorted(kept, key=lambda token: (-counts[token], token))]


def to_text(numbers: Sequence[int], vocabulary: Sequence[str], level: Level) -> str:
    """The text of the numbers of tokens up to the end."""
    tokens = []
    for number in numbers:
        if number == 0:
            break
        tokens.append(vocabulary[number])
    return join(tokens, level)
