"""Measure vae_zoo beside what users would pick instead, on the same work, interleaved in one process.

    VAE_ZOO_DATA=... python benchmarks/throughput.py           # everything; writes results/throughput.json and the plot
    VAE_ZOO_DATA=... python benchmarks/throughput.py --quick   # two rounds of a fifth of the steps
    VAE_ZOO_DATA=... python benchmarks/throughput.py --device cuda

Every round runs every contender once, so that a busy machine slows all of them; the ratio of a contender is the median
over rounds of (seconds of the hand-written loop) / (its seconds). CPU seconds count on the CPU, wall time on a GPU.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import torch

from benchmarks import contenders
from benchmarks import lightning_contenders as lightning
from benchmarks.common import RESULTS, commit, hardware, versions
from benchmarks.work import WORKS, Work

HAND = "hand-written loop, float32"
FIT: dict[str, Callable[..., contenders.Run]] = {
    HAND: contenders.hand,
    "hand-written, best found: bf16, product form, compiled": contenders.hand_best,
    "vae_zoo": lightning.zoo,
    "vae_zoo, matmul_precision medium": partial(lightning.zoo, matmul="medium"),
    "vae_zoo, compiled": partial(lightning.zoo, compiled=True),
    "vae_zoo, bf16": partial(lightning.zoo, precision="bf16-mixed"),
    "vae_zoo, bf16, compiled": partial(lightning.zoo, precision="bf16-mixed", compiled=True),
    "vae_zoo, channels_last": partial(lightning.zoo, channels_last=True),
    "vae_zoo, channels_last, bf16": partial(lightning.zoo, channels_last=True, precision="bf16-mixed"),
    "Lightning, TensorDataset": lightning.stock_tensors,
    "Lightning, torchvision data set": lightning.stock_torchvision,
    "plain loop, torchvision data set": contenders.examples,
    "pythae": contenders.pythae,
}
EVALUATION: dict[str, Callable[..., contenders.Run]] = {
    "vae_zoo": lightning.zoo_evaluation,
    "vae_zoo, its own batches of 256": partial(lightning.zoo_evaluation, eval_batch_size=None),
    "Lightning, TensorDataset, three log calls": lightning.stock_evaluation,
    "the networks alone, without bound or loop": contenders.networks_alone,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="two rounds of a fifth of the steps, nothing is written")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only", choices=["evaluation"], help="measure this again, and keep the rest of the file")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    device = torch.device(args.device)
    rounds = 2 if args.quick else args.rounds
    result: dict[str, Any] = {
        "hardware": hardware() if args.device == "cpu" else torch.cuda.get_device_name(),
        "threads": args.threads,
        "versions": versions("torch", "lightning", "torchvision", "pythae"),
        "commit": commit(),
        "rounds": rounds,
        "clock": "cpu" if args.device == "cpu" else "wall",
        "fit": {},
    }
    if args.only:
        path = _path(args.device)
        again = {"evaluation": evaluation(device, rounds), "evaluation_commit": commit()}
        path.write_text(json.dumps({**json.loads(path.read_text()), **again}, indent=2) + "\n")
        return
    for work in WORKS.values():
        steps = work.steps // 5 if args.quick else work.steps
        entries = {name: make for name, make in FIT.items() if work.conv or "channels_last" not in name}
        result["fit"][work.name] = table(f"fit, {work.name}", interleaved(work, device, entries, rounds, steps))
    result["evaluation"] = evaluation(device, rounds)
    result["peak_mib"] = {name: peak(name) for name in ("vae_zoo", "pythae") if installed(name)}
    print("\npeak memory of a fit on MNIST, MiB:", result["peak_mib"])
    if not args.quick:
        path = _path(args.device)
        path.write_text(json.dumps(result, indent=2) + "\n")
        print(f"\nwritten to {path}; python benchmarks/report.py draws it")


def evaluation(device: torch.device, rounds: int) -> dict[str, dict[str, Any]]:
    """The bound of the test set by every contender."""
    mlp = next(iter(WORKS.values()))
    return table(f"bound of the test set, {mlp.name}", interleaved(mlp, device, EVALUATION, rounds, 1))


def _path(device: str) -> Path:
    return RESULTS / ("throughput.json" if device == "cpu" else "throughput_cuda.json")


def interleaved(
    work: Work, device: torch.device, entries: dict[str, Callable[..., contenders.Run]], rounds: int, steps: int
) -> dict[str, dict[str, Any]]:
    """Run every contender in every round; seconds a step, and ratios to the first contender within the round."""
    runs = {name: make(work, device) for name, make in entries.items() if installed(name)}
    for run in runs.values():
        run(min(steps, 3))  # compiles, reads and allocates what it will
    clocks: dict[str, list[Any]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            clocks[name].append(run(steps))
    kind = "cpu" if device.type == "cpu" else "wall"
    first = next(iter(runs))
    rows: dict[str, dict[str, Any]] = {name: {"missing": "not installed"} for name in entries if name not in runs}
    for name, measured in clocks.items():
        ratios = [getattr(a, kind) / getattr(b, kind) for a, b in zip(clocks[first], measured, strict=True)]
        rows[name] = {
            "ratio": summary(ratios),
            **{f"{k}_ms": summary([getattr(clock, k) / steps * 1e3 for clock in measured]) for k in ("cpu", "wall")},
        }
    return rows


def summary(values: list[float]) -> list[float]:
    """Median, least and greatest."""
    return [round(f(values), 4) for f in (statistics.median, min, max)]


def table(title: str, rows: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Print what was measured, and give it back."""
    print(f"\n{title}\n{'':56} {'ratio':>20} {'CPU ms':>20} {'wall ms':>20}")
    for name, row in rows.items():
        if "missing" in row:
            print(f"{name:56} {row['missing']:>20}")
            continue
        cells = [f"{m:.2f} ({low:.2f}-{high:.2f})" for m, low, high in (row["ratio"], row["cpu_ms"], row["wall_ms"])]
        print(f"{name:56} " + " ".join(f"{cell:>20}" for cell in cells), flush=True)
    return rows


def installed(name: str) -> bool:
    """Whether the package that a contender is named after can be imported."""
    return name != "pythae" or importlib.util.find_spec("pythae") is not None


def peak(name: str) -> int:
    """Peak memory in MiB of a process that fits the first work, everything it imports included.

    By Linux's own account: what getrusage says of a new process starts from the memory of its parent.
    """
    make = {"vae_zoo": "lightning_contenders.zoo", "pythae": "contenders.pythae"}[name]
    code = (
        "import re, torch; from benchmarks import contenders, lightning_contenders, work;"
        "torch.set_num_threads(1);"
        f"{make}(next(iter(work.WORKS.values())), torch.device('cpu'))(300);"
        "print(int(re.search(r'VmHWM:\\s*(\\d+)', open('/proc/self/status').read())[1]) // 1024)"
    )
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    out = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    return int(out.stdout.split()[-1])


if __name__ == "__main__":
    main()
