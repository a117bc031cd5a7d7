"""What happens to a run on two devices when one of its processes is killed, terminated or stopped.

    python benchmarks/ranks.py [--timeout 30]

Every case is the real command in a new folder. It is hit once it trains, and has a minute to be gone.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.common import RESULTS, commit, hardware, versions

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGSTOP)
LIMIT = 60.0
COMMAND = """fit --model VAE --data Sprites --data.num_examples 200 --data.image_size 8 --model.encoder.hidden [8]
    --model.decoder.hidden [8] --trainer.accelerator cpu --trainer.devices 2 --trainer.max_epochs 100000
    --trainer.enable_progress_bar false --trainer.enable_model_summary false --trainer.logger false
    --samples.every_n_epochs 0 --reconstructions.every_n_epochs 0 --traversals.every_n_epochs 0"""


def family(pid: int) -> list[int]:
    """A process and those that it has started, by /proc, in the order of their start."""
    found = [pid]
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:  # it has just ended
            continue
        if int(fields[1]) == pid and fields[0] != "Z":
            found.append(int(path.parent.name))
    return [found[0], *sorted(found[1:])]


def alive(pid: int) -> bool:
    """Whether a process is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def hit(signum: signal.Signals, rank: int, timeout: float) -> dict[str, Any]:
    """Start a run, send a signal to one of its processes, and see how it ends."""
    with tempfile.TemporaryDirectory() as folder:
        said = Path(folder) / "stderr"
        env = {**os.environ, "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-m", "vae_zoo", *COMMAND.split(), "--ranks.timeout", str(timeout)]
        with said.open("w") as stderr:
            run = subprocess.Popen(command, cwd=folder, env=env, stdout=subprocess.DEVNULL, stderr=stderr)
        while not list(Path(folder).glob("results/*/fit_0/checkpoints/last.ckpt")):
            if run.poll() is not None:
                raise RuntimeError(said.read_text())
            time.sleep(0.1)
        pids = family(run.pid)
        assert len(pids) == 2, pids
        before = len(said.read_text().splitlines())
        start = time.monotonic()
        os.kill(pids[rank], signum)
        while (left := [pid for pid in pids if alive(pid)]) and time.monotonic() - start < LIMIT:
            run.poll()
            time.sleep(0.02)
        seconds = time.monotonic() - start
        for pid in left:
            os.kill(pid, signal.SIGKILL)
        lines = [line.replace(folder, "…") for line in said.read_text().splitlines()[before:] if line.strip()]
        return {
            "signal": signum.name,
            "rank": rank,
            "seconds": round(seconds, 2),
            "left": len(left),
            "exit_code": run.wait(),
            "stderr": lines,
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--timeout", type=float, default=30.0, help="what --ranks.timeout is set to")
    args = parser.parse_args()
    rows = []
    for signum in SIGNALS:
        for rank in (0, 1):
            rows.append(row := hit(signum, rank, args.timeout))
            said = " / ".join(row["stderr"])
            print(
                f"{row['signal']} {rank} {row['seconds']:6.2f} s  left {row['left']}  exit {row['exit_code']}  {said}"
            )
    result = {"hardware": hardware(), "versions": versions("torch", "lightning"), "commit": commit()}
    result |= {"timeout": args.timeout, "limit": LIMIT, "cases": rows}
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "ranks.json").write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
