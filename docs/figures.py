"""Draw the figures of the documentation, docs/figures/*.png, from models trained on the spot.

Two pairs of an autoencoder and a VAE are fitted to the digits by the packaged configurations ``ae_digits`` and
``vae_digits``: the same seed, networks, likelihood and 100 epochs; the second pair has two latent dimensions. Two
tokenizers are fitted by ``autoencoder_kl_digits``, one of them with a discriminator that nothing holds back.
About five minutes on one core: ``make figures``.
"""

from __future__ import annotations

import contextlib
import csv
import os
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import torch
from matplotlib.colors import is_color_like, to_rgba
from matplotlib.patches import Circle, FancyBboxPatch, Patch
from matplotlib.text import Annotation
from PIL import Image
from torch import Tensor

from vae_zoo import hub
from vae_zoo.callbacks.pictures import labels
from vae_zoo.callbacks.pictures.drawing import grid, picture, reconstructions, save_png
from vae_zoo.callbacks.pictures.themes import THEMES, Look
from vae_zoo.callbacks.pictures.traversals import traversals
from vae_zoo.cli import main
from vae_zoo.data import Digits
from vae_zoo.models import Autoencoder
from vae_zoo.weights import find
from vae_zoo.weights.files import read, stored

FOLDER = Path(__file__).parent / "figures"
SEED = 0


def fit(config: str, *args: str, folder: str | None = None) -> Autoencoder:
    """Fit a packaged configuration in a folder, by default one of its own, and return the model."""
    with contextlib.nullcontext(folder) if folder else tempfile.TemporaryDirectory() as folder:
        quiet = [f"--trainer.{part}=false" for part in ("enable_progress_bar", "enable_model_summary")]
        pictures = [f"--{name}.every_n_epochs=0" for name in ("samples", "reconstructions", "traversals")]
        main(["fit", "--config", config, *args, "--trainer.default_root_dir", folder, *quiet, *pictures])
        return hub.load(next(Path(folder).rglob("last.ckpt")))


@torch.no_grad()
def side_by_side(ae: Autoencoder, vae: Autoencoder, x: Tensor) -> None:
    """Reconstructions and decoded noise of both, from the same examples and the same random latents."""
    z = torch.randn(48, ae.latent_dim, generator=torch.Generator().manual_seed(SEED))
    figure, axes = plt.subplots(2, 2, figsize=(8.2, 5.6), height_ratios=(1, 2))
    for column, (name, model) in enumerate((("autoencoder", ae), ("VAE", vae))):
        show(axes[0, column], grid(reconstructions(model, x[:12]), 8), f"{name}: digits and reconstructions, in pairs")
        show(axes[1, column], grid(model.decode(z).mean, 8), f"{name}: decoded random latents, z ~ N(0, I)")
    finish(figure, "ae_and_vae.png")


@torch.no_grad()
def latents(ae: Autoencoder, vae: Autoencoder, x: Tensor, y: Tensor) -> None:
    """Where two-dimensional latents of digits lie, and where the prior is: circles at 1, 2 and 3 σ."""
    span = 1.08 * max(3.0, *(float(model.embed(x).abs().max()) for model in (ae, vae)))
    figure, axes = plt.subplots(1, 2, figsize=(8.6, 4.2))
    for axis, name, model in ((axes[0], "autoencoder", ae), (axes[1], "VAE", vae)):
        z = model.embed(x)
        points = axis.scatter(*z.T, c=y, cmap="tab10", vmin=-0.5, vmax=9.5, s=5, linewidths=0)
        for radius in (1, 2, 3):
            axis.add_patch(Circle((0, 0), radius, fill=False, color="black", linewidth=0.8, linestyle="--"))
        axis.set(xlim=(-span, span), ylim=(-span, span), aspect="equal", xlabel="$z_1$", ylabel="$z_2$")
        axis.set_title(f"{name}: latents of the digits", fontsize=10)
    figure.colorbar(points, ax=axes, ticks=range(10), label="digit", fraction=0.03)
    finish(figure, "latents.png", tight=False)


@torch.no_grad()
def manifold(ae: Autoencoder, vae: Autoencoder, side: int = 14) -> None:
    """The plane of two latent dimensions, decoded at equal steps of the prior's probability."""
    steps = torch.distributions.Normal(0.0, 1.0).icdf(torch.linspace(0.02, 0.98, side))
    z = torch.cartesian_prod(-steps, steps).flip(1)
    figure, axes = plt.subplots(1, 2, figsize=(8.2, 4.3))
    for axis, name, model in ((axes[0], "autoencoder", ae), (axes[1], "VAE", vae)):
        show(axis, grid(model.decode(z).mean, side), f"{name}: the plane under N(0, I), decoded")
    finish(figure, "manifold.png")


def reparameterisation() -> None:
    """Two graphs of the same computation: a draw that stops the gradient, and one that lets it through."""
    figure, axes = plt.subplots(1, 2, figsize=(8.2, 2.5))
    for axis, through in zip(axes, (False, True), strict=True):
        axis.set(xlim=(0, 10), ylim=(-0.6, 4))
        axis.axis("off")
        box(axis, (1.6, 1), "μ(x), σ(x)")
        if through:
            box(axis, (5, 3.2), "ε ~ N(0, I)", dashed=True)
            box(axis, (5, 1), "z = μ + σ ε")
            arrow(axis, (5, 2.65), (5, 1.6), "black")
            axis.set_title("q.rsample(): the noise comes from outside", fontsize=10)
        else:
            box(axis, (5, 1), "z ~ N(μ, σ²)", dashed=True)
            axis.set_title("q.sample(): the draw stops the gradient", fontsize=10)
        box(axis, (8.4, 1), "log p(x | z)")
        for left, right in ((2.9, 3.7), (6.3, 7.1)):
            arrow(axis, (left, 1.2), (right, 1.2), "black")
        arrow(axis, (7.1, 0.75), (6.3, 0.75), "tab:red")
        if through:
            arrow(axis, (3.7, 0.75), (2.9, 0.75), "tab:red")
        else:
            axis.text(3.3, 0.72, "✕", color="tab:red", ha="center", va="center", fontsize=13)
        axis.text(5, -0.35, "upper arrows: forward    red: gradient    dashed: random", ha="center", fontsize=8)
    finish(figure, "reparameterisation.png")


