"""Peak memory of a piece of Python, in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys

SCRIPT = """
import resource, sys
import vae_zoo.data as D
import torch
torch.zeros(1).sort()
{first}
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
{text}
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""


def peak(text: str, first: str = "") -> float:
    """MiB by which the peak resident memory rises while ``text`` runs after ``first``; ``D`` is ``vae_zoo.data``."""
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    args = [sys.executable, "-c", SCRIPT.replace("{text}", text).replace("{first}", first)]
    done = subprocess.run(args, env=env, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return float(done.stdout.split()[-1])
