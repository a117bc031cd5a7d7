"""``vae-zoo quality``: what it prints and writes, which rows it compares with, and what it refuses."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import small

from vae_zoo.cli import main
from vae_zoo.data import Digits, Table
from vae_zoo.models import VAE
from vae_zoo.testing.subject import quiet_trainer

pandas = pytest.importorskip("pandas")


def people(num: int, seed: int) -> Any:
    random = np.random.default_rng(seed)
    city = random.integers(0, 3, num)
    age = random.normal(30 + 15 * city, 5).round()
    frame = pandas.DataFrame(
        {
            "id": [f"p{n}" for n in range(num)],
            "city": np.array(["bergen", "oslo", "tromsø"])[city],
            "age": age,
            "income": np.exp(9 + 0.02 * age + 0.2 * random.normal(size=num)).round(2),
            "joined": pandas.Timestamp("2020-03-01") + pandas.to_timedelta(random.integers(0, 900, num), "D"),
        }
    )
    frame.loc[random.random(num) < 0.1, "age"] = None
    return frame


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Tables in the working folder."""
    monkeypatch.chdir(tmp_path)
    for name, num, seed in (("train", 150, 0), ("real", 100, 1), ("synthetic", 120, 2)):
        people(num, seed).to_csv(f"{name}.csv", index=False)
    return tmp_path


FILES = ["--real=real.csv", "--train=train.csv", "--synthetic=synthetic.csv", "--ignore=id"]


@pytest.mark.exhaustive
def test_files_are_compared_and_all_measures_written(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["quality", *FILES, "--label_column=city", "--out=report.json"])
    printed = capsys.readouterr().out
    report = json.loads((folder / "report.json").read_text())
    assert report["num_rows"] == {"synthetic": 120, "real": 100, "training": 150}
    assert [row["column"] for row in report["marginals"]] == ["city", "age", "income", "joined"]
    assert [row["kind"] for row in report["marginals"]] == ["category", "number", "number", "date"]
    assert report["findings"] == []
    assert report["utility"]["label"] == "city"
    assert report["privacy"]["copies"] == 0
    for text in ("found: nothing", "AUROC of a classifier against real rows", "copies of training rows", "report.json"):
        assert text in printed
    first = (folder / "report.json").read_text()
    main(["quality", *FILES, "--label_column=city", "--out=report.json"])
    assert (folder / "report.json").read_text() == first


