"""Measure how cost grows: with batch size, latent size, data-set size, importance samples and processes.

    VAE_ZOO_DATA=... python benchmarks/scaling.py           # writes results/scaling.json
    VAE_ZOO_DATA=... python benchmarks/scaling.py --quick   # fewer rounds and steps; writes nothing

The model is the MLP 784-512-512 of throughput.py in float32 under the Trainer, one thread. All sizes of a sweep are
measured in every round; the exponent is that of a power law through the medians, by least squares on logarithms.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
import torch

from benchmarks import lightning_contenders as lightning
from benchmarks.common import RESULTS, commit, hardware, versions
from benchmarks.work import WORKS, Clock

MLP = next(iter(WORKS.values()))
CPU = torch.device("cpu")
PATH = RESULTS / "scaling.json"
BATCHES = (256, 1024, 4096)
"""Examples of a step over all processes."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one round of few steps; nothing is written")
    parser.add_argument(
        "--only", choices=["processes"], help="measure this again, and keep the rest of the result file"
    )
    parser.add_argument("--worker", type=int, nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.worker:
        worker(*args.worker)
        return
    rounds, steps = (1, 10) if args.quick else (5, 40)
    if args.only:
        again = {**json.loads(PATH.read_text()), "processes": processes(rounds), "processes_commit": commit()}
        print(json.dumps(again["processes"], indent=2))
        PATH.write_text(json.dumps(again, indent=2) + "\n")
        return
    sweeps = {
        "batch size: CPU ms a step": sweep(batch, [16, 64, 256, 1024], rounds, steps),
        "latent dimensions: CPU ms a step": sweep(latent, [2, 8, 32, 128, 512], rounds, steps),
        "training images: CPU ms a step": sweep(size, [1_000, 10_000, 60_000, 240_000], rounds, steps),
        "importance samples: CPU ms an image": sweep(evidence, [50, 500, 5_000], rounds, 1 if args.quick else 2),
    }
    result = {
        "hardware": hardware(),
        "versions": versions("torch", "lightning"),
        "commit": commit(),
        "rounds": rounds,
        "sweeps": sweeps,
        "processes": processes(rounds),
    }
    for title, rows in sweeps.items():
        print(f"\n{title}: exponent {rows['exponent']}")
        for x, (median, low, high) in rows["points"].items():
            print(f"{x:>10} {median:10.3f} ({low:.3f}-{high:.3f})")
    print("\nprocesses: images a second of wall time", json.dumps(result["processes"], indent=2))
    if not args.quick:
        PATH.write_text(json.dumps(result, indent=2) + "\n")
        print(f"\nwritten to {PATH}")


def sweep(make: Callable[[int], Callable[[int], Clock]], sizes: list[int], rounds: int, steps: int) -> dict[str, Any]:
    """CPU milliseconds of one step at each size, and the exponent of their growth."""
    runs = {n: make(n) for n in sizes}
    for run in runs.values():
        run(1)
    found: dict[int, list[float]] = {n: [] for n in sizes}
    for _ in range(rounds):
        for n, run in runs.items():
            found[n].append(run(steps).cpu / steps * 1e3)
    medians = [statistics.median(found[n]) for n in sizes]
    exponent = np.polyfit(np.log(sizes), np.log(medians), 1)[0]
    points = {n: [round(f(v), 4) for f in (statistics.median, min, max)] for n, v in found.items()}
    return {"points": points, "exponent": round(float(exponent), 3)}


def batch(num: int) -> Callable[[int], Clock]:
    """Training steps of a batch size."""
    return lightning.zoo(dataclasses.replace(MLP, batch_size=num), CPU)


def latent(num: int) -> Callable[[int], Clock]:
    """Training steps with a number of latent dimensions."""
    return lightning.zoo(dataclasses.replace(MLP, latent_dim=num), CPU)


def size(num: int) -> Callable[[int], Clock]:
    """Training steps over a number of images, the same ones over again where MNIST has fewer."""
    x = MLP.images()
    data = lightning.Grey(x=x.repeat(-(-num // len(x)), 1, 1, 1)[:num], batch_size=16)
    model = lightning.model(MLP)
    return lambda steps: lightning.fit(model, steps, CPU, datamodule=data)


def evidence(num: int) -> Callable[[int], Clock]:
    """The evidence of batches of 64 images from a number of samples; a step is one image."""
    model, x = lightning.model(MLP).eval(), MLP.images("test")[:64].float() / 255

    def run(steps: int) -> Clock:
        clock = Clock()
        clock.start()
        for _ in range(steps):
            model.log_evidence(x, num_samples=num)
        clock.stop()
        clock.cpu /= len(x)
        return clock

    return run


def processes(rounds: int) -> dict[int, dict[str, Any]]:
    """Images a second of an epoch by one process and by two, one thread each, and the bounds they validate with.

    The batch of a step is the same for both: two processes share it.
    """
    found: dict[int, dict[int, list[dict[str, float]]]] = {size: {1: [], 2: []} for size in BATCHES}
    for _ in range(rounds):
        for size, each in found.items():
            for num, runs in each.items():
                env = {**os.environ, "OMP_NUM_THREADS": "1"}
                command = [sys.executable, __file__, "--worker", str(num), str(size)]
                out = subprocess.run(command, env=env, capture_output=True, text=True, check=True).stdout
                runs.append(json.loads(next(line for line in out.splitlines() if line.startswith("{"))))
    return {size: _compared(each[1], each[2]) for size, each in found.items()}


def _compared(one: list[dict[str, float]], two: list[dict[str, float]]) -> dict[str, Any]:
    ratios = [b["images_per_s"] / a["images_per_s"] for a, b in zip(one, two, strict=True)]
    rates = {num: [round(run["images_per_s"]) for run in runs] for num, runs in ((1, one), (2, two))}
    bounds = {num: [run["elbo"] for run in runs] for num, runs in ((1, one), (2, two))}
    return {"images_per_s": rates, "ratio": round(statistics.median(ratios), 3), "val_elbo": bounds}


def worker(num: int, size: int) -> None:
    """Train one epoch and validate, as one of some processes; the first prints what came out."""
    from lightning.pytorch import Callback

    class Epoch(Callback):
        seconds = 0.0

        def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
            trainer.strategy.barrier()
            self.seconds -= time.perf_counter()

        def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
            trainer.strategy.barrier()
            self.seconds += time.perf_counter()

    torch.set_num_threads(1)
    torch.manual_seed(0)
    work = dataclasses.replace(MLP, batch_size=size // num)
    data = lightning.Grey(x=work.images()[:20_000], batch_size=work.batch_size)
    epoch = Epoch()
    options = {"devices": num, "strategy": "ddp" if num > 1 else "auto", "max_epochs": 1, "limit_val_batches": 20}
    with lightning.trainer(CPU, epoch, **options) as trainer:
        trainer.fit(lightning.model(work), data)
        if trainer.is_global_zero:
            rate = 20_000 / epoch.seconds
            print(json.dumps({"images_per_s": rate, "elbo": round(trainer.callback_metrics["val/elbo"].item(), 3)}))


if __name__ == "__main__":
    main()
