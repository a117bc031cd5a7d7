"""Measure what it costs on a machine without a GPU that torch searches for one at every step of an optimizer.

python -m benchmarks.devices     # two minutes; writes results/devices.json

A small MLP is fitted to digits, in turn with Lightning's setting, by which torch searches the disk for NVIDIA's
management library, and with that of :mod:`vae_zoo.system.devices`.
"""

from __future__ import annotations

import json
import os
import statistics
import tempfile
import time
from functools import partial

import torch

from benchmarks.common import RESULTS, commit, hardware, versions
from vae_zoo.data import Digits
from vae_zoo.models import MLPVAE
from vae_zoo.nn import Dense
from vae_zoo.system.devices import SEARCH
from vae_zoo.testing.subject import quiet_trainer

ROUNDS, EPOCHS = 10, 40


class Searching(MLPVAE):
    """A model for which Lightning's setting is put back."""

    def on_train_start(self) -> None:
        os.environ[SEARCH] = "1"


def seconds_a_step(cls: type[MLPVAE]) -> float:
    torch.manual_seed(0)
    small = partial(Dense, hidden=[128])
    model = cls(shape=(1, 8, 8), latent_dim=8, encoder=small, decoder=small)
    with tempfile.TemporaryDirectory() as folder:
        trainer = quiet_trainer(folder, max_epochs=EPOCHS, limit_val_batches=0, log_every_n_steps=50)
        start = time.perf_counter()
        trainer.fit(model, Digits())
        return (time.perf_counter() - start) / trainer.global_step


def main() -> None:
    if torch.cuda.is_available():
        raise SystemExit("there is a GPU: the search is over at the first step.")
    torch.set_num_threads(1)
    seconds_a_step(MLPVAE)
    rounds = [(seconds_a_step(Searching), seconds_a_step(MLPVAE)) for _ in range(ROUNDS)]
    ratios = [searching / ours for searching, ours in rounds]
    searching, ours = (statistics.median(times) for times in zip(*rounds, strict=True))
    made = {"hardware": hardware(), "versions": versions("torch", "lightning"), "commit": commit(), "rounds": ROUNDS}
    milliseconds = {"searching": round(1e3 * searching, 2), "ours": round(1e3 * ours, 2)}
    ratio = {"median": statistics.median(ratios), "least": min(ratios), "most": max(ratios)}
    result = {**made, "ms_a_step": milliseconds, "ratio": {name: round(value, 2) for name, value in ratio.items()}}
    (RESULTS / "devices.json").write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
