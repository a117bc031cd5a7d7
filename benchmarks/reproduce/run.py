"""Reproduce one published number: fit by its configuration, test, write a result file.

    VAE_ZOO_DATA=... python benchmarks/reproduce/run.py NAME     # fits, or goes on where it was stopped; tests
    VAE_ZOO_DATA=... python benchmarks/reproduce/run.py NAME --ckpt_path X --fit_commit C     # tests a fit
    python benchmarks/reproduce/run.py                          # the names

Runs the command as a user would. What is a row, rows.yaml says; results go to benchmarks/results/NAME.json.
A row that starts from the weights of another needs that one first.
"""

from __future__ import annotations

import argparse
import csv
import json
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parents[1]))

from benchmarks.common import RESULTS, commit, hardware, versions  # noqa: E402

COMMAND = [sys.executable, "-c", "from vae_zoo.cli import main; main()"]
ROWS: dict[str, dict[str, Any]] = yaml.safe_load((HERE / "rows.yaml").read_text())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", nargs="?", choices=[*ROWS, []], default=[], metavar="NAME")
    parser.add_argument("--ckpt_path", type=Path, help="checkpoint of a fit by the row's configuration: only test it")
    parser.add_argument("--fit_commit", help="commit at which that checkpoint was fitted")
    parser.add_argument("--root", type=Path, default=Path("results/reproduce"), help="folder of the runs")
    args = parser.parse_args()
    if not args.name:
        print("\n".join(f"{name:28} {row['what']}" for name, row in ROWS.items()))
        return
    row = ROWS[args.name]
    runs = [one(args.name, row, seed, args) for seed in row.get("seeds", [0])]
    values = [run["figures"][row["figure"]] for run in runs]
    result = {
        "name": args.name,
        "value": statistics.mean(values),
        "std": statistics.stdev(values) if len(values) > 1 else None,
        "runs": runs,
        "hardware": hardware(),
        **versions("torch", "lightning"),
        "commit": commit(),
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{args.name}.json").write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps({key: value for key, value in result.items() if key != "runs"}, indent=2))


def one(name: str, row: dict[str, Any], seed: int, args: argparse.Namespace) -> dict[str, Any]:
    """Fit and test with one seed."""
    root = args.root / name / f"seed_{seed}"
    config = ["--config", str(HERE / f"{row.get('config', name)}.yaml"), *map(str, row.get("fit", []))]
    fitted: dict[str, Any] = {"commit": args.fit_commit, "wall_minutes": None, "cpu_minutes": None}
    if args.ckpt_path is None:
        config += starting_point(row, seed, args)
        last = newest(root, "fit_*/checkpoints/last.ckpt")
        goes_on = ["--ckpt_path", str(last)] if last else []
        where = ["--trainer.default_root_dir", str(root), "--seed_everything", str(seed)]
        fitted = {"commit": commit(), **run("fit", *config, *where, *goes_on)}
    best = row.get("checkpoint") == "best"
    checkpoint = args.ckpt_path or newest(root, f"fit_*/checkpoints/{'[!l]*' if best else 'last'}.ckpt")
    given = ["--trainer.default_root_dir", str(root), *map(str, row.get("test", []))]
    tested = run("test", "--ckpt_path", str(checkpoint), *given)
    figures = metrics_of(root)
    import torch

    epochs = torch.load(checkpoint, weights_only=True, map_location="cpu")["epoch"] + 1
    return {"seed": seed, "epochs": epochs, "figures": figures, "fit": fitted, "test": tested}


def starting_point(row: dict[str, Any], seed: int, args: argparse.Namespace) -> list[str]:
    """Options that start a fit from the weights of the row that it says it starts from."""
    if "start" not in row:
        return []
    weights = newest(args.root / row["start"] / f"seed_{seed}", "fit_*/checkpoints/last.ckpt")
    if weights is None:
        sys.exit(f"this row starts from the weights of {row['start']}: run that one first.")
    return ["--trainer.callbacks+", "StartFrom", "--trainer.callbacks.path", str(weights)]


def metrics_of(root: Path) -> dict[str, float]:
    """What the newest test below a folder logged."""
    with (newest(root, "test_*/metrics.csv")).open() as file:  # type: ignore[union-attr]
        rows = list(csv.DictReader(file))
    return {k.removeprefix("test/"): float(v) for r in rows for k, v in r.items() if k.startswith("test/") and v}


def newest(root: Path, pattern: str) -> Path | None:
    """The file of that pattern that was written last."""
    found = sorted(root.glob(f"*/{pattern}"), key=lambda path: path.stat().st_mtime)
    return found[-1] if found else None


def run(*args: str) -> dict[str, float]:
    """Run the command; wall and CPU time in minutes."""
    wall, cpu = time.monotonic(), sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2])
    subprocess.run(
        [*COMMAND, *args, "--trust", "pytorch_optimizer", "--trainer.enable_progress_bar", "false"], check=True
    )
    used = sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2]) - cpu
    return {"wall_minutes": round((time.monotonic() - wall) / 60, 1), "cpu_minutes": round(used / 60, 1)}


if __name__ == "__main__":
    main()
