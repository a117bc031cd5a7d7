"""The command in two processes: a fault of one ends both."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from forked import ranks
from helpers import load_arrays
from lightning.pytorch.plugins.environments import LightningEnvironment
from short import few

from benchmarks.ranks import COMMAND, hit
from vae_zoo.cli import main
from vae_zoo.cli.run.launcher import Launcher
from vae_zoo.training import ranks as watching

pytestmark = pytest.mark.slow

FIT = [*COMMAND.split(), "--ranks.timeout", "5", "--last.every_n_train_steps", "1"]


def command(rank: int, args: list[str]) -> None:
    main(args)


def checkpoint(folder: Path) -> Path | None:
    return next(folder.glob("results/*/fit_*/checkpoints/last.ckpt"), None)


def trains(folder: Path) -> Callable[[], bool]:
    return lambda: checkpoint(folder) is not None


@pytest.mark.parametrize("rank", few([0, 1], 1))
@pytest.mark.parametrize("signum", few([signal.SIGKILL, signal.SIGSTOP], 1), ids=lambda s: s.name)
def test_a_lost_process_ends_the_run_with_one_line(signum: signal.Signals, rank: int, tmp_path: Path) -> None:
    with ranks(tmp_path, command, FIT) as running:
        running.wait_for(trains(tmp_path))
        before = len(running.said())
        os.kill(running.pids[rank], signum)
        codes = running.codes(60)
        (line,) = running.said()[before:]
    assert codes[rank] == -signal.SIGKILL
    assert codes[1 - rank] == 1
    assert line.startswith(f"vae-zoo: error: process {rank} of 2 (pid {running.pids[rank]}) ")
    assert checkpoint(tmp_path)


@pytest.mark.exhaustive
@pytest.mark.parametrize("rank", few([0, 1], 1))
@pytest.mark.parametrize(("signum", "code"), few([(signal.SIGTERM, 143), (signal.SIGINT, 130)], 1))
def test_a_signal_to_one_process_stops_both_at_one_step(
    signum: signal.Signals, code: int, rank: int, tmp_path: Path
) -> None:
    with ranks(tmp_path, command, FIT) as running:
        running.wait_for(trains(tmp_path))
        before = len(running.said())
        os.kill(running.pids[rank], signum)
        assert running.codes(60) == [code, code], running.said()
        (line,) = running.said()[before:]
    path = checkpoint(tmp_path)
    assert path is not None
    step = torch.load(path, weights_only=True)["global_step"]
    assert line.startswith(f"stopped by {signum.name} after step {step}: vae-zoo fit ")


@pytest.mark.exhaustive
@pytest.mark.parametrize(("signum", "rank"), [(signal.SIGKILL, 1), (signal.SIGTERM, 1), (signal.SIGSTOP, 0)])
def test_nothing_is_left_of_processes_that_the_command_has_started(signum: signal.Signals, rank: int) -> None:
    row = hit(signum, rank, timeout=5.0)
    assert row["left"] == 0
    assert row["exit_code"] != 0
    assert len(row["stderr"]) == 1, row


def test_the_first_process_takes_its_share_of_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    """As those that it starts do."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.delenv("OMP_NUM_THREADS")
    monkeypatch.setattr(Launcher, "_call_children_scripts", lambda self: None)
    monkeypatch.setattr("lightning.fabric.utilities.distributed._num_cpus_available", lambda: 6)
    before = torch.get_num_threads()
    try:
        assert Launcher(60.0, LightningEnvironment(), 2, 1).launch(torch.get_num_threads) == 3
    finally:
        torch.set_num_threads(before)
        assert watching.current is not None
        watching.current.close()
        watching.current = None


SMALL = "--model=VAE --model.latent_dim=2 --model.encoder.hidden=[8] --model.decoder.hidden=[8] --data=Arrays "
SMALL += "--data.path=x.npy --data.batch_size=4 --trainer.accelerator=cpu --trainer.devices=2 --trainer.max_epochs=2 "
SMALL += "--samples.every_n_epochs=0 --reconstructions.every_n_epochs=0 --traversals.every_n_epochs=0"


MISTAKES = [
    ("--model.latent_dim=0", "latent_dim must be at least 1, got 0"),
    ("--ranks.timeout=0.5", "timeout must be at least 1 second and finite, got 0.5"),
    ("--ranks.timeout=.nan", "timeout must be at least 1 second and finite, got nan"),
    ("--data.drop_last=true --data.batch_size=400", "drop_last leaves no batch"),
    ("--trainer.max_epoch=3", "did you mean trainer.max_epochs?"),
    ("--data.path=nan.npy", "finite"),
]


def images(folder: Path) -> None:
    x = np.random.default_rng(0).random((370, 1, 8, 8), np.float32)
    np.save(folder / "x.npy", x)
    np.save(folder / "nan.npy", np.full_like(x, math.nan))


@pytest.mark.parametrize(("args", "said"), few(MISTAKES, 1))
def test_processes_of_torchrun_say_the_same_of_a_mistake(args: str, said: str, tmp_path: Path) -> None:
    images(tmp_path)
    with ranks(tmp_path, command, ["fit", *SMALL.split(), *args.split()]) as running:
        assert running.codes(60) in ([2, 2], [2, 1], [1, 2])
        lines = [line for line in running.said() if "error" in line]
    assert len(set(lines)) == 1, lines
    assert said in lines[0]
    assert not list(tmp_path.glob("results/*/*"))


@pytest.mark.exhaustive
def test_processes_that_the_command_has_started_say_a_mistake_once(tmp_path: Path) -> None:
    images(tmp_path)
    command = [sys.executable, "-m", "vae_zoo", "fit", *SMALL.split(), "--data.path=nan.npy"]
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 2, done.stderr
    assert done.stderr.count("error") == 1, done.stderr
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.glob("results/*/*"))


@pytest.mark.exhaustive
def test_two_processes_test_and_predict_as_one(tmp_path: Path) -> None:
    """What two have trained: every example counts once, and rows are in the order of the data."""
    images(tmp_path)
    with ranks(tmp_path, command, ["fit", *SMALL.split()]) as running:
        assert running.codes() == [0, 0], running.said()
    path = f"--ckpt_path={checkpoint(tmp_path)}"
    for devices in (2, 1):
        for verb in (["test", "--evidence.num_samples=2"], ["predict"]):
            args = [
                *verb,
                path,
                "--data.eval_batch_size=3",
                "--trainer.accelerator=cpu",
                f"--trainer.devices={devices}",
            ]
            with ranks(tmp_path, command, args, store=devices == 2) as running:
                assert running.codes() == [0, 0], running.said()
    predicted = [load_arrays(p / "latents.npz") for p in sorted(tmp_path.glob("results/*/predict_*"))]
    assert len(predicted) == 3
    for latents in predicted:
        assert np.allclose(latents["z"], predicted[0]["z"], atol=1e-6)
