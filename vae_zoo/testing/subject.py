"""The model under test, and its inputs."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import cached_property, lru_cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from lightning.pytorch import Trainer
from torch import Tensor, nn
from torch.nn.functional import conv2d

from vae_zoo.checkpoints.hyperparameters import class_of
from vae_zoo.data import Sprites
from vae_zoo.distributions import (
    AutoregressiveFlow,
    FixedNormal,
    FlowPrior,
    PlanarFlow,
    RadialFlow,
    SylvesterFlow,
    TwoStagePrior,
)
from vae_zoo.elbo import ELBOMixin
from vae_zoo.models.base.combining import check_arguments
from vae_zoo.nn import Dense, PatchDiscriminator, ResidualDecoder, ResidualEncoder
from vae_zoo.testing.noise import seed_cpu
from vae_zoo.typing import Shape

SHAPE = (1, 8, 8)


class SkipCheck(Exception):  # noqa: N818  # not an error
    """A check that does not apply to a model, with the reason."""


class Found(NamedTuple):
    """The measured and the allowed value of a check.

    Args:
        passed: Whether the measured value is allowed.
        measured: The measured value.
        bound: The allowed value.
    """

    passed: bool
    measured: str
    bound: str


class RandomFeatures(nn.Module):
    """Features of images by filters drawn once and for all, in place of a trained network: nothing is read or fetched.

    The gradients and shapes that a loss has with them are those of any features; what it learns means nothing.
    """

    filters: Tensor

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.register_buffer("filters", torch.randn(4, 1, 3, 3, generator=generator, device="cpu") / 3)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Two layers of features of images (N, C, H, W), one by one for each channel.

        Raises:
            ValueError: If x are no images.
        """
        if x.ndim != 4:
            raise ValueError(f"RandomFeatures needs images (N, C, H, W), got {tuple(x.shape)}.")
        maps = conv2d(x.flatten(0, 1)[:, None], self.filters, padding=1).tanh()
        found = maps.unflatten(0, x.shape[:2])
        return [found, found.mean((-2, -1))]


LINKED: dict[str, Any] = {
    "num_train": 48,
    "num_classes": 3,
    "network": RandomFeatures,
    "factor": 2,
    "discriminator_start": 0,  # else its terms would be checked before they exist
}
"""What models are given of such names: sizes of the data, and what would otherwise be read from a file."""


NARROW: dict[type, dict[str, Any]] = {
    Dense: {"hidden": [64, 64]},
    PatchDiscriminator: {"width": 8},
    ResidualDecoder: {"width": 8, "multipliers": [1, 2]},
    ResidualEncoder: {"width": 8, "multipliers": [1, 2]},
    AutoregressiveFlow: {"hidden": [32]},
    FlowPrior: {"hidden": [32]},
    TwoStagePrior: {"hidden": [32]},
    PlanarFlow: {"num_transforms": 2},
    RadialFlow: {"num_transforms": 2},
    SylvesterFlow: {"num_transforms": 2, "num_reflections": 2},
}
"""What networks and distributions of these classes are given, in place of sizes that cost time and which no check
depends on."""

SMALL: dict[str, Any] = {
    "layer": partial(Dense, hidden=[16]),
    "discriminator": partial(Dense, hidden=[16]),
    "metric": partial(Dense, hidden=[16]),
    "network": nn.Identity,
    "num_centroids": 8,
    "num_exemplars": 20,
    "num_pseudo": 20,
    "num_leapfrog": 2,
    "num_iterations": 4,
    "layers": (1, 1),
    "width": 16,
}
"""What linear-Gaussian models are given of such names: sizes that cost time, and which no check depends on."""

ALWAYS = ("layers", "width", "num_centroids", "num_leapfrog", "num_iterations", "num_pseudo")
"""Those of them that every model is given."""


