"""Answers before torch is imported, and the imports of each of our modules."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import vae_zoo
from vae_zoo.cli.commands.fit import refuse
from vae_zoo.cli.verbs import RUNS, VERBS

MY_VAE = """
from vae_zoo.models import VAE
class MyVAE(VAE):
    def __init__(self, *, gamma: float = 2.0, **kwargs):
        super().__init__(**kwargs)
"""
INSTANT = {
    "test --ckpt_path best": 2,
    "--version": 0,
    "--help": 0,
    "-h": 0,
    "fit --help": 0,
    "predict -h": 0,
    "fit --config vae_digits --model BetaVAE --help": 0,
    "list": 0,
    "list configs": 0,
    "list weights": 0,
    "show BetaVAE": 0,
    "show vae_digits": 0,
    "schema": 0,
    "completion bash": 0,
    "completion fish": 0,
    "": 2,
    "fti": 2,
    "--versoin": 2,
    "list everything": 2,
    "show BetaVEA": 2,
    "check --onyl": 2,
    "fit": 2,
    "fit --model BetaVAE": 2,
    "fit --config vae_digit": 2,
    "fit --config torn.yaml": 2,
    "fit --config twice.yaml": 2,
    "fit --config vae_digits --trainer [1]": 2,
    "fit --optimizer Adam": 2,
    "fit --config group.yaml": 2,
    "fit --config vae_digits --trainer.max_epoch 2": 2,
    "fit --config vae_digits --evidence.num_sample=2": 2,
    "fit --config vae_digits --modle BetaVAE": 2,
    "fit --config vae_digits --model BetaVEA": 2,
    "fit --config=vae_digits --data=Digit": 2,
    "fit --model BetaVAE --model.betta 2 --data Digits": 2,
    "test": 2,
    "predict --config vae_digits": 2,
    "validate --ckpt_path nothing.ckpt": 2,
    "test --ckpt_path https://example.org/model.ckpt": 2,
    "sample": 2,
    "sample --ckpt_path nothing.ckpt": 2,
    "sample --ckpt_path garbage --num 0": 2,
    "sample --ckpt_path garbage --class three": 2,
    "sample --ckpt_path garbage --out s.gif": 2,
    "sample --ckpt_path garbage --out nowhere/s.png": 2,
    "export": 2,
    "export --ckpt_path nothing.ckpt --format onnx": 2,
    "export --ckpt_path garbage --format pickle": 2,
    "export --ckpt_path garbage --format onnx --out garbage": 2,
}
SCRIPT = """
import json, sys
from vae_zoo.cli import main
heavy = {"torch", "lightning", "torchmetrics", "torchvision", "numpy", "scipy", "jsonargparse", "matplotlib"}
for line in json.loads(sys.argv[1]):
    code = 0
    try:
        main(line.split())
    except SystemExit as stop:
        code = stop.code or 0
    print("answered", json.dumps([line, code, sorted(heavy & set(sys.modules))]))
