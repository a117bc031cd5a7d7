"""Two processes on the CPU give the metrics and the files of one."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import load_arrays

pytestmark = pytest.mark.slow

SCRIPT = """
import json, sys
import torch
from lightning.pytorch import Trainer
from helpers import tiny, tiny_data
from vae_zoo.callbacks import CollapseWarning, Evidence, Fidelity, PredictionWriter, Probes, Reconstructions
from vae_zoo.models import VAE

def main(devices, folder):
    torch.manual_seed(0)
    # A decoder that ignores the latent makes the bound free of the noise, which is each rank's own.
    model, data = tiny(VAE), tiny_data(num_examples=88, batch_size=8, eval_batch_size=2)
    with torch.no_grad():
        model.decoder.layers[-1].weight.zero_()
    trainer = Trainer(
        accelerator="cpu", devices=devices, strategy="ddp" if devices > 1 else "auto", default_root_dir=folder,
        logger=False, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        num_sanity_val_steps=0, max_epochs=1,
        callbacks=[
            Evidence(num_samples=2000), PredictionWriter(), CollapseWarning(), Fidelity(), Probes(), Reconstructions(),
        ],
    )
    (val,) = trainer.validate(model, data, verbose=False)
    (test,) = trainer.test(model, data, verbose=False)
    trainer.predict(model, data, return_predictions=False)
    trainer.fit(model, data)
    if trainer.is_global_zero:
        with open(f"{folder}/metrics.json", "w") as file:
            json.dump({**val, **test, "steps": trainer.global_step}, file)

if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
"""


def execute(text: str, folder: Path, argument: str) -> None:
    folder.mkdir()
    script = folder / "script.py"
    script.write_text(text)
    paths = [str(Path(__file__).parent), *sys.path]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1", "MASTER_ADDR": "127.0.0.1"}
    done = subprocess.run(
        [sys.executable, script, argument, folder],
        env=env,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]


def run(devices: int, folder: Path) -> dict[str, Any]:
    execute(SCRIPT, folder, str(devices))
    return json.loads((folder / "metrics.json").read_text())


@pytest.mark.exhaustive
def test_metrics_and_files(tmp_path: Path) -> None:
    one, two = run(1, tmp_path / "one"), run(2, tmp_path / "two")
    # 66 training examples in batches of 8: 9 steps; on two ranks 33 each, 5 steps.
    assert (one.pop("steps"), two.pop("steps")) == (9, 5)
    assert one.keys() == two.keys()
    for name in ("val/kl", "val/elbo", "val/reconstruction", "test/elbo", "test/active_units", "val/active_units"):
        assert two[name] == pytest.approx(one[name], rel=1e-6), name
    # Another order of the examples, and so other noise: equal within the standard errors, which are a hundredth.
    error = math.hypot(one["test/log_evidence_se"], two["test/log_evidence_se"])
    assert error < 0.02
    assert two["test/log_evidence"] == pytest.approx(one["test/log_evidence"], abs=4 * error)
    assert two["test/log_evidence_se_data"] == pytest.approx(one["test/log_evidence_se_data"], rel=0.02)
    noisy = {f"test/log_evidence{name}" for name in ("", "_se", "_se_data")} | {"test/ess", "test/bits_per_dim"}
    noisy |= {"test/evidence_images_per_second", "test/pareto_k", "test/pareto_k_high"}
    assert two["test/evidence_images_per_second"] > 0
    assert two["test/ess"] == pytest.approx(one["test/ess"], rel=0.1)
    for name in one.keys() - noisy:
        assert two[name] == pytest.approx(one[name], rel=1e-3, abs=1e-4), name
    for name in ("latents", "reconstructions"):
        first, second = (load_arrays(tmp_path / folder / f"{name}.npz") for folder in ("one", "two"))
        assert set(first) == set(second)
        for key in first:
            np.testing.assert_allclose(first[key], second[key], atol=1e-6)


CODES = """
import sys
import torch
from functools import partial
from lightning.pytorch import Trainer
from helpers import tiny, tiny_data
from vae_zoo.models import VQVAE
from vae_zoo.nn import Codebook, CodePrior, EMACodebook, GroupedQuantizer, ResidualQuantizer, SimVQ

class Same(VQVAE):
    def on_fit_end(self):
        state = torch.cat([v.flatten().float() for k, v in self.state_dict().items() if "codebook" in k])
        seen = self.all_gather(state)
        assert len(seen) == 2 and torch.equal(seen[0], seen[1]), "ranks differ"
        assert not torch.equal(state, self.before), "codes stay"
        self.trainer.strategy.barrier()

def main(kind, folder):
    torch.manual_seed(0)
    prior, ema = partial(CodePrior, width=8, num_heads=2), partial(EMACodebook, revive_after=2)
    book = {
        "Codebook": partial(Codebook, revive_after=2),
        "EMACodebook": ema,
        "SimVQ": SimVQ,
        "residual": partial(ResidualQuantizer, depth=2, codebook=ema, dropout=0.5),
        "shared": partial(ResidualQuantizer, depth=2, codebook=ema, shared=True),
        "grouped": partial(GroupedQuantizer, codebook=ema),
    }[kind]
    model = tiny(Same, num_codes=12, code_prior=prior, codebook=book)
    model.before = torch.cat([v.flatten().float() for k, v in model.state_dict().items() if "codebook" in k])
    trainer = Trainer(
        accelerator="cpu", devices=2, strategy="ddp", default_root_dir=folder, logger=False, max_epochs=3,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False, accumulate_grad_batches=2,
    )
    trainer.fit(model, tiny_data(num_examples=88, batch_size=8))
    open(f"{folder}/done{trainer.global_rank}", "w").close()

if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
"""


@pytest.mark.exhaustive
@pytest.mark.parametrize("kind", ["Codebook", "EMACodebook", "SimVQ", "residual", "shared", "grouped"])
def test_codes_are_those_of_every_process(kind: str, tmp_path: Path) -> None:
    execute(CODES, tmp_path / "codes", kind)
    assert len(list((tmp_path / "codes").glob("done*"))) == 2
