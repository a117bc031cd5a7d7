"""Compare the autoencoder of latent diffusion with a plain VAE on colour pictures of 64 x 64, at equal processor time.

    VAE_ZOO_DATA=... OMP_NUM_THREADS=1 python -m benchmarks.pictures                # about 13 minutes of one core
    VAE_ZOO_DATA=... python -m benchmarks.pictures --models AutoencoderKL --seconds 600
    VAE_ZOO_DATA=... python -m benchmarks.pictures --draw                           # of the fitted models

Writes results/pictures.json and docs/figures/pictures.png: originals of the test split, and their reconstructions by
each model. The data are the emoji of Noto, as docs/data.md says, on white. Both models have the same likelihood and
the same course of the learning rate, which follows the processor time: it rises for the first hundredth, and falls to 0
in the second half. ``psnr`` is the mean over test pictures. ``kid`` compares training pictures with reconstructions of
test pictures, or with as many samples of the prior, in standardised features of a classifier of the emoji's categories
that is trained on the training pictures; ``kid_lite0`` does so in the pooled features of EfficientNet-Lite0, of which
the first two stages are part of the objective of AutoencoderKL. ``floor`` compares the test pictures themselves. Logits
are those of the discriminator for test pictures and their reconstructions.
"""

from __future__ import annotations

import argparse
import json
import time
from functools import partial
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, Trainer, seed_everything
from torch import Tensor, nn

import vae_zoo
from benchmarks.common import RESULTS, commit, hardware, versions
from vae_zoo.callbacks.pictures.drawing import grid, save_png
from vae_zoo.data import ImageFolder
from vae_zoo.data.base.paths import data_root
from vae_zoo.distributions import OptimalNormal
from vae_zoo.metrics import KID, PSNR, DataClassifier
from vae_zoo.models import AutoencoderKL, ConvVAE
from vae_zoo.nn import EfficientNetFeatures, PatchDiscriminator, ResidualDecoder, ResidualEncoder

FIGURE = Path(__file__).parents[1] / "docs" / "figures" / "pictures.png"
SUBSET, COLUMNS, BATCH = 300, 12, 54
NETWORK: dict[str, Any] = {"width": 16, "multipliers": [1, 2, 4], "attention": False}

MODELS: dict[str, dict[str, Any]] = {
    "ConvVAE": {"make": partial(ConvVAE, latent_dim=128), "lr": 1e-3, "batch_size": 32, "precision": "32-true"},
    "AutoencoderKL": {
        "make": partial(
            AutoencoderKL,
            latent_dim=16,
            factor=4,
            encoder=partial(ResidualEncoder, **NETWORK),
            decoder=partial(ResidualDecoder, **NETWORK),
            network=partial(EfficientNetFeatures, num_stages=2),
            discriminator=partial(PatchDiscriminator, width=16),
            discriminator_start=700,
            adversarial_weight=0.2,
            channels_last=True,
        ),
        "lr": 2e-3,
        "batch_size": 8,
        "precision": "bf16-mixed",
    },
}
"""Each as it does best in the time, of a few tries: the VAE gains nothing from half precision."""


