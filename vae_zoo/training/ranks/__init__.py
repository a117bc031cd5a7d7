"""Processes of one run that watch over each other: none goes on, or waits, without the others.

A collective waits half an hour for a process that is gone or stopped. So the first process keeps a connection to every
other one, and one that breaks, or over which nothing comes for a while, ends the run everywhere, with one line.
"""

from __future__ import annotations

from vae_zoo.training.ranks.watch import Watch

__all__ = ["Watch", "current"]

current: Watch | None = None
"""The watch of this process, while there is one."""
