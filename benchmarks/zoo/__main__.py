"""Run every variant of the zoo on the same data, and write one table.

    VAE_ZOO_DATA=... nice python -m benchmarks.zoo --data Digits               # half an hour on one core
    VAE_ZOO_DATA=... nice python -m benchmarks.zoo --data MNIST --only VAE IWAE
    VAE_ZOO_DATA=... python -m benchmarks.zoo --data MNIST --only NVAE --device cuda
    python -m benchmarks.zoo --data Digits --collect                           # the table of what is finished

A finished run is a small file below --root and is not repeated, so that an interrupted benchmark goes on where it
stopped; runs that failed are tried again. Seeds are the outer loop: an interruption leaves whole tables for fewer
seeds. Writes results/zoo_DATA.csv, where lines of runs that are not below --root stay, and the pictures of digits in
the documentation.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import json
import logging
import time
from functools import partial
from pathlib import Path

import torch

from benchmarks.common import RESULTS
from benchmarks.zoo import cell, table
from benchmarks.zoo.plan import SETTINGS, variants

PICTURES = RESULTS.parents[1] / "docs" / "figures" / "zoo"


def main() -> None:
    names = variants()
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.zoo", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", choices=SETTINGS, default="Digits")
    parser.add_argument("--only", nargs="+", choices=names, default=names, metavar="MODEL", help="these models alone")
    parser.add_argument("--epochs", type=int, help="of each run, where the data's own budget is too long")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--root", type=Path, default=Path("results/zoo"), help="folder of the finished runs")
    parser.add_argument("--collect", action="store_true", help="run nothing: write the table of what is finished")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="a GPU takes one model a process")
    args = parser.parse_args()
    if args.device == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""  # threads of a device do not survive the fork of a run
    if args.epochs is not None:
        if args.epochs < 1:
            parser.error(f"--epochs must be at least 1, got {args.epochs}.")
        SETTINGS[args.data] = SETTINGS[args.data]._replace(epochs=args.epochs)
    run = cell.run if args.device == "cpu" else partial(cell.written, device=args.device)
    root = args.root / args.data
    if not args.collect:
        torch.set_num_threads(1)
        cell.warm_up(args.data) if args.device == "cpu" else cell.floor(args.data)
        for seed in args.seeds:
            for name in args.only:
                path = root / f"seed_{seed}" / f"{name}.json"
                if not path.is_file() or "error" in json.loads(path.read_text()):
                    start = time.perf_counter()
                    run(name, args.data, seed, path)
                    error = json.loads(path.read_text()).get("error", "")
                    print(f"{seed} {name:20} {time.perf_counter() - start:6.1f} s {error}", flush=True)
    cells = [json.loads(path.read_text()) for path in sorted(root.glob("seed_*/*.json"))]
    table.write(cells, RESULTS / f"zoo_{args.data.lower()}.csv")
    if not SETTINGS[args.data].factors:
        folder = PICTURES / args.data.lower()
        folder.mkdir(parents=True, exist_ok=True)
        for path in sorted((root / "seed_0").glob("*.png")):
            (folder / f"{path.stem.lower()}.png").write_bytes(path.read_bytes())


if __name__ == "__main__":
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)  # of this process, and not of one that imports it
    main()
