"""``vae-zoo compare``: what it prints and writes, and what it refuses."""

from __future__ import annotations

import csv
import shutil
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import quiet_trainer, tiny, tiny_data
from short import few

from vae_zoo.cli import main
from vae_zoo.data import Arrays, Digits
from vae_zoo.distributions import Bernoulli, FixedNormal, SharedNormal
from vae_zoo.models import VAE, WAE, ConditionalVAE, InfoVAE

WIDE = partial(FixedNormal, scale=0.3)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Checkpoints of models that have seen little or nothing of the digits."""
    root = tmp_path_factory.mktemp("runs")
    kinds: dict[str, tuple[type, int, dict[str, Any]]] = {
        "long": (VAE, 40, {"likelihood": WIDE}),
        "short": (VAE, 1, {"likelihood": WIDE}),
        "info": (InfoVAE, 1, {"likelihood": WIDE}),
        "shared": (VAE, 1, {"likelihood": SharedNormal}),
        "bernoulli": (VAE, 1, {"likelihood": Bernoulli}),
        "wae": (WAE, 1, {}),
    }
    for name, (cls, steps, given) in kinds.items():
        fit(root / name, cls, steps, Digits(batch_size=128), **given)
    return {name: str(root / name) for name in kinds}


def fit(folder: Path, cls: type, steps: int, data: Any, **given: Any) -> None:
    torch.manual_seed(0)
    trainer = quiet_trainer(folder, max_steps=steps, max_epochs=-1)
    trainer.fit(tiny(cls, **given), data)
    trainer.save_checkpoint(folder / "checkpoints" / "last.ckpt")


def test_the_table(runs: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "table.csv"
    names = [runs[name] for name in ("short", "long", "info")]
    main(["compare", *names, "--num", "40", "--num_samples", "5", "--out", str(out)])
    printed = capsys.readouterr().out
    rows = list(csv.DictReader(out.read_text().splitlines()))
    assert rows[0]["run"] == runs["long"]
    assert float(rows[0]["difference"]) == 0
    assert rows[0]["p"] == ""
    for row in rows[1:]:
        assert row["num_examples"] == "40"
        gap = float(row["log_evidence"]) - float(rows[0]["log_evidence"])
        assert float(row["difference"]) == pytest.approx(gap)
        assert 0 < float(row["difference_se"]) < float(row["log_evidence_se"])
        assert float(row["elbo"]) <= float(row["log_evidence"]) + 1
    assert "40 examples, 5 importance samples, nats" in printed
    assert "best" in printed


def test_densities_given_labels_compare_among_themselves(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], runs: dict[str, str]
) -> None:
    fit(tmp_path / "given", ConditionalVAE, 1, Digits(batch_size=128), likelihood=WIDE, num_classes=10)
    with pytest.raises(SystemExit):
        main(["compare", runs["long"], str(tmp_path / "given")])
    assert "given has log p(x|c), given labels, and" in capsys.readouterr().err
    given = str(tmp_path / "given")
    main(["compare", given, f"{given}/checkpoints/last.ckpt", "--num", "4", "--num_samples", "2"])


def test_examples_with_missing_values_compare(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    x = np.random.default_rng(0).normal(size=(60, 5)).astype(np.float32)
    x[::3, 1] = np.nan
    np.save(tmp_path / "x.npy", x)
    data = Arrays(path=str(tmp_path / "x.npy"), missing=True)
    fit(tmp_path / "run", VAE, 1, data, shape=(5,), missing=True, likelihood=WIDE)
    main(["compare", str(tmp_path / "run"), f"{tmp_path}/run/checkpoints/last.ckpt", "--num_samples", "2"])
    assert "best" in capsys.readouterr().out


def test_a_checkpoint_within_a_run(runs: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    """A name that the other begins with keeps its last part."""
    main(["compare", runs["long"], f"{runs['long']}/checkpoints/last.ckpt", "--num", "4", "--num_samples", "2"])
    assert "checkpoints/last.ckpt" in capsys.readouterr().out


def test_the_same_twice(runs: dict[str, str], tmp_path: Path) -> None:
    """Noise is a function of the seed alone."""
    texts = []
    for name in ("a.csv", "b.csv"):
        out = tmp_path / name
        main(["compare", runs["long"], runs["short"], "--num", "10", "--num_samples", "3", "--out", str(out)])
        texts.append(out.read_text())
    assert texts[0] == texts[1]


@pytest.mark.parametrize(
    ("names", "more", "line"),
    few(
        [
            (["long"], "", "give at least two different runs to compare"),
            (["long", "long"], "", "give at least two different runs to compare"),
            (["long", "wae"], "", "WAE has no importance-weighted evidence: leave it out"),
            (["long", "bernoulli"], "", "has FixedNormal and"),
            (["long", "shared"], "", "have different likelihoods (FixedNormal, SharedNormal)"),
            (["long", "short"], "--num 1", "--num must be at least 2, got 1"),
            (["long", "short"], "--num_samples 0", "--num_samples must be at least 1, got 0"),
            (["long", "short"], "--out table.txt", "--out must end in .csv, got table.txt"),
            (["long", "short"], "--out nowhere/table.csv", "there is no folder nowhere to write table.csv to"),
            (["long", "short"], "--seed -1", "--seed must be at least 0"),
        ],
        1,
    ),
)
def test_refuses(
    names: list[str], more: str, line: str, runs: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as done:
        main(["compare", *(runs[name] for name in names), *more.split()])
    assert done.value.code == 2
    (said,) = capsys.readouterr().err.splitlines()
    assert line in said


def test_other_examples_are_refused(runs: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In one whole line, however long the paths are: it has the names without what they share."""
    fit(tmp_path / "sprites", VAE, 1, tiny_data(), likelihood=WIDE)
    shutil.copytree(runs["long"], tmp_path / "digits")
    with pytest.raises(SystemExit):
        main(["compare", str(tmp_path / "digits"), str(tmp_path / "sprites")])
    assert "the test splits of digits and sprites hold other examples: they do not compare." in capsys.readouterr().err


def test_densities_of_two_families_compare_if_asked(runs: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    main(["compare", runs["long"], runs["shared"], "--across_likelihoods", "--num", "5", "--num_samples", "2"])
    assert "best" in capsys.readouterr().out
