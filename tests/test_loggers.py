"""Weights & Biases with ``--wandb``: what is logged, and that no run waits for its server or fails with it."""

from __future__ import annotations

import csv
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from types import SimpleNamespace
from typing import Any

import pytest
from forking import Forking
from wandb_stub import Stub, read_back

from vae_zoo import loggers

pytest.importorskip("wandb", reason="the extra wandb is not installed")

ROOT = Path(__file__).parents[1]
SHORT = [f"--trainer.{option}" for option in ("limit_train_batches=2", "limit_val_batches=1", "log_every_n_steps=1")]
KEY = "a" * 40


class Answers(HTTPServer):
    """A server with one answer."""

    def __init__(self, code: int) -> None:
        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                self.send_response(code)
                self.send_header("Content-Length", "0")
                self.end_headers()

            do_GET = do_POST  # noqa: N815

            def log_message(self, *args: object) -> None:
                pass

        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()


@pytest.fixture(scope="module")
def refused() -> str:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{closed.getsockname()[1]}"


@pytest.fixture
def hole() -> Iterator[socket.socket]:
    """A server that connects, and never answers."""
    with socket.socket() as hole:
        hole.bind(("127.0.0.1", 0))
        hole.listen(64)
        yield hole


@pytest.fixture
def black_hole(hole: socket.socket) -> str:
    return f"http://127.0.0.1:{hole.getsockname()[1]}"


def asked(hole: socket.socket) -> int:
    """How often somebody has tried."""
    hole.setblocking(False)
    number = 0
    with suppress(BlockingIOError):
        while True:
            hole.accept()[0].close()
            number += 1
    return number


