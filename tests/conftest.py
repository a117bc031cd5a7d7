"""Fixtures that every test shares, and the state that no test may leave behind."""

from __future__ import annotations

import gc
import logging
import os
import signal
import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:  # the process that hands tests out to others does not import torch
    from torch import Tensor

    from vae_zoo.data import Sprites

MINUTES, START = float(os.environ.get("VAE_ZOO_MINUTES", 0)), time.monotonic()
"""After how long what is left is skipped; 0 for no limit."""

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as a shell starts what runs in the background
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Start from one seed, and forget graphs and the seed that Lightning keeps in the environment."""
    monkeypatch.delenv("PL_GLOBAL_SEED", raising=False)
    monkeypatch.setenv("VAE_ZOO_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
    import torch

    from vae_zoo.system.seeding import seed_all

    seed_all(0, torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    yield
    os.environ.pop("PL_GLOBAL_SEED", None)
    if "torch._dynamo" in sys.modules:
        sys.modules["torch._dynamo"].reset()


@pytest.fixture
def logged() -> Iterator[list[str]]:
    """What the user is told by Lightning's logger, a message each.

    In place of pytest's own ``caplog``, whose plugin attaches itself to every logger six times a test.
    """
    messages: list[str] = []

    def keep(record: logging.LogRecord) -> bool:
        messages.append(record.getMessage())
        return True

    logger = logging.getLogger("lightning.pytorch.utilities.rank_zero")
    level = logger.level
    logger.setLevel(logging.INFO)
    logger.addFilter(keep)
    yield messages
    logger.removeFilter(keep)
    logger.setLevel(level)


@pytest.fixture
def data() -> Sprites:
    """48 training, 8 validation and 8 test sprites of 8x8 pixels, in batches that do not divide them."""
    from helpers import tiny_data

    return tiny_data()


@pytest.fixture(scope="session")
def images() -> Tensor:
    """16 images, (16, 1, 8, 8), float in [0, 1]."""
    from helpers import tiny_data

    return tiny_data().load("train").x[:16].float() / 255


def pytest_runtest_setup() -> None:
    if MINUTES and time.monotonic() > START + 60 * MINUTES:
        pytest.skip(f"the {MINUTES:g} minutes of VAE_ZOO_MINUTES are over; make test-all runs it")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    skipped = terminalreporter.stats.get("skipped", [])
    if left := sum("VAE_ZOO_MINUTES" in str(report.longrepr) for report in skipped):
        terminalreporter.write_line(f"{left} cases were left out after {MINUTES:g} minutes: make test-all runs them")


def pytest_collection_finish() -> None:
    """One thread; and what is imported and collected by then is kept out of every later search for garbage.

    A search after 700 new objects, Python's default, would take a twentieth of the suite.
    """
    import torch

    from vae_zoo.system.devices import look_for_devices_cheaply

    torch.set_num_threads(1)
    look_for_devices_cheaply()
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 20)
