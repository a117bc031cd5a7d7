"""The base class of all models: networks, latents, optimizer, checkpoints."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import torch
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor, nn
from torch.distributions import Distribution
from torch.optim.lr_scheduler import ReduceLROnPlateau

from vae_zoo.checkpoints.hyperparameters import class_of
from vae_zoo.distributions import (
    Bernoulli,
    Family,
    Point,
    check_family,
    check_likelihood,
    mean_of,
    observing,
    stddev_of,
)
from vae_zoo.distributions.likelihoods.observed import fill_missing
from vae_zoo.distributions.supports import path
from vae_zoo.models.base.combining import check_arguments, check_combination
from vae_zoo.models.base.components import building, check_comparing, check_settings, check_shape, make
from vae_zoo.models.base.sharing import Shareable
from vae_zoo.nn import Dense
from vae_zoo.nn.batching import apply_batched
from vae_zoo.security.untrusted import read_plainly
from vae_zoo.system.memory import check_trainable, fitting, keep_freed_memory
from vae_zoo.training.optimizers import annealings, check_length, check_plateaus, check_rates, rate_of, rehearse
from vae_zoo.training.preflight import check_averages, check_backbone, check_fit, say_if_emulated
from vae_zoo.training.saved import Saved
from vae_zoo.training.steps import Steps
from vae_zoo.training.trainers import is_ours, trainer_of
from vae_zoo.typing import Batch, Network, Shape


class Autoencoder(Shareable, Saved, Steps):
    """Base of all models: an encoder and a decoder under Lightning, with the objective left to :meth:`losses`.

    Components are factories, a class or a ``functools.partial`` of one; their sizes follow from ``shape`` and
    ``latent_dim``.

    Args:
        shape: Shape of one example; linked from the data on the command line.
        latent_dim: Number of latent dimensions.
        encoder: Network from an example to the parameters of the posterior.
        decoder: Network from a latent to the parameters of the likelihood.
        posterior: Family of q(z|x).
        likelihood: Family of p(x|z). By default the command uses the
            :attr:`~vae_zoo.data.DataModule.likelihood` of the data; in Python, without data, it is Bernoulli.
        missing: Whether examples may have missing values, which are NaN: they have no term in the likelihood, and
            the encoder is told which they are. Linked from the data.
        scaling: Units in which vectors are encoded and scored; examples, samples and densities are in the original
            ones. Arguments of :class:`~vae_zoo.distributions.likelihoods.scaled.Scaling`, linked from the data.
        optimizer: Optimizer of the parameter groups; by default Adam with a learning rate of 1e-3.
        scheduler: Scheduler of the learning rate, stepped every epoch.
        compiled: Whether to compile :meth:`losses`, and the decoding for the evidence.
        cuda_graphs: Whether to record training steps of a compiled model as CUDA graphs, one per batch size, and
            replay them. Not while gradients are accumulated.
        channels_last: Whether convolutions store the channels of a pixel together in memory, which most hardware
            prefers; results change by rounding only.
        kwargs: Arguments of further base classes; unknown arguments are an error.

    Raises:
        ValueError: If latent_dim is less than 1, or shape is empty or has a side of less than 1, or
            cuda_graphs is set without compiled, or missing or scaling for a likelihood that is not a product over
            values.
        TypeError: If an argument cannot be saved: an instance or a lambda in place of a class.
    """

    monitor = "val/loss"
    monitor_mode = "min"

    continuous: bool = True
    """Whether latents can be interpolated, so that paths can be drawn."""

    straight_through: bool = False
    """Whether gradients pass through steps without derivative, so that they differ from the slopes of the terms."""

    reports: str = "-"
    """What is known of log p(x): ``E`` a bound and the importance-weighted evidence, ``A`` the evidence by annealed
    importance sampling only, ``-`` nothing."""

    game: bool = False
    """Whether networks work against each other, so that their total loss does not fall as they learn."""

    fixed: Mapping[str, str] = {}
    """Arguments of base classes that have no effect on this one, and why. Subclasses may use them again."""

    apart: Mapping[str, str] = {}
    """Names of classes that this one cannot be combined with, and why."""

    scales: str = ""
    """Why this class cannot be trained on data with a scaling; empty if it can."""

    incomplete: str = ""
    """Why this class cannot be trained on examples with missing values; empty if it can."""

    units: Mapping[str, str] = {}
    """Units of the metrics of a class, by name; subclasses inherit those of all their bases."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.units = {k: v for base in reversed(cls.__mro__) for k, v in vars(base).get("units", {}).items()}

    @classmethod
    def check_given(cls, given: Mapping[str, Any]) -> None:
        super().check_given(given)
        check_combination(cls, Autoencoder)
        check_arguments(cls, given)

    def __init__(
        self,
        *,
        shape: Shape,
        latent_dim: int = 16,
        encoder: Network = Dense,
        decoder: Network = Dense,
        posterior: Callable[[Shape], Family] = Point,
        likelihood: Callable[[Shape], Family] | None = None,
        missing: bool | None = None,
        scaling: dict[str, list[float]] | None = None,
        optimizer: OptimizerCallable | None = None,
        scheduler: LRSchedulerCallable | None = None,
        compiled: bool = False,
        cuda_graphs: bool = False,
        channels_last: bool = False,
        **kwargs: Any,  # empty; without it Lightning would drop the class that a checkpoint names
    ) -> None:
        super().__init__(**kwargs)
        if latent_dim < 1:
            raise ValueError(f"latent_dim must be at least 1, got {latent_dim}.")
        check_shape(shape)
        if cuda_graphs and not compiled:
            raise ValueError("cuda_graphs records what is compiled: set compiled too.")
        self.save_hyperparameters(self.recorded()["init_args"])
        self.shape = tuple(shape)
        self.latent_dim = latent_dim
        self.compiled, self.cuda_graphs, self.channels_last = compiled, cuda_graphs, channels_last
        with fitting(), building(self):
            self.posterior = make("posterior", posterior, Family, self.encoded_shape)  # type: ignore[type-abstract]
            self.likelihood = make("likelihood", likelihood or Bernoulli, Family, self.shape)  # type: ignore[type-abstract]
            check_likelihood(self.likelihood)
            if scaling is not None:
                check_comparing(self, self.scales, "takes data as they are", "scale them before")
                self.likelihood.rescale(scaling)
            if missing:
                check_comparing(self, self.incomplete, "needs complete examples", "fill missing values in")
                self.likelihood.observe()
            self.flattened = bool(getattr(class_of(encoder), "flattens", False))  # the next line's shapes may need it
            self.encoder = make("encoder", encoder, nn.Module, *self.encoder_shapes)
            self.decoder = make("decoder", decoder, nn.Module, *self.decoder_shapes, num_sides=len(self.shape) - 1)
            check_family(self.posterior, "posterior")
        if any(isinstance(part, nn.RNNBase) for part in self.modules()):
            self.compilable = False  # torch traces no recurrent units, or unrolls them, which takes minutes
        check_settings("optimizer", optimizer, torch.optim.Optimizer, "an optimizer")
        check_settings("scheduler", scheduler, torch.optim.lr_scheduler.LRScheduler, "a scheduler")
        check_rates(optimizer)
        check_rates(scheduler)
        self._make_optimizer, self._make_scheduler = optimizer, scheduler

    def __setattr__(self, name: str, value: Any) -> None:
        if isinstance(value, nn.Module) and inspect.isfunction(getattr(type(self), name, None)):
            raise TypeError(
                f"{type(self).__name__}.{name} is a method, which would hide a module of this name: give it another "
                "name, or override the method."
            )
        super().__setattr__(name, value)

    def constructed(self) -> None:
        super().constructed()
        if self.channels_last:
            self.to(memory_format=torch.channels_last_3d if len(self.shape) == 4 else torch.channels_last)

    @property
    def latent_shape(self) -> Shape:
        """Shape of one latent."""
        return (self.latent_dim,)

    @property
    def encoded_shape(self) -> Shape:
        """Shape of the events of posterior and prior: a latent, or the part of it that is not a class."""
        return self.latent_shape

    @property
    def encoder_shapes(self) -> tuple[Shape, Shape]:
        """Shapes of the encoder's input and output."""
        return self.likelihood.read_shape, self.posterior.param_shape

    @property
    def decoder_shapes(self) -> tuple[Shape, Shape]:
        """Shapes of the decoder's input and output."""
        return self.latent_shape, self.likelihood.param_shape

    def encode(self, x: Tensor, c: Tensor | None = None) -> Distribution:  # noqa: ARG002
        """Posterior q(z|x) of examples (B, \\*shape)."""
        self.check_examples(x)
        return self.posterior(self.run_encoder(x))

    def decode(self, z: Tensor, c: Tensor | None = None) -> Distribution:  # noqa: ARG002
        """Likelihood p(x|z) of latents (..., \\*latent)."""
        gives = self.likelihood.param_shape
        return self.likelihood(apply_batched(self.decoder, z, len(self.latent_shape), gives=gives, name="decoder"))

    def run_encoder(self, x: Tensor, entries: Tensor | None = None, *, gives: Shape | None = None) -> Tensor:
        """Parameters of the posterior of examples, (B, \\*param_shape).

        Args:
            x: Examples, (B, \\*shape).
            entries: Entries of their conditions, (B, C), which come behind the values of vectors and of examples that
                the encoder flattens, and are constant channels of others.
            gives: Shape of what the encoder gives, if not the parameters.
        """
        read = self.read(x)
        if entries is not None:
            read, entries = (read.flatten(1) if self.flattened else read), entries.to(read.dtype)
            planes = entries.reshape(*entries.shape, *[1] * (read.ndim - 2)).expand(-1, -1, *read.shape[2:])
            read = torch.cat([read, planes], 1)
        gives = gives or self.posterior.param_shape
        return apply_batched(self.encoder, read, read.ndim - 1, gives=gives, name="encoder")

    def read(self, x: Tensor) -> Tensor:
        """Examples as networks see them, with missing values told apart: see :meth:`.Family.read`."""
        return self.likelihood.read(x) if self.likelihood.reads else x

    def embed(self, x: Tensor, c: Tensor | None = None, *, sample: bool = False) -> Tensor:
        """Latents of examples, (B, \\*latent): the mean of the posterior, the same at each call, or a draw."""
        q = self.encode(x, c)
        return q.sample() if sample else mean_of(q, x.device)

    def reconstruct(self, x: Tensor, c: Tensor | None = None, *, sample: bool = False) -> Tensor:
        """Mean of p(x|z) at the latents of examples, (B, \\*shape)."""
        return mean_of(observing(self.decode(self.embed(x, c, sample=sample), c), x), x.device)

    def path(self, start: Tensor, end: Tensor, num_steps: int = 11) -> Tensor:
        """Latents on the way from some to others: see :func:`vae_zoo.distributions.supports.path`.

        Args:
            start: First latents, (B, \\*latent).
            end: Last latents, (B, \\*latent).
            num_steps: Number of points, ends included.

        Returns:
            (num_steps, B, \\*latent).

        Raises:
            TypeError: If no path leads from one latent to another.
        """
        if not self.continuous:
            raise TypeError(f"{type(self).__name__} has latents between which there is no path.")
        return path(self.posterior.support, start, end, num_steps)

    def forward(self, x: Tensor, c: Tensor | None = None) -> Tensor:
        """Latents of examples; see :meth:`embed`."""
        return self.embed(x, c)

    def predict_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> dict[str, Tensor]:  # noqa: ARG002
        """Latents (mean and σ) and reconstructions of a batch."""
        x, c = self.unpack(batch)
        q = self.encode(x, c)
        z, scale = mean_of(q, x.device), stddev_of(q, x.device)
        return {"z": z, "z_scale": scale, "reconstruction": mean_of(observing(self.decode(z, c), x), x.device)}

    def param_groups(self) -> list[dict[str, Any]]:
        """Parameter groups of the optimizer, with separate settings for some of the parameters."""
        return [{"params": list(self.parameters())}]

    def routes(self) -> dict[str, dict[str, float]]:
        """Which terms train which parameters, for a model whose loss is not one objective for all of them.

        Keys are names of modules or parameters, such as "discriminator", and "" for all others. Values are entries of
        :meth:`losses` with their weights: the gradient of ``loss`` with respect to these parameters is that of the
        weighted sum, as the check ``routing`` verifies. The name ``weight * term`` stands for a term whose weight is an
        entry of :meth:`losses` too, through which no gradient passes.
        """
        return {}

    @property
    def lr(self) -> float:
        """Learning rate of the optimizer. A new value applies from the next fit on, and is saved in checkpoints."""
        rate = rate_of(self._make_optimizer)
        if rate is None:
            raise AttributeError("the optimizer of this model does not state its learning rate.")
        return rate

    @lr.setter
    def lr(self, value: float) -> None:
        make: Any = self._make_optimizer or torch.optim.Adam
        made = functools.partial(make, lr=float(value))
        check_rates(made)
        parameters = inspect.signature(type(self).__init__).parameters.values()
        if any(p.name == "optimizer" or p.kind is p.VAR_KEYWORD for p in parameters):  # else it sets the rate itself
            self._init_args = {**self._init_args, "optimizer": made}
        self._make_optimizer = made

    def configure_optimizers(self) -> Any:
        # Lightning refuses to clip the gradients of a fused optimizer in mixed precision.
        fused = not getattr(trainer_of(self), "gradient_clip_val", None)
        make = self._make_optimizer or functools.partial(torch.optim.Adam, lr=self.lr, fused=fused)
        optimizer = make(self.param_groups())
        if self._make_optimizer or self._make_scheduler:
            rehearse(make, self._make_scheduler, self.param_groups())
        if self._make_scheduler is None:
            return optimizer
        scheduler = self._make_scheduler(optimizer)
        same = getattr(scheduler, "mode", self.monitor_mode) == self.monitor_mode
        monitor = getattr(scheduler, "monitor", self.monitor if same else "val/loss")
        every = getattr(trainer_of(self), "check_val_every_n_epoch", None) or 1
        frequency = every if isinstance(scheduler, ReduceLROnPlateau) and monitor.startswith("val/") else 1
        chosen = {"scheduler": scheduler, "monitor": monitor, "frequency": frequency}
        return {"optimizer": optimizer, "lr_scheduler": chosen}

    def lr_scheduler_step(self, scheduler: Any, metric: Any) -> None:
        """Step a scheduler, except for schedulers on a plateau while the weight of the divergence rises."""
        warming = any(callback.rising(self.trainer) for callback in annealings(self.trainer))
        if not (warming and isinstance(scheduler, ReduceLROnPlateau)):
            super().lr_scheduler_step(scheduler, metric)

    def on_train_start(self) -> None:
        """Refuse a scheduler that would fail, or have nothing to monitor, before the end of the run."""
        super().on_train_start()
        say_if_emulated(self.trainer, self.device)
        check_plateaus(self.trainer)
        check_length(self.trainer, self._make_optimizer, self._make_scheduler, self.param_groups())

    def configure_callbacks(self) -> Any:
        """Add none, but check those of the Trainer before they access the model."""
        check_backbone(self, self.trainer.callbacks)  # type: ignore[attr-defined]
        return super().configure_callbacks()

    def setup(self, stage: str) -> None:
        """Have the Trainer read checkpoints as plain data, and refuse models that cannot be trained."""
        super().setup(stage)
        read_plainly(self.trainer.strategy)
        if stage == "fit":
            check_trainable(self, self.trainer.strategy.root_device)
            check_averages(self, self.trainer.callbacks)  # type: ignore[attr-defined]
            check_fit(self, getattr(self.trainer, "datamodule", None), self.trainer.world_size)

    def on_fit_start(self) -> None:
        super().on_fit_start()
        if self.device.type == "cpu":
            keep_freed_memory()
        data: Any = getattr(self.trainer, "datamodule", None)
        if type(self).initialise is Autoencoder.initialise and type(self.likelihood).initialise is Family.initialise:
            self._initialised = True  # and no example needs to be turned into a float
        if is_ours(data) and tuple(data.shape) == self.shape and not self._initialised:
            self._initialise(data.examples("train"))

    def initialise(self, x: Tensor) -> None:
        """Initialise parameters from the data; called once, before the first step of a model that is not restored.

        Missing values have been replaced by means.

        Args:
            x: Training examples, (N, \\*shape), before any random binarisation: all of them, or the first
                batch of a foreign loader.
        """

    def _initialise(self, x: Tensor) -> None:
        if not self._initialised:
            x = fill_missing(x) if self.likelihood.missing else x
            self.likelihood.initialise(x)
            self.initialise(x)
            self._initialised = True

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        super().on_train_batch_start(batch, batch_idx)
        if not self._initialised:
            self._initialise(self.trainer.strategy.broadcast(self.unpack(batch)[0]))  # every rank from the first one's

    def check_batch(self, batch: Any, batch_idx: int = 0) -> None:
        super().check_batch(batch, batch_idx)
        if batch_idx == 0:
            self.likelihood.check(self.unpack(batch)[0])
        elif not isinstance(batch, Batch):  # of ours, whole splits have been looked at
            where = f"step {self.trainer.global_step + 1}" if self.trainer.training else f"batch {batch_idx}"
            if self.guard.see_examples(self.trainer, where, self.likelihood.gist(self.unpack(batch)[0])):
                self._look()
