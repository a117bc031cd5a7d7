"""Fixtures that every test shares, and the state that no test may leave behind."""

from __future__ import annotations

import gc
import os
import signal
import time
from collections.abc import Iterator

import pytest
import torch
from helpers import tiny_data
from torch import Tensor

from vae_zoo.data import Sprites

torch.set_num_threads(1)

MINUTES, START = float(os.environ.get("VAE_ZOO_MINUTES", 0)), time.monotonic()
"""After how long what is left is skipped; 0 for no limit."""

SEED = torch.manual_seed if torch.cuda.is_available() else torch.default_generator.manual_seed
"""The former keeps the stack of every call for a device that there may be later."""

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as a shell starts what runs in the background
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Start from one seed, and forget graphs and the seed that Lightning keeps in the environment."""
    monkeypatch.delenv("PL_GLOBAL_SEED", raising=False)
    monkeypatch.setenv("VAE_ZOO_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
    SEED(0)
    yield
    os.environ.pop("PL_GLOBAL_SEED", None)
    if "torch._dynamo" in os.sys.modules:
        torch._dynamo.reset()


@pytest.fixture
def data() -> Sprites:
    """48 training, 8 validation and 8 test sprites of 8x8 pixels, in batches that do not divide them."""
    return tiny_data()


@pytest.fixture(scope="session")
def images() -> Tensor:
    """16 images, (16, 1, 8, 8), float in [0, 1]."""
    return tiny_data().load("train").x[:16].float() / 255


def pytest_runtest_setup() -> None:
    if MINUTES and time.monotonic() > START + 60 * MINUTES:
        pytest.skip(f"the {MINUTES:g} minutes of VAE_ZOO_MINUTES are over; make test-all runs it")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    skipped = terminalreporter.stats.get("skipped", [])
    if left := sum("VAE_ZOO_MINUTES" in str(report.longrepr) for report in skipped):
        terminalreporter.write_line(f"{left} cases were left out after {MINUTES:g} minutes: make test-all runs them")


def pytest_collection_finish() -> None:
    """Keep what is imported and collected by then out of every later search for garbage."""
    gc.collect()
    gc.freeze()
