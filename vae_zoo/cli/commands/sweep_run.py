"""``vae-zoo sweep-run``: the runs of a sweep one after the other, on this machine and without an account."""

from __future__ import annotations

import json
import math
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from vae_zoo.cli.commands.sweep_check import check
from vae_zoo.cli.commands.sweep_table import collect, formatted, history, last, report
from vae_zoo.cli.inspect.configs import find_sweep, read_yaml
from vae_zoo.cli.run.children import COMMAND
from vae_zoo.cli.sweeps.draws import draws
from vae_zoo.cli.sweeps.rules import arguments_of, expand
from vae_zoo.cli.terminal import greet
from vae_zoo.cli.verbs import VerbParser
from vae_zoo.system.locks import FolderLock
from vae_zoo.system.signals import exit_if_signalled
from vae_zoo.system.writing import explaining_write_errors, write_text

DESCRIPTION = """Run a sweep here, one run after the other, with nothing sent anywhere: a grid, or a random or Bayesian
search, with poor runs stopped early where the file has early_terminate. The same command goes on where it was stopped.
The results are a table, results.csv and parallel.png. What follows -- goes to every run: -- --trainer.max_epochs 5."""
STOPPED = (130, 143, -2, -15)
"""Exit codes of a run that was asked to stop, as the whole sweep then is."""

LOOK_SECONDS = 0.5
"""How often the validations of a run are looked at that may be stopped early."""


def parser() -> VerbParser:
    """The options of the verb."""
    made = VerbParser("sweep-run", DESCRIPTION)
    made.add_argument("file", metavar="FILE", help="a sweep file, or the name of a packaged one")
    made.add_argument("--num", type=int, help="runs at most; the whole grid, or run_cap of the file, if not given")
    made.add_argument("--seed", type=int, default=0, help="seed of the draws (0)")
    made.add_argument("--out", help="folder of the runs and results (results/sweeps/NAME)")
    return made


def sweep_run(args: list[str]) -> None:
    """Run ``vae-zoo sweep-run FILE``; exit with 1 if a run fails.

    Raises:
        ValueError: If the sweep is wrong, another process runs one in the folder, or has run another one there.
    """
    own, more = (args[: args.index("--")], args[args.index("--") + 1 :]) if "--" in args else (args, [])
    options = parser().parse_args(own)
    if options.num is not None and options.num < 1:
        raise ValueError(f"--num must be at least 1, got {options.num}.")
    path = find_sweep(options.file)
    sweep = read_yaml(path)
    greet("sweep-run", path.stem, piped=True)
    check(path, sweep, 16, here=True)
    folder = Path(options.out or Path("results", "sweeps", path.stem))
    with explaining_write_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    lock = FolderLock(folder)
    try:
        _run_all(draws(sweep, options.num, options.seed), folder, sweep, more)
    finally:
        lock.release()


def _run_all(
    drawn: Iterator[tuple[Any, dict[str, Any]]], folder: Path, sweep: dict[str, Any], more: Sequence[str]
) -> None:
    metric = sweep.get("metric") or {"name": "val/loss"}
    runs = _checked(drawn, folder)
    if sweep["method"] != "bayes":  # whose draws depend on the runs before
        runs = iter(list(runs))
    done = [_finish(run, Watch(trial, path, metric["name"]), sweep, more) for trial, run, path in runs]
    if any(done):
        report(folder, collect(folder, metric["name"]), metric["name"], maximize=metric.get("goal") == "maximize")
    if not all(done):
        log = folder / str(done.index(False)) / "log.txt"
        said = f"{done.count(False)} of {len(done)} runs failed, the first says why in {log}"
        print(f"vae-zoo: {said}", file=sys.stderr)
        sys.exit(1)


def _checked(drawn: Iterator[tuple[Any, dict[str, Any]]], folder: Path) -> Iterator[tuple[Any, dict[str, Any], Path]]:
    for trial, run in drawn:
        path = folder / str(trial.number)
        if path.exists() and _read(path).get("parameters") != run:
            raise ValueError(f"{path} has another run in it: give another folder by --out.")
        yield trial, run, path


