"""Processes of one run that watch over each other: none goes on, or waits, without the others.

A collective waits half an hour for a process that is gone or stopped. So the first process keeps a connection to every
other one, and one that breaks, or over which nothing comes for a while, ends the run everywhere, with one line.
"""

from __future__ import annotations

import hmac
import os
import queue
import secrets
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import NoReturn

GRACE = 2.0
"""Seconds in which a process may end by itself before it is ended for what happened to another."""

MARKS = 3
"""Places of each training step: its start, its loss, its end."""

FIRST = 10
"""How many times as long the first step may take, in which one process may compile and another find it compiled."""

ALIVE, DONE, FAILED, SPEAK, END, GONE = b"alive", b"done", b"failed", b"speak", b"end", b"gone"

current: Watch | None = None
"""The watch of this process, while there is one."""


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

    def meet(self, connection: socket.socket, pid: str, host: str) -> None:
        """Take the connection to it, and what it has said of itself."""
        connection.settimeout(None)
        self.pid, self.host, self.seen, self.connection = int(pid), host, time.monotonic(), connection

    def tell(self, *words: bytes) -> None:
        """Send a message, if anybody is there."""
        if self.connection is not None:
            with suppress(OSError):  # a loss is noticed where it is read from
                self.connection.sendall(b" ".join(words) + b"\n")

    def kill(self) -> None:
        """End it if it runs on this machine: a process that is stopped obeys nothing else."""
        if self.pid and not self.done and self.host == socket.gethostname():
            with suppress(ProcessLookupError):
                os.kill(self.pid, getattr(signal, "SIGKILL", signal.SIGTERM))


