"""One variant with one seed: fit, test, and write what was found."""

from __future__ import annotations

import json
import math
import multiprocessing
import re
import tempfile
import time
import warnings
from functools import cache
from pathlib import Path
from typing import Any

import torch
import yaml
from lightning.pytorch import seed_everything
from torch import Tensor, nn

from benchmarks.common import commit, hardware, versions
from benchmarks.zoo.pictures import save
from benchmarks.zoo.plan import SETTINGS, Plan, Setting, plan
from vae_zoo import data as data_modules
from vae_zoo.callbacks import AIS, Disentanglement, Evidence, Fidelity, Probes
from vae_zoo.cli.app import Parsing
from vae_zoo.metrics import FID, DataClassifier
from vae_zoo.models import VAE
from vae_zoo.system.writing import write_text
from vae_zoo.testing.subject import quiet_trainer

NUM_SAMPLES = 500
"""Importance samples of the evidence."""

CHAINS = {"num_images": 64, "num_chains": 4, "num_steps": 200, "num_leapfrog": 5, "num_samples": 100}
"""Size of the annealed importance sampling, for models without importance weights and for the plain VAE."""

SILENT = {"limit_val_batches": 0, "log_every_n_steps": 10_000}
"""A fit without curves and validation, which would add about as much time to small models as their steps take."""

NUM_PROBED = 5000
"""Training images whose latents the probes are fitted to."""

NUM_GENERATED = 1000
"""Samples whose features are compared with those of the test images."""


def run(name: str, data: str, seed: int, path: Path) -> None:
    """Run a cell in a process of its own, so that its memory is measured and its failure ends nothing else."""
    child = multiprocessing.get_context("fork").Process(target=written, args=(name, data, seed, path))
    child.start()
    child.join()
    if child.exitcode:
        keep(path, {"model": name, "data": data, "seed": seed, "error": f"ended with exit code {child.exitcode}"})


def written(name: str, data: str, seed: int, path: Path, device: str = "cpu") -> None:
    """Measure a cell and write its file, or what it failed of."""
    try:
        found = measure(plan(name, data), data, seed, picture=path.with_suffix(".png"), device=device)
    except Exception as error:
        found = {"error": " ".join(f"{type(error).__name__}: {error}".split())[:300]}
    keep(path, {"model": name, "data": data, "seed": seed, **found})


