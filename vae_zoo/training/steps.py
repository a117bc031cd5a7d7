"""The training loop of models under Lightning: steps, curves and checks of batches."""

from __future__ import annotations

import functools
import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor
from torch.optim import Optimizer

from vae_zoo.metrics import LoggedMetrics
from vae_zoo.nn import Schedule
from vae_zoo.system.devices import look_for_devices_cheaply
from vae_zoo.system.seeding import forked, generators_of, global_seed, mix, restore_generators, seed_all
from vae_zoo.training.guard import Guard, tunes
from vae_zoo.training.trainers import is_last_batch, loader_suffix, log_same, num_batches, trainer_of
from vae_zoo.typing import Batch, Shape

LABELS = ("label", "labels", "y", "target", "targets", "class")
"""Names of batch entries that are used as conditions, in order of preference."""


def find_examples(batch: Any, shape: Shape) -> tuple[Tensor, Tensor | None]:
    """Examples and conditions of a batch in one of the usual forms.

    Args:
        batch: A tensor of examples; a sequence that begins with one, whose second entry is the conditions or a mapping
            that contains them; or a mapping with exactly one entry of the right shape. Other entries,
            such as weights or file names, are ignored.
        shape: Shape of one example.

    Returns:
        The examples, (B, ...), and the conditions or None.

    Raises:
        ValueError: If it contains no examples, or several tensors that could be the examples.
    """
    if isinstance(batch, Tensor):
        return batch, None
    if isinstance(batch, Mapping):
        fitting = [name for name, value in batch.items() if _is_batch_of(value, shape)]
        if len(fitting) == 1:
            return batch[fitting[0]], _labels(batch)
    elif isinstance(batch, Sequence) and len(batch) and isinstance(batch[0], Tensor):
        c = batch[1] if len(batch) > 1 else None
        return batch[0], _labels(c) if isinstance(c, Mapping) else c if isinstance(c, Tensor) else None
    raise ValueError(
        f"a batch must begin with a tensor, or be a dictionary with one tensor of shape (B, {_sides(shape)}), "
        f"got {_kind(batch)}: override unpack(batch) to give (examples, labels)."
    )


def _is_batch_of(value: Any, shape: Shape) -> bool:
    return isinstance(value, Tensor) and tuple(value.shape[1:]) == shape


def _labels(entries: Mapping[Any, Any]) -> Tensor | None:
    return next((entries[name] for name in LABELS if isinstance(entries.get(name), Tensor)), None)


def _sides(shape: Shape) -> str:
    return ", ".join(map(str, shape))


def _kind(batch: Any) -> str:
    if isinstance(batch, Mapping):
        return f"{type(batch).__name__} of " + (", ".join(f"{k}: {_kind(v)}" for k, v in batch.items()) or "nothing")
    if isinstance(batch, Tensor):
        return f"tensor {tuple(batch.shape)}"
    inner = f" of {type(batch[0]).__name__}" if isinstance(batch, (list, tuple)) and batch else ""
    return f"{type(batch).__name__}{inner}"


def seed_of(batch: Any, batch_idx: int, *, epoch: int = 0, rank: int = 0) -> int:
    """Seed of all draws for a batch: its own key, or the position of a batch from a foreign loader."""
    return batch.key if isinstance(batch, Batch) else mix(global_seed(), epoch, rank, batch_idx)


