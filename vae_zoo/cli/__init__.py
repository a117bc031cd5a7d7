"""The command ``vae-zoo``."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from vae_zoo.system.signals import exit_on_signals

TYPE_CHECKING = False
if TYPE_CHECKING:  # while typing is imported no signal is obeyed yet
    from typing import Any

__all__ = ["find_config", "main", "packaged", "packaged_configs"]


def main(args: Sequence[str] | None = None) -> None:
    """Run ``vae-zoo`` with the arguments given, or those of the command line."""
    with exit_on_signals():  # before anything else is imported, which takes seconds
        _run(list(sys.argv[1:] if args is None else args))


def _run(args: list[str]) -> None:
    import vae_zoo
    from vae_zoo.cli.errors import one_line_errors
    from vae_zoo.cli.inspect.configs import packaged_configs
    from vae_zoo.cli.named_packages import command_line
    from vae_zoo.cli.run.children import safe_path
    from vae_zoo.cli.run.processes import together
    from vae_zoo.cli.terminal import plain_output
    from vae_zoo.cli.verbs import find_verb, show_help
    from vae_zoo.security.trust import by_command

    with plain_output(), by_command(), one_line_errors(), safe_path(), together(), command_line(args) as args:
        first = args[0] if args else ""
        if first == "--version":
            print(f"vae-zoo {vae_zoo.__version__}")
        elif first in ("-h", "--help"):
            show_help()
        elif first.partition("=")[0] in ("-c", "--config", "--print_config"):  # before the verb: of all verbs
            from vae_zoo.cli.app import VAECLI

            VAECLI(packaged_configs(args))
        else:
            find_verb(first)(args[1:])


def __getattr__(name: str) -> Any:
    if name in __all__:  # on demand, so that little is imported before signals are obeyed
        from vae_zoo.cli.inspect import configs

        return getattr(configs, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
