"""A sweep without an account: what is drawn, run, gone on with, and shown."""

from __future__ import annotations

import csv
import json
import math
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
import yaml
from forking import Forking
from PIL import Image

from vae_zoo.cli.commands import sweep_run
from vae_zoo.cli.commands.sweep_table import differing, flat
from vae_zoo.cli.inspect.configs import packaged_sweeps
from vae_zoo.cli.sweeps.axes import axis_of, draw
from vae_zoo.cli.sweeps.draws import draw as draw_one
from vae_zoo.cli.sweeps.draws import draws
from vae_zoo.system import signals
from vae_zoo.system.locks import FolderLock

GRID = {"method": "grid", "parameters": {"a": {"values": [1, 2]}, "b": {"value": "x"}, "c": {"values": [[3], [4]]}}}
RANDOM = {"method": "random", "parameters": {"a": {"min": 0.0, "max": 1.0}}}
SHORT = ("--", "--trainer.max_epochs=1", "--trainer.limit_train_batches=2", "--trainer.limit_val_batches=1")
SWEEP = {
    "method": "grid",
    "metric": {"name": "val/elbo", "goal": "maximize"},
    "parameters": {"model.beta": {"values": [1.0, 4.0]}, "model.encoder.hidden": {"values": [[8], [16, 8]]}},
    "program": "vae-zoo",
    "command": ["${env}", "${program}", "fit", "--config", "beta_vae_digits", "--config", "wandb", "${args}"],
}


class TestDraws:
    def test_a_grid(self) -> None:
        runs = draws(GRID, None, 0)
        assert runs[:2] == [{"a": 1, "b": "x", "c": [3]}, {"a": 1, "b": "x", "c": [4]}]
        assert len(runs) == 4
        assert draws(GRID, 3, 0) == runs[:3]

    def test_a_grid_beyond_all_bounds(self) -> None:
        """It is refused, or its first runs are drawn, without a list of its values."""
        count = {"min": 0, "max": 10**9}
        huge = {"method": "grid", "parameters": {"a": count, "b": {"values": [1, 2]}, "c": {**count, "min": 5}}}
        with pytest.raises(ValueError, match=r"the grid has [\d,]{25,} runs, .* give --num, at most 10,000"):
            draws({**huge, "parameters": {**huge["parameters"], "d": {"values": [1] * 500}}}, None, 0)
        assert draws(huge, 2, 0) == [{"a": 0, "b": 1, "c": 5}, {"a": 0, "b": 1, "c": 6}]
        with pytest.raises(ValueError, match="20,000 runs were asked for"):
            draws({**RANDOM, "run_cap": 20_000}, None, 0)

    def test_random_runs(self) -> None:
        runs = draws(RANDOM, 5, 0)
        assert draws(RANDOM, 3, 0) == runs[:3], "more runs begin with the same ones"
        assert draws(RANDOM, 5, 1) != runs
        assert len(draws({**RANDOM, "run_cap": 7}, None, 0)) == 7
        with pytest.raises(ValueError, match="a random search has no end of its own: give --num"):
            draws(RANDOM, None, 0)

    @pytest.mark.parametrize(
        ("parameter", "mean", "low", "high"),
        [
            ({"min": 2, "max": 4}, 3, 2, 4),
            ({"min": 2.0, "max": 4.0}, 3, 2, 4),
            ({"distribution": "q_uniform", "min": 0, "max": 8, "q": 4}, 4, 0, 8),
            ({"distribution": "log_uniform_values", "min": 0.01, "max": 1.0}, 0.99 / math.log(100), 0.01, 1),
            ({"distribution": "log_uniform", "min": 0.0, "max": 1.0}, math.e - 1, 1, math.e),
            ({"distribution": "normal", "mu": 5.0, "sigma": 0.1}, 5, 4, 6),
            ({"distribution": "log_normal", "mu": 0.0, "sigma": 0.1}, math.exp(0.005), 0.5, 2),
            ({"distribution": "beta", "a": 2.0, "b": 2.0}, 0.5, 0, 1),
            ({"values": [0, 1], "probabilities": [0.1, 0.9]}, 0.9, 0, 1),
        ],
        ids=str,
    )
    def test_distributions(self, parameter: dict[str, Any], mean: float, low: float, high: float) -> None:
        random = Random(0)
        values = np.array([draw_one(parameter, random) for _ in range(4000)])
        assert values.mean() == pytest.approx(mean, abs=4 * values.std() / 4000**0.5)
        assert low <= values.min() <= values.max() <= high

    def test_an_unknown_distribution(self) -> None:
        with pytest.raises(ValueError, match="inv_log_uniform is not drawn here"):
            draw_one({"distribution": "inv_log_uniform", "min": 1.0, "max": 2.0}, Random(0))

    @pytest.mark.parametrize("path", packaged_sweeps().values(), ids=lambda path: path.stem)
    def test_packaged_sweeps(self, path: Path) -> None:
        sweep = yaml.safe_load(path.read_text())
        runs = draws(sweep, None, 0)
        assert all(list(run) == list(sweep["parameters"]) for run in runs)
        assert len({json.dumps(run) for run in runs}) > 10


