"""Models with parameters of their own under plain DDP: no parameter unused, all ranks with the same weights."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import sys
import torch
from helpers import Batches, quiet_trainer, tiny, tiny_data
from vae_zoo.models import FactorVAE, VampVAE

def fit(folder, cls, foreign):
    torch.manual_seed(0)
    model, trainer = tiny(cls), quiet_trainer(folder, devices=2, strategy="ddp", gradient_clip_val=1.0)
    random = torch.Generator().manual_seed(trainer.global_rank)  # a foreign loader gives each rank its own examples
    loader = Batches(torch.rand(7, 1, 8, 8, generator=random))
    trainer.fit(model, *([loader, loader] if foreign else [tiny_data(num_examples=88, batch_size=8)]))
    sums = torch.stack([p.detach().double().sum() for p in model.parameters()])
    everyone = trainer.strategy.all_gather(sums)
    assert trainer.global_step > 0
    assert torch.equal(everyone[0], everyone[1]), (cls, foreign)

if __name__ == "__main__":
    fit(sys.argv[1], FactorVAE, False)
    fit(sys.argv[1], VampVAE, False)
    fit(sys.argv[1], VampVAE, True)
"""


@pytest.mark.slow
def test_fit(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    paths = [str(Path(__file__).parents[1]), *sys.path]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1", "MASTER_ADDR": "127.0.0.1"}
    command = [sys.executable, script, tmp_path]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
