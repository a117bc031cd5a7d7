"""A real browser for what is looked at in one: of the system, or what ``make browser`` has fetched."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

FETCHED = Path(__file__).parents[1] / ".browser" / "chromium"
NAMES = ("chrome-headless-shell", "chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def executable() -> str | None:
    """The browser that VAE_ZOO_BROWSER names, that was fetched, or that is installed; None without one."""
    found = [os.environ.get("VAE_ZOO_BROWSER"), str(FETCHED) if FETCHED.is_file() else None, *map(shutil.which, NAMES)]
    return next(filter(None, found), None)


def missing() -> str | None:
    """Why there is no browser to drive."""
    try:
        import playwright.sync_api  # noqa: F401
    except ImportError:
        return "playwright, which drives a browser, is not installed"
    return None if executable() else "there is no Chromium: make browser fetches one"


@contextmanager
def browsing() -> Iterator[Any]:
    """A headless browser."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=executable(), args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()