class TestProbe:
    """Whether there is any sense in waiting for a server."""

    def test_its_limit(self) -> None:
        assert loggers.PROBE_SECONDS <= 5
        assert loggers.LIMITS["init_timeout"] <= 8

    def test_refused(self, refused: str) -> None:
        assert "refused" in loggers.unreachable(refused)

    def test_unresolvable(self) -> None:
        assert "wandb.invalid is not reached" in loggers.unreachable("http://wandb.invalid")

    def test_no_answer(self, black_hole: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(loggers, "PROBE_SECONDS", 0.2)
        assert "gives no answer within 0.2 seconds" in loggers.unreachable(black_hole)

    def test_a_look_up_that_hangs(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(loggers, "PROBE_SECONDS", 0.2)
        monkeypatch.setattr(loggers, "_ask", lambda host: time.sleep(2) or "late")  # so it is asked no second time
        assert "gives no answer within 0.2 seconds" in loggers.unreachable("https://example.invalid")

    @pytest.mark.parametrize(("code", "said"), [(200, ""), (401, ""), (404, ""), (503, "its answer is 503")])
    def test_answers(self, code: int, said: str) -> None:
        with Answers(code) as server:
            assert loggers.unreachable(server.url).endswith(said)
            assert bool(loggers.unreachable(server.url)) == bool(said)
            server.shutdown()

    def test_one_answer_and_then_none(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(loggers, "PROBE_SECONDS", 0.3)
        answers = iter([lambda: "", lambda: time.sleep(1)])
        monkeypatch.setattr(loggers, "_ask", lambda host: next(answers)())
        assert "gives no answer within 0.3 seconds" in loggers.unreachable("https://example.invalid")

    def test_the_end_of_the_service_is_not_that_of_the_run(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A race in wandb, which may leave the process with the exit code of its service, -9 after a kill."""
        killed = []
        process = SimpleNamespace(kill=lambda: killed.append(True))
        connection = SimpleNamespace(_proc=SimpleNamespace(_process=process))
        monkeypatch.setattr("wandb.setup", lambda: SimpleNamespace(_connection=connection))
        monkeypatch.setattr("wandb.teardown", lambda: sys.exit(-9))
        loggers._end_service()
        assert killed

    @pytest.mark.parametrize("given", [{"offline": True}, {"mode": "offline"}])
    def test_offline_asks_for_no_key(self, monkeypatch: pytest.MonkeyPatch, given: dict[str, Any]) -> None:
        monkeypatch.setenv("WANDB_MODE", "online")  # which Lightning overwrites
        began: list[dict[str, Any]] = []
        run = SimpleNamespace(define_metric=lambda *args, **kwargs: None)
        monkeypatch.setattr("wandb.init", lambda **settings: began.append(settings) or run)
        assert loggers.Wandb(**given).experiment is run
        assert began[0]["mode"] == "offline"
        assert "resume" not in began[0]

    @pytest.mark.parametrize("url", ["foo", "http://[", "ftp://x", "http://", "https://x:port", "//x"])
    def test_a_malformed_address_is_one_line(self, monkeypatch: pytest.MonkeyPatch, url: str) -> None:
        monkeypatch.setenv("WANDB_BASE_URL", url)
        with pytest.raises(ValueError, match=rf"^WANDB_BASE_URL is {re.escape(url)}: give an address such as "):
            loggers.Wandb(mode="offline")

    def test_no_address(self) -> None:
        assert loggers.unreachable("nonsense")

    def test_keys(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(loggers, "unreachable", lambda host: "")
        monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
        settings = SimpleNamespace(base_url="http://here:80/", api_key=None, identity_token_file=None)
        assert loggers.trouble(settings) == "there is no API key, which wandb login would store"
        (tmp_path / "netrc").write_text("machine here:80\n login user\n password 123\n")
        assert loggers.trouble(settings) == ""
        (tmp_path / "netrc").write_text("machine elsewhere\n login user\n password 123\n")
        assert loggers.trouble(settings) != ""
        assert loggers.trouble(SimpleNamespace(**{**vars(settings), "api_key": KEY})) == ""
        assert loggers.trouble(SimpleNamespace(**{**vars(settings), "identity_token_file": "f"})) == ""


@pytest.fixture(scope="module")
def fit(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., subprocess.CompletedProcess[str]]]:
    """A short fit in a folder, in a process of its own, without settings of the user's."""
    home = tmp_path_factory.mktemp("loggers")
    kept = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}
    with Forking(home) as server:

        def call(folder: Path, *args: str, epochs: int = 1, **given: str) -> subprocess.CompletedProcess[str]:
            paths = {"PATH": f"{server.path}:{kept['PATH']}", "PYTHONPATH": str(ROOT), "HOME": str(home)}
            command = ["vae-zoo", "fit", "--config", "vae_digits", *SHORT, f"--trainer.max_epochs={epochs}", *args]
            environment = {**kept, **paths, **given}
            return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)

        yield call


def warnings_of(done: subprocess.CompletedProcess[str]) -> list[str]:
    return [line for line in (done.stdout + done.stderr).splitlines() if "goes on offline" in line or "WARNING" in line]


OFFLINE = ["--wandb.mode", "offline", "--wandb.project", "mine", "--wandb.id", "abc", "--wandb.log_model", "true"]


@pytest.fixture(scope="module")
def folder(fit: Callable, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an offline run."""
    folder = tmp_path_factory.mktemp("offline")
    done = fit(folder, *OFFLINE)
    assert done.returncode == 0, done.stderr
    assert not warnings_of(done)
    return folder


def kept(folder: Path) -> list[Path]:
    """The files of offline runs, the first one first."""
    return sorted(folder.glob("wandb/offline-run-*-abc/run-abc.wandb"))


@pytest.mark.slow
class TestWithoutServer:
    """Training completes, offline, after one line."""

    @pytest.mark.exhaustive
    @pytest.mark.parametrize("case", ["refused", "black hole", "unresolvable", "no key", "bad key", "broken"])
    def test_the_run_goes_on(
        self,
        case: str,
        fit: Callable,
        refused: str,
        black_hole: str,
        hole: socket.socket,
        tmp_path: Path,
    ) -> None:
        bad_key, broken = Answers(401), Answers(503)
        urls = {"refused": refused, "black hole": black_hole, "unresolvable": "http://wandb.invalid"}
        url = {**urls, "no key": refused, "bad key": bad_key.url, "broken": broken.url}[case]
        key = {} if case == "no key" else {"WANDB_API_KEY": KEY}
        done = fit(tmp_path, "--wandb", WANDB_BASE_URL=url, **key)
        assert done.returncode == 0, done.stderr
        for server in (bad_key, broken):
            server.shutdown()
            server.server_close()
        (line,) = warnings_of(done)
        assert "the run goes on offline, and wandb sync uploads it later." in line
        assert len(line) <= 200
        if case == "no key":
            assert "wandb login" in line
        assert asked(hole) == (case == "black hole"), "wandb itself waits for the server"
        (file,) = tmp_path.glob("wandb/offline-run-*/run-*.wandb")
        assert any("val/elbo" in step for step in read_back(file).history)


@pytest.mark.slow
class TestOffline:
    """What a run keeps for ``wandb sync``, and one that goes on under the same identifier."""

    def test_everything_is_in_it(self, folder: Path) -> None:
        first = read_back(kept(folder)[0])
        assert first.project == "mine"
        for name in ("model", "data"):
            assert first.config[name]["class_path"].startswith("vae_zoo.")
        model = first.config["model"]["init_args"]
        assert model["encoder"] == {
            "class_path": "vae_zoo.nn.Dense",
            "init_args": {
                "hidden": [256, 256],
                "activation": {"class_path": "torch.nn.ReLU", "init_args": {"inplace": False}},
            },
        }
        assert model["likelihood"]["init_args"] == {"scale": 0.2}
        assert first.config["shape"] == [1, 8, 8]
        assert first.config["trainer"]["logger"]["init_args"]["id"] == "abc"
        logged = {key for step in first.history for key in step}
        assert {"train/loss", "val/loss", "val/elbo", "val/active_units"} <= logged
        assert {"samples", "reconstructions", "traversals", "latents"} <= logged
        for step in first.history:
            for picture in {"samples", "reconstructions", "traversals", "latents"} & set(step):
                assert step[picture]["_type"] == "images/separated"
        (uploaded,) = first.artifacts.values()
        assert uploaded == ["model.ckpt"]

    def test_figures_are_those_of_the_file(self, folder: Path) -> None:
        rows = csv.DictReader((folder / "results" / "MLPVAE_Digits" / "fit_0" / "metrics.csv").read_text().splitlines())
        (written,) = [float(row["val/elbo"]) for row in rows if row["val/elbo"]]
        (logged,) = [step["val/elbo"] for step in read_back(kept(folder)[0]).history if "val/elbo" in step]
        assert logged == pytest.approx(written, rel=1e-6)

    @pytest.mark.exhaustive
    def test_a_resumed_run_goes_on(self, fit: Callable, folder: Path) -> None:
        done = fit(folder, *OFFLINE, "--ckpt_path", "last", epochs=2)
        assert done.returncode == 0, done.stderr
        assert not warnings_of(done)
        steps = []
        for file in kept(folder):
            assert read_back(file).project == "mine"
            history = read_back(file).history
            steps.append([step["trainer/global_step"] for step in history if "val/elbo" in step])
        assert steps == [[1], [3]]


@pytest.mark.exhaustive
@pytest.mark.slow
def test_resume_on_the_server(fit: Callable, tmp_path: Path) -> None:
    with Stub([]) as stub:
        for more in ([], ["--ckpt_path", "last"]):
            done = fit(
                tmp_path, "--wandb.id", "abc", "--wandb.entity", "me", *more, epochs=1 + bool(more),
                WANDB_BASE_URL=stub.url, WANDB_API_KEY=KEY,
            )  # fmt: skip
            assert done.returncode == 0, done.stderr
            assert not warnings_of(done)
        stub.shutdown()
    assert set(stub.configs) == {"abc"}
    assert "RunResumeStatus" in stub.seen, stub.seen
    history = [line for line in stub.files["abc/wandb-history.jsonl"] if "val/elbo" in line]
    assert [line["trainer/global_step"] for line in history] == [1, 3]
    assert history[1]["_step"] > history[0]["_step"]
    assert stub.config("abc")["model"]["class_path"] == "vae_zoo.models.MLPVAE"


@pytest.mark.exhaustive
@pytest.mark.slow
def test_a_server_that_stops_answering(fit: Callable, tmp_path: Path) -> None:
    stub = Stub([])
    stub.stop_after = "UpsertBucket"
    done = fit(tmp_path, "--wandb", WANDB_BASE_URL=stub.url, WANDB_API_KEY=KEY, WANDB_FINISH_TIMEOUT="3")
    stub.shutdown()
    stub.server_close()
    assert done.returncode == 0, done.stderr
    (file,) = tmp_path.glob("wandb/run-*/run-*.wandb")
    assert any("val/elbo" in step for step in read_back(file).history)


@pytest.mark.exhaustive
@pytest.mark.slow
def test_offline_runs_are_uploaded_later(folder: Path) -> None:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}
    files = sorted(map(str, folder.glob("wandb/offline-run-*-abc")))
    with Stub([]) as stub:
        done = subprocess.run(
            [sys.executable, "-m", "wandb", "sync", "--yes", *files],
            env={**kept, "HOME": str(folder), "WANDB_BASE_URL": stub.url, "WANDB_API_KEY": KEY},
            capture_output=True,
            text=True,
            timeout=100,
        )
        stub.shutdown()
    assert done.returncode == 0, done.stdout + done.stderr
    history = [line for line in stub.files["abc/wandb-history.jsonl"] if "val/elbo" in line]
    assert [line["trainer/global_step"] for line in history] == [1, 3]
    assert stub.config("abc")["model"]["class_path"] == "vae_zoo.models.MLPVAE"
    assert all("model-abc" in text for text in stub.artifacts), "checkpoints, which were asked for"
    assert stub.artifacts
