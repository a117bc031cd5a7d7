"""The parser of the command, which answers a mistake in one line."""

from __future__ import annotations

from typing import Any, NoReturn

from lightning.pytorch.cli import LightningArgumentParser


class UsageError(ValueError):
    """A mistake on the command line or in a config file."""


class Parser(LightningArgumentParser):
    """LightningCLI's parser without abbreviations, whose errors are one line."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, allow_abbrev=False, **kwargs)

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        raise UsageError(message) from ex
