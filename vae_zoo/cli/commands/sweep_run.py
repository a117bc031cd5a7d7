"""``vae-zoo sweep-run``: the runs of a sweep one after the other, on this machine and without an account."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vae_zoo.cli.commands.sweep_check import check
from vae_zoo.cli.commands.sweep_table import collect, formatted, last, report
from vae_zoo.cli.inspect.configs import find_sweep, read_yaml
from vae_zoo.cli.run.children import COMMAND
from vae_zoo.cli.sweeps.command import arguments_of, expand
from vae_zoo.cli.sweeps.draws import draws
from vae_zoo.cli.terminal import greet
from vae_zoo.cli.verbs import VerbParser
from vae_zoo.system.locks import FolderLock
from vae_zoo.system.writing import explaining_write_errors, write_text

DESCRIPTION = """Run a sweep here, one run after the other, with nothing sent anywhere: the whole of a grid, or random
draws in place of a random or Bayesian search; no run is stopped early. The same command goes on where it was stopped.
The results are a table, results.csv and parallel.png. What follows -- goes to every run: -- --trainer.max_epochs 5."""
STOPPED = (130, 143, -2, -15)
"""Exit codes of a run that was asked to stop, as the whole sweep then is."""


def sweep_run(args: list[str]) -> None:
    """Run ``vae-zoo sweep-run FILE``; exit with 1 if a run fails.

    Raises:
        ValueError: If the sweep is wrong, another process runs one in the folder, or has run another one there.
    """
    own, more = (args[: args.index("--")], args[args.index("--") + 1 :]) if "--" in args else (args, [])
    parser = VerbParser("sweep-run", DESCRIPTION)
    parser.add_argument("file", metavar="FILE", help="a sweep file, or the name of a packaged one")
    parser.add_argument("--num", type=int, help="runs at most; the whole grid, or run_cap of the file, if not given")
    parser.add_argument("--seed", type=int, default=0, help="seed of random draws (0)")
    parser.add_argument("--out", help="folder of the runs and results (results/sweeps/NAME)")
    options = parser.parse_args(own)
    if options.num is not None and options.num < 1:
        raise ValueError(f"--num must be at least 1, got {options.num}.")
    path = find_sweep(options.file)
    sweep = read_yaml(path)
    greet("sweep-run", path.stem, piped=True)
    check(path, sweep, 16)
    runs = draws(sweep, options.num, options.seed)
    metric = sweep.get("metric") or {"name": "val/loss"}
    folder = Path(options.out or Path("results", "sweeps", path.stem))
    with explaining_write_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    lock = FolderLock(folder)
    try:
        _run_all(runs, folder, sweep, metric, more)
    finally:
        lock.release()


def _run_all(
    runs: Sequence[dict[str, Any]], folder: Path, sweep: dict[str, Any], metric: dict[str, Any], more: Sequence[str]
) -> None:
    for n, run in enumerate(runs):
        if (folder / str(n)).exists() and _read(folder / str(n)).get("parameters") != run:
            raise ValueError(f"{folder / str(n)} has another run in it: give another folder by --out.")
    failed = [n for n, run in enumerate(runs) if not _finish(folder / str(n), run, sweep, metric["name"], more)]
    if len(failed) < len(runs):
        report(folder, collect(folder, metric["name"]), metric["name"], maximize=metric.get("goal") == "maximize")
    if failed:
        log = folder / str(failed[0]) / "log.txt"
        print(f"vae-zoo: {len(failed)} of {len(runs)} runs failed, the first says why in {log}", file=sys.stderr)
        sys.exit(1)


def _finish(folder: Path, run: dict[str, Any], sweep: dict[str, Any], metric: str, more: Sequence[str]) -> bool:
    """Whether a run is done: it is run if it is not, from its last checkpoint where there is one."""
    words = " ".join(f"{name}={formatted(value)}" for name, value in run.items())
    if not _read(folder).get("done"):
        begun, record = time.monotonic(), {"parameters": run, "done": False}
        with explaining_write_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
        write_text(folder / "run.json", json.dumps(record))
        write_text(folder / "parameters.json", json.dumps(run))
        args = arguments_of(expand(sweep, run, str(folder / "parameters.json")), sweep)
        args += ["--trainer.logger=true", "--trainer.enable_progress_bar=false", *more]
        args += [f"--trainer.default_root_dir={folder}"]
        args += ["--ckpt_path=last"] if list(folder.glob("*/fit_*/checkpoints/last.ckpt")) else []
        code = _launch([*COMMAND, "fit", *args], folder / "log.txt")
        if code in STOPPED:
            print(f"vae-zoo: stopped in {folder}; the same command goes on from there", file=sys.stderr)
            sys.exit(128 - code if code < 0 else code)
        if code:
            print(f"{folder.name:>4}  failed with exit code {code}  {words}", flush=True)
            return False
        record |= {"done": True, "seconds": round(time.monotonic() - begun, 1)}
        write_text(folder / "run.json", json.dumps(record))
    print(f"{folder.name:>4}  {metric} {last(folder, metric):.4f}  {words}", flush=True)
    return True


def _launch(command: Sequence[str], log: Path) -> int:
    """The exit code of a command, all of whose output goes into a file."""
    with (
        explaining_write_errors(log),
        open(log, "ab") as file,
        subprocess.Popen(command, stdout=file, stderr=file) as process,
    ):
        try:
            return process.wait()
        except SystemExit as stop:
            code = int(stop.code or 0)
            if code == 128 + signal.SIGTERM:  # while a terminal has sent SIGINT to the run as well
                process.terminate()
            process.wait()
            return code


def _read(folder: Path) -> dict[str, Any]:
    """What is on record of a run; nothing if it never began."""
    path = folder / "run.json"
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return found
