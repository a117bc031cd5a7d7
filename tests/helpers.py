"""Shared parts of tests: small models and data, a quiet trainer, and a model with a known evidence."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import suppress
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.loggers.logger import Logger
from torch import Tensor
from torch.distributions import Distribution, MultivariateNormal, constraints

from vae_zoo import distributions, models
from vae_zoo.data import Sprites
from vae_zoo.distributions import FixedNormal, supports
from vae_zoo.elbo import ELBOMixin
from vae_zoo.models import VAE, Autoencoder
from vae_zoo.models.tokenizers.judged import Judged
from vae_zoo.nn import Dense, PatchDiscriminator, ResidualDecoder, ResidualEncoder
from vae_zoo.testing.subject import RandomFeatures, Subject, quiet_trainer

SHAPE = (1, 8, 8)

MODELS: list[type[Autoencoder]] = [
    cls for name in models.__all__ if not inspect.isabstract(cls := getattr(models, name))
]
BOUNDS = [cls for cls in MODELS if issubclass(cls, ELBOMixin)]

_DISTRIBUTIONS = [getattr(distributions, name) for name in distributions.__all__]
FAMILIES = [c for c in _DISTRIBUTIONS if inspect.isclass(c) and issubclass(c, distributions.Family)]
FAMILIES = [c for c in FAMILIES if not inspect.isabstract(c) and c not in (distributions.Joint, distributions.Columns)]
PRIORS = [c for c in _DISTRIBUTIONS if inspect.isclass(c) and issubclass(c, distributions.Prior)]
PRIORS = [c for c in PRIORS if not inspect.isabstract(c) and c is not distributions.JointPrior]
REAL_PRIORS = [c for c in PRIORS if supports.core(c((3,))().support) is constraints.real]
REAL_PRIORS = [c for c in REAL_PRIORS if c is not distributions.TwoStagePrior]  # whose density is a bound, with noise


def of_vectors_only(cls: Any) -> bool:
    """Whether events must be vectors, such as points on a sphere: such a class has tests of its own."""
    with suppress(TypeError):  # one that needs more than a shape
        try:
            cls((3, 16, 16))
        except ValueError as refused:
            return "vectors" in str(refused)
    return False


FAMILIES = [c for c in FAMILIES if not of_vectors_only(c)]
PRIORS = [c for c in PRIORS if not of_vectors_only(c)]

small = partial(Dense, hidden=[8])
few_blocks = partial(partial, width=8, multipliers=[1, 2])


def takes(cls: type, name: str) -> bool:
    """Whether a constructor on the way has this argument."""
    return Subject(cls).takes(name)


def fixes(cls: type, name: str) -> bool:
    """Whether a class takes no such argument, which its bases take."""
    return any(name in vars(base).get("fixed", {}) for base in cls.__mro__)


def linked(cls: type) -> dict[str, Any]:
    """What the command line would link from the data, and less of what is large, as far as the class takes it."""
    small_parts = {"num_pseudo": 6, "num_centroids": 6, "network": RandomFeatures, "discriminator_start": 2}
    given = {"num_train": 48, "num_classes": 3, **small_parts}
    if issubclass(cls, Judged):
        given |= {"encoder": few_blocks(ResidualEncoder), "decoder": few_blocks(ResidualDecoder)}
        given |= {"discriminator": partial(PatchDiscriminator, width=8)}
    return {name: value for name, value in given.items() if takes(cls, name)}


@cache
def narrow(cls: type) -> dict[str, Any]:
    """The encoder and the decoder that a class has by default, with few units."""
    return {name: network for name, network in Subject(cls).networks.items() if name in ("encoder", "decoder")}


def build(cls: type[Autoencoder] = VAE, **kwargs: Any) -> Any:
    """A model of sprites of 8x8 pixels, its networks of the kind that the class has by default."""
    latent_dim = sum(kwargs.get("latent_dims", [4]))  # a ladder's layers add up to it
    return cls(**{"shape": SHAPE, "latent_dim": latent_dim, **narrow(cls), **linked(cls), **kwargs})


def tiny(cls: type[Autoencoder] = VAE, **kwargs: Any) -> Any:
    """The same with networks as small as can be."""
    return build(cls, **{"encoder": small, "decoder": small, **kwargs})


def load_arrays(path: str | Path) -> dict[str, np.ndarray]:
    """The arrays of a file of ``numpy.savez``, which is closed again."""
    with np.load(path) as content:
        return dict(content)


def tiny_data(**kwargs: Any) -> Sprites:
    return Sprites(**{"num_examples": 64, "image_size": 8, "batch_size": 10, "eval_batch_size": 3, **kwargs})


class Record(Logger):
    """A logger that keeps everything in memory."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[tuple[int, dict[str, float]]] = []

    name, version = "record", 0

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        self.rows.append((step or 0, metrics))

    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None: ...

    def curve(self, name: str) -> dict[int, float]:
        return {step: float(row[name]) for step, row in self.rows if name in row}


