"""Fit and test packaged configurations, and write what they give into results/configs/NAME.json.

    VAE_ZOO_DATA=... python benchmarks/configs.py NAME ...     # those configurations
    VAE_ZOO_DATA=... python benchmarks/configs.py              # all of them: hours

Runs the command as a user would, with the seed of the configuration, and tests the checkpoint of the last epoch.
``unexplained`` is the squared error of the reconstructions of the test split over that of the mean training image: 1
for a model whose latents tell nothing. The first line of a configuration carries these metrics; a test compares them.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import yaml

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.common import RESULTS, commit, hardware, versions
from benchmarks.reproduce.run import metrics_of, newest, run

CONFIGS = Path(__file__).parents[1] / "configs"
CONVOLUTIONAL = ["--evidence.num_samples", "100"]  # a decoder of images takes about as long as 5 to 20 dense ones

DISENTANGLEMENT = ["--trainer.callbacks+", "Disentanglement", "--trainer.callbacks.estimator"]
DISENTANGLEMENT += ["sklearn.ensemble.RandomForestClassifier"]

CLUSTERS = ["--trainer.callbacks+", "Clusters"]

NO_MEAN = 1.0
"""Shape of the tail of importance weights from which on they have no mean."""

METRICS = {
    "ELBO": "elbo",
    "KL": "kl",
    "reconstruction": "reconstruction",
    "perplexity": "perplexity",
    "MIG": "mig",
    "accuracy": "accuracy",
    "cluster accuracy": "cluster_accuracy",
}


def main() -> None:
    names = sorted(path.stem for path in CONFIGS.glob("*.yaml"))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="packaged configurations; all if none is given")
    parser.add_argument("--root", type=Path, default=Path("results/configs"), help="folder of the runs")
    args = parser.parse_args()
    if unknown := set(args.names) - set(names):
        parser.error(f"no packaged configuration is called {', '.join(sorted(unknown))}; there are {', '.join(names)}")
    (RESULTS / "configs").mkdir(exist_ok=True)
    for name in args.names or names:
        result = measure(name, args.root)
        (RESULTS / "configs" / f"{name}.json").write_text(json.dumps(result, indent=2) + "\n")
        print(json.dumps(result, indent=2), flush=True)


def measure(name: str, root: Path) -> dict[str, Any]:
    """Fit and test one configuration."""
    where = ["--trainer.default_root_dir", str(root / name)]
    fitted = {"commit": commit(), **run("fit", "--config", name, *where)}
    checkpoint = newest(root / name, "fit_*/checkpoints/last.ckpt")
    text = (CONFIGS / f"{name}.yaml").read_text()
    given = CONVOLUTIONAL if any(word in text for word in ("Conv", "halvings:")) or "conv" in name else []
    given = [*given, *DISENTANGLEMENT] if "sprites" in name else given
    given = [*given, *CLUSTERS] if "class_path: VaDE" in text else given
    tested = run("test", "--ckpt_path", str(checkpoint), *where, *given)
    metrics = metrics_of(root / name)
    import torch

    return {
        "name": name,
        "epochs": torch.load(checkpoint, weights_only=True, map_location="cpu")["epoch"] + 1,
        "num_samples": int(given[1]) if given[:1] == CONVOLUTIONAL[:1] else 500,
        "metrics": metrics | unexplained(name, checkpoint),
        "fit": fitted,
        "test": tested,
        "hardware": hardware(),
        **versions("torch", "lightning"),
    }


def described(result: dict[str, Any]) -> str:
    """What the first line of a configuration says of its metrics."""
    metrics, said = result["metrics"], [f"Here: {result['epochs']} epochs"]
    if "log_evidence" in metrics:
        k = metrics.get("pareto_k", 0)
        doubt = f"; uncertain, Pareto k {k:.1f}" if k > NO_MEAN else ""
        said.append(f"log p(x) {metrics['log_evidence']:.2f} nats (test, {result['num_samples']} samples{doubt})")
    said += [f"{name} {metrics[key]:.2f}" for name, key in METRICS.items() if key in metrics]
    said += [f"{metrics['active_units']:.0f} units active"] if "active_units" in metrics else []
    if "wrong_tokens" in metrics:
        return ", ".join([*said, f"{metrics['wrong_tokens']:.0%} of the tokens reconstructed wrongly"])
    return ", ".join([*said, f"{metrics['unexplained']:.0%} of the variance unexplained"])


def unexplained(name: str, checkpoint: Path | None) -> dict[str, float]:
    """Squared error of the reconstructions of the test split over that of the mean training image.

    Of strings of tokens, these are the numbers of wrong tokens, of reconstructions and of the most frequent token at
    each place; and their share of all.
    """
    import torch

    import vae_zoo

    model = vae_zoo.load(str(checkpoint)).eval()
    data = _built(yaml.safe_load((CONFIGS / f"{name}.yaml").read_text())["data"])
    tokens = hasattr(model.likelihood, "vocabulary")
    train = data.examples("train")
    mean = train.mode(0).values if tokens else train.mean(0)
    data.setup("test")
    errors, num = torch.zeros(2, dtype=torch.float64), 0
    with torch.no_grad():
        for batch in data.test_dataloader():
            x, c = model.unpack(data.on_after_batch_transfer(batch))
            wrong = [(x - y) * (x > 0) != 0 if tokens else x - y for y in (model.reconstruct(x, c), mean)]
            errors += torch.stack([found.double().square().sum() for found in wrong])
            num += int((x > 0).sum())
    found = {"unexplained": float(errors[0] / errors[1])}
    return found | ({"wrong_tokens": float(errors[0] / num)} if tokens else {})


def _built(given: Any) -> Any:
    """The data module of a configuration, which may hold another one."""
    from vae_zoo import data as data_modules

    given = {"class_path": given} if isinstance(given, str) else given
    args = dict(given.get("init_args", {}))
    if "data" in args:
        args["data"] = _built(args["data"])
    return getattr(data_modules, given["class_path"])(**args)


if __name__ == "__main__":
    main()
