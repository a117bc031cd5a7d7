"""Checks of arguments of metrics."""

from __future__ import annotations


def check_counts(**counts: int) -> None:
    """Refuse counts of less than 1.

    Raises:
        ValueError: With the name of the argument.
    """
    for name, value in counts.items():
        if value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}.")