def keep(path: Path, found: dict[str, Any]) -> None:
    """Write a cell's file, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, json.dumps(found, indent=2) + "\n")


def measure(
    planned: Plan, data: str, seed: int, picture: Path | None = None, device: str = "cpu", **limits: Any
) -> dict[str, Any]:
    """Fit and test a variant.

    Args:
        planned: What to run.
        data: Name of the data.
        seed: Seed of weights, order and noise.
        picture: Where samples and reconstructions go.
        device: Where to fit and test; the peak of the memory is that of the device.
        limits: Further arguments of the trainer.
    """
    setting, made = SETTINGS[data], built(planned, seed)
    model, loaded, held = made.model, made.data, memory("VmRSS")
    accelerator = {"accelerator": "cpu" if device == "cpu" else "gpu"}
    trained = {"max_epochs": setting.epochs, "callbacks": made.trainer.callbacks, **SILENT, **accelerator, **limits}
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fit, _ = timed(lambda: quiet_trainer(folder, **trained).fit(model, loaded))
        peak = memory("VmHWM") - held if device == "cpu" else torch.cuda.max_memory_allocated() / 2**20
        model.eval()
        found = tests(model, data, setting)
        share = {"limit_test_batches": setting.num_tested // loaded.eval_batch_size} if setting.num_tested else {}
        trainer = quiet_trainer(folder, callbacks=found, **accelerator, **share)
        test, (values,) = timed(lambda: trainer.test(model, loaded, verbose=False))
    metrics = {key.removeprefix("test/").partition("[")[0]: value for key, value in values.items()}
    metrics["unexplained"] = unexplained(model.to(device), loaded)
    model.cpu()
    if picture is not None:
        picture.parent.mkdir(parents=True, exist_ok=True)
        save(model, loaded, picture)
    return {
        "reports": model.reports,
        **({} if setting.factors else {"fid_of_training_images": floor(data)}),
        "own": planned.own,
        "labels": bool(getattr(model, "num_classes", 0)),
        "parts": {part: kind(model, part) for part in ("posterior", "latent_prior", "likelihood")},
        "latent": list(model.latent_shape),
        "parameters": sum(p.numel() for p in model.parameters()),
        "epochs": setting.epochs,
        "metrics": {key: value for key, value in metrics.items() if math.isfinite(value)},
        "fit": fit,
        "test": test,
        "peak_mib": round(peak, 1),
        "commit": commit(),
        "hardware": hardware() if device == "cpu" else f"{torch.cuda.get_device_name()}; {hardware()}",
        **versions("torch", "lightning"),
    }


def built(planned: Plan, seed: int) -> Any:
    """Model, data and callbacks, as the command builds them from the configuration."""
    seed_everything(seed, verbose=False)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "config.yaml"
        path.write_text(yaml.safe_dump(planned.config))
        parser = Parsing().parser
        return parser.instantiate(parser.parse_args(["fit", "--config", str(path)])).fit


def tests(model: Any, data: str, setting: Setting) -> list[Any]:
    """Callbacks that measure a fitted model."""
    found: list[Any] = [Evidence(num_samples=NUM_SAMPLES)]
    if setting.factors:
        from sklearn.ensemble import RandomForestClassifier

        found.append(Disentanglement(estimator=RandomForestClassifier, num_votes=1000))
    else:
        found.append(Probes(num_train=NUM_PROBED))
        if hasattr(model, "sample"):
            found.append(Fidelity(num_samples=NUM_GENERATED, extractor=lambda _: extractor(data)))
    return [*found, AIS(**CHAINS)] if model.reports == "A" or type(model) is VAE else found


class Fitted(nn.Module):
    """A classifier that has been fitted already, for all models the same."""

    def __init__(self, network: DataClassifier) -> None:
        super().__init__()
        self.network, self.label = network, network.label

    def forward(self, x: Tensor) -> Tensor:
        return self.network(x)


@cache
def extractor(data: str) -> Fitted:
    """The features of samples: a classifier fitted to the training images."""
    loaded = plain_data(data)
    classifier = DataClassifier(loaded.shape)
    classifier.fit(loaded.examples("train"), loaded.load("train").y)
    return Fitted(classifier.eval())


@cache
def floor(data: str) -> float:
    """FID of as many training images as samples are drawn, which no model is expected to undercut by much."""
    network, loaded = extractor(data), plain_data(data)
    train, test = (network(loaded.examples(split)) for split in ("train", "test"))
    metric = FID(num_features=train.shape[1])
    metric.update(test[: SETTINGS[data].num_tested], real=True)
    metric.update(train[:NUM_GENERATED], real=False)
    return round(float(metric.compute()), 3)


@cache
def plain_data(data: str) -> Any:
    """The data without what single variants need of them."""
    loaded = getattr(data_modules, data)(**SETTINGS[data].data)
    loaded.prepare_data()
    loaded.setup("fit")
    loaded.setup("test")
    return loaded


def warm_up(data: str) -> None:
    """Import and compute what all runs need, so that it counts in the time and memory of none."""
    measure(plan("VAE", data), data, 0, max_epochs=1, limit_train_batches=1)


def unexplained(model: Any, data: Any) -> float:
    """Squared error of the reconstructions of the test split over that of the mean training image."""
    mean = data.examples("train").mean(0)
    data.setup("test")
    errors = torch.zeros(2, dtype=torch.float64)
    with torch.no_grad():
        for batch in data.test_dataloader():
            x, c = model.unpack(data.on_after_batch_transfer(batch))
            y = model.reconstruct(x.to(model.device), None if c is None else c.to(model.device)).cpu()
            errors += torch.stack([(x - guess).double().square().sum() for guess in (y, mean)])
    return float(errors[0] / errors[1])


def kind(model: Any, part: str) -> str:
    """The name of the class of a component."""
    return type(getattr(model, part)).__name__ if hasattr(model, part) else ""


def timed(run: Any) -> tuple[dict[str, float], Any]:
    """Wall and CPU seconds of a call, and what it gives."""
    wall, cpu = time.perf_counter(), time.process_time()
    found = run()
    seconds = {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}
    return {key: round(value, 2) for key, value in seconds.items()}, found


def memory(what: str) -> float:
    """MiB that this process holds (VmRSS) or held at most (VmHWM), as Linux counts them; NaN elsewhere."""
    path = Path("/proc/self/status")
    found = re.search(rf"{what}:\s+(\d+) kB", path.read_text()) if path.is_file() else None
    return int(found.group(1)) / 1024 if found else math.nan
