"""The table of all runs as a file, one line a run."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path
from typing import Any

from vae_zoo.system.writing import write_text

METRICS = {
    "elbo": "elbo",
    "rate": "kl",
    "reconstruction": "reconstruction",
    "bits_per_dim": "bits_per_dim",
    "pareto_k_high": "pareto_k_high",
    "active_units": "active_units",
    "unexplained": "unexplained",
    "fid": "fid",
    "kid": "kid",
    "precision": "precision",
    "recall": "recall",
    "density": "density",
    "coverage": "coverage",
    "linear_probe": "linear_probe",
    "knn_probe": "knn_probe",
    "mig": "mig",
    "ais_log_evidence": "ais_log_evidence",
    "ais_log_evidence_se": "ais_log_evidence_se",
}
"""Columns, and the names under which a test logs them."""

COLUMNS = [
    *("model", "data", "seed", "epochs", "reports", "own", "labels", "posterior", "prior", "likelihood", "latent"),
    *("parameters", "nll", "nll_se", "nll_se_data", *METRICS, "fid_of_training_images"),
    *("fit_wall_s", "fit_cpu_s", "test_wall_s", "test_cpu_s", "peak_mib", "commit", "hardware", "torch", "lightning"),
    "error",
]


def write(cells: list[dict[str, Any]], path: Path) -> None:
    """Write runs, in the order of seeds and names; lines of other runs that the table has already stay."""
    rows = {(int(line["seed"]), line["model"]): line for line in (read(path) if path.is_file() else [])}
    rows |= {(cell["seed"], cell["model"]): row(cell) for cell in cells}
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows[key] for key in sorted(rows, key=lambda key: (key[0], key[1].lower())))
    write_text(path, text.getvalue())


def read(path: Path) -> list[dict[str, str]]:
    """Lines of a table."""
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def row(cell: dict[str, Any]) -> dict[str, Any]:
    """The line of a run."""
    found = {key: cell[key] for key in COLUMNS if key in cell}
    if "error" in cell:
        return found | {"error": reason(cell["error"])}
    unknown = ("elbo", "reconstruction") if cell["reports"] == "-" else ()  # of an energy, or of an autoencoder
    metrics = {name: value for name, value in cell["metrics"].items() if name not in unknown}
    found |= {column: round(metrics[name], 5) for column, name in METRICS.items() if name in metrics}
    if "log_evidence" in metrics:
        found["nll"] = round(-metrics["log_evidence"], 4)
        found["nll_se"] = round(metrics["log_evidence_se"], 5)
        found["nll_se_data"] = round(metrics["log_evidence_se_data"], 5)
    found["own"] = "; ".join(f"{key} {value}" for key, value in cell["own"].items())
    found["labels"] = "yes" if cell["labels"] else ""
    found["latent"] = "x".join(map(str, cell["latent"]))
    found |= {key: cell["parts"][part] for key, part in (("posterior",) * 2, ("likelihood",) * 2)}
    found["prior"] = cell["parts"]["latent_prior"]
    for stage in ("fit", "test"):
        found |= {f"{stage}_{clock}_s": cell[stage][clock] for clock in ("wall", "cpu")}
    return found


def reason(error: str) -> str:
    """The message of an error; the first cause of one of the parser, which lists one for each possible type."""
    found = re.search(r"Errors: - (.*?) - ", error)
    return found.group(1) if found else re.sub(r"^\w+Error: ", "", error)
