"""Kill, terminate and interrupt fits, damage their checkpoints, and count what is lost.

python benchmarks/faults.py             # writes results/faults.json
python benchmarks/faults.py --quick     # a few trials of each, as the tests do
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import logging
import os
import random
import shutil
import signal
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import torch
from resumes import POINTS, SETTINGS, chain, differences, same

from benchmarks.common import RESULTS, commit, hardware, versions
from benchmarks.killing import DATA, Trial, bad_files, command, newest, trainer
from vae_zoo import hub
from vae_zoo.cli.run import faults
from vae_zoo.cli.terminal import quiet

FULL = {"kills": 200, "runs": 5, "kills_a_run": 40, "signals": 100, "flips": 400, "cuts": 20, "chains": 20}
QUICK = {"kills": 4, "runs": 1, "kills_a_run": 3, "signals": 2, "flips": 20, "cuts": 4, "chains": 0}
EPOCHS = 150  # more than a run gets through before its last kill


def kills(root: Path, num: int, rng: random.Random) -> dict[str, Any]:
    """SIGKILL within a save: is a file torn, and how many saves are lost?"""
    lengths = []
    first = Trial(root / "first", trainer(2))
    for number in range(1, 5):
        first.entered(number)
        start, done = time.monotonic(), first.saves
        while first.saves == done and time.monotonic() < start + 1:
            time.sleep(0.0002)
        lengths.append(time.monotonic() - start)
    first.end()
    torn, lost, within = [], [], 0
    for number in range(num):
        folder = root / f"kill_{number}"
        trial = Trial(folder, trainer(3))
        aimed = rng.randint(3, 10)
        trial.entered(aimed)
        time.sleep(rng.uniform(0, 0.9 * statistics.median(lengths)))
        trial.kill()
        trial.end()
        within += trial.saves < aimed
        torn += bad_files(folder)
        path = newest(folder)
        lost.append(trial.steps - (hub.read(path)["global_step"] if path else 0))
        shutil.rmtree(folder)
    return {"kills": num, "within_a_save": within, "torn": len(torn), "steps_lost": max(lost), "interval": 3}


def chaos(root: Path, runs: int, kills_a_run: int, rng: random.Random) -> dict[str, Any]:
    """Runs that are killed at any time and started again: do they finish, as if nothing had happened?"""
    limit = f"--trainer.max_epochs={EPOCHS}"
    start = time.monotonic()
    whole = Trial(root / "whole", command(limit))
    whole.entered(1)
    begins = time.monotonic() - start
    assert whole.end() == 0, whole.said()
    expected = torch.load(newest(root / "whole") or "", weights_only=True)
    finished, equal, crashes, killed = 0, 0, [], 0
    for number in range(runs):
        folder = root / f"chaos_{number}"
        for attempt in range(kills_a_run + 1):
            resume = ["--ckpt_path=last"] if newest(folder) else []
            trial = Trial(folder, command(limit, *resume))
            if attempt < kills_a_run:
                until = time.monotonic() + rng.uniform(0.2, 1.6) * begins
                while (
                    time.monotonic() < until
                    and os.waitid(os.P_PID, trial.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
                ):
                    time.sleep(0.002)
                with contextlib.suppress(ProcessLookupError):
                    trial.kill()
            code = trial.end()
            killed += code == -signal.SIGKILL
            if code not in (0, -signal.SIGKILL):
                crashes.append(trial.said()[-300:])
        path = newest(folder)
        saved = torch.load(path, weights_only=True) if path else {}
        finished += code == 0 and saved["global_step"] == expected["global_step"]
        equal += all(same(saved[name], expected[name]) for name in ("state_dict", "optimizer_states"))
        crashes += bad_files(folder)
        shutil.rmtree(folder)
    return {"runs": runs, "kills": killed, "finished": finished, "bitwise_equal": equal, "crashes": crashes}


def signals(root: Path, num: int, rng: random.Random) -> dict[str, Any]:
    """SIGTERM and SIGINT at any time of a fit: the exit code, and the steps lost."""
    found: dict[str, Any] = {}
    for signum, code in ((signal.SIGTERM, 143), (signal.SIGINT, 130)):
        codes, lost, said = [], [], 0
        for number in range(num):
            folder = root / f"{signum.name}_{number}"
            trial = Trial(folder, trainer(10000))
            trial.entered(1)
            time.sleep(rng.uniform(0, 0.3))
            trial.kill(signum)
            codes.append(trial.end())
            path = newest(folder)
            lost.append(trial.steps - (hub.read(path)["global_step"] if path else 0))
            said += f"stopped by {signum.name} after step {trial.steps}" in trial.said()
            shutil.rmtree(folder)
        found[signum.name] = {
            "sent": num,
            f"exit_{code}": codes.count(code),
            "swallowed": codes.count(None),
            "steps_lost": max(lost),
            "said_how_to_resume": said,
        }
    return found


def damage(root: Path, flips: int, cuts: int, rng: random.Random) -> dict[str, Any]:
    """Bit flips and cuts of a checkpoint: is one loaded with other weights?"""
    folder = root / "damage"
    assert Trial(folder, trainer(2)).end() == 0
    path = newest(folder)
    assert path is not None
    raw, expected = path.read_bytes(), torch.load(path, weights_only=True)
    changed = refused = fallbacks = lines = 0
    for number in range(flips + cuts):
        content = bytearray(raw)
        if number < flips:
            bit = rng.randrange(8 * len(raw))
            content[bit // 8] ^= 1 << bit % 8
        else:
            content = content[: rng.randrange(len(raw))]
        path.write_bytes(content)
        try:
            read = hub.read(path)
        except ValueError:
            refused += 1
        else:
            changed += not all(same(read[name], expected[name]) for name in ("state_dict", "optimizer_states"))
            continue
        with contextlib.redirect_stderr(io.StringIO()) as err:
            fallbacks += Path(faults.newest(root, str(path.parent))).name == "0002.ckpt"
        lines += err.getvalue().count("\n") == 1
    result = {"flips": flips, "cuts": cuts, "refused": refused, "loaded_with_other_weights": changed}
    return {**result, "fallbacks_to_the_best": fallbacks, "with_one_line": lines}


def resumes(root: Path, chains: int, rng: random.Random) -> dict[str, Any]:
    """Stopping points and chains of resumes that are not bitwise the uninterrupted run."""
    found: dict[str, Any] = {}
    for setting in SETTINGS:
        curves, wrong = chain(root / setting / "whole", setting, []), 0
        stops = [[point] for point in range(POINTS)] if chains else [[rng.randrange(POINTS)]]
        stops += [[rng.randrange(POINTS // 2) for _ in range(rng.randint(2, 4))] for _ in range(chains)]
        for number, points in enumerate(stops):
            folder = root / setting / str(number)
            wrong += bool(differences(root / setting / "whole", folder, (curves, chain(folder, setting, points))))
            shutil.rmtree(folder)
        found[setting] = {"points": len(stops) - chains, "chains": chains, "different": wrong}
    return found


def measure(root: Path, sizes: dict[str, int], seed: int = 0) -> Iterator[tuple[str, Any]]:
    """Everything, in a folder."""
    rng = random.Random(seed)
    yield "temporary_folder_elsewhere", Path(tempfile.gettempdir()).stat().st_dev != root.stat().st_dev
    yield "kill", kills(root, sizes["kills"], rng)
    yield "signals", signals(root, sizes["signals"], rng)
    yield "damage", damage(root, sizes["flips"], sizes["cuts"], rng)
    yield "chaos", chaos(root, sizes["runs"], sizes["kills_a_run"], rng)
    yield "resumes", resumes(root, sizes["chains"], rng)  # last: what is forked must not have trained before


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--folder", type=Path, default=Path.cwd(), help="where runs are made, and removed")
    parser.add_argument("--out", type=Path, default=RESULTS / "faults.json")
    options = parser.parse_args()
    torch.set_num_threads(1)
    elsewhere = Path("/dev/shm")
    if elsewhere.is_dir():
        os.environ["TMPDIR"], tempfile.tempdir = str(elsewhere), None
    quiet()
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.simplefilter("ignore")
    DATA.load("train"), DATA.load("val")
    import vae_zoo.cli.app  # noqa: F401  # before the forks

    made = {"hardware": hardware(), "versions": versions("torch", "lightning"), "commit": commit()}
    result: dict[str, Any] = dict(made)
    with tempfile.TemporaryDirectory(dir=options.folder) as root:
        for name, found in measure(Path(root), QUICK if options.quick else FULL):
            result[name] = found
            result["cpu_seconds"] = round(sum(os.times()[:4]))
            print(name, json.dumps(found), flush=True)
            options.out.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
