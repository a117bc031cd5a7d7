from __future__ import annotations

from pathlib import Path

import pytest

from vae_zoo.data.base.paths import data_root


def test_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/someone")
    monkeypatch.delenv("VAE_ZOO_DATA", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert data_root() == Path("/home/someone/.cache/vae_zoo")
    monkeypatch.setenv("XDG_CACHE_HOME", "/cache")
    assert data_root() == Path("/cache/vae_zoo")
    monkeypatch.setenv("VAE_ZOO_DATA", "~/data")
    assert data_root() == Path("/home/someone/data")
    assert data_root("/elsewhere") == Path("/elsewhere")