class Watch:
    """What a search learns of a run: its metric, one validation after the other, and how it ended.

    Args:
        trial: The trial of Optuna.
        folder: Folder of the run.
        metric: Name of the metric.
    """

    def __init__(self, trial: Any, folder: Path, metric: str) -> None:
        self.trial, self.folder, self.metric = trial, folder, metric
        self.seen, self.poor = 0, False

    def look(self, num: int | None = None) -> bool:
        """Whether the run is poor by the validations, or by the first few, that are in its files by now."""
        for value in history(self.folder, self.metric)[self.seen : num]:
            if not self.poor:
                self.seen += 1
                self.trial.report(value, self.seen)
                self.poor = self.trial.should_prune()
        return self.poor

    def tell(self, state: str, num: int) -> None:
        """Tell the search of a run that has ended, after so many validations."""
        from optuna.trial import TrialState

        self.look(num)
        value = [math.nan, *history(self.folder, self.metric)][num]
        state = "FAIL" if state == "COMPLETE" and math.isnan(value) else state
        self.trial.study.tell(self.trial, value if state == "COMPLETE" else None, TrialState[state])


def _finish(run: dict[str, Any], watch: Watch, sweep: dict[str, Any], more: Sequence[str]) -> bool:
    """Whether a run is done: it is run if it is not, from its last checkpoint where there is one.

    What the search is told of it is on record, and told again when the sweep goes on, so that it draws the same again;
    of a run that has failed it learns nothing more.
    """
    folder, words = watch.folder, " ".join(f"{name}={formatted(value)}" for name, value in run.items())
    record: dict[str, Any] = _read(folder) or {"parameters": run, "done": False}
    told, code = record.get("told"), 0
    args = arguments_of(expand(sweep, run, str(folder / "parameters.json")), sweep)
    args += ["--trainer.logger=true", "--trainer.enable_progress_bar=false", *more]
    if record["done"] and record.get("args", args) != args:
        raise ValueError(f"{folder} has a run of another command in it: give another folder by --out.")
    record["args"] = args
    if not record["done"]:
        begun = time.monotonic()
        with explaining_write_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
        write_text(folder / "run.json", json.dumps(record))
        write_text(folder / "parameters.json", json.dumps(run))
        args = [*args, f"--trainer.default_root_dir={folder}"]
        args += ["--ckpt_path=last"] if list(folder.glob("*/fit_*/checkpoints/last.ckpt")) else []
        stop = watch.look if "early_terminate" in sweep and not told else None
        code = 0 if stop and stop() else _launch([*COMMAND, "fit", *args], folder / "log.txt", stop)
        if code in STOPPED and not watch.poor:
            print(f"vae-zoo: stopped in {folder}; the same command goes on from there", file=sys.stderr)
            sys.exit(128 - code if code < 0 else code)
        exit_if_signalled()
        if not code and not told:
            watch.look()
        state = "PRUNED" if watch.poor else "FAIL" if code else "COMPLETE"
        told = told or {"state": state, "num": watch.seen}
        record |= {"done": state != "FAIL", "told": told, "seconds": round(time.monotonic() - begun, 1)}
        write_text(folder / "run.json", json.dumps(record))
    watch.tell(**(told or {"state": "COMPLETE", "num": len(history(folder, watch.metric))}))
    if not record["done"]:
        print(f"{folder.name:>4}  failed with exit code {code}  {words}", flush=True)
        return False
    early = f"stopped early, after {watch.seen} validations  " if watch.poor else ""
    print(f"{folder.name:>4}  {watch.metric} {last(folder, watch.metric):.4f}  {early}{words}", flush=True)
    return True


def _launch(command: Sequence[str], log: Path, stop: Callable[[], bool] | None = None) -> int:
    """The exit code of a command, all of whose output goes into a file; it is asked to stop once ``stop`` is true."""
    with (
        explaining_write_errors(log),
        open(log, "ab") as file,
        subprocess.Popen(command, stdout=file, stderr=file) as process,
    ):
        try:
            while stop:
                with suppress(subprocess.TimeoutExpired):
                    return process.wait(LOOK_SECONDS)
                if stop():
                    process.terminate()
                    break
            return process.wait()
        except SystemExit as asked:
            code = int(asked.code or 0)
            if code == 128 + signal.SIGTERM:  # while a terminal has sent SIGINT to the run as well
                process.terminate()
            process.wait()
            return code


def _read(folder: Path) -> dict[str, Any]:
    """What is on record of a run; nothing if it never began."""
    path = folder / "run.json"
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return found
