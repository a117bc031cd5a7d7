"""``--wandb`` and ``--wandb.OPTION``: short for the logger of Weights & Biases and its options."""

from __future__ import annotations

from collections.abc import Sequence

from vae_zoo.cli.errors import nearest
from vae_zoo.cli.inspect.sources import arguments

LOGGER = "vae_zoo.loggers.Wandb"
WITH_IT = ("--latents.every_n_epochs=10",)
"""What the packaged part ``wandb`` sets beside the logger; before other options, so that these may differ."""


def wandb_options() -> list[str]:
    """The flag and its options, without their hyphens."""
    return ["wandb", *(f"wandb.{argument.name}" for argument in arguments(LOGGER))]


def spelled_out(args: Sequence[str]) -> list[str]:
    """A command line with ``--wandb`` replaced by ``--trainer.logger``.

    Raises:
        ValueError: If the logger has no such option, or the flag itself is given a value.
    """
    words, begun = list[str](), False
    for word in args:
        flag, equals, value = word.partition("=")
        if flag != "--wandb" and not flag.startswith("--wandb."):
            words.append(word)
            continue
        if flag.removeprefix("--") not in wandb_options():
            known = [f"--{name}" for name in wandb_options()]
            raise ValueError(f"unknown option {flag}{nearest(flag, known) or ': there is ' + ', '.join(known[:8])}")
        if flag == "--wandb" and equals:
            raise ValueError(f"--wandb takes no value, got {value}: the project is --wandb.project.")
        words += [] if begun else [f"--trainer.logger={LOGGER.rpartition('.')[2]}"]
        words += [] if flag == "--wandb" else [word.replace("--wandb.", "--trainer.logger.", 1)]
        begun = True
    return [*WITH_IT, *words] if begun else words
