"""The options of Lightning's verbs, found without imports."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from vae_zoo.cli.inspect.sources import arguments, is_concrete, method, public

CALLBACKS = {  # by their paths, so that this file imports none of them
    "checkpoint": "vae_zoo.callbacks.BestCheckpoint",  # its own save_last writes only with the best
    "last": "vae_zoo.callbacks.LastCheckpoint",
    "nan": "vae_zoo.callbacks.NaNGuard",
    "samples": "vae_zoo.callbacks.SampleGrid",
    "reconstructions": "vae_zoo.callbacks.ReconstructionGrid",
    "traversals": "vae_zoo.callbacks.TraversalGrid",
    "latents": "vae_zoo.callbacks.LatentScatter",
    "collapse": "vae_zoo.callbacks.CollapseWarning",
    "evidence": "vae_zoo.callbacks.Evidence",
    "predictions": "vae_zoo.callbacks.PredictionWriter",
    "ranks": "vae_zoo.callbacks.RankWatch",
}
LINKED = ("shape", "num_classes", "num_train", "num_labelled", "condition_sizes", "missing", "scaling")
"""Arguments of a model that are linked from the data."""

TRAINER = "lightning.pytorch.Trainer"
CHOSEN = {"model": "vae_zoo.models.Autoencoder", "data": "vae_zoo.data.DataModule"}
"""Groups with a choice of class, and the base class that it must derive from."""

OWN = ("matmul_precision",)
"""Options that belong neither to Lightning nor to a class."""

OWN_OF = {"predict": ("split",)}
"""Such options of single verbs."""

_GIVEN = {"model", "train_dataloaders", "val_dataloaders", "dataloaders", "datamodule"}


def groups(verb: str) -> dict[str, list[str]]:
    """Options of a verb of Lightning's by their group; a group without options, such as ``--ckpt_path``, is one itself.

    The options of ``--model`` and ``--data`` depend on the class, and are left out.
    """
    found: dict[str, list[str]] = {name: [] for name in ("c", "config", "print_config", "seed_everything", *OWN)}
    found |= {name: [] for name in OWN_OF.get(verb, ())}
    found |= {name: [] for name in method(TRAINER, verb) if name not in _GIVEN}
    found |= {group: [] for group in CHOSEN}
    found |= {key: [argument.name for argument in arguments(path)] for key, path in CALLBACKS.items()}
    return found | {"trainer": [argument.name for argument in arguments(TRAINER)]}


def choices(group: str) -> dict[str, str]:
    """Classes of the zoo that ``--model`` or ``--data`` may choose, by their short names, with their paths."""
    classes = public(CHOSEN[group].rpartition(".")[0])
    return {name: path for name, path in classes.items() if is_concrete(path, CHOSEN[group])}


def pairs(args: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Options and their values, from ``--a b`` or ``--a=b``."""
    for arg, following in zip(args, [*args, ""][1:], strict=True):
        if arg.startswith("-"):
            flag, equals, value = arg.partition("=")
            yield flag, value if equals else following


def with_checkpoint(args: list[str]) -> list[str]:
    """The arguments, with the last checkpoint of a fit in place of its folder, ``--ckpt_path results/…/fit_0``."""
    given = dict(pairs(args)).get("--ckpt_path", "")
    last = Path(given) / "checkpoints" / "last.ckpt"
    if not last.is_file():
        return args
    found = [str(last) if before == "--ckpt_path" else arg for before, arg in zip(["", *args], args, strict=False)]
    return [f"--ckpt_path={last}" if arg == f"--ckpt_path={given}" else arg for arg in found]
