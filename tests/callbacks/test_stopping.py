"""Two processes stop at the same step, whichever gets the signal."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

SCRIPT = """
import os, signal, sys
from lightning.pytorch import Callback
from helpers import quiet_trainer, tiny, tiny_data
from vae_zoo.callbacks import LastCheckpoint, NaNGuard

class Send(Callback):
    def on_train_batch_start(self, trainer, *_):
        if trainer.global_step == 7 and trainer.global_rank == 1:
            os.kill(os.getpid(), signal.SIGTERM)

options = {"devices": 2, "strategy": "ddp", "max_epochs": 200, "enable_checkpointing": True}
callbacks = [Send(), NaNGuard(), LastCheckpoint(dirpath=sys.argv[1])]
quiet_trainer(sys.argv[1], callbacks=callbacks, **options).fit(tiny(), tiny_data())
"""


@pytest.mark.exhaustive
@pytest.mark.slow
def test_a_signal_to_one_of_two_processes_stops_both(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    paths = [str(Path(__file__).parents[1]), *sys.path]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1", "MASTER_ADDR": "127.0.0.1"}
    done = subprocess.run(
        [sys.executable, script, tmp_path], env=env, capture_output=True, text=True, check=False, timeout=180
    )
    assert done.returncode == 143, done.stderr
    step = torch.load(tmp_path / "last.ckpt", weights_only=True)["global_step"]
    assert step >= 8
    assert done.stderr.count(f"stopped by SIGTERM after step {step}: ") == 1
