from __future__ import annotations

import copy
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch
from cli.conftest import run  # noqa: F401
from helpers import fit, tiny_data

from .hostile import MODULE

WIDTH = 200


@pytest.fixture(scope="session")
def sound(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a checkpoint holds that a fit has written."""
    folder = tmp_path_factory.mktemp("sound")
    _, trainer = fit(folder, data=tiny_data(), max_epochs=1)
    trainer.save_checkpoint(folder / "sound.ckpt")
    return torch.load(folder / "sound.ckpt", weights_only=True)


@pytest.fixture
def content(sound: dict[str, Any]) -> dict[str, Any]:
    """The same, to be changed."""
    return copy.deepcopy(sound)


@pytest.fixture
def marker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A file that must not be there in the end, beside a module that makes it on import, from the working folder."""
    folder = tmp_path / "work"
    folder.mkdir()
    marker = tmp_path / "executed"
    (folder / "evil_mod.py").write_text(MODULE.format(marker=str(marker)))
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(folder)
    yield marker
    sys.modules.pop("evil_mod", None)
    assert not marker.exists(), "it was executed"


@pytest.fixture
def refused(run: Callable, marker: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:  # noqa: F811
    """Run the command in the folder with the module, which must refuse it in one line."""
    folder = marker.parent / "work"

    monkeypatch.chdir(folder)

    def call(*args: str) -> str:
        before = sorted(marker.parent.rglob("*"))
        outcome = run(*args)
        assert outcome.code == 2, outcome
        (line,) = outcome.err.strip().splitlines()
        assert line.startswith("vae-zoo: error: ")
        assert len(line) <= WIDTH
        assert sorted(path for path in marker.parent.rglob("*") if "__pycache__" not in path.parts) == before
        return line

    return call


class Served(SimpleHTTPRequestHandler):
    requests: list[str] = []

    def do_GET(self) -> None:
        self.requests.append(self.path)
        super().do_GET()

    def do_HEAD(self) -> None:
        self.requests.append(self.path)
        super().do_HEAD()

    def log_message(self, *args: Any) -> None: ...


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    """Address of a server of the working folder."""
    Served.requests.clear()
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Served, directory=str(tmp_path / "work")))
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()
