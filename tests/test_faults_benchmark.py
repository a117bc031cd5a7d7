"""The benchmark of faults in short: fits are killed, terminated and interrupted, and nothing is lost."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import report

ROOT = Path(__file__).parents[1]


@pytest.mark.exhaustive
@pytest.mark.slow
def test_a_few_trials_of_each(tmp_path: Path) -> None:
    script, out = ROOT / "benchmarks" / "faults.py", tmp_path / "faults.json"
    command = [sys.executable, script, "--quick", "--folder", tmp_path, "--out", out]
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    found = json.loads(out.read_text())
    assert found["kill"]["within_a_save"] > 0
    assert found["kill"]["torn"] == 0
    assert found["kill"]["steps_lost"] <= found["kill"]["interval"]
    assert found["chaos"]["crashes"] == []
    assert found["chaos"]["bitwise_equal"] == found["chaos"]["finished"] == found["chaos"]["runs"]
    for row, code in zip(found["signals"].values(), ("exit_143", "exit_130"), strict=True):
        assert row[code] == row["said_how_to_resume"] == row["sent"]
        assert row["steps_lost"] == 0
    damage = found["damage"]
    assert damage["loaded_with_other_weights"] == 0
    assert damage["refused"] == damage["fallbacks_to_the_best"] == damage["with_one_line"] > 0
    assert all(row["different"] == 0 for row in found["resumes"].values())
    table = report.faults(out)
    assert "| 4 SIGKILLs aimed at saves" in table
    assert "0 torn" in table


def test_no_table_without_a_result(tmp_path: Path) -> None:
    assert report.faults(tmp_path / "nothing.json") == "Not measured yet.\n"
