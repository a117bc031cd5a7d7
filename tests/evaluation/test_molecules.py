from __future__ import annotations

import pytest

from vae_zoo.evaluation.molecules import canonical, describe_molecules, molecule_metrics


def test_fractions() -> None:
    pytest.importorskip("rdkit", reason="the extra molecules is not installed")
    generated = ["CCO", "OCC", "C(C", "c1ccccc1", "", "CN"]
    found = molecule_metrics(generated, training=["NC", "C1=CC=CC=C1"])
    assert found == {"valid": 4 / 6, "unique": 3 / 4, "novel": 1 / 3}
    assert set(molecule_metrics(generated)) == {"valid", "unique"}
    assert molecule_metrics(["C(", "x"]) == {"valid": 0.0}
    assert canonical("OCC") == canonical("CCO") == "CCO"
    assert describe_molecules(generated) == "66.7% of 6 molecules are valid, 75.0% of them unique."
    assert describe_molecules(["C("]) == "0.0% of 1 molecules are valid."


def test_nothing_to_judge() -> None:
    with pytest.raises(ValueError, match="no molecules to judge"):
        molecule_metrics([])


def test_without_rdkit(monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.util
    import sys

    monkeypatch.setitem(sys.modules, "rdkit", None)
    with pytest.raises(ImportError, match=r"pip install 'vae_zoo\[molecules\]'") as error:
        canonical("C")
    assert "\n" not in str(error.value)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert describe_molecules(["C"]) == ""
