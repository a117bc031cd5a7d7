"""What a run waits for a server of Weights & Biases that is not there.

    python benchmarks/servers.py     # writes results/servers.json

Each case is the real command, one epoch on the digits in a new folder. Every round runs all cases, so that a busy
machine slows all of them. What a case adds is its wall time less that of the same fit without ``--wandb`` in its round.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.common import RESULTS, commit, hardware, versions

COMMAND = [sys.executable, "-m", "vae_zoo", "fit", "--config", "vae_digits", "--trainer.max_epochs=1"]
KEY = "a" * 40
NONE, OFFLINE = "without", "--wandb.mode offline"


@contextmanager
def cases() -> Iterator[dict[str, tuple[list[str], dict[str, str]]]]:
    """Arguments and environment of each case."""
    with socket.socket() as hole, socket.socket() as closed:
        for server in (hole, closed):
            server.bind(("127.0.0.1", 0))
        hole.listen(64)  # connects, and never answers
        black, refused = (f"http://127.0.0.1:{server.getsockname()[1]}" for server in (hole, closed))
        yield {
            NONE: ([], {}),
            OFFLINE: (["--wandb", "--wandb.mode=offline"], {}),
            "no key": (["--wandb"], {"WANDB_BASE_URL": refused}),
            "refused": (["--wandb"], {"WANDB_BASE_URL": refused, "WANDB_API_KEY": KEY}),
            "black hole: connects, never answers": (["--wandb"], {"WANDB_BASE_URL": black, "WANDB_API_KEY": KEY}),
            "a name that nothing resolves": (
                ["--wandb"],
                {"WANDB_BASE_URL": "https://wandb.invalid", "WANDB_API_KEY": KEY},
            ),
        }


def seconds(args: list[str], env: dict[str, str]) -> float:
    """Wall time of a whole fit, which must end well."""
    with tempfile.TemporaryDirectory() as folder:
        kept = {key: value for key, value in os.environ.items() if not key.startswith("WANDB_")}
        kept |= {"HOME": folder, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[1])}
        start = time.monotonic()
        subprocess.run([*COMMAND, *args], cwd=folder, env=kept | env, capture_output=True, check=True)
        return time.monotonic() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    with cases() as each:
        for args, env in each.values():
            seconds(args, env)  # compiles what Python keeps compiled
        taken = [{name: seconds(*case) for name, case in each.items()} for _ in range(rounds)]
    rows: dict[str, Any] = {}
    for name in each:
        added = [row[name] - row[NONE] for row in taken]
        rows[name] = {
            key: [round(f(values), 2) for f in (statistics.median, min, max)]
            for key, values in (("seconds", [row[name] for row in taken]), ("added", added))
        }
        print(f"{name:40} {rows[name]}", flush=True)
    result = {"hardware": hardware(), "versions": versions("torch", "wandb"), "commit": commit(), "rounds": rounds}
    (RESULTS / "servers.json").write_text(json.dumps(result | {"cases": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
