from __future__ import annotations

import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from vae_zoo import models
from vae_zoo.cli import packaged
from vae_zoo.cli.verbs import VERBS

ASK = """
source {script}
COMP_WORDS=({words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))
_vae_zoo
echo "${{COMPREPLY[@]}}"
"""


@pytest.fixture
def complete(tmp_path: Path, run: Callable) -> Callable[[str], list[str]]:
    """What bash offers at the end of a line."""
    script = tmp_path / "vae-zoo.bash"
    script.write_text(run("completion", "bash").out)
    assert script.stat().st_size < 2**18, "a shell reads it at every start"

    def call(line: str) -> list[str]:
        # Bash splits words at the equals sign, too.
        words = [shlex.quote(word) for word in line.replace("=", " = ").split(" ") if word or line.endswith(" ")]
        text = ASK.format(script=script, words=" ".join(words))
        return subprocess.run(["bash", "-c", text], capture_output=True, text=True, check=True).stdout.split()

    return call


def test_bash(complete: Callable[[str], list[str]]) -> None:
    assert complete("vae-zoo ") == [*(verb.name for verb in VERBS), "--help", "--version"]
    assert complete("vae-zoo val") == ["validate"]
    assert complete("vae-zoo fit --model Beta") == ["BetaTCVAE", "BetaVAE"]
    assert complete("vae-zoo fit --model=Beta") == ["BetaTCVAE", "BetaVAE"]
    assert complete("vae-zoo fit --model BetaVAE --data Di") == ["Digits"]
    assert set(complete("vae-zoo check ")) == set(models.__all__) - {"Autoencoder"}
    assert complete("vae-zoo fit --config ") == list(packaged())
    assert complete("vae-zoo fit --trainer.max_e") == ["--trainer.max_epochs"]
    assert complete("vae-zoo fit --model.bet") == ["--model.beta"]
    assert complete("vae-zoo fit --data.bat") == ["--data.batch_size"]
    assert complete("vae-zoo predict --ret") == ["--return_predictions"]
    assert complete("vae-zoo fit --ret") == []
    assert complete("vae-zoo test --ckpt_path ") == [], "files, by the shell's default"
    assert complete("vae-zoo show vae_d") == ["vae_digits"]
    assert complete("vae-zoo sweep-check beta") == ["beta_vae_digits", "beta_vae_sprites"]
    assert complete("vae-zoo sweep-run beta_vae_d") == ["beta_vae_digits"]
    assert complete("vae-zoo fit --wandb.pro") == ["--wandb.project"]
    assert complete("vae-zoo sample --t") == ["--temperature", "--theme"]
    assert complete("vae-zoo export --") == ["--help", "--ckpt_path", "--pretrained", "--format", "--out"]
    assert complete("vae-zoo export --format o") == ["onnx"]
    assert complete("vae-zoo compare --a") == ["--across_likelihoods"]
    assert complete("vae-zoo sweep-run --n") == ["--num"]
    assert complete("vae-zoo list ") == ["models", "data", "configs", "weights"]


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_the_syntax_is_right(shell: str, run: Callable) -> None:
    script = run("completion", shell).out
    done = subprocess.run(["bash", "-n"], input=script, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert ("bashcompinit" in script) == (shell == "zsh")


def test_fish(run: Callable) -> None:
    lines = run("completion", "fish").out.splitlines()
    for verb in VERBS:
        assert f"complete -c vae-zoo -n __fish_use_subcommand -f -a {verb.name} -d '{verb.line}'" in lines
    (model,) = (line for line in lines if " -l model " in line)
    assert "fit validate test predict" in model
    assert "BetaVAE" in model


def test_another_shell_is_a_mistake(run: Callable) -> None:
    outcome = run("completion", "tcsh")
    assert outcome.code == 2
    assert "invalid choice: 'tcsh'" in outcome.err
