"""Sizes of images coded by a VAE and by general programs: ``python -m benchmarks.compression``.

A VAE, fitted for a few epochs or of the package, codes the test split without loss. PNG, WebP, zlib, bz2 and LZMA get
the same images: one file for each image, as they are used, or all images in one array, as suits them best. The results
go to ``benchmarks/results/compression.json``.
"""

from __future__ import annotations

import argparse
import bz2
import io
import json
import lzma
import math
import time
import zlib
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

import vae_zoo
from vae_zoo.data import MNIST, Digits, FreyFaces
from vae_zoo.distributions import Bernoulli, DiscretizedLogistic
from vae_zoo.evaluation.coding import Codec
from vae_zoo.evaluation.coding.bits_back import bound_bits
from vae_zoo.models import VAE
from vae_zoo.nn import Dense

RESULTS = Path(__file__).parent / "results" / "compression.json"


def rows() -> dict[str, dict[str, Any]]:
    """Data, likelihood and length of each fit."""
    digits = {"hidden": [256, 256], "latent_dim": 16}
    return {
        "Digits, binary": {"data": Digits(binarization="threshold"), "epochs": 40, "likelihood": Bernoulli, **digits},
        "Digits, 17 levels": {"data": Digits(), "epochs": 100, "likelihood": DiscretizedLogistic, **digits},
        "MNIST, binary": {"data": MNIST(binarization="dynamic"), "pretrained": "vae_mnist"},
        "Frey Faces": {
            "data": FreyFaces(),
            "epochs": 100,
            "likelihood": DiscretizedLogistic,
            "hidden": [300, 300],
            "latent_dim": 16,
        },
    }


def fitted(data: Any, epochs: int, likelihood: Any, hidden: list[int], latent_dim: int) -> Any:
    """A VAE after some epochs of Adam, with a learning rate that falls to 0."""
    x, network = data.examples("train"), partial(Dense, hidden=hidden)
    torch.manual_seed(0)
    model = VAE(shape=data.shape, latent_dim=latent_dim, encoder=network, decoder=network, likelihood=likelihood)
    size = 64 if len(x) < 5000 else 100
    steps = epochs * -(-len(x) // size)
    optimizer = torch.optim.Adam(model.parameters(), 2e-3)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps, pct_start=0.1)
    for _ in range(epochs):
        for part in torch.randperm(len(x)).split(size):
            optimizer.zero_grad()
            model.losses(x[part])["loss"].backward()
            optimizer.step()
            scheduler.step()
    return model.eval()


def general(pixels: np.ndarray) -> dict[str, int]:
    """Bytes by other programs, of uint8 images (N, H, W)."""
    from PIL import Image

    binary = set(np.unique(pixels).tolist()) <= {0, 255}
    images = [Image.fromarray(image) for image in pixels]
    images = [image.convert("1") for image in images] if binary else images

    def files(form: str, **how: Any) -> int:
        total = 0
        for image in images:
            held = io.BytesIO()
            (image.convert("RGB") if form == "WEBP" else image).save(held, form, **how)
            total += held.getbuffer().nbytes
        return total

    whole = (np.packbits(pixels > 0, axis=None) if binary else pixels).tobytes()
    rows = Image.fromarray(pixels.reshape(-1, pixels.shape[-1]))
    strip = io.BytesIO()
    (rows.convert("1") if binary else rows).save(strip, "PNG", optimize=True)
    return {
        "png": files("PNG", optimize=True),
        "webp": files("WEBP", lossless=True, quality=100, method=6),
        "png, one strip": strip.getbuffer().nbytes,
        "zlib, one array": len(zlib.compress(whole, 9)),
        "bz2, one array": len(bz2.compress(whole, 9)),
        "lzma, one array": len(lzma.compress(whole, preset=9 | lzma.PRESET_EXTREME)),
    }


def measured(name: str, data: Any, num: int, pretrained: str = "", **how: Any) -> dict[str, Any]:
    """Bits per dimension by the model and by other programs; all test images by weights of the package."""
    start = time.process_time()
    model = vae_zoo.from_pretrained(pretrained) if pretrained else fitted(data, **how)
    fit = time.process_time() - start
    x = data.examples("test")[: None if pretrained else num]
    codec = Codec(model, batch_size=max(1, len(x) // 1000))
    symbols = codec.values.symbols(x)
    start = time.process_time()
    coded = codec.encode(symbols)
    took = time.process_time() - start
    size = 8 * len(coded.stack.heads) + 2 * len(coded.stack.words)
    bound = bound_bits(model, x, num_samples=20)
    lossless = np.array_equal(codec.decode(coded.stack, coded.num), symbols)
    pixels = (symbols * (255 // (codec.values.num - 1))).astype(np.uint8)[:, 0]
    dims = math.prod(x.shape)
    others = {key: round(8 * value / dims, 4) for key, value in general(pixels).items()}
    return {
        "data": name,
        "num": len(x),
        "nats_of_the_bound": round(bound * math.log(2), 3),
        "nats_of_the_code": round(coded.bits * math.log(2), 3),
        "initial_bits": coded.initial_bits,
        "bytes": size,
        "lossless": bool(lossless),
        "fit_cpu_s": round(fit, 1),
        "code_ms_each": round(1000 * took / len(x), 2),
        "bits_per_dim": {"bound": round(bound / dims * len(x), 4), "vae": round(8 * size / dims, 4), **others},
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="*", default=list(rows()))
    parser.add_argument("--num", type=int, default=2000)
    options = parser.parse_args()
    found = json.loads(RESULTS.read_text())["rows"] if RESULTS.exists() else []
    for name in options.only:
        row = measured(name, num=options.num, **rows()[name])
        found = [other for other in found if other["data"] != name] + [row]
        print(json.dumps(row))
    RESULTS.write_text(json.dumps({"torch": torch.__version__, "rows": found}, indent=1) + "\n")
