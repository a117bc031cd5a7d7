"""The parser of the command, with one-line errors."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, NoReturn

from lightning.pytorch.cli import LightningArgumentParser

from vae_zoo.cli.errors import nearest, nearest_or_all


class UsageError(ValueError):
    """A mistake on the command line or in a config file."""


class Parser(LightningArgumentParser):
    """LightningCLI's parser without abbreviations, with errors that suggest the nearest key."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, allow_abbrev=False, **kwargs)
        self._negative_number_matcher = re.compile(r"^-\.?(\d|inf|nan)", re.IGNORECASE)  # argparse knows no -1e-3

    makers: list[tuple[Any, type, bool]] | None = None
    """Functions that construct objects in place of a class, and whether they do so for subclasses too."""

    def instantiate(self, *args: Any, instantiators: Any = None, **kwargs: Any) -> Any:
        return super().instantiate(*args, instantiators=instantiators or self.makers, **kwargs)

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Raise what is wrong, for :func:`vae_zoo.cli.errors.one_line_errors` to print."""
        found = re.search(r"^(?:[^\n]*unrecognized arguments: --|(?:O|o)ption ')([\w.-]+)", message)
        if found and "did you mean" not in message:
            named = "unrecognized" in found[0]
            near = nearest(found[1], self._keys()) if named else nearest_or_all(found[1], self._own_keys())
            message = message.partition("\n")[0].replace("unrecognized arguments:", "unknown option") + near
        raise UsageError(message) from ex

    def _own_keys(self) -> list[str]:
        """Arguments of a class, if this is the parser of one."""
        return [a.dest for a in self._actions if a.dest.isidentifier() and a.dest not in ("help", "config")]

    def _keys(self) -> Iterator[str]:
        for action in self._actions:
            yield action.dest
            if isinstance(action.choices, dict):
                for parser in action.choices.values():
                    yield from parser._keys()
