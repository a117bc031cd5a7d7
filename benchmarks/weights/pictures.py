"""Pictures of samples of the packaged weights, for README and documentation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import vae_zoo
from vae_zoo.callbacks.pictures import drawing
from vae_zoo.evaluation.sampling import generate
from vae_zoo.weights import Weights, find

FIGURES = Path(__file__).parents[2] / "docs" / "figures"

STRIP = {
    "vae_mnist": "VAE",
    "iwae_mnist": "IWAE",
    "vamp_vae_mnist": "VampVAE",
    "ladder_vae_mnist": "LadderVAE",
    "conditional_vae_mnist": "ConditionalVAE",
    "conv_vae_mnist": "ConvVAE",
}
"""Models of the strip, in its order, with their titles."""


def samples(weights: Weights, columns: int = 10, rows: int = 2) -> Path | None:
    """Write a small picture of samples; None if they are no images."""
    model = vae_zoo.from_pretrained(weights.name)
    if not drawing.drawable(model.shape):
        return None
    path = FIGURES / "weights" / f"{weights.name}.png"
    save(drawing.grid(digits(model, columns * rows), columns), path)
    return path


def digits(model: Any, num: int) -> Tensor:
    """Means of p(x|z) at draws of the prior."""
    return generate(model, num)[0]


def save(picture: Tensor, path: Path) -> None:
    """Write a grey picture of sixteen levels, which is small."""
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    levels = picture.mean(0).mul(15).round().mul(17).to(torch.uint8)
    Image.fromarray(levels.numpy()).quantize(16).save(path, optimize=True)


def strip() -> None:
    """Draw samples of several models of MNIST beside each other, with the negative log-likelihood under each."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, len(STRIP), figsize=(11, 2.5))
    for axis, (name, title) in zip(axes, STRIP.items(), strict=True):
        weights = find(name)
        picture = drawing.grid(digits(vae_zoo.from_pretrained(name), 20)[:20], 5)
        axis.imshow(picture.permute(1, 2, 0).numpy(), interpolation="nearest")
        axis.set_title(title, fontsize=11)
        axis.set(xticks=[], yticks=[])
        axis.set_xlabel(nll(weights), fontsize=10)
        for spine in axis.spines.values():
            spine.set_visible(False)
    figure.tight_layout(pad=0.4)
    figure.savefig(FIGURES / "mnist.png", dpi=130, bbox_inches="tight", pad_inches=0.05, metadata={"Software": None})
    plt.close(figure)


def nll(weights: Weights) -> str:
    """Negative log-likelihood, or its upper bound, in words."""
    found, sign = weights.metrics.get("log_evidence"), ""
    if found is None:
        found, sign = weights.metrics["elbo"], "≤ "
    return f"{sign}{-found.value:.1f} nats"
