"""How a model of the zoo runs under Lightning: steps, curves and the checks of the data."""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor
from torch.optim import Optimizer

from vae_zoo.metrics import Curves
from vae_zoo.seeding import forked, global_seed, mix, seed_all
from vae_zoo.typing import Batch, Shape


def unpack(batch: Any) -> tuple[Tensor, Tensor | None]:
    """Examples and conditions of a batch: one of ours, a tensor, or a sequence that starts with the two.

    Raises:
        ValueError: If it is anything else.
    """
    if isinstance(batch, Tensor):
        return batch, None
    if not isinstance(batch, Sequence) or not batch or not isinstance(batch[0], Tensor):
        raise ValueError(f"a batch must be a tensor, or a sequence that begins with the examples, got {_kind(batch)}.")
    return batch[0], batch[1] if len(batch) > 1 else None


def _kind(batch: Any) -> str:
    inner = f" of {type(batch[0]).__name__}" if isinstance(batch, (list, tuple)) and batch else ""
    return f"{type(batch).__name__}{inner}"


def seed_of(batch: Any, batch_idx: int, *, epoch: int = 0, rank: int = 0) -> int:
    """Seed of whatever is drawn for a batch: its own key, or for a foreign batch its place."""
    return batch.key if isinstance(batch, Batch) else mix(global_seed(), epoch, rank, batch_idx)


class Steps(LightningModule, ABC):
    """The loop of a model that is trained on one scalar. What the scalar is, :meth:`losses` says.

    Curves are summed on the device and handed to Lightning every ``log_every_n_steps``, because each of its log calls
    costs more than a small model's whole step. Every step reseeds from its batch, which makes the noise a function of
    (seed, rank, step): the same in a resumed run, another on each rank. Evaluation leaves the generators as they were:
    a foreign loader draws the order of the next epoch from them, which would be the same one every time.
    """

    shape: Shape
    min_batch_size: int = 1
    """Examples that a training batch must have: more than 1 where the loss compares them."""

    compiled: bool = False
    cuda_graphs: bool = False

    compilable: bool = True
    """Whether this torch compiles :meth:`losses` rightly; where it does not, ``compiled`` changes nothing."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._curves = {stage: Curves() for stage in ("train", "val", "test")}

    @abstractmethod
    def losses(self, x: Tensor, c: Tensor | None = None) -> dict[str, Tensor]:
        """Everything that is optimised or logged, as scalars; ``loss`` is minimised. One graph: no logging, no sync."""

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        seed_all(seed_of(batch, batch_idx, epoch=self.current_epoch, rank=self.global_rank), self.device)
        return self._update("train", batch)

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:  # noqa: ARG002
        every: int = self.trainer.log_every_n_steps  # type: ignore[attr-defined]
        if every and (self.trainer.global_step + 1) % every == 0:
            self._log("train", on_step=True, on_epoch=False)

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        with forked(seed_of(batch, batch_idx, rank=self.global_rank), self.device):
            self._update("val", batch)

    def test_step(self, batch: Any, batch_idx: int) -> None:
        with forked(seed_of(batch, batch_idx, rank=self.global_rank), self.device):
            self._update("test", batch)

    def on_validation_epoch_end(self) -> None:
        self._log("val", self._sum_over_ranks)

    def on_test_epoch_end(self) -> None:
        self._log("test", self._sum_over_ranks)

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        self.check_batch(batch, batch_idx)

    def on_validation_batch_start(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:  # noqa: ARG002
        self.check_batch(batch, batch_idx)

    on_test_batch_start = on_predict_batch_start = on_validation_batch_start

    def check_batch(self, batch: Any, batch_idx: int = 0) -> None:
        """Refuse examples the model cannot take, at the first batch of an epoch.

        Raises:
            ValueError: With what was expected and what came.
        """
        if batch_idx == 0:
            x, c = unpack(batch)
            if c is not None and tuple(c.shape[1:]) == self.shape != tuple(x.shape[1:]):
                raise ValueError("the examples come second in a batch: give (examples, labels), not the reverse.")
            self.check_examples(x)

    def check_examples(self, x: Tensor) -> None:
        """Refuse examples of another shape or type, which might broadcast to something without a meaning.

        Raises:
            ValueError: With what was expected and what came.
        """
        if tuple(x.shape[1:]) != self.shape:
            raise ValueError(f"the model is for examples of shape {self.shape}, the data have {tuple(x.shape[1:])}.")
        if x.dtype == torch.uint8:
            raise ValueError("examples must be floating point, got torch.uint8: convert them by x.float() / 255.")
        if not x.is_floating_point():
            raise ValueError(f"examples must be floating point, got {x.dtype}: convert them in the data module.")

    def _update(self, stage: str, batch: Any) -> Tensor:
        x, c = unpack(batch)
        values = self._compute(stage)(self, x, c)
        if not isinstance(values, dict) or "loss" not in values or values["loss"].ndim:
            raise ValueError(f"{type(self).__name__}.losses must give a dictionary with a scalar `loss`.")
        self._curves[stage].update(values, len(x))
        return values["loss"]

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

    def _log(self, stage: str, reduce: Callable[[Tensor], Tensor] | None = None, **kwargs: Any) -> None:
        values = self._curves[stage].compute(reduce)
        shown = "elbo" if "elbo" in values else "loss"
        for name, value in values.items():
            self.log(f"{stage}/{name}", value, prog_bar=name == shown, batch_size=1, **kwargs)


@functools.cache
def compiled(cls: type[Steps], *, graphs: bool = False) -> Callable[..., dict[str, Tensor]]:
    """The compiled :meth:`Steps.losses` of a class.

    One a class and not a bound method: a copy of a model, such as a moving average of its weights, would otherwise
    keep computing with the weights of the original.
    """
    return torch.compile(cls.losses, mode="reduce-overhead", dynamic=False) if graphs else torch.compile(cls.losses)
