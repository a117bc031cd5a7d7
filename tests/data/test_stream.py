from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback, Trainer
from short import few

from vae_zoo.callbacks import OutputBias
from vae_zoo.cli import main
from vae_zoo.data import DataModule, Digits, Split, Stream, write_shards
from vae_zoo.data.streaming.shards import StreamLoader, collate

from .memory import peak
from .test_resume import Recorder, trainer

pytest.importorskip("litdata")


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The digits: 1397, 200 and 200, in shards of about 60."""
    folder = tmp_path_factory.mktemp("shards")
    write_shards(Digits(), str(folder), chunk_bytes=6000)
    assert len(list((folder / "train").glob("*.bin"))) > 10
    return folder


def stream(shards: Path, **kwargs: Any) -> Stream:
    return Stream(path=str(shards), **{"batch_size": 200, "eval_batch_size": 64, "num_classes": 10, **kwargs})


def sets(shards: Path, split: str = "train") -> tuple[torch.Tensor, torch.Tensor]:
    """Examples in the order of the shards."""
    held = stream(shards, num_held=5000).load(split)
    return held.x, held.y


def test_what_is_written_is_what_was_there(shards: Path) -> None:
    for split in ("train", "val", "test"):
        x, y = sets(shards, split)
        whole = Digits().load(split)
        order = torch.randperm(len(whole.x), generator=torch.Generator().manual_seed(0))
        assert torch.equal(x, whole.x[order])
        assert torch.equal(y, whole.y[order])
    data = stream(shards)
    assert (data.shape, data.num_train, data.num_classes) == ((1, 8, 8), 1397, 10)
    with pytest.raises(FileExistsError, match=r"^There are shards in .* already: remove them, or choose another"):
        write_shards(Digits(), str(shards))


def test_an_epoch_is_an_order_of_all_examples(shards: Path) -> None:
    x, y = sets(shards)
    orders: dict[Any, list[int]] = {}
    for seed in (0, 1):
        loader = StreamLoader(str(shards / "train"), batch_size=100, seed=seed, training=True)
        assert len(loader) == 14
        for epoch in (0, 1, 0):
            loader.set_epoch(epoch)
            batches = list(loader)
            assert [len(batch.x) for batch in batches] == [100] * 13 + [97]
            index = torch.cat([batch.index for batch in batches])
            assert torch.equal(torch.cat([batch.x for batch in batches]), x[index])
            assert torch.equal(torch.cat([batch.y for batch in batches]), y[index])
            assert sorted(index.tolist()) == list(range(1397))
            assert orders.setdefault((seed, epoch), index.tolist()) == index.tolist()
    assert len({tuple(order) for order in orders.values()}) == 4
    assert len(StreamLoader(str(shards / "train"), batch_size=100, training=True, drop_last=True)) == 13


def test_evaluation_is_in_order(shards: Path) -> None:
    loader = stream(shards).val_dataloader()
    for _ in range(2):
        assert torch.cat([batch.index for batch in loader]).tolist() == list(range(200))
    x = stream(shards).on_after_batch_transfer(next(iter(loader))).x
    assert x.dtype == torch.float32
    assert x.max() == 1


@pytest.mark.parametrize("world_size", [2, 3])
def test_ranks(shards: Path, world_size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", str(world_size))
    train, test, lengths = [], [], set()
    for rank in range(world_size):
        monkeypatch.setenv("GLOBAL_RANK", str(rank))
        place = {"rank": rank, "world_size": world_size}
        loader = StreamLoader(str(shards / "train"), batch_size=50, training=True, **place)
        lengths.add((len(loader), len(list(loader))))
        mine = torch.cat([batch.index for batch in loader]).tolist()
        for position in (1, 5):
            resumed = StreamLoader(str(shards / "train"), batch_size=50, training=True, **place)
            resumed.load_state_dict({**loader.state_dict(), "position": position})
            assert torch.cat([batch.index for batch in resumed]).tolist() == mine[position * 50 :]
        train += mine
        evaluation = StreamLoader(str(shards / "test"), batch_size=50, **place)
        test += [number for batch in evaluation for number in batch.index.tolist()]
    assert len(lengths) == 1, "ranks take as many steps"
    assert len(set(train)) == len(train) > 1397 - world_size
    assert sorted(test) == list(range(200))


class Save(Callback):
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def on_train_batch_end(self, trainer: Trainer, *args: Any) -> None:
        trainer.save_checkpoint(self.folder / f"{trainer.global_step}.ckpt")


@pytest.mark.parametrize("step", few([3, 7, 9], 1))
def test_resumes_after_any_step(shards: Path, tmp_path: Path, step: int) -> None:
    torch.manual_seed(0)
    whole = Recorder()
    trainer(tmp_path, max_epochs=2, callbacks=[Save(tmp_path)]).fit(whole, stream(shards))
    assert len(whole.seen) == 14
    resumed = Recorder()
    path = tmp_path / f"{step}.ckpt"
    trainer(tmp_path, max_epochs=2).fit(resumed, stream(shards), ckpt_path=path, weights_only=True)
    assert resumed.seen == whole.seen[step:]
    assert torch.equal(resumed.layer.weight, whole.layer.weight)


@pytest.mark.exhaustive
def test_command_line(shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PL_GLOBAL_SEED", "0")
    quiet = ["--trainer.enable_progress_bar=false"]
    fit = ["fit", "--model", "ConvVAE", "--data", "Stream", "--data.path", str(shards), "--trainer.max_epochs=1"]
    main([*fit, "--trainer.limit_train_batches=2", "--trainer.limit_val_batches=1", *quiet])
    (path,) = tmp_path.glob("results/*/fit_0/checkpoints/last.ckpt")
    main(["test", "--ckpt_path", str(path), "--evidence.num_samples=2", "--trainer.limit_test_batches=1", *quiet])
    assert list(tmp_path.glob("results/*/test_0/*"))


def test_callbacks_are_given_the_first_examples(shards: Path, tmp_path: Path) -> None:
    from helpers import tiny

    data, model = stream(shards, num_held=32), tiny()
    trainer(tmp_path, max_epochs=1, limit_train_batches=0, callbacks=[OutputBias()]).fit(model, data)
    mean = (sets(shards)[0][:32] / 255).mean(0).flatten().clamp(0.001, 0.999)
    torch.testing.assert_close(model.decoder.layers[-1].bias.sigmoid(), mean)
    assert torch.equal(data.examples("train"), sets(shards)[0][:32] / 255)


def test_no_shards(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=rf"^There are no shards in {tmp_path}/train: make some by .*\.$"):
        _ = Stream(path=f"{tmp_path}/").shape


def test_samples_that_are_no_examples(tmp_path: Path) -> None:
    from litdata.streaming.cache import Cache

    for name, samples, message in (
        ("a", [1, 2], r"^Samples in .*/a/train must be dictionaries with an array x, .*\.$"),
        ("b", [{"x": np.zeros(2)}, {"x": np.zeros(3)}], r"^Examples in .* one shape, got \(2,\) and \(3,\)\.$"),
    ):
        (tmp_path / name / "train").mkdir(parents=True)
        cache = Cache(str(tmp_path / name / "train"), chunk_bytes=1000)
        for number, sample in enumerate(samples):
            cache._add_item(number, sample)
        cache.done()
        cache.merge()
        with pytest.raises(ValueError, match=message):
            Stream(path=str(tmp_path / name)).load("train")


class Large(DataModule):
    """187 MiB of black images, of which one is in memory."""

    def dataset(self, split: str) -> Split:
        return Split(torch.zeros(1, 3, 128, 128, dtype=torch.uint8).expand(4000, -1, -1, -1))


@pytest.mark.exhaustive
@pytest.mark.slow
def test_memory_does_not_grow_with_the_number_of_shards(tmp_path: Path) -> None:
    write_shards(Large(), str(tmp_path), chunk_bytes="4MB", splits=["train"])
    run = f"for _ in D.Stream(path={str(tmp_path)!r}, num_held=1).train_dataloader(): pass"
    assert peak(run, first="import litdata") < 100


def test_negative_labels_are_refused() -> None:
    samples = [{"x": np.zeros(3, np.float32), "y": y} for y in (0, -1)]
    with pytest.raises(ValueError, match="Labels in here must be at least 0, got -1: leave such samples out"):
        collate(samples, "here")
