"""A fit of the command that is stopped or breaks, or whose disk does: what it says and leaves, and how it goes on."""

from __future__ import annotations

import os
import shlex
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from fits import FIT, FOLDER, TWO, good, said, signal_at

from vae_zoo import hub
from vae_zoo.cli import faults


class TestSignals:
    @pytest.mark.slow
    @pytest.mark.parametrize(("signum", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
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
        monkeypatch.setattr("vae_zoo.cli.lightning_verbs.refuse", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        assert run(*TWO).code == 130
        assert not Path("results").exists()


class TestLast:
    @pytest.fixture
    def folder(self, run: Callable) -> Path:
        assert run(*TWO).code == 0
        assert (FOLDER / "0002.ckpt").exists()
        return FOLDER

    def test_the_newest_good_one_takes_the_place_of_a_damaged_one(self, run: Callable, folder: Path) -> None:
        os.truncate(folder / "last.ckpt", 5000)
        outcome = run(*FIT, "--trainer.max_epochs=3", "--ckpt_path=last")
        assert outcome.code == 0
        warning = outcome.err.strip().splitlines()[0]
        assert warning == f"warning: {folder}/last.ckpt is torn: its end is missing; going on from 0002.ckpt beside it"
        assert good(Path("results/BetaVAE_Digits/fit_1/checkpoints/last.ckpt")) == 9

    def test_there_is_no_good_one(self, run: Callable, folder: Path) -> None:
        for path in folder.iterdir():
            os.truncate(path, 5000)
        line = said(run(*FIT, "--trainer.max_epochs=3", "--ckpt_path=last"))
        assert "nothing to resume:" in line
        assert "there is no good one beside it" in line

    @pytest.mark.parametrize(
        ("content", "reason"), [(b"", "it is empty"), (b"PK\3\4 torn", "is torn"), (b"hello", "torch.save has not")]
    )
    @pytest.mark.parametrize("verb", ["fit", "test", "predict", "validate"])
    def test_a_bad_file_is_one_line(self, run: Callable, verb: str, content: bytes, reason: str) -> None:
        Path("bad.ckpt").write_bytes(content)
        line = said(run(verb, "--ckpt_path=bad.ckpt"))
        assert "bad.ckpt" in line
        assert reason in line

    @pytest.mark.slow
    def test_a_folder_of_the_users_own(self, run: Callable) -> None:
        own = ["--last.dirpath=own", "--checkpoint.dirpath=own"]
        assert run(*TWO, *own).code == 0
        assert "own/last.ckpt is of another run" in said(run(*TWO, *own))
        assert run(*FIT, *own, "--trainer.max_epochs=3", "--ckpt_path=last").code == 0
        assert good(Path("own/last.ckpt")) == 9


class TestLimits:
    @pytest.mark.parametrize(
        ("options", "steps"),
        [
            (["--trainer.max_steps=4"], 4),
            (["--config=epochs.yaml", "--trainer.max_steps=4"], 4),
            (["--config=steps.yaml", "--trainer.max_epochs=2"], 6),
            (["--config=steps.yaml"], 5),
            (["--trainer.max_steps=4", "--trainer.max_epochs=-1"], 4),
        ],
        ids=str,
    )
    def test_one_is_given(self, run: Callable, options: list[str], steps: int) -> None:
        Path("epochs.yaml").write_text("trainer: {max_epochs: 1}")
        Path("steps.yaml").write_text("trainer: {max_steps: 5}")
        assert run(*FIT, *options, "--last.every_n_train_steps=1").code == 0
        assert good(FOLDER / "last.ckpt") == steps

    @pytest.mark.parametrize("options", [["--trainer.max_steps=4", "--trainer.max_epochs=1"], ["--config=both.yaml"]])
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
