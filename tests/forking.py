"""The command in real processes, without the seconds that each would take to import torch.

A server imports everything once, and forks for each call of the script ``vae-zoo`` that it leaves in a folder.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

CLIENT = """#!{python} -IS
import json, os, socket, sys
with socket.socket(socket.AF_UNIX) as server:
    server.connect({address!r})
    socket.send_fds(server, [b"."], [0, 1, 2])
    server.sendall(json.dumps([sys.argv[1:], dict(os.environ), os.getcwd()]).encode())
    server.shutdown(socket.SHUT_WR)
    sys.exit(int(server.recv(16)))
"""


class Forking:
    """A running server; ``path`` goes in front of the environment variable of that name.

    Args:
        folder: Where the script goes.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / "bin"
        self.path.mkdir()
        address = str(folder / "server")
        self._server = subprocess.Popen([sys.executable, __file__, address], stdout=subprocess.PIPE)
        script = self.path / "vae-zoo"
        script.write_text(CLIENT.format(python=sys.executable, address=address))
        script.chmod(0o755)
        assert self._server.stdout
        assert self._server.stdout.readline() == b"ready\n"

    def __enter__(self) -> Forking:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.terminate()
        self._server.wait()
        self._server.stdout.close()


def serve(address: str) -> None:
    """Serve for ever. What keeps files until the process ends, as wandb does, is left for each fork to import."""
    import vae_zoo.cli.app  # noqa: F401
    from vae_zoo.cli import main

    with socket.socket(socket.AF_UNIX) as server:
        server.bind(address)
        server.listen()
        print("ready", flush=True)
        while True:
            client, _ = server.accept()
            _, files, *_ = socket.recv_fds(client, 1, 3)
            text = b"".join(iter(lambda c=client: c.recv(65536), b""))
            if child := os.fork():
                for file in files:
                    os.close(file)
                code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
                client.sendall(str(code if code >= 0 else 128 - code).encode())
                client.close()
                continue
            server.close()
            client.close()
            for number, file in enumerate(files):
                os.dup2(file, number)
                os.close(file)
            args, environment, folder = json.loads(text)
            os.environ.clear()
            os.environ.update(environment)
            os.chdir(folder)
            sys.argv = ["vae-zoo", *args]
            main(args)
            return


if __name__ == "__main__":
    sys.path.insert(0, os.getcwd())
    serve(sys.argv[1])
