"""The evidence at K = 5,000 samples beside pythae's get_nll: the same weights, images and thread, in CPU seconds.

    VAE_ZOO_DATA=... python benchmarks/evidence.py                # fits a small VAE to MNIST first: about 20 minutes
    VAE_ZOO_DATA=... python benchmarks/evidence.py --quick        # fewer samples, images and rounds: a minute or two
    VAE_ZOO_DATA=... python benchmarks/evidence.py --ckpt_path X  # of an MLPVAE that is there

Contenders take turns, so that whatever else the machine does falls on all of them; a ratio is the median over rounds.
Writes results/evidence.json.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import json
import math
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import torch
from torch import Tensor, nn

import vae_zoo
from benchmarks.common import RESULTS, commit, hardware, versions
from benchmarks.report import evidence as table
from vae_zoo.data import MNIST
from vae_zoo.models import MLPVAE, ConvVAE

SHAPE = (1, 28, 28)
LATENT_DIM = 32


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ckpt_path", help="checkpoint of an MLPVAE of MNIST with 32 latent dimensions")
    parser.add_argument("--quick", action="store_true", help="a look at it: no result file")
    parser.add_argument("--num_samples", type=int, default=5000)
    parser.add_argument("--num_images", type=int, default=64, help="images of ours in a round; of pythae a third")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--peak", choices=("MLPVAE", "ConvVAE"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.quick:
        args.num_samples, args.num_images, args.rounds = 500, 24, 2
    if args.peak:
        print(peak(args.peak, args.num_samples))
        return
    torch.set_num_threads(1)
    made = {"hardware": hardware(), "versions": versions("torch", "lightning", "pythae"), "commit": commit()}
    with tempfile.TemporaryDirectory() as folder:
        model = vae_zoo.load(args.ckpt_path or fitted(folder, epochs=1 if args.quick else 3)).eval()
    data = MNIST(eval_batch_size=max(256, args.num_images))
    data.prepare_data()
    data.setup("test")
    x = data.on_after_batch_transfer(next(iter(data.test_dataloader()))).x
    result = {
        "num_samples": args.num_samples,
        "rounds": args.rounds,
        "contenders": compared(model, x[: args.num_images], args),
        "same_noise": agreement(model, x[:8], args.num_samples),
        "bf16": bias(model, x[:256], args.num_samples),
        "peak_mib": {name: measured_peak(name, args.num_samples) for name in ("MLPVAE", "ConvVAE")},
        **made,
    }
    path = Path(tempfile.mkdtemp()) / "evidence.json" if args.quick else RESULTS / "evidence.json"
    path.write_text(json.dumps(result, indent=2, ensure_ascii=False) + "\n")
    print(table(path))


def fitted(folder: str, epochs: int) -> str:
    """Path of the checkpoint of a VAE, fitted as a user would."""
    command = [sys.executable, "-c", "from vae_zoo.cli import main; main()", "fit", "--seed_everything", "0"]
    model = ["--model", "MLPVAE", "--model.latent_dim", str(LATENT_DIM), "--data", "MNIST"]
    trainer = {"max_epochs": epochs, "precision": "bf16-mixed", "default_root_dir": folder}
    options = [f"--trainer.{name}={value}" for name, value in {**trainer, "enable_progress_bar": "false"}.items()]
    subprocess.run([*command, *model, *options], check=True, stdout=subprocess.DEVNULL)
    return str(next(Path(folder).rglob("last.ckpt")))


def compared(model: MLPVAE, x: Tensor, args: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """Speeds and estimates of everyone, from rounds in which all take their turns."""
    few = x[: max(1, len(x) // 3)]

    def ours(precision: str, compiled: bool) -> Callable[[], tuple[int, float]]:
        def run() -> tuple[int, float]:
            model.compiled = compiled
            with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
                return len(x), model.log_evidence(x, num_samples=args.num_samples)[: len(few)].mean().item()

        return run

    contenders: dict[str, Callable[[], tuple[int, float]]] = {}
    try:
        theirs = pythae_model(model)
        contenders["pythae get_nll, batches of 100"] = lambda: (len(few), theirs.get_nll(few, args.num_samples, 100))
    except ImportError:
        print("pythae is not installed: its row is left out.")
    for precision in ("float32", "bf16"):
        contenders[f"vae_zoo {precision}"] = ours(precision, False)
        contenders[f"vae_zoo {precision}, compiled"] = ours(precision, True)
    speeds: dict[str, list[float]] = {name: [] for name in contenders}
    values: dict[str, list[float]] = {name: [] for name in contenders}
    for n in range(args.rounds + 1):
        for name, run in contenders.items():
            torch.manual_seed(n)
            start = time.process_time()
            with torch.no_grad():
                num, value = run()
            if n:  # the first round warms up, and compiles
                speeds[name].append(num / (time.process_time() - start))
                values[name].append(value)
    first = next(iter(contenders))
    ratios = {name: [a / b for a, b in zip(speeds[name], speeds[first], strict=True)] for name in contenders}
    return {
        name: {
            "images_per_cpu_second": spread(speeds[name]),
            "ratio": spread(ratios[name]),
            "log_evidence": [round(statistics.mean(values[name]), 3), round(error(values[name]), 3)],
        }
        for name in contenders
    }


def spread(values: list[float]) -> list[float]:
    """Median, least and greatest."""
    return [round(value, 2) for value in (statistics.median(values), min(values), max(values))]


def error(values: list[float]) -> float:
    """Standard error of the mean over rounds."""
    return statistics.stdev(values) / len(values) ** 0.5


def pythae_model(model: MLPVAE) -> Any:
    """pythae's VAE around the networks of ours."""
    from pythae.models import VAE, VAEConfig
    from pythae.models.base.base_utils import ModelOutput
    from pythae.models.nn import BaseDecoder, BaseEncoder

    class Encoder(BaseEncoder):
        def __init__(self, net: nn.Module) -> None:
            super().__init__()
            self.net = net

        def forward(self, x: Tensor) -> Any:
            loc, log_scale = self.net(x).unbind(1)
            return ModelOutput(embedding=loc, log_covariance=2 * log_scale)

    class Decoder(BaseDecoder):
        def __init__(self, net: nn.Module) -> None:
            super().__init__()
            self.net = net

        def forward(self, z: Tensor) -> Any:
            return ModelOutput(reconstruction=torch.sigmoid(self.net(z)))

    config = VAEConfig(input_dim=SHAPE, latent_dim=LATENT_DIM, reconstruction_loss="bce")
    return VAE(config, encoder=Encoder(model.encoder), decoder=Decoder(model.decoder)).eval()


