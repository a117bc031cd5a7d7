"""Compare CountVAE with scVI of scvi-tools: the same cells, split, networks, epochs and optimizer.

    python -m benchmarks.counts                # needs scvi-tools, in an environment of its own; minutes
    python -m benchmarks.counts --seeds 0 1 2

Writes results/counts.json: of each set, model and seed the bound and the importance-weighted estimate of
log p(x | total) on the test split, nats per cell. The sets are the drawn cells of ``Counts``, and the 700 cells with
765 genes that come with scanpy, whose counts are restored from their rounded logarithms. scVI is run with plain
networks, as those of CountVAE, also with the same initial dispersions, and with its defaults, which are batch
normalisation and dropout. Both are scored by the same estimators: get_marginal_ll of scvi-tools 1.4.2 is higher than
the estimate from as many samples of its own distributions, by 1.6 nats for the drawn cells.
"""

from __future__ import annotations

import argparse
import itertools
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.common import RESULTS, commit, hardware, versions

EPOCHS, WARM_UP, BATCH, SAMPLES = 100, 20, 128, 500
PLAIN = {"use_batch_norm": "none", "use_layer_norm": "none", "dropout_rate": 0.0}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--out", type=Path, default=RESULTS / "counts.json")
    args = parser.parse_args()
    made_by, rows = commit(), []
    with tempfile.TemporaryDirectory() as folder:
        sets: dict[str, dict[str, Any]] = {"drawn": {}, "pbmc68k_reduced": {"path": pbmc(Path(folder))}}
        for (name, data), seed in itertools.product(sets.items(), args.seeds):
            for model, (run, kwargs) in MODELS.items():
                rows.append({"data": name, "model": model, "seed": seed, **run(seed, data, **kwargs)})
                print(rows[-1], flush=True)
    result: dict[str, Any] = {
        "epochs": EPOCHS,
        "num_samples": SAMPLES,
        "rows": rows,
        "commit": made_by,
        "hardware": hardware(),
        **versions("torch", "lightning", "scvi-tools", "scanpy"),
    }
    args.out.write_text(json.dumps(result, indent=2) + "\n")


def pbmc(folder: Path) -> str:
    """A file of the cells that come with scanpy, with their counts.

    Each row is log(1 + s n) of counts n with one factor s, rounded to three digits: the smallest entry is of a count of
    1, and all others then lie within 0.05 of a whole number.
    """
    import anndata
    import numpy as np
    import scanpy
    from scipy import sparse

    cells = scanpy.datasets.pbmc68k_reduced()
    counts = sparse.csr_matrix(cells.raw.X, dtype=float)
    for start, end in itertools.pairwise(counts.indptr):
        row = np.expm1(counts.data[start:end])
        whole = np.round(row / row.min())
        scale = (whole * row).sum() / (whole * whole).sum()
        whole = np.round(row / scale)
        assert np.abs(row / scale - whole).max() < 0.1
        counts.data[start:end] = whole
    path = folder / "pbmc.h5ad"
    anndata.AnnData(counts.astype(np.float32), obs=cells.obs[["bulk_labels"]], var=cells.raw.var[[]]).write_h5ad(path)
    return str(path)


def ours(seed: int, source: dict[str, Any]) -> dict[str, float]:
    """Bound and evidence of CountVAE on the test split, and the seconds of its fit."""
    import torch
    from lightning.pytorch import seed_everything

    from vae_zoo.callbacks import LinearAnnealing
    from vae_zoo.data import Counts
    from vae_zoo.models import CountVAE
    from vae_zoo.testing.subject import quiet_trainer

    seed_everything(seed, verbose=False)
    data = Counts(batch_size=BATCH, **source)
    model = CountVAE(shape=data.shape)
    started = time.perf_counter()
    annealing = LinearAnnealing(num_epochs=WARM_UP)
    quiet_trainer(".", max_epochs=EPOCHS, callbacks=[annealing], limit_val_batches=0).fit(model, data)
    took = time.perf_counter() - started
    x = data.load("test").x
    with torch.no_grad():
        bound = model.eval().elbo(x, num_samples=100).value.mean().item()
    return {"elbo": bound, "log_evidence": model.log_evidence(x, num_samples=SAMPLES).mean().item(), "seconds": took}


def theirs(seed: int, source: dict[str, Any], from_one: bool = False, **kwargs: Any) -> dict[str, float]:
    """The same of scVI, by the same estimators.

    Its inverse dispersions start at draws of a log-normal distribution; with ``from_one``, at 1 as those of CountVAE.
    """
    import anndata
    import scvi

    from vae_zoo.data import Counts

    scvi.settings.seed = seed
    data = Counts(**source)
    cells = {split: anndata.AnnData(data.load(split).x.numpy()) for split in ("train", "test")}
    scvi.model.SCVI.setup_anndata(cells["train"])
    model = scvi.model.SCVI(cells["train"], n_hidden=128, n_latent=10, n_layers=1, gene_likelihood="zinb", **kwargs)
    if from_one:
        model.module.px_r.data.zero_()
    started = time.perf_counter()
    plan = {"lr": 1e-3, "weight_decay": 0.0, "eps": 1e-8, "n_epochs_kl_warmup": WARM_UP}
    quiet = {"enable_progress_bar": False, "logger": False, "accelerator": "cpu", "devices": 1}
    model.train(EPOCHS, train_size=1.0, batch_size=BATCH, plan_kwargs=plan, **quiet)
    took = time.perf_counter() - started
    return {**scores(model.module.eval(), data.load("test").x), "seconds": took}


def scores(module: Any, x: Any) -> dict[str, float]:
    """Bound and importance-weighted estimate of scVI's module, from its own distributions."""
    import math

    import torch

    batches = torch.zeros(len(x), 1)
    with torch.no_grad():
        found = module.inference(x, batch_index=batches, n_samples=SAMPLES)
        z, q = found["z"], found["qz"]
        px = module.generative(z=z, library=found["library"], batch_index=batches)["px"].log_prob(x).sum(-1)
        log_w = px + torch.distributions.Normal(0, 1).log_prob(z).sum(-1) - q.log_prob(z).sum(-1)
        evidence = (log_w.logsumexp(0) - math.log(SAMPLES)).mean().item()
    return {"elbo": log_w.mean().item(), "log_evidence": evidence}


MODELS: dict[str, tuple[Callable[..., dict[str, float]], dict[str, Any]]] = {
    "CountVAE": (ours, {}),
    "scVI, plain": (theirs, PLAIN),
    "scVI, plain, dispersions from 1": (theirs, {**PLAIN, "from_one": True}),
    "scVI, its defaults": (theirs, {}),
}

if __name__ == "__main__":
    main()