class Steps(LightningModule, ABC):
    """The steps of a model that is trained on one scalar, defined by :meth:`losses`.

    Curves are summed on the device and handed to Lightning every ``log_every_n_steps``, because each of its log calls
    costs more than a small model's whole step. Every step reseeds from its batch, so the noise is a function of
    (seed, rank, step): the same in a resumed run, different on each rank. Evaluation restores the generators, because
    foreign loaders draw the order of the next epoch from them, which would otherwise always be the same.

    Hooks of Lightning that a subclass overrides without ``super()`` run after those of this class, rather than
    replacing them, as users expect from overriding the empty hooks of a LightningModule.
    """

    shape: Shape
    min_batch_size: int = 1
    """Smallest number of examples in a training batch: more than 1 if the loss compares them."""

    compiled: bool = False
    cuda_graphs: bool = False

    compilable: bool = True
    """Whether this release of torch compiles :meth:`losses` correctly; if not, ``compiled`` has no effect."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        ours = [base for base in cls.__mro__ if _is_ours(base)]
        for name in {name for base in ours for name in vars(base) if name == "setup" or name.startswith("on_")}:
            owner = next(base for base in cls.__mro__ if name in vars(base))
            if owner not in ours and not _calls_parents(vars(owner)[name], name):
                setattr(cls, name, _after_ours(vars(owner)[name], name))

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._curves = _no_curves()
        self._schedules: list[Schedule] = []
        self.guard = Guard()

    def setup(self, stage: str) -> None:
        super().setup(stage)
        look_for_devices_cheaply()
        self._curves = _no_curves()  # a fit before this one may have ended anywhere
        self.guard.start()
        self._schedules = [module for module in self.modules() if isinstance(module, Schedule)]

    def on_fit_start(self) -> None:
        super().on_fit_start()
        self._generators = generators_of(self.device)

    def on_fit_end(self) -> None:
        super().on_fit_end()
        restore_generators(self._generators)  # else whatever is drawn next is the same after every fit

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["curves"] = self._curves["train"].state_dict()  # else the row that spans a resume is another one

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        if "curves" in checkpoint:
            self._curves["train"].load_state_dict(checkpoint["curves"])

    @abstractmethod
    def losses(self, x: Tensor, c: Tensor | None = None) -> dict[str, Tensor]:
        """Everything that is optimised or logged, as scalars; ``loss`` is minimised. One graph: no logging, no sync.

        The logged values are means over examples, of a split or since the last row. Statistics that are not linear in
        the examples are computed from such means, which may be vectors, by :meth:`curves`.
        """

    def curves(self, means: dict[str, Tensor]) -> dict[str, Tensor]:
        """Logged scalars, from the means over examples of the values of :meth:`losses`."""
        return means

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        seed_all(seed_of(batch, batch_idx, epoch=self.current_epoch, rank=self.global_rank), self.device)
        return self._update("train", batch)

    def on_before_backward(self, loss: Tensor) -> None:
        curves = self._curves["train"]
        row = loss.reshape(1) if curves.last is None else curves.last
        if self.guard.see_loss(self.trainer, row) and not tunes(self.trainer):
            self._look()

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:  # noqa: ARG002
        every: int = self.trainer.log_every_n_steps  # type: ignore[attr-defined]
        if every and (self.trainer.global_step + 1) % every == 0:
            self._log("train", on_step=True, on_epoch=False)

    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        self._evaluate("val", batch, batch_idx, dataloader_idx)

    def test_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        self._evaluate("test", batch, batch_idx, dataloader_idx)

    def on_train_epoch_end(self) -> None:
        self._look()

    on_validation_start = on_predict_epoch_end = on_train_epoch_end

    def on_validation_epoch_end(self) -> None:
        self._look()
        self._log_evaluation("val")

    def on_test_epoch_end(self) -> None:
        self._look()
        self._log_evaluation("test")

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        loaders = self.trainer.train_dataloader if batch_idx == 0 else None
        if isinstance(loaders, (list, tuple, dict)) and len(loaders) > 1 and type(self).unpack is Steps.unpack:
            raise ValueError(
                f"Lightning takes the {type(loaders).__name__} for {len(loaders)} training loaders, whose batches come "
                "together: give one loader, or override unpack(batch) to join them."
            )
        self.check_batch(batch, batch_idx)
        for schedule in self._schedules:
            schedule.set(self.trainer.global_step)

    def on_validation_batch_start(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:  # noqa: ARG002
        self.check_batch(batch, batch_idx)

    on_test_batch_start = on_predict_batch_start = on_validation_batch_start

    def unpack(self, batch: Any) -> tuple[Tensor, Tensor | None]:
        """Examples (B, \\*shape) and conditions of a batch, called by every step and callback.

        Override it for batches of another form, or to convert batches for the model.

        Args:
            batch: Batch of a loader, on the device.

        Raises:
            ValueError: If it contains no examples.
        """
        return find_examples(batch, self.shape)

    def check_batch(self, batch: Any, batch_idx: int = 0) -> None:
        """Refuse unsuitable examples, at the first batch of an epoch.

        Raises:
            ValueError: If labels come before the examples.
        """
        if batch_idx == 0:
            x, c = self.unpack(batch)
            if c is not None and tuple(c.shape[1:]) == self.shape != tuple(x.shape[1:]):
                raise ValueError("the examples come second in a batch: give (examples, labels), not the reverse.")
            self.check_examples(x)

    def check_examples(self, x: Tensor) -> None:
        """Refuse examples of another shape or type, which could broadcast to a meaningless result.

        Raises:
            ValueError: If x is no tensor, no batch, of another shape or not floating point.
        """
        if not isinstance(x, Tensor):
            raise ValueError(f"examples must be a tensor of shape (B, {_sides(self.shape)}), got a {type(x).__name__}.")
        if tuple(x.shape) == self.shape != tuple(x.shape[1:]):
            raise ValueError(
                f"a batch must be (B, {_sides(self.shape)}), got one example: wrap the data in a DataLoader."
            )
        if tuple(x.shape[1:]) != self.shape:
            raise ValueError(f"the model is for examples of shape {self.shape}, the data have {tuple(x.shape[1:])}.")
        if x.dtype == torch.uint8:
            raise ValueError("examples must be floating point, got torch.uint8: convert them by x.float() / 255.")
        if not x.is_floating_point():
            raise ValueError(f"examples must be floating point, got {x.dtype}: convert them in the data module.")

    def _evaluate(self, stage: str, batch: Any, batch_idx: int, dataloader_idx: int) -> None:
        with forked(seed_of(batch, batch_idx, rank=self.global_rank), self.device):
            self._update(stage, batch, dataloader_idx)
        if is_last_batch(trainer_of(self), batch_idx, dataloader_idx):
            self._log(stage, self._sum_over_ranks, dataloader_idx)

    def _log_evaluation(self, stage: str) -> None:
        loaders = len(num_batches(self.trainer))
        for n in range(loaders):  # what has not been logged with the last batch
            self._log(stage, self._sum_over_ranks, n, loader_suffix(self.trainer, n))
        if loaders > 1:  # a monitor looks at the first
            metrics, first = self.trainer.callback_metrics, loader_suffix(self.trainer, 0)
            metrics.update({name.removesuffix(first): x for name, x in metrics.items() if name.endswith(first)})

    def _look(self) -> None:
        self.guard.look(self.trainer, self._curves["train"].names, getattr(self, "likelihood", None))

    def _update(self, stage: str, batch: Any, dataloader_idx: int = 0) -> Tensor:
        x, c = self.unpack(batch)
        values = self._compute(stage)(self, x, c)
        hook = f"{type(self).__name__}.losses"
        check_values(values, hook, vectors=type(self).curves is not Steps.curves)
        if stage == "train" and not values["loss"].requires_grad:
            raise ValueError(f"the loss of {hook} has no gradient: it was detached, or computed without one.")
        self._curves_of(stage, dataloader_idx).update(values, len(x))
        return values["loss"]

    def _curves_of(self, stage: str, dataloader_idx: int) -> LoggedMetrics:
        return self._curves.setdefault(f"{stage}/{dataloader_idx}" if dataloader_idx else stage, LoggedMetrics())

    def _compute(self, stage: str) -> Callable[..., dict[str, Tensor]]:
        """The class's :meth:`losses`, compiled or not."""
        if not (self.compiled and self.compilable):
            return type(self).losses
        if stage != "train" or not self.cuda_graphs or self.device.type != "cuda":
            return compiled(type(self))
        if self.trainer.accumulate_grad_batches > 1:
            return compiled(type(self))  # gradients would be added up in memory that the next replay writes over
        torch.compiler.cudagraph_mark_step_begin()
        return compiled(type(self), graphs=True)

    def _sum_over_ranks(self, x: Tensor) -> Tensor:
        return self.trainer.strategy.reduce(x, reduce_op="sum")

    def _log(
        self,
        stage: str,
        reduce: Callable[[Tensor], Tensor] | None = None,
        dataloader_idx: int = 0,
        suffix: str = "",
        **kwargs: Any,
    ) -> None:
        means = self._curves_of(stage, dataloader_idx).compute(reduce)
        values = self.curves(means) if means else means
        if stage == "val":
            self.guard.check_validation(self.trainer, values)
        shown = "elbo" if "elbo" in values else "loss"
        log = self.log if stage == "train" else functools.partial(log_same, self)
        for name, value in values.items():
            bar = name == shown and not dataloader_idx
            key = f"{stage}/{name}{suffix}"
            log(key, value, prog_bar=bar, batch_size=1, add_dataloader_idx=not suffix, **kwargs)


