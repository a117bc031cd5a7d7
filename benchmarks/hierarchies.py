"""Compare a deep hierarchy with a VAE of one layer, on digits at equal epochs and on colour tiles at equal time.

    VAE_ZOO_DATA=... python -m benchmarks.hierarchies                  # goes on where it was interrupted; 20 minutes
    VAE_ZOO_DATA=... python -m benchmarks.hierarchies --cells tiles
    VAE_ZOO_DATA=... python -m benchmarks.hierarchies --pictures       # of the fitted models, into docs/figures

Writes results/hierarchies.json. Both models of a cell have the same likelihood, data, optimizer and batches. On MNIST
they see the same number of images; on the tiles they have the same processor time, measured within the fit. Neither
is near the end of its training: what is shortened against the papers is the number of training images, of epochs and of
layers. ``nats`` and ``bits_per_dim`` are importance-weighted estimates on the test split. For the tiles, ``png_bits``
is the size of PNG files of the same tiles, as ``benchmarks.lossless`` measures it.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from lightning.pytorch import Callback, Trainer, seed_everything

import vae_zoo
from benchmarks.common import RESULTS, commit, hardware, versions
from benchmarks.lossless import per_dimension, pngs
from vae_zoo.callbacks import GradientSkip, LastCheckpoint
from vae_zoo.callbacks.pictures.drawing import grid, save_png
from vae_zoo.data import MNIST, DungeonTiles
from vae_zoo.distributions import Bernoulli, CoupledMixtureOfLogistics, Walk, mean_of
from vae_zoo.distributions.layered.top_down import central
from vae_zoo.functional import bits_per_dim
from vae_zoo.models import VDVAE, ConvVAE

LR, CLIP, SKIP = 2e-3, 200.0, 1e6
FIGURES = Path(__file__).parents[1] / "docs" / "figures"
TEMPERATURES, COLUMNS = (0.5, 0.7, 0.85, 1.0), 12


class Cell(NamedTuple):
    """One comparison.

    Args:
        data: Makes the data module.
        likelihood: Family of p(x|z) of both models.
        models: The models by name.
        epochs: Epochs of each fit; None if the time counts.
        seconds: Processor seconds of each fit; None if the epochs count.
        num_tested: Number of test images.
        num_samples: Samples of the estimate.
    """

    data: Any
    likelihood: Any
    models: dict[str, Any]
    epochs: int | None
    seconds: float | None
    num_tested: int
    num_samples: int


CELLS = {
    "mnist": Cell(
        partial(MNIST, num_val=50_000, batch_size=50),
        Bernoulli,
        {
            "ConvVAE": partial(ConvVAE, latent_dim=32),
            "VDVAE": partial(VDVAE, layers=[3, 2, 1], halvings=2, width=32),
        },
        12,
        None,
        500,
        100,
    ),
    "tiles": Cell(
        partial(DungeonTiles, batch_size=32),
        CoupledMixtureOfLogistics,
        {
            "ConvVAE": partial(ConvVAE, latent_dim=64),
            "VDVAE": partial(VDVAE, layers=[2, 2, 2], halvings=1, width=32),
        },
        None,
        200.0,
        400,
        20,
    ),
}


class Stop(Callback):
    """Ends a fit after a number of processor seconds, those of an interrupted run included."""

    def __init__(self, seconds: float) -> None:
        self.seconds, self.before, self.start = seconds, 0.0, 0.0

    @property
    def spent(self) -> float:
        return self.before + time.process_time() - self.start

    def on_train_start(self, *_: Any) -> None:
        self.start = time.process_time()

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        trainer.should_stop = self.spent >= self.seconds

    def state_dict(self) -> dict[str, Any]:
        return {"spent": self.spent}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.before = state_dict["spent"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", nargs="+", choices=list(CELLS), default=list(CELLS))
    parser.add_argument("--root", type=Path, default=Path("results/hierarchies"), help="folder of the checkpoints")
    parser.add_argument("--pictures", action="store_true", help="draw the figures of the documentation and stop")
    args = parser.parse_args()
    if args.pictures:
        draw(args.root)
        return
    path = RESULTS / "hierarchies.json"
    found = json.loads(path.read_text()) if path.is_file() else {}
    for name in args.cells:
        for model in CELLS[name].models:
            if model not in found.setdefault(name, {}):
                found[name][model] = measure(CELLS[name], model, args.root / name / model)
                write(path, found)
        if name == "tiles" and "png_bits" not in found[name]:
            found[name]["png_bits"] = png_bits()
            write(path, found)
    print(table(found))


def write(path: Path, found: dict[str, Any]) -> None:
    """Write the results so far, with the conditions of the last of them."""
    found |= {"commit": commit(), "hardware": hardware(), **versions("torch", "lightning")}
    path.write_text(json.dumps(found, indent=2) + "\n")


def measure(cell: Cell, name: str, folder: Path) -> dict[str, Any]:
    """Fit one model, or go on with it, and estimate its density of the test split."""
    seed_everything(0, verbose=False)
    data = cell.data()
    model = cell.models[name](shape=data.shape, likelihood=cell.likelihood, optimizer=partial(torch.optim.Adam, lr=LR))
    stop, skip = Stop(cell.seconds or math.inf), GradientSkip(max_norm=SKIP)
    trainer = Trainer(
        accelerator="cpu",
        max_epochs=cell.epochs or -1,
        limit_val_batches=0,
        gradient_clip_val=CLIP,
        callbacks=[stop, skip, LastCheckpoint(dirpath=folder)],
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
    )
    last = sorted(folder.glob("last*.ckpt"))
    trainer.fit(model, data, ckpt_path=str(last[-1]) if last else None)
    return {
        "layers": len(getattr(model, "latent_dims", [0])),
        "latents": sum(getattr(model, "latent_dims", [model.latent_dim])),
        "parameters": sum(p.numel() for p in model.parameters()),
        "epochs": round(trainer.current_epoch, 2),
        "steps": trainer.global_step,
        "skipped": skip.skipped,
        "seconds": round(stop.spent, 1),
        **tested(cell, model.eval()),
    }


@torch.no_grad()
def tested(cell: Cell, model: Any) -> dict[str, float]:
    """Bound, its parts and the importance-weighted estimate of the first test images, in nats per image."""
    x = images(cell)
    torch.manual_seed(1)
    parts = [model.elbo(some, num_samples=4) for some in x.split(50)]
    found = {"elbo": torch.cat([p.value for p in parts]), "kl": torch.cat([p.kl for p in parts])}
    for name in parts[0].curves:
        found[name] = torch.cat([p.curves[name] for p in parts])
    torch.manual_seed(2)
    found["nats"] = torch.cat([model.log_evidence(some, num_samples=cell.num_samples) for some in x.split(50)])
    means = {name: round(value.mean().item(), 3) for name, value in found.items()}
    bits = bits_per_dim(-found["nats"].mean(), x[0].numel()).item()
    return {**means, "error": round((found["nats"].std() / len(x) ** 0.5).item(), 3), "bits_per_dim": round(bits, 4)}


def images(cell: Cell) -> torch.Tensor:
    """The first test images, binarised as the data module does."""
    data = cell.data(eval_batch_size=cell.num_tested)
    data.prepare_data()
    data.setup("test")
    torch.manual_seed(0)
    return data.on_after_batch_transfer(next(iter(data.test_dataloader())))[0]


def png_bits() -> float:
    """Bits per value of the files of the same images, in the smallest form that Pillow writes."""
    tiles = DungeonTiles().load("test").x[:].numpy().transpose(0, 2, 3, 1)
    return round(per_dimension(tiles, lambda tile: min(map(len, pngs(tile)))), 4)


@torch.no_grad()
def draw(root: Path) -> None:
    """Samples at several temperatures, one row each, and reconstructions from more and more layers."""
    for name in CELLS:
        model: Any = vae_zoo.load(str(root / name / "VDVAE" / "last.ckpt")).eval()
        mean = name == "mnist"  # the mean of a mixture is between its colours
        rows = []
        for temperature in TEMPERATURES:
            torch.manual_seed(1)
            rows.append(model.sample(COLUMNS, temperature=temperature, mean=mean))
        save_png(grid(torch.cat(rows), COLUMNS), FIGURES / f"hierarchies_{name}_samples.png")
        x = images(CELLS[name])[:: max(1, CELLS[name].num_tested // COLUMNS)][:COLUMNS]
        seen = model.encode(x).go(choose=central)
        rows, num = [], len(model.latent_dims)
        for kept in range(num + 1):
            walk = Walk(len(x), model.latent_dims, central)
            walk.parts[num - kept :] = seen.parts[num - kept :]
            state = model.descend(walk, None)
            rows.append(mean_of(model.decode(walk.z, state=state), x.device))
        save_png(grid(torch.cat([*rows, x]), COLUMNS), FIGURES / f"hierarchies_{name}_layers.png")


def table(found: dict[str, Any]) -> str:
    """The rows of the documentation."""
    rows = ["| data | model | layers | parameters | epochs | CPU s | ELBO | log p(x) | bits per dimension |"]
    rows.append("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    for name in CELLS:
        for model, r in found.get(name, {}).items():
            if isinstance(r, dict):
                size = f"{r['layers']} | {r['parameters']:,} | {r['epochs']:g} | {r['seconds']:.0f}"
                score = f"{r['elbo']:.2f} | {r['nats']:.2f} ± {r['error']:.2f} | {r['bits_per_dim']:.3f}"
                rows.append(f"| {name} | {model} | {size} | {score} |")
    return "\n".join(rows)


if __name__ == "__main__":
    main()
