"""One process's end of the connections between the processes of a run."""

from __future__ import annotations

import hmac
import os
import secrets
import selectors
import socket
import time
from collections.abc import Iterator, Mapping

from vae_zoo.training.ranks.peer import Peer, read_line


class Wires:
    """Connections to other processes, which know a secret. What comes over them means nothing here.

    Args:
        peers: The other processes, by their number.
    """

    def __init__(self, peers: Mapping[int, Peer]) -> None:
        self.peers = peers
        self._selector = selectors.DefaultSelector()
        self._server: socket.socket | None = None
        self._token = ""

    def listen(self, host: str) -> str:
        """Wait for the others from now on, and give what they :meth:`connect` to: a port and a secret."""
        self._server = socket.create_server((host, 0), backlog=len(self.peers) + 1)
        self._token = secrets.token_hex(16)
        self._selector.register(self._server, selectors.EVENT_READ)
        return f"{self._server.getsockname()[1]}:{self._token}"

    def connect(self, rank: int, address: str, host: str, timeout: float) -> None:
        """Connect to the first process.

        Args:
            rank: Number of this process.
            address: A port and a secret.
            host: Where the first process is.
            timeout: Seconds that it may take.

        Raises:
            OSError: If it is not there.
        """
        port, _, token = address.partition(":")
        connection = socket.create_connection((host, int(port)), timeout=timeout)
        connection.sendall(f"{token} {rank} {os.getpid()} {socket.gethostname()}\n".encode())
        self._meet(self.peers[0], connection, *read_line(connection))

    def hear(self, seconds: float, patience: float) -> Iterator[tuple[Peer, bytes]]:
        """What comes within a while, and from whom; nothing from one who is gone, which is then no longer connected.

        Args:
            seconds: How long to wait for anything.
            patience: Seconds that who connects may take to say who it is.
        """
        for key, _ in self._selector.select(seconds):
            if key.data is None:
                self._accept(patience)
            elif (heard := self._read(key.data)) is not None:
                yield key.data, heard

    def tell(self, message: bytes, but: Peer | None = None) -> None:
        """Send a message to all, or all but one."""
        for peer in self.peers.values():
            if peer is not but:
                peer.tell(message)

    def close(self) -> None:
        """Close all connections."""
        for peer in self.peers.values():
            if peer.connection is not None:
                peer.connection.close()
        if self._server is not None:
            self._server.close()
        self._selector.close()

    def _accept(self, patience: float) -> None:
        assert self._server is not None
        connection, _ = self._server.accept()
        connection.settimeout(patience)
        try:
            token, rank, *who = read_line(connection)
            if not hmac.compare_digest(token.encode(), self._token.encode()):
                raise ValueError
            peer = self.peers[int(rank)]
            connection.sendall(f"{os.getpid()} {socket.gethostname()}\n".encode())
            self._meet(peer, connection, *who)
        except (OSError, ValueError, KeyError, TypeError):
            connection.close()

    def _meet(self, peer: Peer, connection: socket.socket, pid: str, host: str) -> None:
        connection.setblocking(False)
        peer.connection, peer.pid, peer.host, peer.seen = connection, int(pid), host, time.monotonic()
        self._selector.register(connection, selectors.EVENT_READ, peer)

    def _read(self, peer: Peer) -> bytes | None:
        connection = peer.connection
        assert connection is not None
        try:
            heard = connection.recv(4096)
        except BlockingIOError:
            return None
        except OSError:
            heard = b""
        if not heard:
            self._selector.unregister(connection)
            connection.close()
            peer.connection = None
        return heard
