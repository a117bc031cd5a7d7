"""What becomes of grey images under each likelihood that might be the default: a small study over models and seeds.

    python benchmarks/likelihoods.py                       # digits: about 10 minutes of one core
    VAE_ZOO_DATA=... python benchmarks/likelihoods.py      # and 600 grey images of MNIST: about 5 more
    python benchmarks/likelihoods.py --quick               # one model, one seed, few epochs: no result file

Every model has its default networks and optimizer. Measured on the test split: the rate; the squared error of the
reconstructions over that of the mean training image; the variance of samples (means of p(x|z)) over that of the images;
and, where the likelihood is a density, log p(x) by 200 importance samples. Writes results/likelihoods.json.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import json
import logging
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import torch
from lightning.pytorch import Trainer, seed_everything

from benchmarks.common import RESULTS, commit, hardware, versions
from benchmarks.report import likelihoods as table
from vae_zoo.data import MNIST, DataModule, Digits, Split
from vae_zoo.data.base.splits import SplitName
from vae_zoo.distributions import Bernoulli, FixedNormal, OptimalNormal, SharedNormal
from vae_zoo.models import MLPVAE, VAE, BetaTCVAE, BetaVAE, ConvVAE, LadderVAE

LIKELIHOODS: dict[str, Any] = {
    "Bernoulli": Bernoulli,
    "FixedNormal, σ = 0.2": partial(FixedNormal, scale=0.2),
    "SharedNormal": SharedNormal,
    "OptimalNormal": OptimalNormal,
}
MODELS: dict[str, Callable[..., VAE]] = {
    "MLPVAE": MLPVAE,
    "BetaVAE, β = 2": partial(BetaVAE, beta=2.0),
    "BetaTCVAE": BetaTCVAE,
    "ConvVAE": ConvVAE,
    "LadderVAE": LadderVAE,
}
NUM_MNIST = 600


class FewMNIST(MNIST):
    """The first grey images of MNIST."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{"binarization": "none", **kwargs})

    num_train = NUM_MNIST

    def dataset(self, split: SplitName) -> Split:
        whole = super().dataset(split)
        return Split(whole.x[:NUM_MNIST].clone(), whole.y[:NUM_MNIST] if whole.y is not None else None)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a look at it: no result file")
    parser.add_argument("--seeds", type=int, default=3)
    args = parser.parse_args()
    torch.set_num_threads(1)
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    rows = list(study(1 if args.quick else args.seeds, quick=args.quick))
    made = {"hardware": hardware(), "versions": versions("torch", "lightning"), "commit": commit()}
    result = {"rows": rows, "seeds": args.seeds, **made}
    if not args.quick:
        (RESULTS / "likelihoods.json").write_text(json.dumps(result, indent=2, ensure_ascii=False) + "\n")
    print(table(result))


def study(seeds: int, *, quick: bool) -> Iterator[dict[str, Any]]:
    """One row for each data set, model and likelihood, with the metrics of every seed."""
    sets: dict[str, tuple[Callable[[], DataModule], int, list[str]]] = {"Digits": (Digits, 20, list(MODELS))}
    if "VAE_ZOO_DATA" in os.environ:
        sets[f"{NUM_MNIST} of MNIST"] = (FewMNIST, 60, ["MLPVAE", "BetaVAE, β = 2"])
    for where, (make, epochs, names) in sets.items():
        data = make()
        for model in names[:1] if quick else names:
            for likelihood in LIKELIHOODS:
                runs = [fitted(data, model, likelihood, seed, 2 if quick else epochs) for seed in range(seeds)]
                yield {"data": where, "model": model, "likelihood": likelihood, "epochs": epochs, "runs": runs}
                kl = statistics.mean(run["kl"] for run in runs)
                print(f"{where}, {model}, {likelihood}: KL {kl:.2f}", file=sys.stderr, flush=True)


def fitted(data: DataModule, model: str, likelihood: str, seed: int, epochs: int) -> dict[str, float]:
    """Metrics of the test split after a fit."""
    seed_everything(seed, verbose=False)
    name = MODELS[model]
    extra = {"num_train": data.num_train} if name is BetaTCVAE else {}
    vae = name(shape=data.shape, likelihood=LIKELIHOODS[likelihood], **extra)
    off = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
    start = time.process_time()
    Trainer(max_epochs=epochs, accelerator="cpu", limit_val_batches=0, num_sanity_val_steps=0, **off).fit(vae, data)
    return measured(vae.eval(), data) | {"cpu_seconds": round(time.process_time() - start, 1)}


@torch.no_grad()
def measured(vae: VAE, data: DataModule) -> dict[str, float]:
    """Metrics of the test split."""
    x, mean = data.examples("test"), data.examples("train").mean(0)
    torch.manual_seed(0)
    terms = vae.elbo(x, None, 10)
    metrics = {
        "kl": terms.kl.mean(),
        "error": (vae.reconstruct(x) - x).square().sum() / (mean - x).square().sum(),
        "spread": vae.sample(1000).var(0).sum() / x.var(0).sum(),
        "elbo": terms.value.mean(),
        "log_evidence": vae.log_evidence(x, num_samples=200).mean(),
        "sigma": vae.likelihood(torch.zeros(1, *vae.likelihood.param_shape)).stddev.mean(),
    }
    return {key: round(float(value), 4) for key, value in metrics.items()}


if __name__ == "__main__":
    main()
