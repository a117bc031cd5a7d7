"""Model cards of shared models: class, data, metrics and samples."""

from __future__ import annotations

import csv
import inspect
import json
from pathlib import Path
from typing import Any

from vae_zoo.callbacks.evaluation.report import BOUND
from vae_zoo.callbacks.pictures import drawing, labels
from vae_zoo.elbo import has_density, post_hoc_prior
from vae_zoo.evaluation.sampling import can_generate, generate, num_classes
from vae_zoo.models import Autoencoder
from vae_zoo.system.docstrings import summary

CARD, SAMPLES = "README.md", "samples.png"


def write_card(model: Autoencoder, folder: Path, config: dict[str, Any], measured: dict[str, float], name: str) -> None:
    """Write ``README.md``, and ``samples.png`` if the model generates images.

    Args:
        model: Model.
        folder: Existing folder.
        config: Content of ``config.json``.
        measured: Metrics by name, such as ``val/elbo``.
        name: Name or path that the model is loaded by.
    """
    pictured = can_generate(model) and drawing.drawable(model.shape)
    if pictured:
        classes = getattr(model, "num_classes", None)
        columns = min(classes, 16) if classes else 8
        x, _ = generate(model, 8 * (classes or 8))
        source = labels.Source(type(model).__name__, _short(config["data"]["class_path"]) if config.get("data") else "")
        written = labels.samples(source, len(x), columns if columns == classes else 0)
        drawing.save(drawing.picture(x, columns, written), folder / SAMPLES)
    text = card(model, config, measured, name, pictured=pictured)
    (folder / CARD).write_text(text, encoding="utf-8")


def card(
    model: Autoencoder, config: dict[str, Any], measured: dict[str, float], name: str, *, pictured: bool = False
) -> str:
    """The text of a model card, with the header that the Hugging Face Hub reads."""
    cls, data = type(model), config.get("data")
    line, paper, link = summary(inspect.cleandoc(cls.__doc__ or ""))
    where = f" on {_short(data['class_path'])}" if data else ""
    head = ["library_name: vae_zoo", "tags: [variational-autoencoder, pytorch, lightning, safetensors]"]
    head += ["pipeline_tag: unconditional-image-generation"] if pictured and len(model.shape) == 3 else []
    parts = [
        "\n".join(["---", *head, "---"]),
        f"# {cls.__name__}{where}",
        f"{line}.\nMade with vae_zoo {config['version']}." if line else f"Made with vae_zoo {config['version']}.",
    ]
    if paper:
        parts.append(f"Paper: {paper}, {link}")
    if pictured:
        prior = f"prior, a {fitted} fitted after training" if (fitted := post_hoc_prior(model)) else "prior"
        drawn = ", one class a column" if getattr(model, "num_classes", None) else ""
        parts.append(f"![Samples](samples.png)\n\n*Means of p(x|z) at random draws of the {prior}{drawn}.*")
    parts += [_use(model, name), _described(model, config["model"])]
    if data:
        parts.append(f"## Data\n\n`{data['class_path']}`\n\n```json\n{json.dumps(data['init_args'], indent=2)}\n```")
    if measured:
        parts.append(_table(model, measured))
    return "\n\n".join(parts) + "\n"


def validation_metrics(ckpt_path: Path, steps: int) -> dict[str, float]:
    """Metrics of the last validation before a checkpoint was written, from ``metrics.csv`` of its run.

    Args:
        ckpt_path: Checkpoint, in the folder ``checkpoints`` of its run.
        steps: Steps up to it, as loggers count them.

    Returns:
        Metrics by name; empty if there is no such file.
    """
    path = ckpt_path.resolve().parents[1] / "metrics.csv"
    if not path.is_file():
        return {}
    with path.open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if int(float(row.get("step") or 0)) <= steps]
    found: dict[str, float] = {}
    for row in rows:
        found |= {key: float(value) for key, value in row.items() if key.startswith("val/") and value}
    return found


def _use(model: Autoencoder, name: str) -> str:
    lines = ["from vae_zoo.hub import from_pretrained", "", f'model = from_pretrained("{name}")']
    lines.append("z = model.embed(x, c)" if getattr(model, "num_classes", None) else "z = model.embed(x)")
    if can_generate(model):
        lines.append("x = model.sample(16)")
    shape = tuple(model.shape)
    note = f"Examples x are float, of shape (B, {', '.join(map(str, shape))})."
    if num_classes(model):
        note += f" Classes are integers from 0 to {num_classes(model) - 1}."
    code = "\n".join(lines)
    return f"## Use\n\n```python\n{code}\n```\n\n{note}"


def _described(model: Autoencoder, recorded: dict[str, Any]) -> str:
    size = sum(p.numel() for p in model.parameters())
    args = json.dumps(recorded["init_args"], indent=2)
    return f"## Model\n\n`{recorded['class_path']}`, {size:,} parameters\n\n```json\n{args}\n```"


def _table(model: Autoencoder, measured: dict[str, float]) -> str:
    units = dict.fromkeys((*BOUND, "kl"), "nats") if has_density(model) else {"kl": "nats"}
    units |= getattr(model, "units", {})
    rows = [
        f"| `{key}` | {value:.4f} | {units.get(key.removeprefix('val/'), '')} |"
        for key, value in sorted(measured.items(), key=lambda item: (item[0] != "val/elbo", item[0]))
    ]
    head = "| metric | value | unit |\n|---|---|---|"
    return f"## Metrics\n\nOn the validation split, at the epoch of the weights.\n\n{head}\n" + "\n".join(rows)


def _short(path: str) -> str:
    return path.rpartition(".")[2]