"""
UNDECIDED = [  # left to the parser, which knows what is imported and what a file holds
    "fit --model my_vae.MyVAE --data Digits --model.gamma 3",
    "fit --model my_vae --data Digits --model.gamma 3",
    "fit --data my_data.MyData --model MyVAE",
    "fit --trainer.callbacks my_callbacks.Mine --model MyVAE --data Digits",
    "fit --config mine --model MyVAE --data Digits",
    "fit --config mine --model.gamma 3",
    "fit --model BetaVAE --config mine --model.gamma 3",
    "fit --ckpt_path garbage --model MyVAE",
    "fit --ckpt_path last --config vae_digits",
    "fit --model.class_path BetaVAE --model.init_args.beta 2 --data=Digits",
    "fit --model BetaVAE --model.encoder Dense --model.encoder.hidden+=9 --data Digits --model.beta -1",
    "fit --config vae_digits --trainer.callbacks+=LinearAnnealing --trainer.callbacks.num_epochs=2",
    "fit --trainer mine --samples mine --config vae_digits",
    "fit --model.help BetaVEA",
    "fit --bogus 3 --help",
    "fit --print_config",
]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "torn.yaml").write_text("model: [BetaVAE\n")
    (tmp_path / "twice.yaml").write_text("model: AE\ndata: Digits\nmodel: VAE\n")
    (tmp_path / "group.yaml").write_text("modle: BetaVAE\n")
    (tmp_path / "mine").write_text("model: my_vae.MyVAE\ntrainer.max_epochs: 2\ntrainer:\n  callbacks+: []\n")
    (tmp_path / "my_vae").write_text("class_path: my_vae.MyVAE\n")
    (tmp_path / "garbage").write_text("hello")
    return tmp_path


def test_answered_without_torch(folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, json.dumps(list(INSTANT))], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    answers = [json.loads(line.removeprefix("answered ")) for line in done.stdout.splitlines() if "answered [" in line]
    assert {line: code for line, code, _ in answers} == INSTANT
    assert {line: heavy for line, _, heavy in answers if heavy} == {}


@pytest.mark.parametrize("line", UNDECIDED)
def test_what_the_command_line_does_not_decide_passes(line: str, folder: Path) -> None:
    from vae_zoo.cli import packaged_configs

    verb, *args = line.split()
    refuse(verb, packaged_configs(args))


def test_a_plugin_may_bring_the_class(
    folder: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    args = ["--model", "OtherVAE", "--data", "Digits"]
    with pytest.raises(ValueError, match="no class OtherVAE"):
        refuse("fit", args)
    info = tmp_path_factory.mktemp("site") / "other-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: other\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[vae_zoo.plugins]\nother = other\n")
    monkeypatch.syspath_prepend(info.parent)
    refuse("fit", args)


def test_another_lightning_is_left_to_the_parser(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vae_zoo.cli.inspect.options.TRAINER", "lightning.pytorch.Elsewhere")
    refuse("fit", ["--config", str(folder / "group.yaml"), "--trainer.anything", "1"])


def test_help_lists_every_verb(run: Callable) -> None:
    out = run("--help").out
    for verb in VERBS:
        assert f"  {verb.name} " in out
        assert verb.line in out
    assert "vae-zoo fit --config vae_digits" in out


@pytest.mark.parametrize("verb", RUNS)
def test_the_help_of_a_run_fits_on_a_screen_or_two(verb: str, run: Callable) -> None:
    out = run(verb, "--help").out
    assert out.startswith(f"usage: vae-zoo {verb} --")
    assert len(out.splitlines()) <= 48
    assert max(map(len, out.splitlines())) <= 80
    for word in ("--model", "--data", "--config", "vae-zoo show NAME", "--help-all", "samples.every_n_epochs"):
        assert word in out


@pytest.mark.parametrize("given", ["--model BetaVAE --data Digits", "--config beta_vae_digits"])
def test_the_help_of_two_classes_has_their_options(given: str, run: Callable) -> None:
    out = run("fit", *given.split(), "--help").out
    for name in ("--model.beta  float = 4.0", "--model.latent_dim", "--data.batch_size", "Weight β of the rate."):
        assert name in out
    assert "--model.shape" not in out, "which follows from the data"
    assert "--data.folder  str, required" in run("fit", "--data", "ImageFolder", "--help").out


@pytest.mark.exhaustive
def test_what_only_lightning_knows_is_left_to_it(run: Callable, tmp_path: Path) -> None:
    (tmp_path / "helped_vae.py").write_text(MY_VAE)
    assert "--trainer.max_epochs" in run("fit", "--help-all").out
    assert "--model.beta" in run("fit", "--model.help", "BetaVAE").out
    assert "--model.gamma" in run("fit", "--model", "helped_vae.MyVAE", "--data", "Digits", "--help").out


@pytest.mark.parametrize("verb", ["sample", "export", "list", "show", "check", "schema", "completion"])
def test_every_verb_has_help(verb: str, run: Callable) -> None:
    outcome = run(verb, "--help")
    assert outcome.code == 0
    assert outcome.out.startswith(f"usage: vae-zoo {verb} ")


def test_as_a_module() -> None:
    done = subprocess.run([sys.executable, "-m", "vae_zoo", "--version"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, f"vae-zoo {vae_zoo.__version__}\n")


@pytest.mark.exhaustive
def test_an_unread_end_is_no_mistake() -> None:
    command = [sys.executable, "-m", "vae_zoo", "schema"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stderr
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 141
