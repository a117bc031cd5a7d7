"""Names that are imported when they are first used."""

from __future__ import annotations

import subprocess
import sys

import pytest

from vae_zoo import models

LOADED = """
import sys, vae_zoo.models as models
loaded = lambda: {name for name in sys.modules if name.startswith("vae_zoo.models.")}
"""


def test_importing_the_models_imports_none_of_them() -> None:
    subprocess.run([sys.executable, "-c", LOADED + 'assert not loaded() and "torch" not in sys.modules'], check=True)


@pytest.mark.exhaustive
def test_one_model_imports_no_other_kind() -> None:
    code = """
models.VAE
assert "vae_zoo.models.plain.vae" in loaded() and not any("codes" in name for name in loaded())
"""
    subprocess.run([sys.executable, "-c", LOADED + code], check=True)


def test_every_name_is_there() -> None:
    assert set(models.__all__) <= set(dir(models))
    for name in models.__all__:
        assert getattr(models, name).__name__ == name
    with pytest.raises(AttributeError, match=r"module 'vae_zoo\.models' has no attribute 'Nothing'"):
        models.Nothing  # noqa: B018
