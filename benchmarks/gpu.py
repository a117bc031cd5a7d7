"""Measure vae_zoo on a GPU in one run of some ten minutes, beside hand-written loops and CUDA graphs.

    python -m benchmarks.gpu                    # writes results/gpu.json, section by section
    python -m benchmarks.gpu --minutes 4        # less of it: what does not fit in is named in the file
    python -m benchmarks.gpu --device cpu --minutes 1 --out /tmp/gpu.json    # the program itself, tried without a GPU

Needs no data: the images are noise, which takes as long as others. Contenders take turns in each round, so that the
clock of the card is the same for all; a ratio is the median over rounds of (seconds of the hand-written loop) / (its
seconds), wall time between two synchronisations. A section that fails is in the file with its error.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks import contenders
from benchmarks import lightning_contenders as lightning
from benchmarks.common import RESULTS, commit, hardware, versions
from benchmarks.throughput import interleaved, table
from benchmarks.work import Work, noise

HAND = "hand-written loop, float32"
FIT: dict[str, Callable[..., contenders.Run]] = {
    HAND: contenders.hand,
    "hand-written, float32, CUDA graph": contenders.hand_graph,
    "hand-written, bf16, compiled": contenders.hand_best,
    "hand-written, bf16, CUDA graph": partial(contenders.hand_graph, autocast=True),
    "vae_zoo": lightning.zoo,
    "vae_zoo, compiled": partial(lightning.zoo, compiled=True),
    "vae_zoo, compiled, CUDA graphs": partial(lightning.zoo, compiled=True, cuda_graphs=True),
    "vae_zoo, bf16, compiled": partial(lightning.zoo, precision="bf16-mixed", compiled=True),
    "vae_zoo, bf16, compiled, CUDA graphs": partial(
        lightning.zoo, precision="bf16-mixed", compiled=True, cuda_graphs=True
    ),
}
WORKS = (
    Work("MLP 784-512-512-z32, batch 128", (1, 28, 28), 128, steps=300, source=noise),
    Work("MLP 784-512-512-z32, batch 4096", (1, 28, 28), 4096, steps=60, source=noise),
    Work("conv 1x32x32, 32 to 256 channels, batch 256", (1, 32, 32), 256, conv=True, steps=150, source=noise),
)
NUM_SAMPLES = 5000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    parser.add_argument("--minutes", type=float, default=8.0, help="a section is begun only before this time")
    parser.add_argument("--test-minutes", type=float, default=4.0, help="time for the tests, which are begun last")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--section", help="print this one alone")
    parser.add_argument("--out", type=Path, default=RESULTS / "gpu.json")
    args = parser.parse_args()
    if args.device == "cuda" and not torch.cuda.is_available():
        sys.exit("error: there is no CUDA device: --device cpu tries the program itself.")
    device = torch.device(args.device)
    sections = sections_of(device, args.rounds, 60 * args.test_minutes)
    if args.section:
        print(json.dumps(sections[args.section](), ensure_ascii=False))
        return
    start = time.perf_counter()
    result: dict[str, Any] = {
        "device": name_of(device),
        "hardware": hardware(),
        "versions": versions("torch", "lightning"),
        "cuda": torch.version.cuda,
        "commit": commit(),
        "rounds": args.rounds,
        "command": " ".join(["python -m benchmarks.gpu", *sys.argv[1:]]),
    }
    for name in sections:
        begun = time.perf_counter()
        if begun - start > 60 * args.minutes if name != "tests" else not args.test_minutes:
            result[name] = {"error": f"not begun: {args.minutes:g} minutes were over"}
        else:
            result[name] = alone(name, args.device, args.rounds, args.test_minutes)
        took = time.perf_counter() - begun
        print(f"{name}: {took:.1f} s {result[name].get('error', '')}", flush=True)
        args.out.write_text(json.dumps(result, indent=2, ensure_ascii=False) + "\n")


def sections_of(device: torch.device, rounds: int, test_seconds: float) -> dict[str, Callable[[], Any]]:
    """What is measured, in the order of its worth."""
    steps = (lambda work: work.steps) if device.type == "cuda" else (lambda _: 2)
    first, *further = ((f"fit, {work.name}", partial(fits, work, device, rounds, steps(work))) for work in WORKS)
    return {
        "peak": lambda: peak(device),
        **dict([first]),
        "evidence": lambda: evidence(device, rounds),
        "residence": lambda: residence(device, rounds, steps(WORKS[0])),
        "memory": lambda: memory(device),
        **dict(further),
        "tests": lambda: tests(test_seconds),
    }


def alone(name: str, device: str, rounds: int, test_minutes: float) -> Any:
    """A section in a process of its own: an error of the device ends all that its process does afterwards."""
    options = [f"--device={device}", f"--rounds={rounds}", f"--test-minutes={test_minutes}", f"--section={name}"]
    command = [sys.executable, "-m", "benchmarks.gpu", *options]
    done = subprocess.run(command, cwd=Path(__file__).parents[1], capture_output=True, text=True, check=False)
    *shown, last = done.stdout.splitlines() or [""]
    print(*shown, sep="\n")
    if done.returncode:
        reasons = [line for line in done.stderr.splitlines() if re.match(r"[\w.]+(Error|Exception|Interrupt)\b", line)]
        return {"error": (reasons or [f"exit code {done.returncode}"])[-1][:500]}
    return json.loads(last)


def name_of(device: torch.device) -> str:
    """The card, its memory and its driver's view of it."""
    if device.type == "cpu":
        return "none: tried on the CPU"
    found = torch.cuda.get_device_properties(device)
    return f"{found.name}, {found.total_memory / 2**30:.0f} GiB, {found.multi_processor_count} multiprocessors"