class Batches:
    """The least that a loader can be."""

    def __init__(self, *batches: Any) -> None:
        self.batches = batches

    def __iter__(self) -> Iterator[Any]:
        return iter(self.batches)

    def __len__(self) -> int:
        return len(self.batches)


class Spy(Callback):
    """Keeps what a function of (trainer, model) says before each training batch."""

    def __init__(self, look: Any) -> None:
        self.look, self.seen = look, []

    def on_train_batch_start(self, trainer: Trainer, pl_module: Any, *_: Any) -> None:
        self.seen.append(self.look(trainer, pl_module))


def same_weights(a: torch.nn.Module, b: torch.nn.Module) -> bool:
    a_state, b_state = a.state_dict(), b.state_dict()
    return a_state.keys() == b_state.keys() and all(torch.equal(v, b_state[k]) for k, v in a_state.items())


class LinearGaussian(VAE):
    """Probabilistic principal components: p(x) = N(b, W Wᵀ + σ² I), and the exact posterior as q unless widened.

    Args:
        widen: Factor on the standard deviation of q; 1 makes q exact.
        shift: Added to the mean of q.
    """

    def __init__(self, *, widen: float = 1.0, shift: float = 0.0, scale: float = 0.5, **kwargs: Any) -> None:
        linear = partial(Dense, hidden=[])
        super().__init__(encoder=linear, decoder=linear, likelihood=partial(FixedNormal, scale=scale), **kwargs)
        self.widen, self.shift, self.scale = widen, shift, scale
        with torch.no_grad():
            self.decoder.layers[1].weight.normal_()
            self.decoder.layers[1].bias.normal_()
        self.double()

    def encode(self, x: Tensor, c: Tensor | None = None) -> Distribution:
        weight, bias = self.decoder.layers[1].weight, self.decoder.layers[1].bias
        precision = weight.T @ weight / self.scale**2 + torch.eye(self.latent_dim, dtype=weight.dtype)
        covariance = torch.linalg.inv(precision)
        loc = (x - bias) @ weight @ covariance / self.scale**2 + self.shift
        tril = self.widen * torch.linalg.cholesky(covariance)
        return MultivariateNormal(loc, scale_tril=tril, validate_args=False)

    def exact_evidence(self, x: Tensor) -> Tensor:
        weight, bias = self.decoder.layers[1].weight, self.decoder.layers[1].bias
        covariance = weight @ weight.T + self.scale**2 * torch.eye(len(bias), dtype=weight.dtype)
        return MultivariateNormal(bias, covariance).log_prob(x).detach()


def labels(model: type | Autoencoder, x: Tensor) -> Tensor | None:
    """Labels of examples for a model that needs them."""
    cls = model if isinstance(model, type) else type(model)
    return torch.arange(len(x)) % 3 if takes(cls, "num_classes") else None


def losses(model: Autoencoder, x: Tensor, seed: int = 1, **kwargs: Any) -> dict[str, Tensor]:
    torch.manual_seed(seed)
    return model.curves(model.losses(x, **{"c": labels(model, x), **kwargs}))


def fit(
    folder: Path, cls: type[Autoencoder] = VAE, *, data: Any = None, seed: int = 3, kwargs: Any = None, **trainer: Any
) -> Any:
    """Fit a new model, and give it and its trainer."""
    torch.manual_seed(seed)
    model = build(cls, **(kwargs or {"encoder": small, "decoder": small}))
    ckpt_path = trainer.pop("ckpt_path", None)
    fitter = quiet_trainer(folder, **{"max_epochs": 2, **trainer})
    fitter.fit(model, tiny_data() if data is None else data, ckpt_path=ckpt_path)
    return model, fitter


def saved(folder: Path, model: Autoencoder, data: Any = None) -> Path:
    """A checkpoint of a model that no fit has touched."""
    trainer = quiet_trainer(folder)
    trainer.strategy.connect(model)
    if data is not None:
        trainer._data_connector.attach_datamodule(model, datamodule=data)
        model.trainer = trainer
    trainer.save_checkpoint(folder / f"{type(model).__name__}.ckpt")
    return folder / f"{type(model).__name__}.ckpt"


def linear(seed: int = 0, **kwargs: Any) -> tuple[LinearGaussian, Tensor, Tensor]:
    """A linear-Gaussian model, examples of it and their exact log evidence."""
    torch.manual_seed(seed)
    model = LinearGaussian(**{"shape": (5,), "latent_dim": 2, **kwargs})
    with torch.no_grad():
        x = model.sample(4, mean=False)
    return model, x, model.exact_evidence(x)
