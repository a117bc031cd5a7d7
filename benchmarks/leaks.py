"""What a long fit and a large predict add to the memory and the open files of a process. Linux only.

python benchmarks/leaks.py             # writes results/leaks.json
python benchmarks/leaks.py --quick     # fewer epochs and smaller images, as the tests do
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import os
import shlex
import sys
import tempfile
from pathlib import Path
from typing import Any, ClassVar

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
from lightning.pytorch import Callback

from benchmarks.common import RESULTS, commit, hardware, versions
from vae_zoo.cli import main as vae_zoo

FULL = {"epochs": 500, "images": 20_000, "size": 64}
QUICK = {"epochs": 200, "images": 20_000, "size": 32}
ONE_HEAP = {"PYTHONMALLOC": "malloc", "MALLOC_ARENA_MAX": "1"}
"""Makes Python take every object from the one heap that is counted."""

WARM = 50
"""Epochs before the first that counts: caches fill up."""

SMALL = "--model VAE --model.latent_dim 2 --model.encoder.hidden [8] --model.decoder.hidden [8]"
QUIET = "--trainer.enable_progress_bar false --trainer.enable_model_summary false"
NONE = " ".join(f"--{name}.every_n_epochs 0" for name in ("samples", "reconstructions", "traversals"))


class Watch(Callback):
    """Notes memory and open files: every few epochs of a fit, and as a predict begins, from where its peak counts."""

    rows: list[tuple[int, int, int]]
    base: int

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        if trainer.current_epoch >= WARM and trainer.current_epoch % 5 == 0:
            gc.collect()
            self.rows.append((trainer.current_epoch, allocated(), len(os.listdir("/proc/self/fd"))))

    def on_predict_start(self, trainer: Any, pl_module: Any) -> None:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak starts anew
        Watch.base = status("VmRSS")


class Mallinfo(ctypes.Structure):
    """What glibc says of its heap."""

    _names = ("arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost")
    _fields_: ClassVar[list[tuple[str, Any]]] = [(name, ctypes.c_size_t) for name in _names]


def allocated() -> int:
    """Bytes in use on the heap: what the system counts has megabytes of slack for a leak to hide in."""
    libc = ctypes.CDLL(None)
    libc.mallinfo2.restype = Mallinfo
    info = libc.mallinfo2()
    return int(info.uordblks + info.hblkhd)


def status(key: str) -> int:
    """A line of the kernel's account of this process, in kB."""
    text = Path("/proc/self/status").read_text(encoding="ascii")
    return next(int(line.split()[1]) for line in text.splitlines() if line.startswith(f"{key}:"))


def run(line: str) -> None:
    vae_zoo(shlex.split(f"{line} {QUIET} --trainer.callbacks benchmarks.leaks.Watch"))


def fit(epochs: int) -> dict[str, Any]:
    """Growth of a fit that validates and saves at every epoch."""
    watch: Any = sys.modules["benchmarks.leaks"].Watch
    watch.rows = []
    run(f"fit {SMALL} --data Sprites --data.num_examples 64 --data.image_size 8 --trainer.max_epochs {epochs} {NONE}")
    epoch, memory, handles = np.array(watch.rows, dtype=float).T
    return {
        "epochs": epochs,
        "kb_an_epoch": float(np.polyfit(epoch, memory, 1)[0]) / 1024,
        "handles_gained": int(handles[-1] - handles[0]),
    }


def predict(images: int, size: int) -> dict[str, Any]:
    """Peak of a predict over what it held as it began, its files and pictures included."""
    rng = np.random.default_rng(0)
    for name, num in (("few", 60), ("many", images)):
        np.save(f"{name}.npy", rng.integers(0, 256, (num, size, size), dtype=np.uint8))
    run(f"fit {SMALL} --data Arrays --data.path few.npy --trainer.max_epochs 1 {NONE}")
    for name in ("few", "many"):  # the first imports, and perhaps compiles, what both need
        run(f"predict --ckpt_path results/VAE_Arrays/fit_0/checkpoints/last.ckpt --data.test_path {name}.npy")
    added = status("VmHWM") - sys.modules["benchmarks.leaks"].Watch.base
    written = Path("results/VAE_Arrays/predict_1/reconstructions.npz").stat().st_size
    return {"images": images, "size": size, "mb_added": added / 1024, "mb_written": written / 2**20}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--out", type=Path, default=RESULTS / "leaks.json")
    args = parser.parse_args()
    if not ONE_HEAP.items() <= os.environ.items():
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | ONE_HEAP)
    import benchmarks.leaks  # noqa: F401  # the callbacks are made from there

    chosen, out = QUICK if args.quick else FULL, args.out.resolve()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        found = {"fit": fit(chosen["epochs"])}  # first: what a predict has given back would hide a leak
        found["predict"] = predict(chosen["images"], chosen["size"])
        os.chdir("/")
    meta = {"commit": commit(), "hardware": hardware(), "versions": versions("torch", "lightning", "numpy")}
    out.write_text(json.dumps(meta | found, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
