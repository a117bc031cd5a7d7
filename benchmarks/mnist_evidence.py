"""Test evidence of the VAE of Burda et al. (2016) on MNIST: fit, then 5,000 importance samples for every test image.

    VAE_ZOO_DATA=... python benchmarks/mnist_evidence.py            # fits by configs/vae_mnist.yaml, then tests
    VAE_ZOO_DATA=... python benchmarks/mnist_evidence.py --ckpt_path last.ckpt     # tests a fit that is there

Runs the command as a user would, in the working folder, and writes what it measured to benchmarks/results/.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import platform
import re
import resource
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent
COMMAND = [sys.executable, "-c", "from vae_zoo.cli import main; main()"]


def run(*args: str) -> dict[str, float]:
    """Run the command; wall and CPU time in minutes."""
    wall, cpu = time.monotonic(), sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2])
    subprocess.run([*COMMAND, *args, "--trainer.enable_progress_bar", "false"], check=True)
    used = sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2]) - cpu
    return {"wall_minutes": round((time.monotonic() - wall) / 60, 1), "cpu_minutes": round(used / 60, 1)}


def newest(verb: str) -> Path:
    """Folder of the last run of a verb."""
    return max(Path("results/MLPVAE_MNIST").glob(f"{verb}_*"), key=lambda path: path.stat().st_mtime)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default="vae_mnist")
    parser.add_argument("--ckpt_path", help="checkpoint of a fit by the same config")
    parser.add_argument("--num_samples", default="5000")
    args = parser.parse_args()
    fit = None if args.ckpt_path else run("fit", "--config", args.config)
    checkpoint = args.ckpt_path or str(newest("fit") / "checkpoints" / "last.ckpt")
    test = run("test", "--ckpt_path", checkpoint, "--evidence.num_samples", args.num_samples)
    with (newest("test") / "metrics.csv").open() as file:
        figures = {k.removeprefix("test/"): float(v) for k, v in next(csv.DictReader(file)).items() if "/" in k}
    import torch

    names = re.findall(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    cpu = names[0] if names else platform.machine()
    result = {
        "config": args.config,
        "epochs": torch.load(checkpoint, weights_only=True, map_location="cpu")["epoch"] + 1,
        "num_samples": int(args.num_samples),
        "nll": -figures["log_evidence"],
        **figures,
        "fit": fit,
        "test": test,
        "hardware": f"{cpu}, {os.cpu_count()} cores, {os.environ.get('OMP_NUM_THREADS', os.cpu_count())} threads",
        "torch": torch.__version__,
        "commit": subprocess.run(
            ["git", "-C", HERE, "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
        ).stdout.strip(),
    }
    path = HERE / "results" / f"{args.config}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
