"""The parser of the command, which answers a mistake in one line."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, NoReturn

from lightning.pytorch.cli import LightningArgumentParser

from vae_zoo.cli.errors import nearest


class UsageError(ValueError):
    """A mistake on the command line or in a config file."""


class Parser(LightningArgumentParser):
    """LightningCLI's parser without abbreviations, whose errors name the nearest key there is."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, allow_abbrev=False, **kwargs)
        self._negative_number_matcher = re.compile(r"^-\.?(\d|inf|nan)", re.IGNORECASE)  # argparse knows no -1e-3

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Raise what is wrong, for :func:`vae_zoo.cli.errors.one_line_errors` to print."""
        found = re.search(r"(?:unrecognized arguments: --|(?:O|o)ption ')([\w.-]+)", message)
        if found and "did you mean" not in message:
            message = message.replace("unrecognized arguments:", "unknown option")
            message = f"{message.partition(chr(10))[0]}{nearest(found[1], self._keys())}"
        raise UsageError(message) from ex

    def _keys(self) -> Iterator[str]:
        for action in self._actions:
            yield action.dest
            if isinstance(action.choices, dict):
                for parser in action.choices.values():
                    yield from parser._keys()
