"""Precedence of settings, with one line about overridden values: command line > config > checkpoint > default."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from inspect import signature
from pathlib import Path
from pydoc import locate
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from vae_zoo.cli.errors import one_line
from vae_zoo.cli.inspect.configs import read_yaml
from vae_zoo.cli.inspect.options import CHOSEN, LINKED, pairs
from vae_zoo.distributions import Bernoulli


def resolve_defaults(config: Any, args: Sequence[str], saved: Mapping[str, Any]) -> None:
    """Give an optimizer that replaces the checkpoint's its own defaults instead of those of the old class.

    Otherwise AdamW would get a weight decay of 0 from Adam in the checkpoint.

    Args:
        config: Configuration of the verb, changed in place.
        args: Arguments after the verb.
        saved: Model of the checkpoint, as plain data.

    Raises:
        ValueError: If the checkpoint is of another class.
    """
    given = {flag for flag, _ in pairs(args)}
    old_class, new_class = str(saved.get("class_path") or ""), str(config.model.get("class_path") or "")
    if old_class and new_class and _short(old_class) != _short(new_class):
        raise ValueError(f"the checkpoint holds a {old_class}, the model is a {new_class}.")
    for name in ("optimizer", "scheduler"):
        old: Any = (saved.get("init_args") or {}).get(name)
        new: Any = (config.model.get("init_args") or {}).get(name)
        if isinstance(old, dict) and hasattr(new, "class_path") and _short(old["class_path"]) != _short(new.class_path):
            other, own = _defaults(old["class_path"]), _defaults(new.class_path)
            for key, value in list((new.get("init_args") or {}).items()):
                was_default = key in other and other[key] == _plain(value)
                if was_default and key in own and f"--model.{name}.{key}" not in given:
                    new.init_args[key] = own[key]


def _defaults(class_path: str) -> dict[str, Any]:
    """Defaults of a constructor of torch."""
    cls = locate(class_path) if class_path.startswith("torch.optim.") else None
    parameters = signature(cls).parameters.values() if callable(cls) else ()
    return {p.name: _plain(p.default) for p in parameters if p.default is not p.empty}


def overridden(saved: Mapping[str, Any], config: Any) -> list[str]:
    """Overridden values of a checkpoint, ``model.beta 7.0 (was 4.0)``.

    Args:
        saved: Model and data of the checkpoint, as plain data.
        config: Configuration of the verb.
    """
    found: list[str] = []
    for group in CHOSEN:
        if saved.get(group) and config.get(group):
            found += _differences(group, _plain(saved[group]), _plain(config[group]))
    return found


def dropped(args: Sequence[str], config: Any) -> list[str]:
    """Arguments of a class in a config file that the command line has replaced by a class without them.

    Args:
        args: Arguments after the verb.
        config: Configuration of the verb.
    """
    lost = []
    for path in (Path(value) for flag, value in pairs(args) if flag in ("-c", "--config")):
        for group in CHOSEN:
            given, new = read_yaml(path).get(group), _plain(config.get(group) or {})
            old = given.get("class_path") if isinstance(given, dict) else None
            if isinstance(given, dict) and old and _short(old) != _short(new.get("class_path", "")):
                names = [name for name in given.get("init_args") or {} if name not in new.get("init_args", {})]
                lost += [f"{', '.join(names)} of {_short(old)} in {path.name}"] if names else []
    return lost


def _differences(key: str, old: Any, new: Any) -> Iterator[str]:
    if isinstance(old, dict) and "class_path" in old and isinstance(new, dict) and "class_path" in new:
        if _short(old["class_path"]) != _short(new["class_path"]):
            yield f"{key} {_short(new['class_path'])} (was {_short(old['class_path'])})"
        else:
            yield from _differences(key, old.get("init_args") or {}, new.get("init_args") or {})
    elif isinstance(old, dict) and isinstance(new, dict):
        for name in old:
            if name in new and not (name in LINKED and key == "model"):
                yield from _differences(f"{key}.{name}", old[name], new[name])
    elif old != new:
        yield f"{key} {_text(new)} (was {_text(old)})"


def _text(value: Any) -> str:
    return _short(value["class_path"]) if isinstance(value, dict) and "class_path" in value else str(value)


def _short(path: str) -> str:
    return path.rpartition(".")[2]


def _plain(value: Any) -> Any:
    """Namespaces as dictionaries, tuples as lists."""
    value = value.as_dict() if hasattr(value, "as_dict") else value
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value


class OverrideReport(Callback):
    """Prints overridden values to stderr once the checkpoint is loaded.

    Args:
        saved: Model and data of the checkpoint, as plain data; empty without a checkpoint.
        config: Configuration of the verb.
        args: Arguments after the verb.
        suited: Likelihood chosen from the data, if none was given.
    """

    def __init__(self, saved: Mapping[str, Any], config: Any, args: Sequence[str], suited: Any = None) -> None:
        said = {"not as in the checkpoint": overridden(saved, config)}
        said["given to a class that was replaced, and dropped"] = dropped(args, config)
        self.lines = [one_line(f"{what}: {', '.join(items)}") for what, items in said.items() if items]
        if isinstance(suited, type) and suited is not Bernoulli:
            self.lines.append(
                f"likelihood {suited.__name__}, since the data are not binary; --model.likelihood chooses another one."
            )
        self._first: int | None = None

    def trained(self, trainer: Trainer) -> bool:
        """Whether a fit has taken a step."""
        return self._first is not None and trainer.global_step > self._first

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:  # noqa: ARG002
        """Name callbacks that the resumed fit lacks: without annealing, the weight of the rate would jump to 1."""
        states = checkpoint.get("callbacks")
        if trainer.state.fn != "fit" or not isinstance(states, Mapping):
            return
        here = {type(callback).__name__ for callback in trainer.callbacks}  # type: ignore[attr-defined]
        names = {str(key).partition("{")[0] for key in states}
        if gone := sorted(names - here):
            self.lines.append(one_line(f"in the run of the checkpoint, but not in this one: {', '.join(gone)}"))

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        self._first = trainer.global_step if self._first is None else self._first
        if trainer.is_global_zero:
            for line in self.lines:
                print(f"vae-zoo: {line}", file=sys.stderr)
        self.lines = []

    on_validation_start = on_test_start = on_predict_start = on_train_start
