"""Sweeps without an account: draws, runs, continued sweeps, and tables."""

from __future__ import annotations

import csv
import json
import math
import os
import random
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from forking import Forking
from PIL import Image

from vae_zoo.cli.commands import sweep_run
from vae_zoo.cli.commands.sweep_check import check_runs
from vae_zoo.cli.commands.sweep_table import differing, flat, history
from vae_zoo.cli.inspect.configs import find_config, packaged_sweeps
from vae_zoo.cli.sweeps.draws import DISTRIBUTIONS, draws, points, quantile
from vae_zoo.cli.sweeps.plots import axis_of, draw, round_ticks
from vae_zoo.system import signals
from vae_zoo.system.locks import FolderLock

GRID = {"method": "grid", "parameters": {"a": {"values": [1, 2]}, "b": {"value": "x"}, "c": {"values": [[3], [4]]}}}
RANDOM = {"method": "random", "parameters": {"a": {"min": 0.0, "max": 1.0}}}
SHORT = ("--", "--trainer.max_epochs=1", "--trainer.limit_train_batches=2", "--trainer.limit_val_batches=1")
SWEEP = {
    "method": "grid",
    "metric": {"name": "val/elbo", "goal": "maximize"},
    "parameters": {"model.beta": {"values": [1.0]}, "model.encoder.hidden": {"values": [[8], [16, 8]]}},
    "program": "vae-zoo",
    "command": ["${env}", "${program}", "fit", "--config", "beta_vae_digits", "--config", "wandb", "${args}"],
}


def drawn(sweep: dict[str, Any], num: int | None = None, seed: int = 0) -> list[dict[str, Any]]:
    """Runs of a sweep, of which its search is told nothing."""
    return [run for _, run in draws(sweep, num, seed)]


