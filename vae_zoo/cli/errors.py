"""A user's mistake ends in one line and exit code 2."""

from __future__ import annotations

import os
import re
import sys
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path

from vae_zoo.trust import advice

WIDTH = 200
USERS = {"ValueError", "TypeError", "OSError", "ImportError", "MisconfigurationException", "NotImplementedError"}
WRAPPERS = ("Does not validate against", "Parser key", "Problem with given class_path")
RULES = (
    (r"Importing '([^']+)' is not allowed", r"denied \1"),
    (r"Option '([^']+)' is not accepted(.*)", r"unknown key \1\2"),
    (r"Problem with given class_path '([^']+)':\s+(.*)", r"\1 cannot be imported from the working folder: \2"),
    (r"Expected a path but (\S+) either[\s\S]*does not correspond to a subclass of (\w+)", r"\1 is no \2"),
    (r"Expected a path but (\S+) either[\s\S]*?\n.*Expected a dot import path", r"there is no class \1"),
    (r"the following arguments are required: (.*)", r"missing: \1"),
    (r"Expected an? (.+?)\. Got value: (.*)", r"expected \1, got \2"),
    (r"\n\s+- (?!Expected |Does not |Parser key)(.+)", r"\1"),
    (r"[\s\S]*Subtypes: \[(.*)\][\s\S]*?Given value: (.*)", r"expected one of \1, got \2"),
)


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Turn errors that a user can cause into one line on stderr and exit code 2.

    Errors in code that is neither ours nor a library's pass, and so does every error under ``VAE_ZOO_TRACEBACK=1``.
    """
    try:
        yield
        sys.stdout.flush()
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:
        if isinstance(error, BrokenPipeError) and _unread():
            sys.exit(141)  # as a shell says of a command that such a pipe has ended
        if os.environ.get("VAE_ZOO_TRACEBACK") or not (_is_users(error) or _misfit(error)):
            raise
        print(f"vae-zoo: error: {one_line(_misfit(error) or explain(str(error)))}", file=sys.stderr)
        sys.exit(2)


def cause(error: BaseException) -> BaseException:
    """The first error of a chain that says something of its own."""
    while str(error).lstrip().startswith(WRAPPERS) and type(error).__name__ != "UsageError" and error.__cause__:
        error = error.__cause__
    return error


def explain(message: str) -> str:
    """What is wrong, and where, out of the parser's account of everything it tried."""
    where = ".".join(re.findall(r'Parser key "([^"]+)"', message))
    message = re.sub(r"<class '(?:\w+\.)*(\w+)'>|typing\.", r"\1", message)
    message = re.sub(r"Literal\[([^\]]*)\]", lambda found: found[1].replace(", ", " or "), message)
    for pattern, text in RULES:
        if found := re.search(pattern, message):
            said = found.expand(text)
            if said.startswith("denied "):
                said = advice(found[1])
            if "there is no class" in said:
                said += nearest(found[1], _classes())
            return f"{where}: {said}" if where else said
    return message


def nearest(word: str, known: Iterable[str]) -> str:
    """``, did you mean …?`` where a known word is near."""
    near = get_close_matches(word, list(known), 1)
    return f", did you mean {near[0]}?" if near else ""


def one_line(message: str) -> str:
    """A message as one line of at most 200 characters."""
    text = " ".join(message.split())
    return text if len(text) <= WIDTH - 16 else f"{text[: WIDTH - 17]}…"


def _unread() -> bool:
    """Whether nobody reads what is printed any more, as after ``| head -1``; the rest then goes nowhere."""
    try:
        print(flush=True)  # a flush alone has nothing left to fail with
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return True
    return False


def _is_users(error: BaseException) -> bool:
    frames = traceback.extract_tb(cause(error).__traceback__)
    home = Path(__file__).parents[1]
    theirs = bool(frames) and not ("site-packages" in frames[-1].filename or home in Path(frames[-1].filename).parents)
    standard = bool(frames) and Path(os.__file__).parent in Path(frames[-1].filename).parents
    return bool(USERS & {cls.__name__ for cls in type(error).__mro__}) and (standard or not theirs)


def _misfit(error: BaseException) -> str:
    """What a model says of weights that are not its own."""
    text = str(error)
    if not text.startswith("Error(s) in loading state_dict"):
        return ""
    return (
        f"the weights in the checkpoint do not fit the model that was asked for: {' '.join(text.split(chr(10))[1:2])}"
    )


def _classes() -> list[str]:
    import torch

    from vae_zoo import callbacks, data, distributions, models, nn

    names = [name for module in (models, data, nn, distributions, callbacks) for name in module.__all__]
    return [*names, *(name for name in dir(torch.optim) if name[0].isupper())]
