"""Another process of a run, and what is said between processes."""

from __future__ import annotations

import os
import re
import signal
import socket
from contextlib import suppress
from dataclasses import dataclass

ALIVE, DONE, FAILED, SPEAK, END = b"a", b"d", b"f", b"s", b"e"


@dataclass
class Peer:
    """Another process of the run.

    Args:
        rank: Its number.
        seen: When it was last heard of.
        marks: Places of its training loop that it has passed.
        inside: Whether it is in a training step.
        behind: Since when it has not moved on from a place that another process has left.
    """

    rank: int
    seen: float
    pid: int = 0
    host: str = ""
    connection: socket.socket | None = None
    done: bool = False
    marks: int = 0
    inside: bool = False
    behind: float | None = None
    text: bytes = b""

    def hear_marks(self, heard: bytes) -> None:
        """Take what it says of its progress, which may come in pieces."""
        *whole, self.text = (self.text + heard)[-512:].split(b";")
        for part in whole:
            if found := re.search(rb"a(\d+)([io])$", part):
                marks, self.inside = int(found[1]), found[2] == b"i"
                if marks != self.marks:
                    self.marks, self.behind = marks, None

    def tell(self, message: bytes) -> None:
        """Send a message, if anybody is there."""
        if self.connection is not None:
            with suppress(OSError):  # a loss is noticed where it is read from
                self.connection.send(message)

    def kill(self) -> None:
        """End it if it runs on this machine: a process that is stopped obeys nothing else."""
        if self.pid and not self.done and self.host == socket.gethostname():
            with suppress(ProcessLookupError):
                os.kill(self.pid, getattr(signal, "SIGKILL", signal.SIGTERM))


def read_line(connection: socket.socket) -> list[str]:
    """The words of the line that a connection begins with, and nothing of what follows it.

    Raises:
        ValueError: If there is no such line.
    """
    line = b""
    while not line.endswith(b"\n"):
        line += (last := connection.recv(1))
        if not last or len(line) > 512:
            raise ValueError("a connection that is no process of this run.")
    return line.decode().split()
