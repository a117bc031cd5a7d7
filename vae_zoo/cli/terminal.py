"""Output of the command, and suppressed output of libraries."""

from __future__ import annotations

import codecs
import locale
import logging
import os
import re
import shutil
import sys
import threading
import unicodedata
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, Any

import vae_zoo

if TYPE_CHECKING:  # this file is read before torch and Lightning are
    from lightning.pytorch import Trainer

NOISY_WARNINGS = (
    "LeafSpec",
    "smaller than the logging interval",
    "dirpath has changed",
    "infer the batch indices",
    "callbacks used to create the checkpoint need to be provided",
    "is not supported by the model summary",
    "in eval mode at the start of training",
    r"`self.log\(\)` but `Trainer\(barebones=True\)`",
)
NOISE = (
    "litlogger",
    "litmodels",
    "LitLogger",
    "💡",
    "PU available",
    "TPU cores",
    "`Trainer.fit` stopped",
    "Seed set",
    "already configured with model summary",
    "Restoring states from",
    "Loaded model weights from",
)
RANKS = ("RANK", "LOCAL_RANK", "SLURM_PROCID", "JSM_NAMESPACE_RANK")
"""Environment variables with the rank of a process, in Lightning's order."""

SPELLED = {"β": "beta", "σ": "sigma", "κ": "kappa", "λ": "lambda", "•": "|", "×": "x", "·": ".", "≥": ">=", "≤": "<="}
SPELLED |= {"–": "-", "—": "-", "−": "-", "‖": "||", "∞": "inf", "±": "+-", "→": "->", "“": '"', "”": '"', "’": "'"}
SPELLED |= dict.fromkeys("━─═", "-") | dict.fromkeys("│┃║", "|") | dict.fromkeys("┏┓┗┛┡┩└┘┌┐├┤┬┴┼╇┳┻╸╺", "+")


def main_process() -> bool:
    """Whether this is the first process of its run, according to the environment."""
    return next((os.environ[name] for name in RANKS if name in os.environ), "0") == "0"


def greet(verb: str, what: str = "", *, piped: bool = False) -> None:
    """Print what is starting, since importing torch takes seconds.

    Args:
        verb: The verb.
        what: Its model and data, or its checkpoint.
        piped: Whether the output of the verb is for other programs; the line is then only printed to a terminal.
    """
    line = " ".join(filter(None, (f"vae-zoo {vae_zoo.__version__}: {verb}", what)))
    if not main_process():
        return
    if not piped:
        print(line, flush=True)
    elif sys.stderr.isatty():
        print(line, file=sys.stderr)


def width() -> int | None:
    """Width of the terminal; None in a pipe, where nothing is wrapped."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def console(columns: int, **kwargs: Any) -> Any:
    """A console of rich, which in a pipe has so many columns."""
    from rich.console import Console

    made = Console(**kwargs)
    return made if made.is_terminal else Console(width=columns, **kwargs)


@contextmanager
def plain_output() -> Iterator[None]:
    """Print and read any text in any locale, and print warnings as one line without their source.

    Restores the previous state, for calls of the command from Python.
    """
    before = locale.setlocale(locale.LC_CTYPE)
    streams = [stream for stream in (sys.stdout, sys.stderr) if isinstance(stream, TextIOWrapper)]
    errors = [stream.errors for stream in streams]
    codecs.register_error("vae_zoo", _spelled_out)
    for stream in streams:
        with suppress(OSError):  # another file has taken the place of the one that it was opened on
            stream.reconfigure(errors="vae_zoo")
    if codecs.lookup(locale.getpreferredencoding(False)).name != "utf-8":  # what libraries open files with
        _choose_utf8()
    form = warnings.formatwarning
    try:
        with warnings.catch_warnings():
            warnings.formatwarning = _plain_warning
            yield
    finally:
        warnings.formatwarning = form
        locale.setlocale(locale.LC_CTYPE, before)
        for stream, was in zip(streams, errors, strict=True):
            with suppress(ValueError, OSError):  # closed
                stream.reconfigure(errors=was)


def _choose_utf8() -> None:
    for name in ("C.UTF-8", "C.utf8", "en_US.UTF-8", "UTF-8"):
        with suppress(locale.Error):
            locale.setlocale(locale.LC_CTYPE, name)
            return


def _spelled_out(error: UnicodeError) -> tuple[str | bytes, int]:
    """Replacements of characters that the terminal lacks; undecodable bytes of file names are kept."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    character = error.object[error.start]
    if "\udc80" <= character <= "\udcff":
        return bytes([ord(character) - 0xDC00]), error.start + 1
    spelled = SPELLED.get(character) or unicodedata.normalize("NFKD", character)
    return spelled.encode("ascii", "ignore").decode() or "?", error.start + 1


def _plain_warning(message: Warning | str, *_: Any, **__: Any) -> str:
    return f"warning: {' '.join(str(message).split())}\n"


def show(trainer: Trainer) -> None:
    """Print the paths of everything that a run has written."""
    from lightning.pytorch.loggers import CSVLogger

    if not trainer.is_global_zero or getattr(trainer, "fast_dev_run", False):
        return
    paths: dict[str, str | Path] = {}
    if trainer.state.fn == "fit":
        saved = (getattr(callback, "best_model_path", "") for callback in trainer.checkpoint_callbacks)
        paths["checkpoint"] = next(filter(None, saved), "")
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        if path := getattr(callback, "path", None):
            paths[callback.name] = path
        paths |= {path.name: path for path in getattr(callback, "paths", ())}
    files = [Path(logger.log_dir, "metrics.csv") for logger in trainer.loggers if isinstance(logger, CSVLogger)]
    paths["metrics"] = next(filter(Path.is_file, files), "")
    here, written = Path.cwd(), {name: Path(path) for name, path in paths.items() if path}
    for name, path in written.items():
        print(f"{name:{max(map(len, written))}} {path.relative_to(here) if path.is_relative_to(here) else path}")


def quiet() -> None:
    """Suppress advertisements and known noise of imported libraries."""
    for message in NOISY_WARNINGS:
        warnings.filterwarnings("ignore", f".*{message}.*")
    for name in ("lightning.pytorch.utilities.rank_zero", "lightning.fabric.utilities.seed"):
        logging.getLogger(name).addFilter(_heard)
    if "lightning.fabric.utilities.warnings" in sys.modules:  # which has put its own in place
        warnings.formatwarning = _plain_warning
    if threading.excepthook is not _of_threads:
        _of_threads.before = threading.excepthook  # type: ignore[attr-defined]
        threading.excepthook = _of_threads


def _heard(record: logging.LogRecord) -> bool:
    """Whether a log record of Lightning is of interest to users; makes its epochs count from 1."""
    if isinstance(record.msg, str):
        record.msg = re.sub(r"\bEpoch (\d+)(?=, global step)", lambda found: f"Epoch {int(found[1]) + 1}", record.msg)
    return not any(text in record.getMessage() for text in NOISE)


def _of_threads(args: threading.ExceptHookArgs) -> None:
    """Suppress the traceback of TensorBoard's thread on a full disk, since the next call to the logger raises it."""
    if not (type(args.thread).__name__ == "_AsyncWriterThread" and isinstance(args.exc_value, OSError)):
        _of_threads.before(args)  # type: ignore[attr-defined]
