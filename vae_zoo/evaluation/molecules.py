"""Validity, uniqueness and novelty of generated molecules."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Sequence

from vae_zoo.system.extras import require


def canonical(smiles: str) -> str | None:
    """The canonical SMILES string of a molecule; None if it is no valid one.

    Raises:
        ImportError: If RDKit is not installed.
    """
    require("rdkit", "molecules", "the validity of molecules")
    from rdkit import Chem, rdBase

    with rdBase.BlockLogs():
        found = Chem.MolFromSmiles(smiles) if smiles else None
        return None if found is None else str(Chem.MolToSmiles(found))


def molecule_metrics(generated: Sequence[str], training: Iterable[str] | None = None) -> dict[str, float]:
    r"""Fractions of generated molecules that are valid, unique and novel.

    .. math::
        \text{valid} = \frac{|V|}{N}, \quad \text{unique} = \frac{|\mathrm{set}(V)|}{|V|}, \quad
        \text{novel} = \frac{|\mathrm{set}(V) \setminus T|}{|\mathrm{set}(V)|}

    V are the canonical SMILES strings of the valid ones of N generated molecules, T those of the training.

    References:
        | Molecular Sets (MOSES): A Benchmarking Platform for Molecular Generation Models (Polykovskiy et al., 2020)
        | https://arxiv.org/abs/1811.12823

    Args:
        generated: Generated SMILES strings.
        training: Those of the training; without them, novelty is left out.

    Returns:
        ``valid``, ``unique`` and ``novel``, from 0 to 1; the last two are left out if none is valid.

    Raises:
        ImportError: If RDKit is not installed.
        ValueError: If nothing was generated.
    """
    if not len(generated):
        raise ValueError("there are no molecules to judge.")
    valid = [found for smiles in generated if (found := canonical(smiles)) is not None]
    metrics = {"valid": len(valid) / len(generated)}
    if valid:
        distinct = set(valid)
        metrics["unique"] = len(distinct) / len(valid)
        if training is not None:
            known = {canonical(smiles) for smiles in training}
            metrics["novel"] = len(distinct - known) / len(distinct)
    return metrics


def describe_molecules(generated: Sequence[str]) -> str:
    """A line on generated molecules; empty if RDKit is not installed."""
    if importlib.util.find_spec("rdkit") is None:
        return ""
    metrics = molecule_metrics(generated)
    unique = f", {metrics['unique']:.1%} of them unique" if "unique" in metrics else ""
    return f"{metrics['valid']:.1%} of {len(generated)} molecules are valid{unique}."