class TestDraws:
    @pytest.fixture(autouse=True)
    def _optuna(self) -> None:
        pytest.importorskip("optuna", reason="the extra sweeps is not installed")

    def test_a_grid(self) -> None:
        runs = drawn(GRID)
        assert runs[:2] == [{"a": 1, "b": "x", "c": [3]}, {"a": 1, "b": "x", "c": [4]}]
        assert len(runs) == 4
        assert drawn(GRID, 3) == runs[:3]

    def test_a_grid_beyond_all_bounds(self) -> None:
        """It is refused, or its first runs are drawn, without a list of its values."""
        count = {"min": 0, "max": 10**9}
        huge = {"method": "grid", "parameters": {"a": count, "b": {"values": [1, 2]}, "c": {**count, "min": 5}}}
        with pytest.raises(ValueError, match=r"the grid has [\d,]{25,} runs, .* give --num, at most 10,000"):
            drawn({**huge, "parameters": {**huge["parameters"], "d": {"values": [1] * 500}}})
        assert drawn(huge, 2) == [{"a": 0, "b": 1, "c": 5}, {"a": 0, "b": 1, "c": 6}]
        last = {**huge, "parameters": {"a": count, "b": {"values": [1, 2]}, "c": {"values": [3, 4]}}}
        assert drawn(last, 5)[3:] == [{"a": 0, "b": 2, "c": 4}, {"a": 1, "b": 1, "c": 3}]
        with pytest.raises(ValueError, match="20,000 runs were asked for"):
            drawn({**RANDOM, "run_cap": 20_000})

    @pytest.mark.parametrize("method", ["random", "bayes"])
    def test_runs_of_a_search(self, method: str) -> None:
        sweep = {**RANDOM, "method": method}
        runs = drawn(sweep, 5)
        assert drawn(sweep, 3) == runs[:3], "more runs begin with the same ones"
        assert drawn(sweep, 5, seed=1) != runs
        assert len(drawn({**sweep, "run_cap": 7})) == 7
        with pytest.raises(ValueError, match=f"a {method} search has no end of its own: give --num"):
            drawn(sweep)

    def test_a_bayesian_search_learns(self) -> None:
        """After ten draws at random it looks where the metric was good, and does so again when it is told the same."""
        parameters = {
            "a": {"distribution": "log_uniform_values", "min": 0.001, "max": 1.0},
            "b": {"values": [[1], [2]]},
        }
        sweep = {"metric": {"name": "m", "goal": "maximize"}, "parameters": parameters}

        def search(method: str, seed: int) -> list[float]:
            values = []
            for trial, run in draws({**sweep, "method": method}, 40, seed):
                values.append(-abs(math.log10(run["a"]) + 2) - (run["b"] == [1]))
                trial.study.tell(trial, values[-1])
            return values

        found = {method: [search(method, seed) for seed in range(4)] for method in ("random", "bayes")}
        late = {method: np.mean([values[20:] for values in runs]) for method, runs in found.items()}
        assert late["bayes"] > late["random"] / 2
        assert search("bayes", 0) == found["bayes"][0]

    @pytest.mark.parametrize(
        ("parameter", "mean", "low", "high"),
        [
            ({"min": 2, "max": 4}, 3, 2, 4),
            ({"min": 2.0, "max": 4.0}, 3, 2, 4),
            ({"distribution": "q_uniform", "min": 0, "max": 8, "q": 4}, 4, 0, 8),
            ({"distribution": "log_uniform_values", "min": 0.01, "max": 1.0}, 0.99 / math.log(100), 0.01, 1),
            ({"distribution": "inv_log_uniform_values", "min": 0.01, "max": 1.0}, 0.99 / math.log(100), 0.01, 1),
            ({"distribution": "log_uniform", "min": 0.0, "max": 1.0}, math.e - 1, 1, math.e),
            ({"distribution": "inv_log_uniform", "min": 0.0, "max": 1.0}, 1 - 1 / math.e, 1 / math.e, 1),
            ({"distribution": "normal", "mu": 5.0, "sigma": 0.1}, 5, 4, 6),
            ({"distribution": "log_normal", "mu": 0.0, "sigma": 0.1}, math.exp(0.005), 0.5, 2),
            ({"distribution": "beta", "a": 2.0, "b": 3.0}, 0.4, 0, 1),
            ({"values": [0, 1], "probabilities": [0.1, 0.9]}, 0.9, 0, 1),
        ],
        ids=str,
    )
    def test_distributions(self, parameter: dict[str, Any], mean: float, low: float, high: float) -> None:
        values = np.array([quantile(parameter, (n + 0.5) / 1000) for n in range(1000)])
        assert values.mean() == pytest.approx(mean, rel=2e-3)
        assert low <= values.min() <= values.max() <= high
        assert (np.diff(values) >= 0).all()
        random = np.array([run["a"] for run in drawn({**RANDOM, "parameters": {"a": parameter}}, 400)])
        assert random.mean() == pytest.approx(mean, abs=4 * random.std() / 20)
        assert low <= random.min() <= random.max() <= high

    @pytest.mark.parametrize("kind", DISTRIBUTIONS)
    def test_every_distribution_has_points(self, kind: str) -> None:
        found = points({"distribution": kind, "min": 1, "max": 3, "q": 0.01})
        assert found == sorted(found)
        assert len(found) == len(set(found)) == 3

    @pytest.mark.parametrize("path", packaged_sweeps().values(), ids=lambda path: path.stem)
    def test_packaged_sweeps(self, path: Path) -> None:
        sweep = yaml.safe_load(path.read_text())
        runs = drawn(sweep)
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
        near = axis_of("near", [0.30000001, 0.3, 0.1 + 0.2, 1, 16384])
        assert [text for _, text in near.ticks] == ["0.3", "1", "16384"]

    def test_round_marks(self) -> None:
        many = axis_of("lr", [0.0003 * 1.5**n for n in range(12)])
        assert [text for _, text in many.ticks] == ["0.0005", "0.001", "0.002", "0.005", "0.01", "0.02"]
        assert many.ticks[1][0] == pytest.approx(math.log(0.001 / 0.0003) / (11 * math.log(1.5)))
        metric = axis_of("val/elbo", [-106.3, -92.1], exact=False)
        assert [text for _, text in metric.ticks] == ["-106", "-104", "-102", "-100", "-98", "-96", "-94"]
        assert [f"{n:.10g}" for n in round_ticks(0.1, 0.7, log=False)] == [f"0.{n}" for n in range(1, 8)]
        assert round_ticks(1e-12, 1e5, log=True) == [1e-12, 1e-9, 1e-6, 1e-3, 1.0, 1e3]
        rng = random.Random(0)
        for _ in range(300):
            low = 10 ** rng.uniform(-8, 8)
            for high, log in ((low * (5 + 10 ** rng.uniform(-3, 9)), True), (low + 10 ** rng.uniform(-7, 9), False)):
                found = round_ticks(low, high, log=log)
                assert 2 <= len(found) <= 8
                slack = 1e-6 * (high - low)
                assert low - slack <= found[0] < found[-1] <= high + slack

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
        monkeypatch.setattr(sweep_run, "check", lambda *_, **__: None)
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
        monkeypatch.setattr(sweep_run, "check", lambda *_, **__: None)
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