def _is_ours(cls: type) -> bool:
    return cls.__module__.startswith("vae_zoo.")


def _calls_parents(hook: Any, name: str) -> bool:
    """Whether a hook calls its parent, by ``super().name()`` or ``Parent.name(self)``, or is of :func:`_after_ours`."""
    code = getattr(inspect.unwrap(hook), "__code__", None)
    return code is None or name in code.co_names or hasattr(hook, "after_ours")


def _after_ours(hook: Callable[..., Any], name: str) -> Callable[..., Any]:
    """Wrap a hook so that the hook of the zoo's own class runs before it."""

    @functools.wraps(hook)  # keeps the signature, which Lightning looks at
    def run(self: Any, *args: Any, **kwargs: Any) -> Any:
        first = next(base for base in type(self).__mro__ if _is_ours(base) and name in vars(base))
        vars(first)[name](self, *args, **kwargs)
        return hook(self, *args, **kwargs)

    run.__dict__["after_ours"] = True
    return run


def check_values(values: Any, hook: str, *, vectors: bool = False) -> None:
    """Refuse anything but named scalars as the result of a hook.

    Args:
        values: Result of the hook.
        hook: Name of the hook in errors.
        vectors: Whether all but the loss may be vectors, from which :meth:`Steps.curves` computes scalars.

    Raises:
        ValueError: If it is no dictionary with loss, or a value is no scalar tensor.
    """
    wanted = f"{hook} must give a dictionary with a scalar tensor `loss`"
    if not isinstance(values, dict):
        raise ValueError(f"{wanted}, gave a {type(values).__name__}.")
    if "loss" not in values:
        raise ValueError(f"{wanted}, gave one with {', '.join(map(str, values)) or 'nothing'}.")
    for name, value in values.items():
        if not isinstance(value, Tensor):
            raise ValueError(f"{wanted} and scalar tensors beside it: {name} is a {type(value).__name__}.")
        if value.ndim and not (vectors and name != "loss"):
            raise ValueError(f"{wanted} and scalar tensors beside it: {name} has shape {tuple(value.shape)}.")


def _no_curves() -> dict[str, LoggedMetrics]:
    return {stage: LoggedMetrics() for stage in ("train", "val", "test")}


@functools.cache
def compiled(cls: type[Steps], *, graphs: bool = False) -> Callable[..., dict[str, Tensor]]:
    """The compiled :meth:`Steps.losses` of a class.

    Compiled once per class and not as a bound method: a copy of a model, such as a moving average of its weights, would
    otherwise compute with the weights of the original.
    """
    return torch.compile(cls.losses, mode="reduce-overhead", dynamic=False) if graphs else torch.compile(cls.losses)
