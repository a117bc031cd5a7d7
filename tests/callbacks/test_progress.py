"""What the terminal shows during a run."""

from __future__ import annotations

import re
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import rich
from helpers import fit, tiny
from lightning.pytorch.callbacks import RichProgressBar
from rich.console import Console
from rich.progress import Task, TaskID
from torch import nn

from vae_zoo.callbacks import BestCheckpoint, TimedProgressBar
from vae_zoo.callbacks.progress import _Fitted, show_parts
from vae_zoo.models import BetaVAE


@pytest.fixture
def console() -> Iterator[None]:
    """Lightning's bar writes to rich's one console."""
    before = vars(rich.get_console()).copy()
    yield
    vars(rich.get_console()).update(before)


def lines(text: str) -> list[str]:
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)
    return [line.rstrip() for line in re.split(r"[\r\n]", plain) if line.strip()]


@pytest.mark.usefixtures("console")
@pytest.mark.parametrize("width", [60, 80, 120])
def test_every_task_is_one_line(width: int, tmp_path: Path) -> None:
    file = StringIO()
    shown = {"file": file, "force_terminal": True, "width": width}
    bar = TimedProgressBar(interval=0, console_kwargs=shown)
    fit(tmp_path, max_epochs=2, callbacks=[bar], enable_progress_bar=True, log_every_n_steps=1)
    found = lines(file.getvalue())
    assert all(re.match(r"Epoch [12]/2|Validation|Sanity Checking", line) for line in found)
    assert max(map(len, found)) <= width
    assert any("val/elbo" in line and "train/elbo" in line for line in found)
    assert found[-1].startswith("Epoch 2/2")


@pytest.mark.parametrize("width", [12, 30, 60, 80, 120])
def test_what_matters_least_is_left_out_first(width: int) -> None:
    time = iter(range(0, 100, 2))
    task = Task(TaskID(0), "Epoch 100/2000", 1000, 437, _get_time=lambda: next(time))
    task.start_time = 0.0
    metrics = {"val/elbo": -1234.5678, "train/elbo": -1e-9, **{f"val/metric_{n}": float(n) for n in range(9)}}
    file = StringIO()
    Console(file=file, width=width).print(_Fitted(task, metrics))
    (line,) = lines(file.getvalue())
    assert len(line) <= width
    order = ["Epoch 100/", "437/1000", "val/elbo -1234.57", "train/elbo -1e-09", "0:00:0", "val/metric_0 0.00"]
    there = [part in line for part in order]
    assert there == sorted(there, reverse=True)
    assert sum(there) == {12: 1, 30: 2, 60: 3, 80: 5, 120: 6}[width]


def test_without_an_end_or_a_time() -> None:
    for total in (None, float("inf")):
        file = StringIO()
        Console(file=file, width=60).print(_Fitted(Task(TaskID(0), "Epoch 1", total, 3, _get_time=lambda: 0.0), {}))
        (line,) = lines(file.getvalue())
        assert "3/--" in line


def test_bar_and_checkpoint_number_epochs_alike(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    plain = TimedProgressBar._get_train_description

    def describe(self: Any, epoch: int) -> str:
        said.append(plain(self, epoch).strip())
        return said[-1]

    monkeypatch.setattr(TimedProgressBar, "_get_train_description", describe)
    assert hasattr(RichProgressBar, "_get_train_description"), "Lightning asks for it by this name"
    best = BestCheckpoint(dirpath=str(tmp_path), save_top_k=-1)
    fit(
        tmp_path,
        max_epochs=2,
        callbacks=[best, TimedProgressBar()],
        enable_progress_bar=True,
        enable_checkpointing=True,
    )
    assert said == ["Epoch 1/2", "Epoch 2/2"]
    assert sorted(path.name for path in tmp_path.glob("*.ckpt")) == ["0001.ckpt", "0002.ckpt"]


def test_the_table_of_a_model(capsys: pytest.CaptureFixture[str]) -> None:
    model = tiny(BetaVAE)
    for parameter in model.encoder.parameters():
        parameter.requires_grad_(False)
    model.scale = nn.Parameter(
        nn.Parameter(model.decoder.state_dict()[next(iter(model.decoder.state_dict()))]).detach()
    )
    model.later = nn.LazyLinear(3)
    show_parts(model)
    rows = capsys.readouterr().out.splitlines()
    size, frozen = (sum(p.numel() for p in part.parameters()) for part in (model.decoder, model.encoder))
    assert rows[0].split() == ["name", "type", "parameters"]
    assert [row.split()[0] for row in rows[1:-1]] == ["scale", "encoder", "decoder", "later"]
    assert rows[3].split()[1:] == [type(model.decoder).__name__, f"{size:,}"]
    total = size + frozen + model.scale.numel()
    assert rows[-1] == f"BetaVAE: {total:,} parameters, {total * 4 / 1e6:.1f} MB, {frozen:,} of them frozen"
