"""Quality of samples and of reconstructions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from lightning.pytorch import Trainer
from torch import Tensor, nn

from vae_zoo.callbacks.evaluation.passes import TestMetrics, chunks_of_rank, data_of
from vae_zoo.elbo import depends_on_condition
from vae_zoo.metrics import FID, KID, PRDC, PSNR, SSIM, DataClassifier, LoggedMetrics
from vae_zoo.system.seeding import forked, mix
from vae_zoo.typing import Shape

_MAX_FITTED = 20_000


class Fidelity(TestMetrics):
    """Logs FID, KID, precision, recall, density and coverage of samples against the test images.

    The name of each metric contains the feature extractor: ``test/fid[classifier of MNIST]`` is not the FID
    of publications. If the test images are binary, samples are draws from p(x|z), otherwise its means.

    Args:
        num_samples: Number of samples; by default the number of test images.
        extractor: Class of the feature extractor, from the shape of an image to a module from images to features. An
            extractor with a method ``fit`` is trained on the training images and their labels.
        nearest: Number of the nearest neighbour for precision, recall, density and coverage.
        seed: Seed of samples and subsets.

    Raises:
        ValueError: If num_samples or nearest is less than 1; at the start of the test, if the model does not sample or
            the data lack what the extractor needs.
    """

    def __init__(
        self,
        *,
        num_samples: int | None = None,
        extractor: Callable[[Shape], nn.Module] = DataClassifier,
        nearest: int = 5,
        seed: int = 0,
    ) -> None:
        if nearest < 1 or (num_samples is not None and num_samples < 1):
            raise ValueError(f"num_samples and nearest must be at least 1, got {num_samples} and {nearest}.")
        self.num_samples, self.extractor, self.nearest, self.seed = num_samples, extractor, nearest, seed
        self.units: dict[str, str] = {}
        self._network: Any = None

    def start(self, trainer: Trainer, model: Any) -> None:
        data = data_of(trainer, "Fidelity")
        check_complete(model, "Fidelity compares")
        if not hasattr(model, "sample"):
            raise ValueError(f"Fidelity needs a model with a prior to sample from: {type(model).__name__} has none.")
        with torch.inference_mode(False):  # it may have to be trained
            self._network = self.extractor(tuple(data.shape)).to(model.device).eval()
        if hasattr(self._network, "fit"):
            size = len(data.load("train").x)
            rows = torch.randperm(size, generator=torch.Generator().manual_seed(self.seed))[:_MAX_FITTED]
            batch = data.prepared("train", rows, mix(self.seed, 0), model.device)
            self._network.fit(batch.x, batch.y)
        label = getattr(self._network, "label", lambda _: type(self._network).__name__)
        self._label = label(type(data).__name__)
        self._metrics: dict[str, Any] = {}
        self._curves = LoggedMetrics()

    def add(self, model: Any, batch: Any) -> None:
        x, y = model.unpack(batch)
        self._add(x, real=True)
        if y is not None and hasattr(self._network, "accuracy"):
            x, y = x[y >= 0], y[y >= 0]
            if len(x):
                self._curves.update({"accuracy": self._network.accuracy(x, y)}, len(x))

    def metrics(self, trainer: Trainer, model: Any) -> dict[str, Tensor]:
        data = data_of(trainer, "Fidelity")
        test = data.load("test")
        total, mean = self.num_samples or len(test.x), not all(map(is_binary, data.chunks("test")))
        for n, start, end in chunks_of_rank(total, trainer):
            labels = test.y if test.y is None or test.y.ndim > 1 else test.y[test.y >= 0]
            at = torch.arange(start, end)
            c = None if labels is None or not len(labels) else labels[at % len(labels)].to(model.device)
            c = c if c is not None and depends_on_condition(model, c) else None
            with forked(mix(self.seed, n, 1), model.device):
                self._add(model.sample(end - start, c, mean=mean), real=False)
        kid, spread = self._metrics["kid"].compute()
        values = {"fid": self._metrics["fid"].compute(), "kid": kid, "kid_std": spread}
        values |= self._metrics["prdc"].compute()
        values |= self._curves.compute(lambda x: trainer.strategy.reduce(x, reduce_op="sum"))
        units = {"fid": f"distance², {total} samples", "kid": f"MMD², {total} samples", "kid_std": "MMD², over subsets"}
        units |= dict.fromkeys(("precision", "recall", "coverage"), "0 to 1")
        units |= {"density": "1 for the data's own law", "accuracy": "of the extractor"}
        self.units = {f"{name}[{self._label}]": unit for name, unit in units.items()}
        return {f"{name}[{self._label}]": value for name, value in values.items()}

    def _add(self, x: Tensor, *, real: bool) -> None:
        features = self._network(x).flatten(1)
        if not self._metrics:
            size = features.shape[1]
            kid = KID(num_features=size, seed=self.seed)
            self._metrics = {"fid": FID(num_features=size), "kid": kid, "prdc": PRDC(nearest=self.nearest)}
            for metric in self._metrics.values():
                metric.to(x.device)
        for metric in self._metrics.values():
            metric.update(features, real=real)
            metric.update(features[:0], real=not real)  # a process may have none of one kind


class Reconstructions(TestMetrics):
    """Logs ``test/psnr`` and ``test/ssim`` of the reconstructions of test images, which lie in [0, 1]."""

    units = {"psnr": "dB, mean over images", "ssim": "at most 1, mean over images"}

    def __init__(self) -> None:
        self._metrics = {"psnr": PSNR(), "ssim": SSIM()}

    def start(self, trainer: Trainer, model: Any) -> None:  # noqa: ARG002
        check_complete(model, "PSNR and SSIM compare")
        self.reset(model)

    def add(self, model: Any, batch: Any) -> None:
        x, c = model.unpack(batch)
        reconstruction = model.reconstruct(x, c)
        for metric in self._metrics.values():
            metric.update(reconstruction, x)


def check_complete(model: Any, what: str) -> None:
    """Refuse examples with missing values.

    Raises:
        ValueError: If the model is of such.
    """
    if getattr(getattr(model, "likelihood", None), "missing", False):
        raise ValueError(f"{what} whole images, and these have missing values.")


def is_binary(x: Tensor) -> bool:
    """Whether images have only two values, 0 and 255 or 0 and 1."""
    return bool(((x == 0) | (x == (255 if x.dtype == torch.uint8 else 1))).all())
