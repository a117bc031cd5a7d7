"""Fits that are stopped, fail or lose their disk: messages, remaining files, and how to continue."""

from __future__ import annotations

import os
import shlex
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from fits import FIT, FOLDER, TWO, good, said, signal_at
from short import few

from vae_zoo import hub
from vae_zoo.checkpoints import files
from vae_zoo.cli.run import faults
from vae_zoo.cli.run.faults import last_of


class TestSignals:
    @pytest.mark.slow
    @pytest.mark.parametrize(("signum", "code"), few([(signal.SIGTERM, 143), (signal.SIGINT, 130)], 1))
    def test_the_command_it_names_goes_on_as_if_nothing_had_happened(
        self, run: Callable, monkeypatch: pytest.MonkeyPatch, signum: int, code: int
    ) -> None:
        assert run(*TWO).code == 0
        signal_at(monkeypatch, 5, signum)
        outcome = run(*TWO)
        assert outcome.code == code
        (line,) = outcome.err.strip().splitlines()
        start = f"stopped by {signal.Signals(signum).name} after step 5: "
        assert line.startswith(f"{start}vae-zoo fit --config results/BetaVAE_Digits/fit_1/config.yaml --ckpt_path ")
        assert run(*shlex.split(line.removeprefix(start))[1:]).code == 0
        whole, resumed = (
            hub.read(f"results/BetaVAE_Digits/fit_{n}/checkpoints/last.ckpt")["state_dict"] for n in (0, 2)
        )
        assert all(torch.equal(whole[name], resumed[name]) for name in whole)

    def test_before_the_fit(self, run: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
        def hurry(*_: Any) -> None:
            signal.raise_signal(signal.SIGINT)

        monkeypatch.setattr("vae_zoo.data.Digits.prepare_data", hurry)
        assert run(*TWO).code == 130
        monkeypatch.setattr("vae_zoo.cli.commands.fit.refuse", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        assert run(*TWO).code == 130
        assert not Path("results").exists()


class TestLast:
    @pytest.fixture
    def folder(self, run: Callable) -> Path:
        assert run(*TWO).code == 0
        assert (FOLDER / "0002.ckpt").exists()
        return FOLDER

    @pytest.mark.exhaustive
    def test_the_newest_good_one_takes_the_place_of_a_damaged_one(self, run: Callable, folder: Path) -> None:
        os.truncate(folder / "last.ckpt", 5000)
        outcome = run(*FIT, "--trainer.max_epochs=3", "--ckpt_path=last")
        assert outcome.code == 0
        warning = outcome.err.strip().splitlines()[0]
        assert warning == f"warning: {folder}/last.ckpt is torn: its end is missing; going on from 0002.ckpt beside it"
        assert good(Path("results/BetaVAE_Digits/fit_1/checkpoints/last.ckpt")) == 9

    @pytest.mark.exhaustive
    def test_there_is_no_good_one(self, run: Callable, folder: Path) -> None:
        for path in folder.iterdir():
            os.truncate(path, 5000)
        line = said(run(*FIT, "--trainer.max_epochs=3", "--ckpt_path=last"))
        assert "nothing to resume:" in line
        assert "there is no good one beside it" in line

    @pytest.mark.parametrize(
        ("content", "reason"), [(b"", "it is empty"), (b"PK\3\4 torn", "is torn"), (b"hello", "torch.save has not")]
    )
    @pytest.mark.parametrize("verb", few(["fit", "test", "predict", "validate"], 1))
    def test_a_bad_file_is_one_line(self, run: Callable, verb: str, content: bytes, reason: str) -> None:
        Path("bad.ckpt").write_bytes(content)
        line = said(run(verb, "--ckpt_path=bad.ckpt"))
        assert "bad.ckpt" in line
        assert reason in line

    @pytest.mark.exhaustive
    @pytest.mark.slow
    def test_a_folder_of_the_users_own(self, run: Callable) -> None:
        own = ["--last.dirpath=own", "--checkpoint.dirpath=own"]
        assert run(*TWO, *own).code == 0
        assert "own/last.ckpt is of another run" in said(run(*TWO, *own))
        assert run(*FIT, *own, "--trainer.max_epochs=3", "--ckpt_path=last").code == 0
        assert good(Path("own/last.ckpt")) == 9


class TestRestarts:
    """What a loop around the command meets that is killed again and again."""

    def test_the_last_checkpoint_is_that_of_the_newest_run(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        def at(path: Path, second: int) -> Path:
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.suffix:
                files.write({}, path)
            else:
                path.touch()
            os.utime(path, (second, second))
            return path

        assert last_of(tmp_path, None, "fit") is None
        assert capsys.readouterr().err == f"vae-zoo: nothing to resume yet under {tmp_path}: a fit from the beginning\n"
        old = at(tmp_path / "fit_0/checkpoints/last.ckpt", 10)
        assert last_of(tmp_path, None, "fit") == str(old)
        at(tmp_path / "fit_1/.begun", 20)  # killed before its first save: the older run is another one
        assert last_of(tmp_path, None, "fit") is None
        assert last_of(tmp_path, str(old.parent), "fit") == str(old)
        at(tmp_path / "fit_2/.begun", 30)
        new = at(tmp_path / "fit_2/checkpoints/last.ckpt", 40)
        assert last_of(tmp_path, None, "fit") == str(new)
        with pytest.raises(FileNotFoundError, match="give the path of a checkpoint"):
            last_of(tmp_path / "none", None, "test")

    @pytest.mark.exhaustive
    def test_from_nothing_to_nothing_left_to_do(self, run: Callable) -> None:
        annealed = ["--trainer.callbacks+=LinearAnnealing", "--trainer.callbacks.num_steps=2"]
        first = run(*FIT, "--trainer.max_epochs=1", *annealed, "--ckpt_path=last")
        assert first.code == 0
        assert "nothing to resume yet under results/BetaVAE_Digits: a fit from the beginning" in first.err
        again = run(*FIT, "--trainer.max_epochs=1", *annealed, "--ckpt_path=last")
        assert again.code == 0
        line = f"vae-zoo: nothing to do: {FOLDER}/last.ckpt has reached trainer.max_epochs 1; give more to go on"
        assert again.err.strip().splitlines()[-1] == line
        assert "last.ckpt" not in again.out
        assert not Path("results/BetaVAE_Digits/fit_1").exists()
        more = run(*FIT, "--trainer.max_epochs=2", "--ckpt_path=last")
        assert more.code == 0, more
        assert "in the run of the checkpoint, but not in this one: LinearAnnealing" in more.err
        assert good(Path("results/BetaVAE_Digits/fit_1/checkpoints/last.ckpt")) == 6


class TestLimits:
    @pytest.mark.parametrize(
        ("options", "steps"),
        few(
            [
                (["--trainer.max_steps=4"], 4),
                (["--config=epochs.yaml", "--trainer.max_steps=4"], 4),
                (["--config=steps.yaml", "--trainer.max_epochs=2"], 6),
                (["--config=steps.yaml"], 5),
                (["--trainer.max_steps=4", "--trainer.max_epochs=-1"], 4),
            ],
            1,
        ),
        ids=str,
    )
    def test_one_is_given(self, run: Callable, options: list[str], steps: int) -> None:
        Path("epochs.yaml").write_text("trainer: {max_epochs: 1}")
        Path("steps.yaml").write_text("trainer: {max_steps: 5}")
        assert run(*FIT, *options, "--last.every_n_train_steps=1").code == 0
        assert good(FOLDER / "last.ckpt") == steps

    @pytest.mark.parametrize(
        "options", few([["--trainer.max_steps=4", "--trainer.max_epochs=1"], ["--config=both.yaml"]], 1)
    )
    def test_both_are_refused(self, run: Callable, options: list[str]) -> None:
        Path("both.yaml").write_text("trainer: {max_epochs: 1, max_steps: 4}")
        line = said(run(*FIT, *options))
        assert "give trainer.max_steps or trainer.max_epochs, not both, got 4 and 1." in line
        assert not Path("results").exists()

    @pytest.mark.parametrize(("steps", "time", "epochs"), [(-1, None, 50), (9, None, -1), (-1, "00:00:01:00", -1)])
    def test_the_default(self, steps: int, time: str | None, epochs: int) -> None:
        from jsonargparse import Namespace

        trainer = Namespace(max_steps=steps, max_epochs=None, max_time=time)
        faults.set_limits(trainer, [])
        assert trainer.max_epochs == epochs


@pytest.mark.slow
def test_a_loss_that_is_no_number_is_one_line(run: Callable) -> None:
    broken = ["--model.optimizer=SGD", "--model.optimizer.lr=1e30"]
    line = said(run(*TWO, *broken))
    assert "the loss is not finite at step 2: " in line
    assert "last good checkpoint: none" in line
    assert not list(Path().rglob("*.ckpt"))
    with pytest.warns(UserWarning, match="Step 2 is skipped"):
        assert run(*TWO, *broken, "--nan.skip=true").code == 0
    (path,) = Path().rglob("*.ckpt")  # and no best one
    assert path.name == "last.ckpt"
    assert all(torch.isfinite(x).all() for x in hub.read(path)["state_dict"].values())


@pytest.mark.exhaustive
@pytest.mark.filterwarnings("ignore")  # those callbacks have much to say
def test_the_saved_configuration_repeats_a_run_with_callbacks_of_lightning(run: Callable) -> None:
    """Those whose arguments have no form in YAML, and finders, whose finds stand there in their place."""
    Path("callbacks.yaml").write_text(
        "trainer: {callbacks: [{class_path: StochasticWeightAveraging, init_args: {swa_lrs: 0.01}}, "
        "{class_path: ModelPruning, init_args: {pruning_fn: l1_unstructured, amount: 0.1}}, "
        "{class_path: lightning.pytorch.callbacks.Timer, init_args: {duration: '00:00:10:00'}}, "
        "{class_path: BatchSizeFinder, init_args: {init_val: 4, max_trials: 2, steps_per_trial: 1}}, "
        "{class_path: LearningRateFinder, init_args: {num_training_steps: 20, max_lr: 0.1}}]}"
    )
    args = ["--trainer.max_epochs=1", "--trainer.limit_train_batches=30", "--config=callbacks.yaml"]
    assert run(*FIT, *args).code == 0
    saved = FOLDER.parent / "config.yaml"
    config = yaml.safe_load(saved.read_text())
    names = [callback["class_path"].rpartition(".")[2] for callback in config["trainer"]["callbacks"]]
    assert names == ["StochasticWeightAveraging", "ModelPruning", "Timer"]
    assert config["data"]["init_args"]["batch_size"] == 8
    found = torch.load(FOLDER / "last.ckpt", weights_only=True)["vae_zoo"]
    assert config["model"]["init_args"]["optimizer"] == found["model"]["init_args"]["optimizer"]
    assert found["data"]["init_args"]["batch_size"] == 8
    assert run("fit", f"--config={saved}").code == 0