class Pace(Callback):
    """Lets the learning rates follow the processor time, and ends the fit when it is spent."""

    def __init__(self, seconds: float) -> None:
        self.seconds, self.start, self.rates = seconds, 0.0, [0.0]
        self.curve: list[dict[str, float]] = []

    @property
    def spent(self) -> float:
        return time.process_time() - self.start

    def on_train_start(self, trainer: Trainer, *_: Any) -> None:
        self.start = time.process_time()
        self.rates = [group["lr"] for group in trainer.optimizers[0].param_groups]

    def on_train_batch_start(self, trainer: Trainer, *_: Any) -> None:
        part = min(self.spent / self.seconds, 1.0)
        factor = min(1.0, 0.01 + 100 * part, 2 - 2 * part)
        for group, rate in zip(trainer.optimizers[0].param_groups, self.rates, strict=True):
            group["lr"] = rate * factor

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        if trainer.global_step % 50 == 0:
            found = {name: round(value.item(), 3) for name, value in trainer.callback_metrics.items()}
            self.curve.append({"step": trainer.global_step, "spent": round(self.spent, 1), **found})
        trainer.should_stop = self.spent >= self.seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=list(MODELS), default=list(MODELS))
    parser.add_argument("--seconds", type=float, default=300.0, help="processor seconds of each fit")
    parser.add_argument("--root", type=Path, default=Path("results/pictures"), help="folder of the checkpoints")
    parser.add_argument("--out", type=Path, default=RESULTS / "pictures.json", help="file that results are added to")
    parser.add_argument("--draw", action="store_true", help="draw the fitted models' figure and stop")
    args = parser.parse_args()
    torch.set_num_threads(1)
    data = emoji()
    train, test = (data.dataset(split) for split in ("train", "test"))
    x = scaled(test)
    if args.draw:
        draw(x, args.root)
        return
    fits = {name: fitted(name, args.seconds, args.root) for name in args.models}
    judge, models = Judge(train), {}
    for name, fit in fits.items():
        models[name] = fit | tested(vae_zoo.load(str(args.root / f"{name}.ckpt")), x, judge)
    found: dict[str, Any] = json.loads(args.out.read_text()) if args.out.is_file() else {}
    found |= {"num_train": len(train.x), "num_test": len(x), "accuracy": judge.accuracy(test), "floor": judge(x)}
    found["models"] = found.get("models", {}) | models
    found |= {"commit": commit(), "hardware": hardware(), **versions("torch", "lightning")}
    args.out.write_text(json.dumps(found, indent=2) + "\n")
    print(table(found))


def emoji(batch_size: int = 32) -> ImageFolder:
    """The emoji of 64 x 64 on white, read."""
    folder = data_root() / "Emoji" / "package" / "img" / "google" / "64"
    data = ImageFolder(folder=str(folder), background="white", cache=False, batch_size=batch_size)
    data.prepare_data()
    data.setup()
    return data


def scaled(split: Any) -> Tensor:
    return torch.as_tensor(split.x[:]).float() / 255


