"""The callback with a plain Trainer."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest
from forked import ranks
from helpers import quiet_trainer, tiny, tiny_data
from torch import Tensor

from vae_zoo.callbacks import RankWatch
from vae_zoo.models import VAE

pytestmark = [pytest.mark.slow, pytest.mark.exhaustive]  # test_watch.py has a shorter one


class Hangs(VAE):
    """The second process stays in the forward pass of its third step."""

    def losses(self, x: Tensor, c: Tensor | None = None) -> dict[str, Tensor]:
        if self.training and self.global_rank == 1 and self.trainer.global_step == 2:
            time.sleep(60)
        return super().losses(x, c)


def fits(rank: int, folder: Path) -> None:
    for cls in (VAE, Hangs):
        trainer = quiet_trainer(folder, devices=2, max_epochs=1, callbacks=[RankWatch(timeout=10)])
        trainer.fit(tiny(cls), tiny_data(num_examples=56, batch_size=4))
        until = time.monotonic() + 5
        while any(thread.name == "ranks" for thread in threading.enumerate()) and time.monotonic() < until:
            time.sleep(0.01)
        assert not any(thread.name == "ranks" for thread in threading.enumerate())
        os.write(2, f"{rank} has finished\n".encode())


def test_fits_end_well_and_the_one_that_hangs_with_one_line(tmp_path: Path) -> None:
    with ranks(tmp_path, fits, tmp_path) as running:
        codes = running.codes(120)
        said = running.said()
    assert codes[0] == 1, said
    assert codes[1] in (1, -9), said
    assert sorted(line for line in said if "finished" in line) == [f"{r} has finished" for r in (0, 1)], said
    line = f"process 1 of 2 (pid {running.pids[1]}) has not moved on in a training step for 10 s: the whole run ends."
    assert [line for line in said if "error" in line] == [f"vae-zoo: error: {line}"]
