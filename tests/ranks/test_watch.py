"""Processes that watch each other, as plain forked processes with time limits of a second instead of thirty."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from forked import Ranks, ranks
from short import few

from vae_zoo.training.ranks import Watch

TIMEOUT = 1.0


@pytest.fixture(autouse=True)
def _less_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vae_zoo.training.ranks.GRACE", 0.5)


def meet(rank: int, folder: Path) -> Watch:
    """Two processes with a connection."""
    watch, address = Watch(rank, 2, TIMEOUT), folder / "address"
    if rank == 0:
        address.with_suffix(".new").write_text(watch.listen())
        address.with_suffix(".new").rename(address)
    else:
        while not address.exists():
            time.sleep(0.01)
        watch.connect(address.read_text())
    (folder / f"met{rank}").touch()
    while not (folder / f"met{1 - rank}").exists():
        time.sleep(0.01)
    return watch


def both(folder: Path) -> Callable[[], bool]:
    return lambda: all((folder / f"met{rank}").exists() for rank in (0, 1))


def waits(rank: int, folder: Path) -> None:
    meet(rank, folder)
    time.sleep(60)


@pytest.mark.parametrize("rank", few([0, 1], 1))
@pytest.mark.parametrize("signum", few([signal.SIGKILL, signal.SIGTERM, signal.SIGSTOP], 1), ids=lambda s: s.name)
def test_a_lost_process_ends_the_other_with_one_line(signum: signal.Signals, rank: int, tmp_path: Path) -> None:
    with ranks(tmp_path, waits, tmp_path, store=False) as running:
        running.wait_for(both(tmp_path))
        os.kill(running.pids[rank], signum)
        codes = running.codes(10)
        (line,) = running.said()
    assert codes[1 - rank] == 1
    assert codes[rank] == -(signal.SIGKILL if signum == signal.SIGSTOP else signum)
    assert line.startswith(f"vae-zoo: error: process {rank} of 2 (pid {running.pids[rank]}) ")
    assert ("has not answered for 1 s" if signum == signal.SIGSTOP else "is gone") in line


def ends(rank: int, folder: Path, seconds: tuple[float, float]) -> None:
    watch = meet(rank, folder)
    time.sleep(seconds[rank])
    watch.finish()
    os.write(2, f"{rank} has finished\n".encode())


@pytest.mark.parametrize("seconds", [(0.0, 0.4), pytest.param((0.4, 0.0), marks=pytest.mark.exhaustive)])
def test_both_end_well_and_the_first_process_last(seconds: tuple[float, float], tmp_path: Path) -> None:
    with ranks(tmp_path, ends, tmp_path, seconds, store=False) as running:
        assert running.codes(10) == [0, 0], running.said()
    assert len(running.said()) == 2


def fails(rank: int, folder: Path, wrong: tuple[str, str]) -> None:
    watch = meet(rank, folder)
    error: BaseException
    try:
        if not wrong[rank]:
            time.sleep(60)
        if wrong[rank] == "stopped":
            raise SystemExit(143)
        raise ValueError(wrong[rank])
    except SystemExit as caught:
        error = caught
    except ValueError as caught:
        error = caught
    watch.fail(error)
    if isinstance(error, ValueError):
        os.write(2, f"{rank}: {error}\n".encode())
    raise SystemExit(143 if isinstance(error, SystemExit) else 2)


@pytest.mark.parametrize(
    ("wrong", "codes", "said"),
    [
        pytest.param(("bad data", ""), [2, 1], ["0: bad data"], marks=pytest.mark.exhaustive),
        pytest.param(("", "bad data"), [1, 2], ["1: bad data"], marks=pytest.mark.exhaustive),
        (("bad data", "bad data"), [2, 1], ["0: bad data"]),
    ],
)
def test_one_of_them_says_what_is_wrong(
    wrong: tuple[str, str], codes: list[int], said: list[str], tmp_path: Path
) -> None:
    with ranks(tmp_path, fails, tmp_path, wrong, store=False) as running:
        assert running.codes(20) == codes
        assert running.said() == said


def test_a_stop_that_both_agree_on_is_no_loss(tmp_path: Path) -> None:
    with ranks(tmp_path, fails, tmp_path, ("stopped", "stopped"), store=False) as running:
        assert running.codes(10)[0] == 143
        assert running.said() == []


def trains(rank: int, folder: Path, stuck: int, inside: bool) -> None:
    """Both take steps; then one stays in a place of its own, while the other waits for it further on."""
    watch = meet(rank, folder)
    for _ in range(2):
        for within in (True, True, False):
            watch.mark(inside=within)
    watch.mark(inside=inside or rank != stuck)
    if rank != stuck:
        watch.mark(inside=True)
    (folder / f"stuck{rank}").touch()
    time.sleep(60)


@pytest.mark.parametrize("stuck", few([0, 1], 1))
def test_a_process_that_stays_in_a_step_ends_the_run(stuck: int, tmp_path: Path) -> None:
    """Its thread goes on saying that it lives."""
    with ranks(tmp_path, trains, tmp_path, stuck, True, store=False) as running:
        codes = running.codes(10)
        (line,) = running.said()
    assert codes[1 - stuck] == 1
    assert codes[stuck] is not None
    said = f"process {stuck} of 2 (pid {running.pids[stuck]}) has not moved on in a training step for 1 s"
    assert line == f"vae-zoo: error: {said}: the whole run ends."


@pytest.mark.exhaustive
@pytest.mark.slow
def test_one_that_evaluates_or_saves_does_not(tmp_path: Path) -> None:
    with ranks(tmp_path, trains, tmp_path, 1, False, store=False) as running:
        running.wait_for(lambda: all((tmp_path / f"stuck{rank}").exists() for rank in (0, 1)))
        time.sleep(2.5 * TIMEOUT)
        assert running.codes(0.01) == [None, None], running.said()


def halted(running: Ranks, seconds: float) -> None:
    for signum in (signal.SIGSTOP, signal.SIGCONT):
        for pid in running.pids:
            os.kill(pid, signum)
        time.sleep(seconds)


@pytest.mark.exhaustive
@pytest.mark.slow
def test_processes_that_are_all_stopped_go_on(tmp_path: Path) -> None:
    """As by Ctrl-Z and fg."""
    with ranks(tmp_path, waits, tmp_path, store=False) as running:
        running.wait_for(both(tmp_path))
        halted(running, 2 * TIMEOUT)
        assert running.codes(0.01) == [None, None], running.said()
        assert running.said() == []


def test_who_does_not_know_the_secret_is_no_process_of_the_run() -> None:
    watch = Watch(0, 2, 60.0)
    port, _, token = watch.listen().partition(":")
    try:
        for line in (
            b"guess 1 1 host\n",
            b"x" * 513,
            "ä 1 1 host\n".encode(),
            f"{token} 7 1 host\n".encode(),
            b"\xff\n",
            b"\n",
            b"",  # and says nothing more
        ):
            with socket.create_connection(("127.0.0.1", int(port)), timeout=10) as connection:
                connection.sendall(line)
                assert connection.recv(1) == b""
        assert watch.peers[1].connection is None
    finally:
        watch.close()