def box(axis: plt.Axes, centre: tuple[float, float], text: str, *, dashed: bool = False) -> None:
    x, y = centre
    style = "--" if dashed else "-"
    corner = (x - 1.2, y - 0.45)
    axis.add_patch(FancyBboxPatch(corner, 2.4, 0.9, boxstyle="round,pad=0.1", fc="white", ec="black", linestyle=style))
    axis.text(x, y, text, ha="center", va="center", fontsize=10)


def arrow(axis: plt.Axes, start: tuple[float, float], end: tuple[float, float], colour: str) -> None:
    axis.annotate("", xy=end, xytext=start, arrowprops={"arrowstyle": "->", "color": colour, "linewidth": 1.6})


def show(axis: plt.Axes, picture: Tensor, title: str) -> None:
    axis.imshow(picture.permute(1, 2, 0).numpy(), interpolation="nearest")
    axis.set_title(title, fontsize=10)
    axis.axis("off")


def finish(figure: plt.Figure, name: str, *, tight: bool = True) -> None:
    """Write NAME.png, and the same in the colours of the dark theme of the documentation, NAME_dark.png."""
    if tight:
        figure.tight_layout()
    for suffix in ("", "_dark"):
        path = FOLDER / name.replace(".png", f"{suffix}.png")
        if suffix:
            darken(figure)
        figure.savefig(path, dpi=110, bbox_inches="tight", metadata={"Software": None})
    plt.close(figure)


def darken(figure: plt.Figure) -> None:
    """Exchange black and white for the colours of the dark theme, in all but pixels."""
    dark = {(0, 0, 0, 1): THEMES["dark"].text, (1, 1, 1, 1): THEMES["dark"].background}
    parts = [*figure.findobj(), *(note.arrow_patch for note in figure.findobj(Annotation) if note.arrow_patch)]
    for part in parts:
        for kind in ("color", "facecolor", "edgecolor", "markeredgecolor"):
            change, current = getattr(part, f"set_{kind}", None), getattr(part, f"get_{kind}", None)
            if change is None or current is None or (kind == "color" and isinstance(part, Patch)):
                continue
            colour = current()
            if is_color_like(colour) and (found := dark.get(tuple(map(float, to_rgba(colour))))):
                change(found)


@torch.no_grad()
def labelled_traversals() -> None:
    """Traversals of packaged weights, with the examples in their file."""
    name = "vae_mnist"
    model = hub.from_pretrained(name)
    x, _ = stored(read(find(name)))
    found = traversals(model, x, num_dims=6)
    written = labels.traversals(labels.Source("MLPVAE", "MNIST"), model, x, None, found)
    for suffix, theme in (("", "white"), ("_dark", "dark")):
        shown = picture(found.images.flatten(0, 1), found.images.shape[1], written, Look(theme=theme))
        levels = Image.fromarray((shown.pixels().permute(1, 2, 0) * 255).round().byte().numpy()).quantize(32)
        levels.save(FOLDER / f"traversals{suffix}.png", optimize=True)


def discriminators(x: Tensor) -> None:
    """Logits during training of a discriminator that does not win, and of one that does; and what is reconstructed."""
    free = ("--model.restraint=null", "--model.discriminator_lr=2.0e-3", "--model.adversarial_weight=2")
    figure, axes = plt.subplots(2, 2, figsize=(8.2, 5.2), height_ratios=(3, 2))
    for column, (name, args) in enumerate((("autoencoder_kl_digits", ()), ("nothing holds it back", free))):
        with tempfile.TemporaryDirectory() as folder:
            model = fit("autoencoder_kl_digits", *args, folder=folder)
            with next(Path(folder).rglob("metrics.csv")).open(encoding="utf-8") as file:
                rows = [row for row in csv.DictReader(file) if row.get("train/real_logits")]
        steps = [int(row["step"]) for row in rows]
        for kind, colour in (("real", "tab:blue"), ("fake", "tab:red")):
            axes[0, column].plot(steps, [float(row[f"train/{kind}_logits"]) for row in rows], colour, label=kind)
        axes[0, column].set(xlabel="step", ylabel="mean logit", ylim=(-2.2, 2.2), title=name)
        axes[0, column].legend(loc="upper left", frameon=False)
        with torch.no_grad():
            show(axes[1, column], grid(reconstructions(model, x[:12]), 8), "digits and reconstructions, in pairs")
    finish(figure, "discriminators.png")


def draw() -> None:
    """Train the models and draw."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    FOLDER.mkdir(exist_ok=True)
    reparameterisation()
    labelled_traversals()
    data = Digits()
    test, train = ((split.x.float() / 255, split.y) for split in (data.load("test"), data.load("train")))
    ae, vae = fit("ae_digits"), fit("vae_digits")
    torch.manual_seed(SEED)
    save_png(grid(vae.sample(64), 16), FOLDER / "samples.png")
    side_by_side(ae, vae, test[0])
    flat_ae, flat_vae = (fit(name, "--model.latent_dim", "2") for name in ("ae_digits", "vae_digits"))
    latents(flat_ae, flat_vae, *train)
    manifold(flat_ae, flat_vae)
    discriminators(test[0])


if __name__ == "__main__":
    draw()
