"""Splits kept on the device and batches copied ahead equal those of the plain loader, without an accelerator."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from helpers import Record, fit, same_weights, tiny_data
from lightning.pytorch import Callback, Trainer
from short import few

from vae_zoo.data import Arrays, Digits, Split
from vae_zoo.data.base import transfer
from vae_zoo.typing import Batch

CUDA, CPU, META = (torch.device(kind) for kind in ("cuda", "cpu", "meta"))


def on(device: torch.device, **kwargs: Any) -> Digits:
    data = Digits(batch_size=300, **kwargs)
    strategy = SimpleNamespace(root_device=device)
    data.trainer = SimpleNamespace(global_rank=0, world_size=1, overfit_batches=0, strategy=strategy)
    return data


def test_a_split_is_moved_once_and_indexed_there(monkeypatch: pytest.MonkeyPatch) -> None:
    moved, to = [], torch.Tensor.to
    monkeypatch.setattr(torch.Tensor, "to", lambda x, *args, **kwargs: moved.append(len(x)) or to(x, *args, **kwargs))
    data = on(META, device_data=True)
    data.setup("fit")
    moved.clear()
    loader = data.train_dataloader()
    assert moved == [1397, 1397]  # images and labels
    for batch in [*loader, *loader]:
        assert {part.device for part in batch[:3]} == {META}
    assert moved[2:] == [1397, 1397]  # the order of each epoch
    assert data.train_dataloader().x is loader.x
    assert data.load("train").x.device == CPU, "callbacks find it where it was"
    data.teardown("fit")
    assert data.train_dataloader().x is not loader.x


@pytest.mark.parametrize(
    ("wanted", "device", "free", "expected"),
    [
        ("auto", CUDA, 4000, True),
        ("auto", CUDA, 3999, False),
        ("auto", CPU, 10**9, False),
        (True, CUDA, 0, True),
        (False, CUDA, 10**9, False),
    ],
)
def test_what_fits(
    wanted: Any, device: torch.device, free: int, expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfer, "free_memory", lambda _: free)
    assert transfer.on_device(Split(torch.zeros(10, 25)), device, wanted) is expected


def test_data_in_a_file_are_not_kept_on_a_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer, "free_memory", lambda _: 10**9)
    np.save(tmp_path / "a.npy", np.zeros((20, 3), np.float32))
    data = Arrays(path=str(tmp_path / "a.npy"), in_memory_limit=0, device_data=True)
    assert not transfer.on_device(data.load("train"), CUDA, "auto")
    with pytest.raises(ValueError, match=r"^device_data copies a split from memory: set in_memory_limit above .*\.$"):
        data.train_dataloader()


def test_on_the_cpu_nothing_is_wrapped() -> None:
    loader = on(CPU).train_dataloader()
    assert loader.ahead is None


def test_one_batch_ahead() -> None:
    events: list[str] = []

    def batches() -> Iterator[Batch]:
        for n in range(3):
            events.append(f"made {n}")
            yield Batch(torch.full((2, 1), n), None, torch.arange(2), n)

    for batch in transfer.prefetch(batches(), CPU):
        assert batch.x[0] == batch.key
        assert batch.y is None
        events.append(f"used {batch.key}")
    assert events == ["made 0", "made 1", "used 0", "made 2", "used 1", "used 2"]
    assert list(transfer.prefetch(iter(()), CPU)) == []


@pytest.mark.parametrize("given", [1, 3, 5])
def test_the_state_is_that_of_the_batches_given(given: int, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = on(CPU).train_dataloader()
    monkeypatch.setattr(transfer, "overlaps", lambda _: True)
    loader, other = (on(CPU).train_dataloader() for _ in range(2))
    batches, expected = iter(loader), iter(plain)
    for _ in range(given):
        next(batches), next(expected)
    assert loader.state_dict() == plain.state_dict()
    other.load_state_dict(loader.state_dict())
    for a, b in zip(other, expected, strict=True):
        assert torch.equal(a.x, b.x)
        assert torch.equal(a.y, b.y)
        assert a.key == b.key


class Save(Callback):
    """Saves in the middle of the second epoch."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def on_train_batch_end(self, trainer: Trainer, *args: Any) -> None:
        if trainer.global_step == 7:
            trainer.save_checkpoint(self.path)


@pytest.mark.parametrize("way", few(["resident", "ahead"], 1))
def test_a_fit_is_the_same_and_resumes(way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain, _ = fit(tmp_path / "a", logger=Record())
    if way == "ahead":
        monkeypatch.setattr(transfer, "overlaps", lambda _: True)
    kwargs = {"device_data": way == "resident"}
    whole, _ = fit(tmp_path / "b", data=tiny_data(**kwargs))
    assert same_weights(plain, whole)
    fit(tmp_path / "c", data=tiny_data(**kwargs), callbacks=[Save(tmp_path / "part.ckpt")])
    assert (tmp_path / "part.ckpt").stat().st_size < 60_000, "the data are not in it"
    resumed, _ = fit(tmp_path / "d", data=tiny_data(**kwargs), ckpt_path=tmp_path / "part.ckpt")
    assert same_weights(resumed, whole)