class Subject:
    """Builds small models of one kind, and inputs for them.

    A model that compares images in the features of a ``network`` gets :class:`RandomFeatures` unless one is given.

    Args:
        factory: A class, or a function from ``shape`` and further arguments to a model.
        kwargs: Arguments of every model.
    """

    def __init__(self, factory: Callable[..., Any], **kwargs: Any) -> None:
        self.factory, self.kwargs = factory, kwargs
        self.kept: dict[str, Any] = {}  # results that checks share
        self.name = getattr(factory, "__name__", type(factory).__name__)

    @property
    def target(self) -> Any:
        """The class or function that makes the model."""
        return self.factory.func if isinstance(self.factory, partial) else self.factory

    def takes(self, name: str) -> bool:
        """Whether the factory has an argument of this name, itself or in a constructor on the way."""
        return name in self._defaults

    def default(self, name: str) -> Any:
        """The default of an argument of the factory; None if it has no such argument."""
        return self._defaults.get(name)

    @cached_property
    def _defaults(self) -> dict[str, Any]:
        """Arguments of the factory and their defaults, those of a class before those of its bases."""
        return defaults_of(self.target)

    @cached_property
    def networks(self) -> dict[str, Any]:
        """Narrow networks and short flows, in place of the default ones."""
        networks = {name: default for name, default in self._defaults.items() if inspect.isclass(default)}
        small = {
            name: partial(default, **given)
            for name, default in networks.items()
            for kind, given in NARROW.items()
            if issubclass(default, kind)
        }
        return {name: network for name, network in small.items() if not self._refuses(name, network)}

    def _refuses(self, name: str, value: Any) -> str:
        """The reason why the class takes no such argument, or another default than this one; empty if it does."""
        try:
            if inspect.isclass(self.target):
                check_arguments(self.target, {name: value})
        except TypeError as fixed:
            return str(fixed)
        return ""

    def build(self, *, seed: int = 1, **kwargs: Any) -> Any:
        """A new model, its weights a function of the seed.

        Raises:
            SkipCheck: If the factory has no such argument, or fixes it.
        """
        for name in kwargs:
            if not self.takes(name):
                raise SkipCheck(f"takes no argument {name}")
        if reason := next(filter(None, (self._refuses(name, value) for name, value in kwargs.items())), ""):
            raise SkipCheck(reason)
        given = {"shape": SHAPE, **({"latent_dim": 4} if self.takes("latent_dim") else {}), **self.networks}
        given |= {name: SMALL[name] for name in ALWAYS if self.takes(name)}
        linked = {name: value for name, value in LINKED.items() if self.takes(name)}
        seed_cpu(seed)
        return self.factory(**{**given, **linked, **self.kwargs, **kwargs})

    def bound(self, **kwargs: Any) -> Any:
        """The same as :meth:`build` in evaluation mode, for a check of the bound.

        Raises:
            SkipCheck: If the model has no bound.
        """
        model: Any = self.build(**kwargs).eval()  # in training, samples may be relaxed
        if not isinstance(model, ELBOMixin) or not getattr(getattr(model, "likelihood", None), "is_density", True):
            raise SkipCheck("the model has no bound")
        return model

    def linear_gaussian(self, **kwargs: Any) -> Any:
        """A model whose decoder is affine and whose likelihood is normal, in float64."""
        linear = partial(Dense, hidden=[])
        networks = ["encoder", "decoder", *(["classifier"] if self.takes("classifier") else [])]
        small = {name: value for name, value in SMALL.items() if self.takes(name)}
        parts = {**dict.fromkeys(networks, linear), **small, "likelihood": partial(FixedNormal, scale=0.5)}
        return self.bound(
            shape=(5,), **({"latent_dim": 2} if self.takes("latent_dim") else {}), **parts, **kwargs
        ).double()

    def images(self, num: int = 6, shape: Shape = SHAPE, seed: int = 0) -> Tensor:
        """Binary examples, which are in the support of every likelihood on [0, 1]."""
        generator = torch.Generator().manual_seed(seed)
        return (torch.rand(num, *shape, generator=generator) > 0.6).float()

    def conditions(self, num: int) -> Tensor | None:
        """Labels for a model that takes them, also to sample under."""
        return torch.arange(num) % LINKED["num_classes"] if self.takes("num_classes") else None

    def labels(self, num: int) -> Tensor | None:
        """Labels for the losses of a model that takes them, or that has a penalty that does."""
        penalties = [class_of(factory) for factory in self.kwargs.get("penalties", ())]
        used = any(getattr(cls, "uses_labels", False) for cls in penalties)
        return torch.arange(num) % LINKED["num_classes"] if used else self.conditions(num)

    def losses(self, model: Any, x: Tensor, seed: int = 1) -> dict[str, Tensor]:
        """What a model gives for a batch under a seed."""
        seed_cpu(seed)
        return curves_of(model, model.losses(x, self.labels(len(x))))

    def data(self, **kwargs: Any) -> Sprites:
        """Data to fit for a few steps."""
        small = {"num_examples": 64, "image_size": SHAPE[-1], "batch_size": 10, "eval_batch_size": 3}
        return Sprites(**{**small, **kwargs})


@lru_cache(maxsize=256)
def defaults_of(target: Any) -> dict[str, Any]:
    """Arguments of a function, or of the constructors of a class and its bases, and their defaults."""
    found: dict[str, Any] = {}
    bases = target.__mro__ if inspect.isclass(target) else ()
    for init in [vars(base)["__init__"] for base in bases if "__init__" in vars(base)] or [target]:
        found = {name: given.default for name, given in inspect.signature(init).parameters.items()} | found
    return found


def curves_of(model: Any, values: dict[str, Tensor]) -> dict[str, Tensor]:
    """What a model logs of a batch for which ``losses`` gives these values."""
    return model.curves(values) if hasattr(model, "curves") else values


def quiet_trainer(folder: str | Path, **kwargs: Any) -> Trainer:
    """A trainer on the CPU that prints nothing, and writes nothing by itself."""
    quiet = {
        "accelerator": "cpu",
        "devices": 1,
        "default_root_dir": folder,
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "num_sanity_val_steps": 0,
        "log_every_n_steps": 1,
        "max_epochs": 1,
    }
    return Trainer(**{**quiet, **kwargs})