def peak(device: torch.device) -> dict[str, Any]:
    """TFLOP/s of the card's matrix products, and GB/s of its memory: what a share is a share of."""
    size = 8192 if device.type == "cuda" else 256
    found: dict[str, Any] = {}
    for name, dtype, precision in (
        ("float32", torch.float32, "highest"),
        ("tf32", torch.float32, "high"),
        ("bf16", torch.bfloat16, "highest"),
    ):
        a, b = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
        with lightning.matmul_precision(precision):
            seconds = clocked(lambda a=a, b=b: a @ b, device)
        found[f"{name}_tflops"] = round(2 * size**3 / seconds / 1e12, 2)
    x = torch.empty(2**30 if device.type == "cuda" else 2**20, dtype=torch.uint8, device=device)
    found["memory_gb_per_s"] = round(2 * x.nbytes / clocked(x.clone, device) / 1e9, 1)
    return found


def fits(work: Work, device: torch.device, rounds: int, steps: int) -> dict[str, Any]:
    """Every contender on one work."""
    entries = FIT if device.type == "cuda" else {k: v for k, v in FIT.items() if "graph" not in k.lower()}
    return table(f"fit, {work.name}", interleaved(work, device, entries, rounds, steps))


def evidence(device: torch.device, rounds: int) -> dict[str, Any]:
    """Images a second at many importance samples, and the share of the card's peak that the decoder's products are."""
    from vae_zoo.models import MLPVAE

    model = MLPVAE(shape=(1, 28, 28), latent_dim=32).to(device).eval()
    num, samples = (256, NUM_SAMPLES) if device.type == "cuda" else (2, 50)
    x = torch.rand(num, 1, 28, 28, device=device).round()
    products = 2 * sum(w.numel() for w in model.decoder.parameters() if w.ndim == 2)
    found: dict[str, Any] = {"num_samples": samples, "num_images": num}
    for name, dtype in (("float32", None), ("bf16", torch.bfloat16)):

        def run(dtype: Any = dtype) -> None:
            with torch.no_grad(), torch.autocast(device.type, dtype or torch.bfloat16, enabled=dtype is not None):
                model.log_evidence(x, num_samples=samples)

        seconds = min(clocked(run, device, times=1) for _ in range(rounds))
        rate = products * num * samples / seconds / 1e12
        found[name] = {"images_per_s": round(num / seconds, 1), "decoder_tflops": round(rate, 2)}
    return found


def residence(device: torch.device, rounds: int, steps: int) -> dict[str, Any]:
    """A split that is kept on the device beside one that is copied ahead, in float32."""
    work = WORKS[1]
    entries = {
        "kept on the device": partial(lightning.zoo, data={"device_data": True}),
        "copied ahead": partial(lightning.zoo, data={"device_data": False}),
    }
    return table("residence", interleaved(work, device, entries, rounds, max(2, steps // 5)))


def memory(device: torch.device) -> dict[str, Any]:
    """Peak MiB that a fit takes on the device beyond the images, by hand and by vae_zoo."""
    if device.type == "cpu":
        return {"error": "needs CUDA"}
    found = {}
    for name in (HAND, "vae_zoo", "vae_zoo, compiled, CUDA graphs"):
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        FIT[name](WORKS[2], device)(20)
        found[name] = round((torch.cuda.max_memory_allocated() - before) / 2**20, 1)
    return found


def tests(seconds: float) -> dict[str, Any]:
    """The tests that need a GPU: every model against itself on the CPU, resumed, compiled, and in bfloat16.

    Those that are not done after so many seconds are counted as unfinished.
    """
    options = f"-vv -n {max(2, (os.cpu_count() or 2) - 2)} -m gpu -p no:cacheprovider tests/test_gpu.py"
    command = [sys.executable, "-m", "pytest", *options.split()]
    env = {**os.environ, "OMP_NUM_THREADS": "1", "TORCHINDUCTOR_COMPILE_THREADS": "1"}
    with tempfile.TemporaryFile("w+") as output:
        root = Path(__file__).parents[1]
        running = subprocess.Popen(command, cwd=root, env=env, stdout=output, start_new_session=True)
        try:
            code: int | None = running.wait(seconds)
        except subprocess.TimeoutExpired:
            code = None
            os.killpg(running.pid, signal.SIGKILL)
            running.wait()
        output.seek(0)
        lines = output.read().splitlines()
    counts = Counter(word for line in lines for word in re.findall(r"\b(PASSED|FAILED|ERROR|SKIPPED) tests/", line))
    found = {"exit_code": code, **{word.lower(): num for word, num in counts.items()}}
    if code is None:
        found["error"] = f"not finished in {seconds:.0f} seconds"
    failures = {f[1] for line in lines if (f := re.search(r"(?:FAILED|ERROR) (tests/.*)", line))}
    print(*lines, sep="\n")
    return {**found, "failures": sorted(failures)}


def clocked(run: Callable[[], Any], device: torch.device, times: int = 10) -> float:
    """Seconds of one call, the mean of several after one to warm up."""
    sync = torch.cuda.synchronize if device.type == "cuda" else (lambda: None)
    run()
    sync()
    start = time.perf_counter()
    for _ in range(times):
        run()
    sync()
    return (time.perf_counter() - start) / times


if __name__ == "__main__":
    main()
