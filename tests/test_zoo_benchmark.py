"""The benchmark of all models: equal settings, a run, the table."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("benchmarks.zoo", reason="a checkout has the benchmarks, a distribution does not")

from benchmarks.zoo import __main__ as command
from benchmarks.zoo import cell, page, table
from benchmarks.zoo.plan import SETTINGS, plan, variants
from vae_zoo.metrics import DataClassifier

RESULT = Path(cell.__file__).parents[1] / "results" / "zoo_digits.csv"
COMMON = ("latent_dim", "encoder", "decoder", "likelihood")


def made(name: str, seed: int = 0, **metrics: float) -> dict[str, Any]:
    """What a run writes."""
    known = {"log_evidence": 20.0, "log_evidence_se": 0.01, "log_evidence_se_data": 0.5, "pareto_k_high": 0.1}
    return {
        "model": name,
        "data": "Digits",
        "seed": seed,
        "epochs": 40,
        "reports": "E",
        "own": {},
        "labels": False,
        "parts": {"posterior": "DiagonalNormal", "latent_prior": "StandardNormal", "likelihood": "FixedNormal"},
        "latent": [8],
        "parameters": 100,
        "metrics": {**known, "elbo": 18.0, "kl": 8.0, "fid": 30.0, "knn_probe": 0.9, **metrics},
        "fit": {"wall": 1.0, "cpu": 1.0},
        "test": {"wall": 1.0, "cpu": 1.0},
        "peak_mib": 10.0,
        "commit": "abc",
        "hardware": "this",
    }


@pytest.mark.parametrize("name", variants())
def test_what_is_not_the_models_own_is_the_same_for_all(name: str) -> None:
    setting, planned = SETTINGS["Digits"], plan(name, "Digits")
    args = planned.config["model"]["init_args"]
    dense = {"class_path": "Dense", "init_args": {"hidden": setting.hidden}}
    wanted = dict(zip(COMMON, (setting.latent_dim, dense, dense, setting.likelihood), strict=True))
    for argument in COMMON:
        assert args.get(argument) == wanted[argument] or argument in planned.own or "latent_dims" in planned.own
    assert planned.config["trainer"]["max_epochs"] == setting.epochs


def test_what_is_a_models_own_stays() -> None:
    assert plan("VAE", "Digits").own == {}
    assert set(plan("LogCoshVAE", "Digits").own) == {"likelihood"}
    assert set(plan("ConvVAE", "Digits").own) == {"encoder", "decoder"}
    assert set(plan("VQVAE", "Digits").own) == {"latent_dim", "encoder", "decoder", "callbacks"}
    assert plan("VDVAE", "Digits").own["optimizer"] == "Adam(lr=0.003)"
    assert "optimizer" not in plan("MLPVAE", "MNIST").config["model"]["init_args"]  # of the protocol of a paper
    assert plan("M2", "Digits").own["num_labels"] == "100"
    annealed = plan("AnnealedVAE", "Digits").config["model"]["init_args"]
    assert annealed["num_steps"] == 600  # of 1,500, at 40 of 100 epochs
    assert plan("VQVAE2", "Digits").config["model"]["init_args"]["grid"] == [2, 2]
    assert "grid" not in plan("VQVAE2", "MNIST").config["model"]["init_args"]
    assert plan("AdaGVAE", "Sprites").config["data"]["class_path"] == "Pairs"
    assert plan("AdaGVAE", "Sprites").own == {"data": "Pairs"}


def test_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cell, "DataClassifier", partial(DataClassifier, num_steps=2))
    monkeypatch.setattr(cell, "CHAINS", dict.fromkeys(cell.CHAINS, 2))
    monkeypatch.setattr(cell, "NUM_SAMPLES", 30)
    monkeypatch.setattr(cell, "NUM_GENERATED", 100)
    for cached in (cell.extractor, cell.floor, cell.plain_data):
        cached.cache_clear()
    few = {"max_epochs": 1, "limit_train_batches": 2}
    found = cell.measure(plan("PriorAE", "Digits"), "Digits", 0, tmp_path / "picture.png", **few)
    for cached in (cell.extractor, cell.floor):
        cached.cache_clear()
    assert json.loads(json.dumps(found)) == found
    assert (tmp_path / "picture.png").stat().st_size < 10_000
    row = table.row({"model": "PriorAE", "data": "Digits", "seed": 0, **found})
    assert set(row) <= set(table.COLUMNS)
    assert {"ais_log_evidence", "fid", "linear_probe", "unexplained", "parameters", "fit_cpu_s"} <= set(row)
    assert "nll" not in row
    assert row["prior"] == "StandardNormal"


def test_finished_runs_are_not_repeated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[tuple[int, str]] = []

    def run(name: str, data: str, seed: int, path: Path) -> None:
        ran.append((seed, name))
        cell.keep(path, {**made(name, seed), **({"error": "no"} if name == "AE" else {})})

    monkeypatch.setattr(cell, "run", run)
    monkeypatch.setattr(cell, "warm_up", lambda data: None)
    monkeypatch.setattr(command, "RESULTS", tmp_path)
    monkeypatch.setattr(command, "PICTURES", tmp_path / "pictures")
    args = ["zoo", "--only", "VAE", "AE", "--seeds", "0", "1", "--root", str(tmp_path / "runs")]
    monkeypatch.setattr("sys.argv", args)
    command.main()
    assert ran == [(0, "VAE"), (0, "AE"), (1, "VAE"), (1, "AE")]  # whole tables for fewer seeds
    ran.clear()
    command.main()
    assert ran == [(0, "AE"), (1, "AE")]  # what failed is tried again
    assert len(table.read(tmp_path / "zoo_digits.csv")) == 4


def test_table(tmp_path: Path) -> None:
    cells = [made("VAE", seed, log_evidence=20.0 + seed) for seed in range(3)]
    cells += [made("BetaVAE", seed, log_evidence=18.0 + seed, fid=20.0 - seed) for seed in range(3)]
    cells += [{**made("LogCoshVAE"), "parts": {**made("VAE")["parts"], "likelihood": "LogCosh"}}]
    cells += [{"model": "AdaGVAE", "data": "Digits", "seed": 0, "error": "Errors: - no pairs. - Expected None"}]
    cells += [{"model": "CountVAE", "data": "Digits", "seed": 0, "error": "ValueError: no counts."}]
    table.write(cells, tmp_path / "zoo.csv")
    text = page.table(tmp_path / "zoo.csv")
    assert "| [VAE](models/vae.md) | 3 | −21.00 ± 1.00 | 18.00 ± 0.00 |" in text
    assert "| [BetaVAE](models/betavae.md) | 3 | −19.00 ± 1.00 |" in text
    assert "| [LogCoshVAE](models/logcoshvae.md) | 1 | −20.00\\* |" in text
    assert "1 to 3 seeds a model" in text
    assert "- [AdaGVAE](models/adagvae.md) has no row: no pairs." in text
    assert "- [CountVAE](models/countvae.md) has no row: no counts." in text
    assert "- [IWAE](models/iwae.md) has no row: not run yet" in text
    said = "\n".join(page.section("BetaVAE", tmp_path / "zoo.csv"))
    assert "**Worse** than the plain VAE in all 3 seeds: NLL −19.00 instead of −21.00." in said
    assert "**Better** than the plain VAE in all 3 seeds: FID 19.0 instead of 30.0." in said
    assert "No clear difference: bound, k-NN probe." in said
    said = "\n".join(page.section("LogCoshVAE", tmp_path / "zoo.csv"))
    assert "NLL −20.00 instead" not in said
    assert "cannot be compared with those of the VAE: its likelihood is LogCosh." in said
    assert page.section("IWAE", tmp_path / "zoo.csv") == []
    assert page.table(tmp_path / "none.csv") == "Not measured yet.\n"


def test_a_shorter_run_is_said_to_be_one(tmp_path: Path) -> None:
    table.write([made("VAE"), made("BetaVAE"), {**made("IWAE"), "epochs": 16}], tmp_path / "zoo.csv")
    text = page.table(tmp_path / "zoo.csv")
    assert text.count("only 16 of 40 epochs") == 1
    assert "Digits, 40 epochs" in text
    said = "\n".join(page.section("IWAE", tmp_path / "zoo.csv", picture=True))
    assert "Not as in the plain VAE, apart from what the model is: only 16 of 40 epochs" in said
    assert "python -m benchmarks.zoo --data Digits --seeds 0 --epochs 16 --only IWAE" in said
    assert "--epochs" not in "\n".join(page.section("BetaVAE", tmp_path / "zoo.csv", picture=True))


def test_a_budget_of_fewer_epochs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[int] = []
    monkeypatch.setattr(
        cell, "run", lambda name, data, seed, path: ran.append(SETTINGS[data].epochs) or cell.keep(path, made(name))
    )
    monkeypatch.setattr(cell, "warm_up", lambda data: None)
    monkeypatch.setattr(command, "RESULTS", tmp_path)
    monkeypatch.setattr(command, "PICTURES", tmp_path / "pictures")
    monkeypatch.setitem(SETTINGS, "MNIST", SETTINGS["MNIST"])  # put back afterwards
    args = [
        "zoo",
        "--data",
        "MNIST",
        "--only",
        "VAE",
        "--seeds",
        "0",
        "--root",
        str(tmp_path / "runs"),
        "--epochs",
        "2",
    ]
    monkeypatch.setattr("sys.argv", args)
    command.main()
    assert ran == [2]


def test_lines_of_runs_that_are_elsewhere_stay(tmp_path: Path) -> None:
    path = tmp_path / "zoo.csv"
    table.write([made("VAE"), made("BetaVAE"), {"model": "AE", "data": "Digits", "seed": 0, "error": "no"}], path)
    table.write([made("VAE", elbo=19.0), made("VAE", 1), made("AE")], path)
    rows = [(row["model"], row["seed"], row["elbo"], row["error"]) for row in table.read(path)]
    assert rows == [
        ("AE", "0", "18.0", ""),
        ("BetaVAE", "0", "18.0", ""),
        ("VAE", "0", "19.0", ""),
        ("VAE", "1", "18.0", ""),
    ]


def test_a_gpu_takes_each_run_in_the_process_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[tuple[str, str]] = []

    def written(name: str, data: str, seed: int, path: Path, device: str) -> None:
        ran.append((name, device))
        cell.keep(path, made(name, seed))

    monkeypatch.setattr(cell, "written", written)
    monkeypatch.setattr(cell, "floor", lambda data: 0.0)
    monkeypatch.setattr(command, "RESULTS", tmp_path)
    monkeypatch.setattr(command, "PICTURES", tmp_path / "pictures")
    args = ["zoo", "--only", "VAE", "--seeds", "0", "--root", str(tmp_path / "runs"), "--device", "cuda"]
    monkeypatch.setattr("sys.argv", args)
    command.main()
    assert ran == [("VAE", "cuda")]


def test_every_model_has_a_row_or_a_reason() -> None:
    text = page.table(RESULT)
    rows = [line for line in text.splitlines() if line.startswith(("| [", "- ["))]
    for name in variants():
        assert any(f"[{name}](models/{name.lower()}.md)" in line for line in rows), name
