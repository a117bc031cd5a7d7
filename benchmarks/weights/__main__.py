"""Make the weights that come with the package, and measure them.

    VAE_ZOO_DATA=... nice python -m benchmarks.weights                    # all of them: 25 minutes on one core
    VAE_ZOO_DATA=... nice python -m benchmarks.weights vae_mnist --root results/weights

A fit whose last checkpoint is below --root is not repeated, so that an interrupted run goes on where it stopped. Writes
``vae_zoo/weights/NAME/NAME.safetensors`` and ``NAME.json``, and a picture of samples for the documentation.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from benchmarks.common import commit, hardware, versions
from benchmarks.reproduce.run import newest, run
from benchmarks.weights import pictures
from benchmarks.weights.packing import pack
from benchmarks.weights.plan import PLANS
from vae_zoo.weights import names

QUIET = [f"--{name}.every_n_epochs=0" for name in ("samples", "reconstructions", "traversals")]


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.weights", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", choices=[*PLANS, []], default=[], metavar="NAME", help="all if none given")
    parser.add_argument("--root", type=Path, default=Path("results/weights"), help="folder of the fits")
    args = parser.parse_args()
    for name in args.names or PLANS:
        checkpoint = fitted(name, args.root)
        weights = pack(name, PLANS[name], checkpoint, json.loads((args.root / name / "fit.json").read_text()))
        pictures.samples(weights)
        print(name, weights.num_bytes, {k: f"{v.value} ± {v.error}" for k, v in weights.metrics.items()}, flush=True)
    if set(pictures.STRIP) <= set(names()):
        pictures.strip()


def fitted(name: str, root: Path) -> Path:
    """The last checkpoint of a fit; beside it stands how it was made."""
    done = root / name / "fit.json"
    if not done.is_file():
        found = {"commit": commit(), "hardware": hardware(), **versions("torch", "lightning")}
        found |= run("fit", *PLANS[name].args, *QUIET, "--trainer.default_root_dir", str(root / name))
        done.write_text(json.dumps(found))
    path = newest(root / name, "fit_*/checkpoints/last.ckpt")
    assert path, f"{done} is there without a checkpoint: delete it"
    return path


if __name__ == "__main__":
    main()
