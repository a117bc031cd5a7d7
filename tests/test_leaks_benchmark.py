"""The benchmark of leaks in short: memory and open files do not grow over 200 epochs and 20,000 images."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.exhaustive
@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="Linux alone tells a process its peak")
def test_a_long_fit_and_a_large_predict_stay_flat(tmp_path: Path) -> None:
    script, out = ROOT / "benchmarks" / "leaks.py", tmp_path / "leaks.json"
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
    command = [sys.executable, script, "--quick", "--out", out]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    found = json.loads(out.read_text())
    print(found)
    assert found["fit"]["kb_an_epoch"] <= 5
    assert found["fit"]["handles_gained"] == 0
    assert found["predict"]["mb_written"] > 150  # or nothing was there to be held
    assert found["predict"]["mb_added"] <= 40  # 9 to 14
