"""Models in checkpoints: what is saved, and checks before weights are restored."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor

import vae_zoo
from vae_zoo.checkpoints.hyperparameters import Recorded, import_path
from vae_zoo.checkpoints.load import are_labels, as_lightning_has_it
from vae_zoo.security.class_paths import is_lost
from vae_zoo.security.untrusted import check_callbacks, check_resumable
from vae_zoo.system.tensors import uncompiled
from vae_zoo.training.latent_scale import LatentScale
from vae_zoo.training.optimizers import override_states
from vae_zoo.training.trainers import is_ours, trainer_of
from vae_zoo.typing import Shape

WEIGHTS = ("state_dict", "current_model_state")
"""Keys of weights in a checkpoint; the second exists with a moving average."""


def class_names(data: Any) -> list[Any] | None:
    """The labels of data as plain data, in the order in which classes are numbered, where the data name them."""
    names = getattr(data, "classes", None)
    return names if are_labels(names) else None


COMPONENTS = ("posterior", "likelihood", "latent_prior")
"""What a constructor makes of its arguments, from which alone a checkpoint makes them again."""


def _unwrapped(module: Any) -> Any:
    """A module without what torch.compile or a strategy has put around it."""
    for name in ("_orig_mod", "_fsdp_wrapped_module"):
        module = getattr(module, name, module)
    return module


class Saved(Recorded, LightningModule):
    """Base of models that save themselves in checkpoints as plain data, and restore only their own weights."""

    shape: Shape
    latent_shape: Any
    _built: dict[str, Any]

    latent_scale: LatentScale | None = None
    """Moments of the latents, if they have been measured; kept in checkpoints."""

    loaded_data: dict[str, Any] | None = None
    """The data that weights were fitted to, as plain data, if they come from a checkpoint or folder that names them."""

    loaded_classes: list[Any] | None = None
    """The labels of these data, sorted as classes are numbered, if they are named there."""

    _initialised = False
    """Whether parameters that are initialised from the data have been initialised."""

    def state_dict(self, *args: Any, prefix: str = "", **kwargs: Any) -> Any:
        """The weights, by the names that they have in a model without compiled parts."""
        state = super().state_dict(*args, prefix=prefix, **kwargs)
        for name in [name for name in state if name.startswith(prefix)]:  # all of them, to keep their order
            state[prefix + uncompiled(name[len(prefix) :])] = state.pop(name)
        return state

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """Load weights, after which nothing is initialised from data any more, unless some are missing."""
        keys = super().load_state_dict(state_dict, strict, assign)
        self._initialised |= not keys.missing_keys
        return keys

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        parts = *self.named_parameters(remove_duplicate=False), *self.named_buffers(remove_duplicate=False)
        own = {uncompiled(name): name for name, _ in parts}
        for name in [name for name in state_dict if name.startswith(prefix)]:
            plain = uncompiled(name[len(prefix) :])
            state_dict[prefix + own.get(plain, plain)] = state_dict.pop(name)
        super()._load_from_state_dict(state_dict, prefix, *args)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Save the model and its data as plain class paths and arguments.

        Raises:
            ValueError: If a weight is NaN or infinite, or a buffer NaN.
        """
        super().on_save_checkpoint(checkpoint)
        weights = [(uncompiled(name), p) for name, p in self.named_parameters()]
        states = [item for key in WEIGHTS for item in checkpoint.get(key, {}).items()]
        if bad := _not_finite(weights) or _not_finite(states, infinite=False):
            raise ValueError(f"{bad} is not finite after step {checkpoint.get('global_step')}: nothing is saved.")
        self.check_changes()
        model = self.recorded()
        data: Any = getattr(trainer_of(self), "datamodule", None)
        checkpoint["hyper_parameters"] = as_lightning_has_it(model)
        checkpoint["vae_zoo"] = {
            "version": vae_zoo.__version__,
            "model": model,
            "data": data.recorded() if isinstance(data, Recorded) and data.recordable else None,
        }
        if is_ours(data):
            checkpoint["vae_zoo"]["num_train"] = int(data.num_train)  # other data are split in another way
        if self.latent_scale is not None:
            checkpoint["vae_zoo"]["latents"] = self.latent_scale._asdict()
        if classes := class_names(data):
            checkpoint["vae_zoo"]["classes"] = classes  # to number the labels of other data alike

    def constructed(self) -> None:
        super().constructed()
        vars(self)["_made"] = {name: vars(self)["_modules"].get(name) for name in COMPONENTS}

    def check_changes(self) -> None:
        """Refuse what has changed since construction and could not be loaded again.

        Raises:
            ValueError: If a component was replaced, or a changed attribute does not fit the weights.
        """
        for name, made in vars(self).get("_made", {}).items():
            if _unwrapped(vars(self)["_modules"].get(name)) is not made:
                what = f"{name} was replaced after the model had been built, and would be lost"
                raise ValueError(f"{what}: give it to the constructor.")
        if not (changed := self.changed()):
            return
        try:
            with torch.device("meta"):
                again = type(self)(**{**self._init_args, **changed})
            fits = {k: x.shape for k, x in again.state_dict().items()} == {
                k: x.shape for k, x in self.state_dict().items()
            }
        except Exception:
            fits = False
        if not fits:
            said = ", ".join(f"{name} {value!r} (was {self._built[name]!r})" for name, value in changed.items())
            raise ValueError(f"changed since the model was built: {said}: its weights do not fit, so build another.")

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse the weights of another model.

        Raises:
            ValueError: If the checkpoint is of another class or for examples of another shape, contains values that are
                not finite, cannot be resumed from, or would delete files outside of the run.
        """
        self._check_class(checkpoint)  # first: what another model holds, or lacks to go on from, does not matter
        self._check_finite(checkpoint)
        if (trainer := trainer_of(self)) is not None:
            if trainer.state.fn == "fit" and trainer.ckpt_path is not None and self._fits(checkpoint):
                groups: list[dict[str, Any]] = self.param_groups()  # type: ignore[operator]
                check_resumable(checkpoint, [p for group in groups for p in group["params"] if isinstance(p, Tensor)])
            folders = [getattr(callback, "dirpath", None) for callback in trainer.checkpoint_callbacks]
            check_callbacks(checkpoint.get("callbacks"), [str(folder) for folder in folders if folder])
        super().on_load_checkpoint(checkpoint)
        self._initialised = True
        self.loaded_data, self.loaded_classes = (checkpoint.get("vae_zoo", {}).get(key) for key in ("data", "classes"))
        self._adopt_scale(checkpoint.get("vae_zoo", {}).get("latents"))
        saved = checkpoint.get("vae_zoo", {}).get("model")
        if saved is None:
            return
        shape = tuple(saved["init_args"].get("shape", self.shape))
        if shape != self.shape:
            raise ValueError(f"the checkpoint is of examples of shape {shape}, the data have {self.shape}.")
        override_states(checkpoint, saved["init_args"], self.recorded()["init_args"])

    def _adopt_scale(self, plain: Any) -> None:
        trainer = trainer_of(self)
        going_on = trainer is not None and trainer.state.fn == "fit"  # then the latents are no longer the same
        self.latent_scale = (
            None if plain is None or going_on else LatentScale.of(plain, self.latent_shape[0], "the checkpoint")
        )

    def _check_class(self, checkpoint: dict[str, Any]) -> None:
        path = ((checkpoint.get("vae_zoo") or {}).get("model") or {}).get("class_path", import_path(type(self)))
        if path != import_path(type(self)) and not is_lost(path, type(self)):
            raise ValueError(f"the checkpoint holds a {path}, the model is a {import_path(type(self))}.")

    def _fits(self, checkpoint: dict[str, Any]) -> bool:
        """Whether the weights have the shapes of the model's: of others, loading them says more than the optimizer."""
        own = self.state_dict()
        weights = [(uncompiled(name), x) for name, x in checkpoint.get("state_dict", {}).items()]
        return all(name in own and own[name].shape == getattr(x, "shape", None) for name, x in weights)

    def _check_finite(self, checkpoint: dict[str, Any]) -> None:
        own = {uncompiled(name) for name, _ in self.named_parameters()}
        items = [item for key in WEIGHTS for item in checkpoint.get(key, {}).items() if isinstance(item[1], Tensor)]
        bad = _not_finite([item for item in items if uncompiled(item[0]) in own]) or _not_finite(items, infinite=False)
        for state in checkpoint.get("optimizer_states", []):
            moments = [item for own in state["state"].values() if isinstance(own, dict) for item in own.items()]
            moments = [item for item in moments if isinstance(item[1], Tensor)]
            bad = bad or _not_finite(moments, infinite=False)
        if bad:
            raise ValueError(f"{bad} in the checkpoint is not finite: nothing can be computed from it.")


def _not_finite(named: Iterable[tuple[str, Tensor]], *, infinite: bool = True) -> str:
    """Name of the first tensor with a NaN, or an infinity if that counts; empty if there is none."""
    values = [(name, x) for name, x in named if x.is_floating_point() or x.is_complex()]
    if not values:
        return ""
    bad = torch.stack([~torch.isfinite(x).all() if infinite else torch.isnan(x).any() for _, x in values]).tolist()
    return next((name for (name, _), found in zip(values, bad, strict=True) if found), "")
