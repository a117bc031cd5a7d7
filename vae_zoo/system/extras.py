"""Optional packages, installed by an extra: ``pip install 'vae_zoo[EXTRA]'``."""

from __future__ import annotations

from importlib import import_module
from typing import Any


def require(module: str, extra: str, what: str) -> Any:
    """Import a module of an extra.

    Args:
        module: Name of the module.
        extra: Name of the extra.
        what: Feature that needs it, as the beginning of a sentence.

    Raises:
        ImportError: If its package is not installed, with the command that installs it.
    """
    package = module.partition(".")[0]
    try:
        return import_module(module)
    except ImportError as error:
        if error.name not in (None, package):  # it is there, and lacks something itself
            raise
        raise ImportError(f"{what} needs {package}: pip install 'vae_zoo[{extra}]'.") from None
