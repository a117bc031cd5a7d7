"""Parameter groups of an optimizer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def split_off(groups: Sequence[dict[str, Any]], *own: dict[str, Any]) -> list[dict[str, Any]]:
    """Parameter groups, with some of the parameters moved to groups of their own at the end.

    Args:
        groups: Groups, with their parameters under ``params``.
        own: Groups with parameters of the others, and with settings of their own.
    """
    taken = {id(p) for group in own for p in group["params"]}
    return [*({**g, "params": [p for p in g["params"] if id(p) not in taken]} for g in groups), *own]