def test_bad_rows_are_named_in_a_line(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    frame = people(120, 2)
    frame["age"] = 40
    frame["city"] = "paris"
    frame.to_csv("synthetic.csv", index=False)
    main(["quality", "--real=real.csv", "--synthetic=synthetic.csv", "--ignore=id"])
    printed = capsys.readouterr().out
    assert "found: column city: distance 1.00, by chance up to 0." in printed, "a category that real rows never have"
    assert "found: column age: distance 0." in printed
    people(150, 0).drop(columns="id").head(110).to_csv(folder / "copies.csv", index=False)
    main(["quality", *FILES[:2], "--synthetic=copies.csv", "--ignore=id"])
    printed = capsys.readouterr().out
    assert "found: 100.0% of the rows copy a training row, of unseen real rows 0.0%" in printed
    assert "found: 100% of the rows are nearer to training rows than to as many unseen real rows" in printed


@pytest.mark.exhaustive
def test_a_checkpoint_tells_which_rows_its_model_has_seen(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    people(400, 0).to_csv("people.csv", index=False)
    data = Table(path="people.csv", id_column="id", batch_size=64)
    torch.manual_seed(0)
    likelihood = partial(data.likelihood)
    settings = {"shape": data.shape, "latent_dim": 2, "missing": True, "scaling": data.scaling}
    model = VAE(likelihood=likelihood, encoder=small, decoder=small, **settings)
    trainer = quiet_trainer(folder, max_steps=1)
    trainer.fit(model, data)
    trainer.save_checkpoint(folder / "m.ckpt")
    whole, split = people(400, 0).drop(columns="id"), data.load("train")
    assert split.rows is not None
    whole.iloc[split.rows.numpy()[:200]].to_csv("seen.csv", index=False)
    unseen = np.setdiff1d(np.arange(400), split.rows.numpy())
    whole.iloc[unseen].to_csv("unseen.csv", index=False)
    reports = {}
    for name in ("seen", "unseen"):
        main(["quality", "--ckpt_path=m.ckpt", f"--synthetic={name}.csv", f"--out={name}.json"])
        reports[name] = json.loads((folder / f"{name}.json").read_text())
    assert reports["seen"]["num_rows"] == {"synthetic": 200, "real": 80, "training": 320}
    assert reports["seen"]["privacy"]["copies"] == 1
    assert reports["seen"]["privacy"]["nearer"] == 1
    assert reports["unseen"]["privacy"]["copies"] == 0
    assert reports["unseen"]["privacy"]["nearer"] == 0
    assert reports["unseen"]["two_sample"]["value"] < 0.5, "the rows that it is compared with"
    main(["quality", "--ckpt_path=m.ckpt", "--synthetic=seen.csv", "--split=test", "--out=seen.json"])
    assert json.loads((folder / "seen.json").read_text())["num_rows"]["real"] == 40
    capsys.readouterr()
    main(["sample", "--ckpt_path=m.ckpt", "--num=60", "--out=drawn.csv"])
    main(["quality", "--ckpt_path=m.ckpt", "--synthetic=drawn.csv"])
    assert "columns of 60 synthetic, 80 real, 320 training rows" in capsys.readouterr().out


@pytest.mark.exhaustive
def test_real_rows_that_the_model_has_seen_are_warned_of(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    people(150, 0).head(60).to_csv("real.csv", index=False)
    main(["quality", *FILES])
    assert "100% of the real rows are training rows: give rows that the model was not" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "options", "line"),
    [
        ("drop", FILES, "synthetic.csv lacks the column age of real.csv: leave it out by --ignore age."),
        ("add", FILES, "synthetic.csv has a column more, which real.csv lacks: leave it out by --ignore more."),
        ("text", FILES, "age in row 3 of synthetic.csv must be a number, got 'old'."),
        ("empty", FILES, "synthetic.csv cannot be read as a table: No columns to parse from file."),
        ("head", FILES, "synthetic.csv has no rows."),
        ("few", FILES, "synthetic.csv: 5 rows are too few to compare, at least 20 are needed."),
        ("", [*FILES, "--label_column=town"], "--label_column must be one of city, age, income, joined, got town."),
        ("", [*FILES[:3], "--ignore=town"], "--ignore: real.csv has no column town, but id, city, age"),
        ("", [*FILES, "--type=age=text"], "--type age must be one of number, category, boolean, count, date"),
        ("", [*FILES, "--type=age=boolean"], "column age of real.csv is no boolean: it has "),
        ("", [*FILES, "--ckpt_path=m.ckpt"], "give either --ckpt_path, or --real with rows that the model was not"),
        ("", ["--synthetic=synthetic.csv"], "give either --ckpt_path, or --real with rows that the model was not"),
        ("", ["--ckpt_path=m", "--train=train.csv", *FILES[2:]], "--train goes with --real: the checkpoint tells it"),
        ("", [*FILES, "--split=test"], "--split goes with --ckpt_path: leave it out."),
        ("", ["--ckpt_path=m.ckpt", *FILES[2:]], "no checkpoint at m.ckpt"),
        ("", [*FILES[1:], "--real=no.csv"], "There is no file no.csv."),
        ("", [*FILES[1:], "--real=synthetic.csv"], "--synthetic, --real and --train must be different files."),
        ("", [*FILES, "--out=report.txt"], "--out must end in .json, got report.txt."),
        ("", [*FILES, "--out=no/report.json"], "there is no folder no to write report.json to."),
        ("", [*FILES, "--seed=-1"], "--seed must be at least 0"),
    ],
)
def test_what_does_not_compare_is_refused_in_one_line(
    change: str, options: list[str], line: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    frame = people(120, 2)
    if change == "text":
        frame = frame.astype(object)
        frame.loc[3, "age"] = "old"
    made = {"drop": frame.drop(columns="age"), "add": frame.assign(more=1), "few": frame.head(5), "head": frame.head(0)}
    made.get(change, frame).to_csv("synthetic.csv", index=False)
    if change == "empty":
        Path("synthetic.csv").write_text("")
    with pytest.raises(SystemExit) as stopped:
        main(["quality", *(["--out=report.json"] if not any("--out" in o for o in options) else []), *options])
    assert stopped.value.code == 2
    error = capsys.readouterr().err
    assert line in error
    assert error.count("\n") == 1
    assert not list(folder.glob("*report*"))


def test_a_model_of_pictures_is_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trainer = quiet_trainer(folder, max_steps=1)
    trainer.fit(VAE(shape=(1, 8, 8), latent_dim=2, encoder=small, decoder=small), Digits(batch_size=16))
    trainer.save_checkpoint(folder / "m.ckpt")
    with pytest.raises(SystemExit):
        main(["quality", "--ckpt_path=m.ckpt", "--synthetic=synthetic.csv"])
    assert "VAE is no model of a table: fit one on --data Table." in capsys.readouterr().err
