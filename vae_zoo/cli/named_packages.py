"""Packages that the command line trusts, by ``--trust`` or by naming a class."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from vae_zoo.security.class_paths import PATH
from vae_zoo.security.trust import is_closed, is_never_trusted, trusting


@contextmanager
def command_line(args: Sequence[str]) -> Iterator[list[str]]:
    """Trust the packages that a command line names while it runs; yields its arguments without ``--trust``.

    Raises:
        ValueError: If ``--trust`` is not followed by the name of a package, or by one that is never trusted.
    """
    rest, trusted = split(args)
    with trusting([*trusted, *_classes(rest)]):
        yield rest


def split(args: Sequence[str]) -> tuple[list[str], list[str]]:
    """The arguments without ``--trust``, and the packages that it names.

    Raises:
        ValueError: If it is not followed by the name of a package, or by one that is never trusted.
    """
    rest, trusted, words = [], [], iter(args)
    for word in words:
        flag, equals, value = word.partition("=")
        if flag != "--trust":
            rest.append(word)
            continue
        package = value if equals else next(words, "")
        if not re.fullmatch(r"[^\W\d]\w*(?:\.[^\W\d]\w*)*", package):
            raise ValueError(f"--trust takes the name of a package or module, such as my_vae, got {package or 'none'}.")
        if is_never_trusted(package):
            raise ValueError(f"--trust {package}: that is a part of Python or of the parser, which is never trusted.")
        trusted.append(package)
    return rest, trusted


def _classes(args: Sequence[str]) -> Iterator[str]:
    """Packages of the classes that a command line names: ``--model my_file.MyVAE``, ``check my_file.MyVAE``.

    Names of classes begin with a capital: ``--data.path images.npz`` does not trust a module ``images``.
    """
    flag = ""
    for word in args:
        value, following = word, ""
        if word.startswith("-"):
            flag, equals, value = word.partition("=")
            if not equals:
                following, value = flag, ""
        if value and flag not in ("-c", "--config", "--ckpt_path") and not os.path.exists(value):
            for path in re.findall(rf"(?<![\w./\\-]){PATH}(?![\w./\\-])", value):
                chosen = flag in ("--model", "--data") or (not flag and args[0] == "check")
                if (chosen or path.rpartition(".")[2][0].isupper()) and not is_closed(path):
                    yield path.partition(".")[0]
        flag = following