def fitted(name: str, seconds: float, root: Path) -> dict[str, Any]:
    """Fit a model for so many processor seconds, into a checkpoint; numbers of its training."""
    seed_everything(0, verbose=False)
    how = MODELS[name]
    data, pace = emoji(how["batch_size"]), Pace(seconds)
    optimizer = partial(torch.optim.Adam, lr=how["lr"], betas=(0.9, 0.99))
    model = how["make"](shape=data.shape, likelihood=OptimalNormal, optimizer=optimizer)
    trainer = Trainer(
        accelerator="cpu",
        precision=how["precision"],
        max_epochs=-1,
        limit_val_batches=0,
        gradient_clip_val=1e5,
        callbacks=[pace],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(model, data)
    trainer.save_checkpoint(root / f"{name}.ckpt")
    return {
        "latents": int(torch.Size(getattr(model, "latent_shape", (model.latent_dim,))).numel()),
        "parameters": sum(p.numel() for p in model.parameters()),
        "steps": trainer.global_step,
        "epochs": round(trainer.global_step * how["batch_size"] / data.num_train, 2),
        "seconds": round(pace.spent, 1),
        "curve": pace.curve,
    }


def tested(model: Any, x: Tensor, judge: Judge) -> dict[str, Any]:
    """Quality of reconstructions of test pictures, and of as many samples."""
    again, quality = reconstructed(model, x), PSNR()
    quality.update(again, x)
    torch.manual_seed(1)
    with torch.no_grad():
        drawn = torch.cat([model.sample(BATCH) for _ in range(-(-len(x) // BATCH))])[: len(x)].clamp(0, 1)
    psnr = round(quality.compute().item(), 2)
    return {"psnr": psnr, "reconstructions": judge(again), "samples": judge(drawn), **logits(model, x, again)}


def draw(x: Tensor, root: Path) -> None:
    """Test pictures, and their reconstructions by each model, one row each."""
    x = x[:: len(x) // COLUMNS][:COLUMNS]
    rows = [x, *(reconstructed(vae_zoo.load(str(root / f"{name}.ckpt")), x) for name in MODELS)]
    save_png(grid(torch.cat(rows), COLUMNS), FIGURE)


@torch.no_grad()
def reconstructed(model: Any, x: Tensor) -> Tensor:
    return torch.cat([model.reconstruct(some) for some in x.split(BATCH)]).clamp(0, 1)


@torch.no_grad()
def logits(model: Any, x: Tensor, again: Tensor) -> dict[str, float]:
    """Mean logits of a discriminator for pictures and their reconstructions, if the model has one."""
    if (judge := getattr(model, "discriminator", None)) is None:
        return {}
    real, fake = (torch.cat([judge(some) for some in images.split(BATCH)]) for images in (x, again))
    hinge = ((1 - real).relu().mean() + (1 + fake).relu().mean()) / 2
    names = ("real_logits", "fake_logits", "hinge_loss")
    return {n: round(v.item(), 3) for n, v in zip(names, (real.mean(), fake.mean(), hinge), strict=True)}


class Judge:
    """Distances of pictures from the training pictures, in the features of two networks.

    Args:
        train: The training pictures, with their ids.
    """

    def __init__(self, train: Any) -> None:
        table = json.loads((data_root() / "Emoji" / "package" / "emoji.json").read_text())
        of = {shown["image"]: e["category"] for e in table for shown in (e, *e.get("skin_variations", {}).values())}
        names = sorted(set(of.values()))
        self.labels = {image: names.index(category) for image, category in of.items()}
        classifier = DataClassifier((3, 64, 64), num_steps=300, batch_size=64)
        classifier.fit(torch.as_tensor(train.x[:]), self.labels_of(train))
        self.networks = {"kid": (classifier, classifier.num_features), "kid_lite0": (Pooled(), 80)}
        self.real = {name: features(network, scaled(train)) for name, (network, _) in self.networks.items()}

    def labels_of(self, split: Any) -> Tensor:
        return torch.tensor([self.labels[Path(str(name)).name] for name in split.ids])

    def accuracy(self, split: Any) -> float:
        classifier: Any = self.networks["kid"][0]
        return round(classifier.accuracy(scaled(split), self.labels_of(split)).item(), 3)

    def __call__(self, x: Tensor) -> dict[str, float]:
        found = {}
        for name, (network, num) in self.networks.items():
            real, kid = self.real[name], KID(num_features=num, subset_size=SUBSET)
            mean, std = real.mean(0), real.std(0).clamp(min=1e-6)
            kid.update((real - mean) / std, real=True)
            kid.update((features(network, x) - mean) / std, real=False)
            found[name] = float(f"{kid.compute()[0].item():.4g}")
        return found


class Pooled(nn.Module):
    """Means over places of the fourth stage of EfficientNet-Lite0, (N, 80)."""

    def __init__(self) -> None:
        super().__init__()
        self.network = EfficientNetFeatures(num_stages=4).eval()

    def forward(self, x: Tensor) -> Tensor:
        return self.network(x)[-1].mean((2, 3))


@torch.no_grad()
def features(network: nn.Module, x: Tensor) -> Tensor:
    return torch.cat([network(some) for some in x.split(BATCH)])


def table(found: dict[str, Any]) -> str:
    """The rows of the documentation."""
    rows = ["| | latents | steps | PSNR, dB | KID of reconstructions | KID of samples |", "|---|---|---|---|---|---|"]
    floor = found["floor"]["kid"]
    for name, r in found["models"].items():
        distances = f"{r['reconstructions']['kid']:.3g} | {r['samples']['kid']:.3g}"
        rows.append(f"| `{name}` | {r['latents']:,} | {r['steps']:,} | {r['psnr']:.1f} | {distances} |")
    rows.append(f"| test pictures themselves | | | | {floor:.3g} | |")
    return "\n".join(rows)


if __name__ == "__main__":
    main()
