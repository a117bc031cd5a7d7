"""Measure what the fast options do to the bound: the same model fitted to MNIST with each, from the same seeds.

VAE_ZOO_DATA=... python benchmarks/precision.py     # writes results/precision.json
"""

from __future__ import annotations

import json
import os
import statistics
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import torch

from benchmarks import lightning_contenders as lightning
from benchmarks.common import RESULTS, commit, hardware, versions
from benchmarks.work import WORKS

WORK = next(iter(WORKS.values()))
OPTIONS: dict[str, dict[str, Any]] = {
    "float32": {},
    "matmul_precision medium": {"matmul": "medium"},
    "bf16-mixed": {"precision": "bf16-mixed"},
    "compiled": {"compiled": True},
}
SEEDS, EPOCHS = (0, 1, 2), 3


def main() -> None:
    torch.set_num_threads(1)
    x = WORK.images()
    data = lightning.Grey(x=x, batch_size=WORK.batch_size)
    found: dict[str, list[float]] = {name: [] for name in OPTIONS}
    for seed in SEEDS:
        for name, given in OPTIONS.items():
            options = dict(given)
            precision, matmul = options.pop("precision", "32-true"), options.pop("matmul", "highest")
            os.environ["PL_GLOBAL_SEED"] = str(seed)
            torch.manual_seed(seed)
            model = lightning.model(WORK, **options)
            fitted = {"precision": precision, "max_epochs": EPOCHS, "limit_val_batches": 0}
            with lightning.matmul_precision(matmul), lightning.trainer(torch.device("cpu"), **fitted) as trainer:
                trainer.fit(model, data)
            with lightning.trainer(torch.device("cpu")) as trainer:  # whatever it was fitted in, measured in float32
                found[name].append(trainer.validate(model, data, verbose=False)[0]["val/elbo"])
    exact = found["float32"]
    rows = {
        name: {
            "elbo": [round(v, 3) for v in values],
            "difference": round(statistics.mean(v - e for v, e in zip(values, exact, strict=True)), 3),
        }
        for name, values in found.items()
    }
    made = {"hardware": hardware(), "versions": versions("torch", "lightning"), "commit": commit()}
    result = {**made, "epochs": EPOCHS, "seeds": SEEDS, "options": rows}
    (RESULTS / "precision.json").write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(rows, indent=2))


if __name__ == "__main__":
    main()