class Watch:
    """One process's watch over the others: the first process has a connection to each of them, they have one to it.

    Args:
        rank: Number of this process.
        world_size: Number of processes.
        timeout: Seconds without a sign of life after which a process is lost.
        cause: What is known of the end of a process, by its number.
    """

    def __init__(self, rank: int, world_size: int, timeout: float, cause: Callable[[int], str] | None = None) -> None:
        self.rank, self.world_size, self.timeout, self.cause = rank, world_size, timeout, cause
        others = range(1, world_size) if rank == 0 else [0]
        self.peers = {other: Peer(other, time.monotonic()) for other in others}
        self.marks, self.inside = 0, False
        self._period = min(1.0, timeout / 5)
        self._heard: queue.SimpleQueue[tuple[Peer, list[bytes]]] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="ranks", daemon=True)
        self._ending = self._closed = False
        self._lost: tuple[Peer, str, float] | None = None  # what is said of it, and when
        self._failed: tuple[Peer, float] | None = None  # and when it is left to say what is wrong
        self._until: float | None = None  # when this process is ended without a word, unless it has ended by itself
        self._may_speak = threading.Event()

    def listen(self, host: str = "127.0.0.1") -> str:
        """Wait for the other processes from now on, and give what they :meth:`connect` to: a port and a secret."""
        server, token = socket.create_server((host, 0), backlog=self.world_size), secrets.token_hex(16)
        threading.Thread(target=self._accept, args=(server, token), daemon=True).start()
        self._thread.start()
        return f"{server.getsockname()[1]}:{token}"

    def connect(self, address: str, host: str = "127.0.0.1") -> None:
        """Connect to the first process and watch over it from now on.

        Raises:
            OSError: If it is not there.
            ValueError: If it does not know this process.
        """
        port, _, token = address.partition(":")
        connection = socket.create_connection((host, int(port)), timeout=self.timeout)
        connection.sendall(f"{token} {self.rank} {os.getpid()} {socket.gethostname()}\n".encode())
        lines = connection.makefile("rb")
        pid, name = lines.readline(512).decode().split()
        self.peers[0].meet(connection, pid, name)
        threading.Thread(target=self._hear, args=(self.peers[0], lines), daemon=True).start()
        self._thread.start()

    def mark(self, *, inside: bool) -> None:
        """Record that this process has come to the next place of its training loop, within a step or outside."""
        self.marks, self.inside = self.marks + 1, inside

    def fail(self, error: BaseException) -> None:
        """Tell the others that this process ends by an error; does not return where another one says what is wrong.

        An error that only follows from the loss of a process is not shown. One that all have, the first process shows.
        """
        if self._ending:
            return
        if not isinstance(error, (SystemExit, KeyboardInterrupt)):
            self._leave_to_thread(GRACE / 2)
            if self.rank:
                self.peers[0].tell(FAILED)
                self._may_speak.wait(4 * GRACE)
        self._ending = True
        self._tell(END)

    def finish(self) -> None:
        """End well, the first process after the others."""
        if self._ending:
            return
        self._leave_to_thread(0)
        if self.rank:
            self._tell(DONE)
        until = time.monotonic() + self.timeout
        while self.rank == 0 and not all(peer.done for peer in self.peers.values()):
            self._leave_to_thread(0.01)
            if time.monotonic() > until and self._lost is None:
                self._lost = next(p for p in self.peers.values() if not p.done), "does not end", until
        self.close()

    def close(self) -> None:
        """Stop watching."""
        self._ending = self._closed = True
        for peer in self.peers.values():
            if peer.connection is not None:
                with suppress(OSError):  # it is gone already
                    peer.connection.shutdown(socket.SHUT_RDWR)

    def _leave_to_thread(self, seconds: float) -> None:
        """Wait, and for ever where the watching thread is to end this process."""
        until = time.monotonic() + seconds
        while self._lost is not None or self._until is not None or time.monotonic() < until:
            time.sleep(0.01)

    def _tell(self, *words: bytes, but: Peer | None = None) -> None:
        for peer in self.peers.values():
            if peer is not but:
                peer.tell(*words)

    def _accept(self, server: socket.socket, token: str) -> None:
        server.settimeout(self._period)
        with server:
            while not self._closed:
                with suppress(TimeoutError):
                    connection, _ = server.accept()
                    threading.Thread(target=self._greet, args=(connection, token), daemon=True).start()

    def _greet(self, connection: socket.socket, token: str) -> None:
        """Hear whoever has connected, if it knows the secret and says soon who it is."""
        connection.settimeout(GRACE)
        with connection, connection.makefile("rb") as lines, suppress(OSError, ValueError, KeyError):
            secret, rank, pid, host = lines.readline(512).decode().split()
            if hmac.compare_digest(secret.encode(), token.encode()):
                peer = self.peers[int(rank)]
                connection.sendall(f"{os.getpid()} {socket.gethostname()}\n".encode())
                peer.meet(connection, pid, host)
                self._hear(peer, lines)

    def _hear(self, peer: Peer, lines: Iterable[bytes]) -> None:
        """Give the watching thread what another process says, until its connection breaks."""
        with suppress(OSError):
            for line in lines:
                self._heard.put((peer, line.split()))
        peer.connection = None
        self._heard.put((peer, [GONE]))

    def _run(self) -> None:
        sent = last = 0.0
        while not self._closed:
            with suppress(queue.Empty):
                self._take(*self._heard.get(timeout=self._period))
                while True:
                    self._take(*self._heard.get_nowait())
            now = time.monotonic()
            if now - last > 4 * self._period:  # this process itself was stopped, as all are by Ctrl-Z
                for peer in self.peers.values():
                    peer.seen, peer.behind = now, None
            last = now
            if now - sent >= self._period:
                self._tell(ALIVE, b"%d" % self.marks, b"%d" % self.inside)
                sent = now
            self._judge(now)

    def _take(self, peer: Peer, words: list[bytes]) -> None:
        now = time.monotonic()
        match words:
            case [b"alive", marks, inside]:
                peer.seen, peer.inside = now, inside == b"1"
                if int(marks) != peer.marks:
                    peer.marks, peer.behind = int(marks), None
            case [b"done"]:
                peer.done = True
            case [b"failed"]:
                self._failed = peer, now + GRACE
            case [b"speak"]:
                self._may_speak.set()
            case [b"end"] if self.rank and self._until is None:
                self._until = now + GRACE  # where all have been stopped, each ends with the exit code of that
            case [b"gone"]:
                if self._until is not None and self._failed is not None and peer is self._failed[0]:
                    self._until = now  # it has said what is wrong
                elif not peer.done and self._lost is None:
                    self._lost = peer, "", now + GRACE

    def _judge(self, now: float) -> None:
        """End this process if it is time to."""
        for peer in self.peers.values():
            patience = self.timeout * (1 if peer.connection or peer.pid == 0 else 2)  # twice before it has connected
            if self._lost is None and not peer.done and now - peer.seen > patience:
                self._lost = peer, f"has not answered for {patience:g} s", now
        self._judge_progress(now)
        if self._ending:
            return
        if self._until is not None and now >= self._until:
            self._quit()
        if self._failed is not None and now > self._failed[1] and self._until is None:
            self._until = now + 5 * GRACE
            self._tell(END, but=self._failed[0])
            self._failed[0].tell(SPEAK)
        if self._lost is not None and now >= self._lost[2]:
            self._end(*self._lost[:2])

    def _judge_progress(self, now: float) -> None:
        """Find a process that stays in a training step which another one has left: the thread that says that it lives
        goes on where its step does not. One that evaluates, draws or saves is in no step."""
        ahead = max(self.marks, *(peer.marks for peer in self.peers.values()))
        for peer in self.peers.values():
            if peer.done or not peer.inside or peer.marks == ahead:
                peer.behind = None
                continue
            peer.behind = now if peer.behind is None else peer.behind
            patience = self.timeout * (FIRST if peer.marks <= MARKS else 1)
            if self._lost is None and now - peer.behind > patience:
                self._lost = peer, f"has not moved on in a training step for {patience:g} s", now

    def _end(self, peer: Peer, what: str) -> NoReturn:
        """End this process and, if they do not by themselves, those it knows; one of those that are left says why."""
        if self.rank in (0, 1):
            name = f"process {peer.rank} of {self.world_size} (pid {peer.pid or 'unknown'})"
            what = what or (self.cause(peer.rank) if self.cause else "is gone")
            os.write(2, f"vae-zoo: error: {name} {what}: the whole run ends.\n".encode())
        self._tell(END)
        time.sleep(GRACE / 4)
        for other in self.peers.values():
            other.kill()
        self._quit()

    @staticmethod
    def _quit() -> NoReturn:
        os._exit(1)