def agreement(model: MLPVAE, x: Tensor, num_samples: int) -> dict[str, Any] | None:
    """Estimates of single images by pythae and by us from the same noise, drawn in the same order."""
    try:
        theirs = pythae_model(model)
    except ImportError:
        return None
    model.compiled, gaps = False, []
    for n, image in enumerate(x.split(1)):
        torch.manual_seed(n)
        with torch.no_grad():
            value = theirs.get_nll(image, num_samples, 100)
        torch.manual_seed(n)
        gaps.append(model.log_evidence(image, num_samples=num_samples, chunk=100).item() - value)
    return {"images": len(gaps), "difference": statistics.mean(gaps), "largest": max(map(abs, gaps))}


def bias(model: MLPVAE, x: Tensor, num_samples: int) -> dict[str, float]:
    """What bf16 changes of the estimate, in nats: under the same noise, so in the same chunks."""
    model.compiled, values = False, []
    for enabled in (False, True):
        torch.manual_seed(0)
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            values.append(model.log_evidence(x, num_samples=num_samples, chunk=6))
    gap = values[1] - values[0]
    return {
        "images": len(x),
        "float32": round(values[0].mean().item(), 3),
        "bf16": round(values[1].mean().item(), 3),
        "difference": round(gap.mean().item(), 4),
        "error": round((gap.std() / len(gap) ** 0.5).item(), 4),
        "largest": round(gap.abs().max().item(), 3),
    }


def measured_peak(name: str, num_samples: int) -> float:
    """In a process of its own."""
    command = [sys.executable, __file__, "--peak", name, "--num_samples", str(num_samples)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def peak(name: str, num_samples: int) -> float:
    """MiB by which an estimate, model and images included, exceeds what this process held after all imports."""
    torch.set_num_threads(1)
    before = held("VmRSS")
    model = {"MLPVAE": MLPVAE, "ConvVAE": ConvVAE}[name](shape=SHAPE, latent_dim=LATENT_DIM).eval()
    model.evidence(torch.rand({"MLPVAE": 256, "ConvVAE": 32}[name], *SHAPE).round(), num_samples=num_samples)
    return round(held("VmHWM") - before, 1)


def held(what: str) -> float:
    """MiB in memory now (VmRSS) or at most so far (VmHWM), as Linux counts them: getrusage has a parent's in it."""
    found = re.search(rf"{what}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return int(found.group(1)) / 1024 if found else math.nan


if __name__ == "__main__":
    main()
