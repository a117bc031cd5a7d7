"""Draw docs/figures/floors.svg, the floors of the package, from the list that tests/test_floors.py checks imports by.

``python docs/floors.py`` writes it anew; a test compares the file with that list.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

PICTURE = Path(__file__).parent / "figures" / "floors.svg"
PARTS = {
    "cli": "the command vae-zoo: parser, verbs, runs, sweeps, error lines",
    "__main__": "python -m vae_zoo",
    "testing": "the conformance suite, for the zoo's models and for yours",
    "hub": "load, from_pretrained, the Hugging Face Hub",
    "weights": "trained weights in the package, their registry and checksums",
    "export": "ONNX, torch.export, safetensors, model cards",
    "callbacks": "annealing, checkpoints, pictures, evaluation after a test",
    "loggers": "metrics.csv, Weights & Biases",
    "evaluation": "AIS, sampling, anomaly scores",
    "samplers": "densities fitted to latents after training",
    "models": "one paper, one file; what all models share in base/",
    "data": "data modules, loaders, files, streaming; knows no model",
    "training": "steps, guard against NaN, optimizers, pre-flight checks",
    "checkpoints": "files with a checksum, hyperparameters, loading",
    "penalties": "terms for the objective of any model",
    "elbo": "the bound and the importance-weighted evidence",
    "security": "what may be read and imported",
    "distributions": "families, priors, flows, divergences",
    "nn": "networks: (in_shape, out_shape) to a module",
    "metrics": "torchmetrics over latents, factors and examples",
    "typing": "Shape, Network, Batch",
    "functional": "pure mathematics of tensors",
    "system": "files, locks, signals, memory, seeds",
}
"""Each part of the package in a few words."""

WIDTH, ROW, LINE, MARGIN = 720, 14, 19, 10
NAME = 'font-family="monospace" font-weight="bold"'
NUMBER = 'font-size="11" fill="#7b8794"'


def drawing(floors: Sequence[Sequence[str]]) -> str:
    """The floors as an SVG, the command at the top and what everything rests on at the bottom.

    Raises:
        KeyError: If a part has no words in ``PARTS``.
    """
    rows, y = [], MARGIN
    for number, parts in reversed(list(enumerate(floors))):
        height = ROW + LINE * len(parts)
        rows.append(
            f'<rect x="{MARGIN}" y="{y}" width="{WIDTH - 2 * MARGIN}" height="{height - 4}" rx="4" '
            f'fill="{"#eef4fb" if number % 2 else "#f7f3ea"}" stroke="#9aa5b1"/>'
        )
        rows.append(f'<text {NUMBER} x="{MARGIN + 10}" y="{y + 19}">{number}</text>')
        for line, part in enumerate(parts):
            at = y + 19 + LINE * line
            words = PARTS[part].replace("&", "&amp;")
            rows.append(f'<text {NAME} x="{MARGIN + 40}" y="{at}">{part}</text>')
            rows.append(f'<text x="{MARGIN + 170}" y="{at}">{words}</text>')
        y += height
    height = y + MARGIN - 4
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}">'
    paper = f'<rect width="{WIDTH}" height="{height}" fill="white"/>'
    words = '<g font-family="sans-serif" font-size="13" fill="#1f2933">'
    return "\n".join([head, paper, words, *rows, "</g>", "</svg>", ""])


if __name__ == "__main__":
    sys.path.append(str(Path(__file__).parents[1] / "tests"))
    from test_floors import FLOORS

    PICTURE.write_text(drawing(FLOORS), encoding="utf-8")