class TestPicture:
    def test_axes(self) -> None:
        number = axis_of("lr", [0.01, 1.0, None, 0.1])
        assert number.heights == pytest.approx([0, 1, math.nan, 0.5], nan_ok=True), "a logarithm"
        assert [text for _, text in number.ticks] == ["0.01", "0.1", "1"]
        assert axis_of("d", [4, 8]).heights == [0, 1]
        words = axis_of("model", ["B", "A", [1, 2], None])
        assert [text for _, text in words.ticks] == ["–", "[1, 2]", "B", "A"]
        assert np.allclose(words.heights, [2 / 3, 1, 1 / 3, 0], atol=0.06)
        assert len(axis_of("same", [3, 3]).ticks) == 1

    def test_file(self, tmp_path: Path) -> None:
        runs = [{"model.beta": beta, "model": model} for beta in (0.5, 1, 8) for model in ("BetaVAE", "IWAE")]
        path = draw(tmp_path / "p.png", runs, [20, 21, 22, 19, math.nan, 20], "val/elbo")
        assert path is not None
        with Image.open(path) as image:
            colours = {tuple(pixel) for pixel in np.asarray(image)[..., :3].reshape(-1, 3)}
        assert len(colours) > 50

    def test_nothing_to_draw(self, tmp_path: Path) -> None:
        assert draw(tmp_path / "p.png", [{"a": 1}, {"a": 1}], [1.0, 2.0], "m") is None
        assert draw(tmp_path / "p.png", [{"a": 1}, {"a": 2}], [math.nan, math.nan], "m") is None


def test_options_that_differ() -> None:
    model = {"class_path": "vae_zoo.models.BetaVAE", "init_args": {"beta": 2.0, "encoder": {"class_path": "a.Dense"}}}
    first = flat({"model": model, "seed_everything": 0, "trainer": {"logger": True}})
    assert first == {"model": "BetaVAE", "model.beta": 2.0, "model.encoder": "Dense", "seed_everything": 0} | {
        "trainer.logger": True
    }
    second = {**first, "model.beta": 4.0, "trainer.logger": False}
    third = {"model": "BetaVAE", "seed_everything": 0}
    assert differing([first, second, third]) == [{"model.beta": 2.0}, {"model.beta": 4.0}, {}]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forking]:
    with Forking(tmp_path_factory.mktemp("sweep")) as server:
        yield server