RUN = """
import json, pathlib, signal, sys, time
folder = next(pathlib.Path(arg.partition("=")[2]) for arg in sys.argv if "default_root_dir" in arg)
signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
x = json.loads((folder / "parameters.json").read_text())["x"]
(folder / "M" / "fit_0").mkdir(parents=True, exist_ok=True)
if folder.name == "1" and not (folder / "tried").exists():
    (folder / "tried").touch()
    sys.exit({code})
with open(folder / "M" / "fit_0" / "metrics.csv", "w") as file:
    file.write("step,val/loss,train/loss\\n")
    for step in range(1, 7):
        file.write(f"{{step}},{{x + 1 / step}},\\n{{step}},,0\\n")
        file.flush()
    if x == 2:
        time.sleep(60)
    file.write("7,")
"""
"""A run whose metric is known: that of x = 2 does not end by itself, and number 1 fails the first time, if it is to."""


class TestSearch:
    @pytest.fixture
    def sweep(self, run: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
        """Run a sweep of such runs."""
        pytest.importorskip("optuna", reason="the extra sweeps is not installed")
        for name in ("check", "expand", "arguments_of"):
            monkeypatch.setattr(sweep_run, name, lambda *_, **__: [])
        monkeypatch.setattr(sweep_run, "LOOK_SECONDS", 0.05)

        def call(content: dict[str, Any], *args: str, code: int = 0) -> Any:
            Path("run.py").write_text(RUN.format(code=code) if code else RUN.format(code=0).replace("sys.exit(0)", "0"))
            monkeypatch.setattr(sweep_run, "COMMAND", [sys.executable, "run.py"])
            Path("s.yaml").write_text(yaml.safe_dump({"metric": {"name": "val/loss"}, **content}))
            return run("sweep-run", "s.yaml", "--out", "o", *args)

        return call

    @pytest.mark.exhaustive
    def test_a_poor_run_is_stopped_early(self, sweep: Callable[..., Any]) -> None:
        halving = {"early_terminate": {"type": "hyperband", "min_iter": 2, "eta": 3}}
        content = {"method": "grid", "parameters": {"x": {"values": [3, 1, 2]}}, **halving}
        first = sweep(content)
        assert first.code == 0, first.err
        assert "   2  val/loss 2.1667  stopped early, after 2 validations  x=2" in first.out
        assert first.out.count("stopped early") == 1
        record = json.loads(Path("o/2/run.json").read_text())
        assert (record["done"], record["told"]) == (True, {"state": "PRUNED", "num": 2})
        assert sweep(content).out == first.out, "what is done is not run again"
        assert len(history(Path("o/2"), "val/loss")) == 6

    def test_a_search_goes_on_as_it_would_have(self, sweep: Callable[..., Any]) -> None:
        """Also where a run has failed that does not the next time."""
        content = {"method": "bayes", "parameters": {"x": {"min": 3.0, "max": 5.0}}}
        whole = sweep(content, "--num", "14", code=1)
        assert whole.code == 1
        assert "1 of 14 runs failed" in whole.err
        records = [json.loads(Path(f"o/{n}/run.json").read_text()) for n in range(14)]
        assert [record["told"]["state"] for record in records] == ["COMPLETE", "FAIL", *["COMPLETE"] * 12]
        again = sweep(content, "--num", "16", code=1)
        assert (again.code, again.err) == (0, "")
        assert json.loads(Path("o/1/run.json").read_text())["done"]
        assert [json.loads(Path(f"o/{n}/run.json").read_text())["parameters"] for n in range(14)] == [
            record["parameters"] for record in records
        ]
        other = sweep(content, "--num", "16", "--seed", "1")
        assert (other.code, other.out) == (2, "")
        assert "o/0 has another run in it" in other.err


@pytest.mark.slow
class TestRuns:
    @pytest.fixture(autouse=True)
    def _folder(self, server: Forking, tmp_path: Path, run: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
        pytest.importorskip("wandb", reason="the extra wandb is not installed")
        monkeypatch.setattr(sweep_run, "COMMAND", [str(server.path / "vae-zoo")])
        monkeypatch.setenv("PYTHONPATH", str(Path(sweep_run.__file__).parents[2]))
        Path("s.yaml").write_text(yaml.safe_dump(SWEEP, sort_keys=False))

    @pytest.mark.exhaustive
    def test_whole_resumed_and_shown(self, run: Callable, tmp_path: Path) -> None:
        first = run("sweep-run", "s.yaml", "--num", "1", *SHORT)
        assert (first.code, first.err) == (0, "")
        out = tmp_path / "results" / "sweeps" / "s"
        begun = (out / "0" / "run.json").read_text()
        assert json.loads(begun)["parameters"] == {"model.beta": 1.0, "model.encoder.hidden": [8]}
        whole = run("sweep-run", "s.yaml", *SHORT)
        assert whole.code == 0
        assert (out / "0" / "run.json").read_text() == begun, "what is done is not run again"
        assert len(list(out.glob("*/BetaVAE_Digits/fit_*"))) == 2
        assert not list(tmp_path.rglob("wandb")), "nothing is logged elsewhere"
        rows = list(csv.DictReader((out / "results.csv").read_text().splitlines()))
        values = [float(row["val/elbo"]) for row in rows]
        assert values == sorted(values, reverse=True)
        assert {(row["model.beta"], row["model.encoder.hidden"]) for row in rows} == {
            ("1.0", hidden) for hidden in ("[8]", "[16, 8]")
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
        assert set(again[0]) == {"run", "model.encoder.hidden", "val/elbo"}, "what differs between the runs"
        said = run("sweep-table", str(out), "--metric", "val/elb").err
        assert "no run below" in said
        assert "did you mean val/elbo?" in said

    @pytest.mark.exhaustive
    def test_a_run_that_was_stopped_goes_on_from_its_checkpoint(self, run: Callable, tmp_path: Path) -> None:
        assert run("sweep-run", "s.yaml", "--num", "1", "--out", "o", *SHORT).code == 0
        record = json.loads(Path("o/0/run.json").read_text())
        Path("o/0/run.json").write_text(json.dumps({**record, "done": False}))
        assert run("sweep-run", "s.yaml", "--num", "1", "--out", "o", *SHORT, "--trainer.max_epochs=2").code == 0
        rows = list(csv.DictReader(Path("o/0/BetaVAE_Digits/fit_1/metrics.csv").read_text().splitlines()))
        assert {row["epoch"] for row in rows} == {"1", "2"}

    @pytest.mark.exhaustive
    def test_a_run_that_fails(self, run: Callable) -> None:
        outcome = run("sweep-run", "s.yaml", "--num", "2", *SHORT, "--data.batch_size=-1")
        assert outcome.code == 1
        assert outcome.out.count("failed with exit code 2") == 2
        assert "2 of 2 runs failed" in outcome.err
        assert "batch_size" in Path("results/sweeps/s/0/log.txt").read_text()

    @pytest.mark.exhaustive
    @pytest.mark.parametrize(("code", "ends"), [(130, 130), (-15, 143)])
    def test_a_run_that_is_stopped(self, code: int, ends: int, run: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sweep_run, "_launch", lambda *_: code)
        outcome = run("sweep-run", "s.yaml", *SHORT)
        assert outcome.code == ends
        assert outcome.err == f"vae-zoo: stopped in {Path('results/sweeps/s/0')}; the same command goes on from there\n"


def test_a_finished_run_of_other_options_is_another_one(run: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweep_run, "check", lambda *_, **__: None)
    monkeypatch.setattr(sweep_run, "_launch", lambda *_: 0)
    monkeypatch.setattr(sweep_run, "report", lambda *_, **__: None)
    monkeypatch.setattr(sweep_run, "collect", lambda *_: [])
    monkeypatch.setattr(sweep_run, "last", lambda *_: 1.0)
    Path("s.yaml").write_text(yaml.safe_dump(SWEEP, sort_keys=False))
    assert [run("sweep-run", "s.yaml", *SHORT).code for _ in range(2)] == [0, 0]
    outcome = run("sweep-run", "s.yaml", *SHORT, "--data.batch_size=7")
    assert outcome.code == 2
    assert "has a run of another command in it: give another folder by --out." in outcome.err


def test_mistakes(run: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweep_run, "check", lambda *_, **__: None)
    Path("s.yaml").write_text(yaml.safe_dump(SWEEP, sort_keys=False))
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


def test_its_runs_need_not_log_to_weights_and_biases() -> None:
    given, goal = [["--config", str(find_config("beta_vae_digits"))]], {"goal": "maximize"}
    check_runs(given, {"name": "val/elbo", **goal}, here=True)
    with pytest.raises(ValueError, match="logs no val/elb, did you mean val/elbo"):  # before what is said of loggers
        check_runs(given, {"name": "val/elb", **goal})


def test_no_runs(run: Callable, tmp_path: Path) -> None:
    assert "there is no run with a config.yaml and a metrics.csv below" in run("sweep-table", str(tmp_path)).err
    assert "there is no folder nowhere." in run("sweep-table", "nowhere").err
