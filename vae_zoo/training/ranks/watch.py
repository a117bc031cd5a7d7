"""What one process makes of the signs of life of the others, and when it ends for what happened to one."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from typing import NoReturn

from vae_zoo.training.ranks.peer import ALIVE, DONE, END, FAILED, SPEAK, Peer
from vae_zoo.training.ranks.wires import Wires

GRACE = 2.0
"""Seconds in which a process may end by itself before it is ended for what happened to another."""


MARKS = 3
"""Places of each training step: its start, its loss, its end."""

FIRST = 10
"""How many times as long the first step may take, in which one process may compile and another find it compiled."""


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
        self._wires = Wires(self.peers)
        self._thread = threading.Thread(target=self._run, name="ranks", daemon=True)
        self._ending = self._closed = False
        self._lost: tuple[Peer, str, float] | None = None  # what is said of it, and when
        self._failed: tuple[Peer, float] | None = None
        self._spoken = False  # another process has been left to say what is wrong
        self._until: float | None = None  # when this process is ended, unless it has ended by itself
        self._may_speak = threading.Event()

    def listen(self, host: str = "127.0.0.1") -> str:
        """Wait for the other processes from now on, and give what they :meth:`connect` to: a port and a secret."""
        address = self._wires.listen(host)
        self._thread.start()
        return address

    def connect(self, address: str, host: str = "127.0.0.1") -> None:
        """Connect to the first process and watch over it from now on.

        Raises:
            OSError: If it is not there.
        """
        self._wires.connect(self.rank, address, host, self.timeout)
        self._thread.start()

    def mark(self, *, inside: bool) -> None:
        """Say that this process has come to the next place of its training loop, within a step or outside."""
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
        self._wires.tell(END)

    def finish(self) -> None:
        """End well, the first process after the others."""
        if self._ending:
            return
        self._leave_to_thread(0)
        if self.rank:
            self._wires.tell(DONE)
        until = time.monotonic() + self.timeout
        while self.rank == 0 and not all(peer.done for peer in self.peers.values()):
            self._leave_to_thread(0.01)
            if time.monotonic() > until and self._lost is None:
                self._lost = next(p for p in self.peers.values() if not p.done), "does not end", until
        self.close()

    def close(self) -> None:
        """Stop watching: the thread clears up when it next looks."""
        self._ending = self._closed = True
        if not self._thread.is_alive():
            self._wires.close()

    def _leave_to_thread(self, seconds: float) -> None:
        """Wait, and for ever once another process is lost: the watching thread then ends this one."""
        until = time.monotonic() + seconds
        while self._lost is not None or self._spoken or time.monotonic() < until:
            time.sleep(0.01)

    def _run(self) -> None:
        sent = last = 0.0
        while not self._closed:
            for peer, heard in self._wires.hear(self._period, GRACE):
                self._take(peer, heard)
            now = time.monotonic()
            if now - last > 4 * self._period:  # this process itself was stopped, as all are by Ctrl-Z
                for peer in self.peers.values():
                    peer.seen, peer.behind = now, None
            last = now
            if now - sent >= self._period:
                self._wires.tell(b"%s%d%s;" % (ALIVE, self.marks, b"i" if self.inside else b"o"))
                sent = now
            self._judge(now)
        self._wires.close()

    def _judge(self, now: float) -> None:
        for peer in self.peers.values():
            patience = self.timeout * (1 if peer.connection or peer.pid == 0 else 2)  # twice before it has connected
            if self._lost is None and not peer.done and now - peer.seen > patience:
                self._lost = peer, f"has not answered for {patience:g} s", now
        self._judge_progress(now)
        if self._until is not None and now > self._until and not self._ending:
            self._quit()
        if self._failed is not None and now > self._failed[1] and not self._ending:
            if self._spoken:
                self._quit()
            self._spoken, self._failed = True, (self._failed[0], now + 5 * GRACE)
            self._wires.tell(END, but=self._failed[0])
            self._failed[0].tell(SPEAK)
        if self._lost is not None and now >= self._lost[2] and not self._ending:
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

    def _take(self, peer: Peer, heard: bytes) -> None:
        peer.seen = now = time.monotonic()
        peer.hear_marks(heard)
        peer.done |= DONE in heard
        if FAILED in heard:
            self._failed = peer, now + GRACE
        if SPEAK in heard:
            self._may_speak.set()
        if END in heard and self.rank and self._until is None:
            self._until = now + GRACE  # where all have been stopped, each ends with the exit code of that
        if not heard:
            if self._spoken and self._failed is not None and peer is self._failed[0]:
                self._quit()
            if not peer.done and self._lost is None:
                self._lost = peer, "", now + GRACE

    def _end(self, peer: Peer, what: str) -> NoReturn:
        """End this process and, if they do not by themselves, those it knows; one of those that are left says why."""
        if self.rank in (0, 1):
            name = f"process {peer.rank} of {self.world_size} (pid {peer.pid or 'unknown'})"
            what = what or (self.cause(peer.rank) if self.cause else "is gone")
            os.write(2, f"vae-zoo: error: {name} {what}: the whole run ends.\n".encode())
        self._wires.tell(END)
        time.sleep(GRACE / 4)
        for peer in self.peers.values():
            peer.kill()
        self._quit()

    @staticmethod
    def _quit() -> NoReturn:
        os._exit(1)