class TestLock:
    def test_a_second_one_is_refused_while_the_first_runs(
        self, run: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(sweep_run, "check", lambda *_: None)
        monkeypatch.setattr(sweep_run, "_run_all", lambda *_: pytest.fail("the runs begin"))
        Path("s.yaml").write_text(yaml.safe_dump(GRID))
        out = tmp_path / "out"
        out.mkdir()
        ready, end = os.pipe(), os.pipe()
        if not (child := os.fork()):
            lock = FolderLock(out)
            os.write(ready[1], b"r")
            os.read(end[0], 1)
            lock.release()
            os._exit(0)
        os.read(ready[0], 1)
        try:
            outcome = run("sweep-run", "s.yaml", "--out", str(out))
        finally:
            os.write(end[1], b"e")
            os.waitpid(child, 0)
        assert outcome.code == 2
        assert outcome.err.count("\n") == 1
        assert f"{out} is in use by process {child} on " in outcome.err

    def test_the_folder_is_given_back(self, run: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sweep_run, "check", lambda *_: None)
        seen = []
        monkeypatch.setattr(sweep_run, "_run_all", lambda runs, folder, *_: seen.append((folder / ".lock").exists()))
        Path("s.yaml").write_text(yaml.safe_dump(GRID))
        assert run("sweep-run", "s.yaml", "--out", "out").code == 0
        assert seen == [True]
        assert not list(Path("out").iterdir())


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_the_sweep_waits_for_the_run(tmp_path: Path, signum: signal.Signals) -> None:
    """SIGTERM is handed on; a terminal has sent the run SIGINT itself."""
    done = tmp_path / "done"
    command = [
        "sh",
        "-c",
        f"trap 'touch {done}; exit' TERM; sleep .1; kill -{signum.value} $PPID; sleep .2; touch {done}.late",
    ]
    codes = []
    with pytest.raises(SystemExit) as stop, signals.exit_on_signals():
        codes.append(sweep_run._launch(command, tmp_path / "log.txt"))
    assert codes == [stop.value.code] == [128 + signum]
    assert done.exists() == (signum == signal.SIGTERM)


@pytest.mark.slow
class TestRuns:
    @pytest.fixture(autouse=True)
    def _folder(self, server: Forking, tmp_path: Path, run: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
        pytest.importorskip("wandb", reason="the extra wandb is not installed")
        monkeypatch.setattr(sweep_run, "COMMAND", [str(server.path / "vae-zoo")])
        monkeypatch.setenv("PYTHONPATH", str(Path(sweep_run.__file__).parents[2]))
        Path("s.yaml").write_text(yaml.safe_dump(SWEEP, sort_keys=False))

    def test_whole_resumed_and_shown(self, run: Callable, tmp_path: Path) -> None:
        first = run("sweep-run", "s.yaml", "--num", "2", *SHORT)
        assert (first.code, first.err) == (0, "")
        out = tmp_path / "results" / "sweeps" / "s"
        begun = (out / "0" / "run.json").read_text()
        assert json.loads(begun)["parameters"] == {"model.beta": 1.0, "model.encoder.hidden": [8]}
        whole = run("sweep-run", "s.yaml", *SHORT)
        assert whole.code == 0
        assert (out / "0" / "run.json").read_text() == begun, "what is done is not run again"
        assert len(list(out.glob("*/BetaVAE_Digits/fit_*"))) == 4
        assert not list(tmp_path.rglob("wandb")), "nothing is logged elsewhere"
        rows = list(csv.DictReader((out / "results.csv").read_text().splitlines()))
        values = [float(row["val/elbo"]) for row in rows]
        assert values == sorted(values, reverse=True)
        assert {(row["model.beta"], row["model.encoder.hidden"]) for row in rows} == {
            (beta, hidden) for beta in ("1.0", "4.0") for hidden in ("[8]", "[16, 8]")
        }
        assert (out / "parallel.png").is_file()
        for text in ("model.beta", "[16, 8]", f"{values[0]:.4f}", "parallel.png"):
            assert text in whole.out

        table = run("sweep-table", str(out), "--metric", "val/loss", "--minimize")
        assert table.code == 0
        assert (out / "results.csv").read_text().splitlines()[0].endswith(",val/loss")
        for record in out.glob("*/run.json"):
            record.unlink()
        table = run("sweep-table", str(out))
        again = list(csv.DictReader((out / "results.csv").read_text().splitlines()))
        assert [float(row["val/elbo"]) for row in again] == values
        assert set(again[0]) == {"run", "model.beta", "model.encoder.hidden", "val/elbo"}
        assert "no run below" in run("sweep-table", str(out), "--metric", "val/elb").err
        assert "did you mean val/elbo?" in run("sweep-table", str(out), "--metric", "val/elb").err

    def test_a_run_that_was_stopped_goes_on_from_its_checkpoint(self, run: Callable, tmp_path: Path) -> None:
        assert run("sweep-run", "s.yaml", "--num", "1", "--out", "o", *SHORT).code == 0
        record = json.loads(Path("o/0/run.json").read_text())
        Path("o/0/run.json").write_text(json.dumps({**record, "done": False}))
        assert run("sweep-run", "s.yaml", "--num", "1", "--out", "o", *SHORT, "--trainer.max_epochs=2").code == 0
        rows = list(csv.DictReader(Path("o/0/BetaVAE_Digits/fit_1/metrics.csv").read_text().splitlines()))
        assert {row["epoch"] for row in rows} == {"1", "2"}

    def test_a_run_that_fails(self, run: Callable) -> None:
        outcome = run("sweep-run", "s.yaml", "--num", "2", *SHORT, "--data.batch_size=-1")
        assert outcome.code == 1
        assert outcome.out.count("failed with exit code 2") == 2
        assert "2 of 2 runs failed" in outcome.err
        assert "batch_size" in Path("results/sweeps/s/0/log.txt").read_text()

    @pytest.mark.parametrize(("code", "ends"), [(130, 130), (-15, 143)])
    def test_a_run_that_is_stopped(self, code: int, ends: int, run: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sweep_run, "_launch", lambda command, log: code)
        outcome = run("sweep-run", "s.yaml", *SHORT)
        assert outcome.code == ends
        assert outcome.err == f"vae-zoo: stopped in {Path('results/sweeps/s/0')}; the same command goes on from there\n"

    def test_mistakes(self, run: Callable) -> None:
        Path("results/sweeps/s/0").mkdir(parents=True)
        Path("results/sweeps/s/0/run.json").write_text('{"parameters": {"model.beta": 3}, "done": true}')
        for args, said in (
            (["s.yaml"], "has another run in it: give another folder by --out."),
            (["s.yaml", "--num", "0"], "--num must be at least 1, got 0."),
            (["t.yaml"], "no sweep file t.yaml, and no packaged sweep of that name"),
        ):
            outcome = run("sweep-run", *args)
            assert (outcome.code, outcome.err.count("\n")) == (2, 1)
            assert said in outcome.err


def test_no_runs(run: Callable, tmp_path: Path) -> None:
    assert "there is no run with a config.yaml and a metrics.csv below" in run("sweep-table", str(tmp_path)).err
    assert "there is no folder nowhere." in run("sweep-table", "nowhere").err
