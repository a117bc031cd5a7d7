"""No process of a command imports from the working folder unless the command line names a module."""

from __future__ import annotations

import multiprocessing
import os
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typeshed_client
from lightning.fabric.strategies.launchers.subprocess_script import _basic_subprocess_cmd

import vae_zoo
from vae_zoo.cli.commands import sweep_run
from vae_zoo.cli.named_packages import command_line
from vae_zoo.cli.run.children import COMMAND, clean, safe_path
from vae_zoo.security import trust

NAMES = (
    "json random yaml typing copy re dataclasses functools warnings contextlib __future__ numpy lightning tomllib uuid"
)
ENVIRONMENT = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}


@pytest.fixture
def hostile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with modules of Python's and others' names, which say where they were run."""
    for name in NAMES.split():
        (tmp_path / f"{name}.py").write_text(f"open({str(tmp_path / 'executed')!r}, 'a').write('{name} ')\nloads = 1\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def calm(folder: Path) -> bool:
    return not (folder / "executed").exists()


def launch(*command: str, **env: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=ENVIRONMENT | env)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_command_in_a_process_of_its_own(hostile: Path) -> None:
    assert launch(*COMMAND, "--version") == launch(*COMMAND, "--version", PYTHONSAFEPATH="1") == "vae-zoo 0.1.0\n"
    assert "MLPVAE" in launch(*COMMAND, "list", "models")
    assert calm(hostile)


def test_as_a_module(hostile: Path) -> None:
    """Of what Python itself imports before, nothing can be said."""
    for name in ("functools", "warnings", "contextlib"):
        (hostile / f"{name}.py").unlink()
    home = str(Path(vae_zoo.__file__).parents[1])
    assert launch(sys.executable, "-m", "vae_zoo", "--version", PYTHONPATH=home) == "vae-zoo 0.1.0\n"
    assert calm(hostile)


def test_a_module_is_run_there_without_care(hostile: Path) -> None:
    """What shows that the probe would be seen."""
    subprocess.run([sys.executable, "-c", "import json"], check=False, env=ENVIRONMENT, stderr=subprocess.DEVNULL)
    assert (hostile / "executed").read_text() == "json "


def test_processes_for_further_devices_run_the_same_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    seen: list[Any] = []
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    monkeypatch.setattr(sys, "argv", ["vae-zoo", "fit"])
    monkeypatch.setattr("vae_zoo.cli.main", lambda: seen.append((_basic_subprocess_cmd(), list(sys.path))))
    runpy.run_path(COMMAND[1], run_name="__main__")
    ((command, path),) = seen
    assert command == [*COMMAND, "fit"]
    assert str(tmp_path) not in path


def test_workers_of_multiprocessing(hostile: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYTHONSAFEPATH", raising=False)
    with safe_path():
        assert os.environ["PYTHONSAFEPATH"] == "1"
        process = multiprocessing.get_context("spawn").Process(target=print)
        process.start()
        process.join()
    assert process.exitcode == 0
    assert "PYTHONSAFEPATH" not in os.environ
    assert calm(hostile)


def test_workers_of_multiprocessing_without_the_variable(hostile: Path) -> None:
    command = clean([sys.executable, "-c", "import json; print(json.dumps([]))", "more"])
    assert launch(*command) == "[]\n"
    assert calm(hostile)
    assert clean(["a", "-m", "b"]) == ["a", "-m", "b"]


def test_the_parser_starts_no_python(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subprocess, "check_output", None)
    with trust.guard():
        context = typeshed_client.get_search_context(allow_py_files=True)
    assert context.search_path == [Path(folder) for folder in sys.path if folder]


def test_the_folder_is_last_and_only_where_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [folder for folder in sys.path if folder])
    for line, last in (("fit --trust my_vae", True), ("fit --model my_vae.MyVAE", True), ("fit --model VAE", False)):
        with command_line(line.split()):
            assert ("" in sys.path) == last
            assert "" not in sys.path[:-1]
        assert "" not in sys.path


@pytest.mark.exhaustive
@pytest.mark.slow
def test_a_fit(hostile: Path) -> None:
    options = "--model VAE --data Digits --trainer.fast_dev_run true --trainer.accelerator cpu"
    launch(*COMMAND, "fit", *options.split())
    assert calm(hostile)


def test_a_sweep_starts_its_runs_so() -> None:
    assert sweep_run.COMMAND is COMMAND
