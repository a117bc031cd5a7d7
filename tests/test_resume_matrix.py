"""A fit that is stopped at any point and resumed is bitwise identical to the uninterrupted one."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import fit, tiny_data
from resumes import POINTS, SETTINGS, Noisy, Workers, chain, differences, same
from short import few

from vae_zoo.callbacks import LastCheckpoint
from vae_zoo.data import WorkerLoader

pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create 2 worker processes:UserWarning")  # one core
SHORT = [name for name in SETTINGS if name != "two workers"]  # whose processes take the longest
NUM_CHAINS = 4  # a setting; the benchmark of faults runs 20 of each


@pytest.mark.slow
@pytest.mark.parametrize("setting", few(SETTINGS, 1, *SHORT))
@pytest.mark.parametrize("whole", [False, pytest.param(True, marks=pytest.mark.exhaustive)], ids=["some", "all"])
def test_stopped_at_any_point_and_in_chains(setting: str, whole: bool, tmp_path: Path) -> None:
    """In short, most points in one of the settings, and one chain in each."""
    curves = chain(tmp_path / "whole", setting, [])
    rows = {"accumulation and plateau": 12, "rows that span a stop": 6}
    assert len(curves["train/loss"]) == rows.get(setting, 20)
    rng = random.Random(setting)
    chains = [[rng.randrange(POINTS // 2) for _ in range(rng.randint(2, 4))] for _ in range(NUM_CHAINS)]
    wrong = {}
    if whole:
        points, first = range(POINTS), 0
    else:
        points, first = range(list(SETTINGS).index(setting), POINTS, len(SETTINGS)), NUM_CHAINS - 1
    for number, stops in enumerate([*([point] for point in points), *chains[first:]]):
        folder = tmp_path / str(number)
        found = differences(tmp_path / "whole", folder, (curves, chain(folder, setting, stops)))
        if found:
            wrong[tuple(stops)] = found
    assert not wrong


@pytest.mark.parametrize("steps", few([3, 5, 7, 12], 1))
def test_a_run_of_so_many_steps_goes_on_to_more(steps: int, tmp_path: Path) -> None:
    saved = []
    for folder, seed, limits in (("whole", 3, [20]), ("parts", 3, [steps, 20])):
        path = None
        for limit in limits:
            callback = LastCheckpoint(dirpath=tmp_path / folder)
            options = {"max_epochs": -1, "max_steps": limit, "enable_checkpointing": True, "callbacks": [callback]}
            fit(tmp_path, seed=seed, ckpt_path=path, **options)
            path, seed = tmp_path / folder / "last.ckpt", 99
        saved.append(torch.load(path, weights_only=True))
    assert saved[0]["global_step"] == saved[1]["global_step"] == 20
    assert all(same(saved[0][name], saved[1][name]) for name in ("state_dict", "optimizer_states"))


def test_differences_are_seen(tmp_path: Path) -> None:
    curves = [chain(tmp_path / name, setting, []) for name, setting in (("a", "plain"), ("b", "annealing and EMA"))]
    assert differences(tmp_path / "a", tmp_path / "a", curves[:1] * 2) == []
    found = differences(tmp_path / "a", tmp_path / "b", curves)
    assert {"state_dict", "current_model_state", "optimizer_states", "train/loss", "val/loss", "best"} <= set(found)


class TestWorkerLoader:
    def batches(self, epoch: int, **kwargs: Any) -> list[Any]:
        loader = WorkerLoader(Noisy("train"), batch_size=10, training=True, **kwargs)
        loader.set_epoch(epoch)
        return list(loader)

    def test_an_epoch_is_an_order_of_all_examples_whatever_the_workers(self) -> None:
        one, two, other = self.batches(0, num_workers=1), self.batches(0), self.batches(1)
        assert sorted(torch.cat([batch.index for batch in one]).tolist()) == list(range(48))
        for a, b in zip(one, two, strict=True):
            assert torch.equal(a.x, b.x)
            assert a.key == b.key
        assert not torch.equal(one[0].index, other[0].index)
        again = {int(i): x for batch in other for i, x in zip(batch.index, batch.x, strict=True)}
        assert not torch.equal(one[0].x[0], again[int(one[0].index[0])])  # changed at random anew

    def test_what_they_are_is_untouched(self) -> None:
        x = tiny_data().load("val").x.float() / 255
        for batch in Workers().val_dataloader():
            noise = batch.x - x[batch.index]
            assert ((noise > -1e-6) & (noise < 0.1)).all()

    def test_the_generator_is_left_alone(self) -> None:
        torch.manual_seed(5)
        self.batches(0)
        drawn = torch.rand(())
        torch.manual_seed(5)
        assert torch.equal(drawn, torch.rand(()))

    def test_no_worker(self) -> None:
        with pytest.raises(ValueError, match="num_workers must be at least 1, got 0"):
            WorkerLoader(Noisy("val"), batch_size=3, num_workers=0)
