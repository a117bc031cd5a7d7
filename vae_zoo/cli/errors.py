"""One-line errors with exit code 2 for mistakes of users."""

from __future__ import annotations

import math
import os
import re
import sys
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from difflib import get_close_matches
from pathlib import Path

from vae_zoo.security.trust import ADDRESS, advice, place
from vae_zoo.system.signals import exit_if_signalled

WIDTH = 200
USERS = {"ValueError", "TypeError", "OSError", "ImportError", "MisconfigurationException", "NotImplementedError"}
RUNTIME = r"conditioned on metric|you tried to allocate|out of memory|does not support dense gradients"
"""Messages of usage errors that libraries raise as RuntimeError."""

WRAPPERS = ("Does not validate against", "Parser key", "Problem with given class_path")
RULES = (
    (
        r"Multiple subclasses with name (\w+)\. Give the full class path to avoid ambiguity: (.*)",
        r"there are two \1: \2",
    ),
    (r"^\[Errno \d+\] (.+?): (b?'.+')$", r"\2: \1"),
    (r"^\[Errno (?:28|122|27)\] (.+)", r"\1: make room on the disk"),
    (r"^\[Errno \d+\] (.+)", r"\1"),
    (r"you tried to allocate (\d+) bytes", r"there is no memory for an array of \1 bytes: choose smaller sizes"),
    (r"(-?\d+) is not in bounds, numpy accepts from (\d+) to (\d+)", r"seed_everything must lie in \2 .. \3, got \1"),
    (r"CUDA out of memory\. Tried to allocate ([^.]+\.\d+ \w+)", r"the GPU lacks \1: choose a smaller batch_size"),
    (r"Early stopping conditioned on metric `([^`]+)`[\s\S]*?: (`.*)", r"EarlyStopping monitors \1, but there are \2"),
    (
        r"(?:Importing 'Union'|is not accepted: there is defaults)[\s\S]*?Given value: NestedArg\(key='([^']+)'",
        r"give a class before its argument \1",
    ),
    (r"Importing '([^']+)' is not allowed", r"denied \1"),
    (r"Option '([^']+)' is not accepted(.*)", r"unknown key \1\2"),
    (r"Problem with given class_path '[^']+':\s+(.* needs \S+: pip install .*)", r"\1"),
    (r"Problem with given class_path '([^']+)':\s+(.*)", r"\1 cannot be imported from the working folder: \2"),
    (r"Expected a path but (\S+) either[\s\S]*does not correspond to a subclass of (\w+)", r"\1 is no \2"),
    (r"Expected a path but (\S+) either[\s\S]*?\n.*Expected a dot import path", r"there is no class \1"),
    (r"expects a function or a callable class: Expected '([^']+)' to be a subclass of (\w+)", r"\1 is no \2"),
    (r"expects a function or a callable class: module '([\w.]+)' has no attribute '(\w+)'", r"\1 has no \2"),
    (r"expects a function or a callable class: .*No module named '([\w.]+)'", r"there is no module \1"),
    (r"Unexpected import path format: (\S+)", r"there is no class \1"),
    (r"the following arguments are required: (.*)", r"missing: \1"),
    (r"Expected an? (.+?)\. Got value: NestedArg\(key='([^']+)'.*", r"it has no argument \2: expected \1"),
    (r"Expected an? (.+?)\. Got value: (.*)", r"expected \1, got \2"),
    (r"\n {2}- +(?!Expected |Does not |Parser key|Not a valid subclass)(.+)", r"\1"),
    (r"\n\s+- (?!Expected |Does not |Parser key)(.+)", r"\1"),
    (
        r"Subtypes: \[(?:(?!Given value: )[\s\S])*Given value: NestedArg\(key='(?:[^']+\.)?([^'.]+)'",
        r"give a class before its argument \1",
    ),
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
        exit_if_signalled()
        if isinstance(error, BrokenPipeError) and _unread():
            sys.exit(141)  # as a shell says of a command that such a pipe has ended
        unfit = _misfit(error) or _unrestored(error)
        if os.environ.get("VAE_ZOO_TRACEBACK") or not (_is_users(error) or unfit):
            raise
        print(f"vae-zoo: error: {one_line(unfit or explain(str(error)))}", file=sys.stderr)
        sys.exit(2)


def cause(error: BaseException) -> BaseException:
    """The first error of a chain with its own message."""
    while str(error).lstrip().startswith(WRAPPERS) and type(error).__name__ != "UsageError" and error.__cause__:
        error = error.__cause__
    return error


def explain(message: str) -> str:
    """The actual problem and its place, extracted from the parser's report of everything it tried."""
    where = place(message)
    message = _without_guesses(message)
    message = re.sub(r"<class '(?:\w+\.)*(\w+)'>|typing\.", r"\1", message)
    message = re.sub(r"Literal\[([^\]]*)\]", lambda found: found[1].replace(", ", " or "), message)
    for pattern, text in RULES:
        if found := re.search(pattern, message):
            said = found.expand(text)
            if said.startswith("denied "):
                said = advice(found[1])
            if "there is no class" in said:
                said = _no_class(found[1])
            return f"{where}: {said}" if where else said
    return message


def _without_guesses(message: str) -> str:
    """A report of the parser without refused classes that nobody named.

    Where an argument is given without its class, the parser tries the base class of the option too.
    """
    given = message.rpartition("Given value:")[2]
    if "NestedArg(" not in given:
        return message
    refused = r"\n +- Problem with given class_path '([^']+)':\n +Importing .*"
    return re.sub(refused, lambda found: found[0] if found[1] in given else "", message)


def _no_class(word: str) -> str:
    """Why a word is no class for an option."""
    if ADDRESS.match(word):
        return f"{word} is an address, and nothing is fetched: download it first, and give the path of the file"
    if re.fullmatch(r"[-+.]*(nan|inf|infinity|\d.*)", word, re.IGNORECASE):
        with suppress(ValueError):
            if math.isfinite(float(word)):
                return f"expected a class, got the number {word}"
        return f"expected a finite number, got {word}"
    kinds = _kinds()
    if word in kinds:
        return f"{word} is a {kinds[word]}, which cannot stand here"
    return f"there is no class {word}{nearest(word, kinds)}"


def nearest(word: str, known: Iterable[str]) -> str:
    """``, did you mean …?`` if a known word is similar."""
    near = get_close_matches(word, list(known), 1)
    return f", did you mean {near[0]}?" if near else ""


def nearest_or_all(word: str, known: Iterable[str]) -> str:
    """The same as :func:`nearest`, or all known words if none is similar."""
    return nearest(word, known := list(known)) or f": there is {', '.join(known) or 'none'}"


def check_known(what: str, word: str, known: Iterable[str]) -> None:
    """Refuse an unknown word.

    Raises:
        ValueError: With a similar word, or with all known words.
    """
    if word not in (known := list(known)):
        raise ValueError(f"{what} {word} is unknown{nearest_or_all(word, known)}")


def one_line(message: str) -> str:
    """A message as one line of at most 200 characters."""
    text = " ".join(message.split())
    return text if len(text) <= WIDTH - 16 else f"{text[: WIDTH - 17]}…"


def _unread() -> bool:
    """Whether the output is no longer read, as after ``| head -1``; further output is then discarded."""
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
    if isinstance(cause(error), RuntimeError) and not theirs:  # which mostly are faults of ours, with these exceptions
        return bool(re.search(RUNTIME, str(error)))
    return bool(USERS & {cls.__name__ for cls in type(error).__mro__}) and (standard or not theirs)


def _misfit(error: BaseException) -> str:
    """Message for weights that do not fit the model."""
    text = str(error)
    if not text.startswith("Error(s) in loading state_dict"):
        return ""
    return (
        f"the weights in the checkpoint do not fit the model that was asked for: {' '.join(text.split(chr(10))[1:2])}"
    )


def _unrestored(error: BaseException) -> str:
    """Message if Lightning, or a library called by it, fails to restore a checkpoint."""
    frames = traceback.extract_tb(error.__traceback__)
    restoring = any(frame.filename.endswith("checkpoint_connector.py") and "restore" in frame.name for frame in frames)
    last, home = Path(frames[-1].filename), Path(__file__).parents[1]
    if not restoring or not ("site-packages" in last.parts or home in last.parents) or isinstance(error, ValueError):
        return ""
    said = f"{type(error).__name__}: {error}"
    return f"the checkpoint is damaged, or of another version: the state of its run cannot be restored, {said}"


def _kinds() -> dict[str, str]:
    """Classes with short names, by kind."""
    import torch
    from lightning.pytorch import Callback, loggers
    from lightning.pytorch import callbacks as stock

    from vae_zoo import callbacks, data, distributions, models, nn

    bases = (distributions.Family, distributions.Prior, models.Autoencoder, data.DataModule, Callback, torch.nn.Module)
    found = {}
    for module in (torch.optim, stock, loggers, models, data, nn, distributions, callbacks):
        for name in getattr(module, "__all__", dir(module)):
            cls = getattr(module, name, None)
            if isinstance(cls, type) and name[0].isupper():
                found[name] = next((base.__name__ for base in bases if issubclass(cls, base)), cls.__mro__[-2].__name__)
    return found
