"""What the command prints first, in which characters, and how it shows warnings."""

from __future__ import annotations

import ast
import io
import os
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest

import vae_zoo
from vae_zoo.cli.commands.fit import _what
from vae_zoo.cli.terminal import greet, plain_output

HELLO = f"vae-zoo {vae_zoo.__version__}: "
WITHOUT_TORCH = """
import sys
sys.modules["torch"] = None
from vae_zoo.cli import main
main(sys.argv[1:])
"""


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("--model BetaVAE --data Digits", "BetaVAE on Digits"),
        ("--model=BetaVAE --data.class_path vae_zoo.data.Digits", "BetaVAE on Digits"),
        ("--config {config} --model IWAE", "IWAE on Digits"),
        ("--model IWAE -c {config}", "BetaVAE on Digits"),
        ("--ckpt_path a/last.ckpt", "a/last.ckpt"),
        ("--config {config} --ckpt_path last", "BetaVAE on Digits, from last"),
        ('--model {{"class_path":"BetaVAE"}}', ""),
    ],
)
def test_what_a_run_is_of(line: str, said: str, tmp_path: Path) -> None:
    config = tmp_path / "c.yaml"
    config.write_text("model:\n  class_path: BetaVAE\ndata: Digits\n")
    assert _what(line.format(config=config).split()) == said


def test_a_run_says_what_it_is_before_torch_is_there() -> None:
    def call(*args: str) -> str:
        command = [sys.executable, "-c", WITHOUT_TORCH, *args]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 2, "there is no torch"
        return done.stdout

    assert call("fit", "--model", "BetaVAE", "--data", "Digits") == f"{HELLO}fit BetaVAE on Digits\n"
    assert call("fit", "--model", "BetaVAE", "--data", "Digits", "--print_config") == ""


def test_a_run_of_several_processes_says_it_once(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for environment in ({}, {"LOCAL_RANK": "0"}, {"LOCAL_RANK": "1"}, {"RANK": "2", "LOCAL_RANK": "0"}):
        for name in ("RANK", "LOCAL_RANK"):
            monkeypatch.delenv(name, raising=False)
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        greet("fit", "BetaVAE on Digits")
    assert capsys.readouterr().out == f"{HELLO}fit BetaVAE on Digits\n" * 2


@pytest.mark.parametrize("tty", [True, False])
def test_output_for_other_programs_stays_clean(
    tty: bool, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: tty)
    greet("sample", "from a.ckpt", piped=True)
    assert capsys.readouterr() == ("", f"{HELLO}sample from a.ckpt\n" * tty)


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_every_character_can_be_printed(encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    file = io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors="strict")
    monkeypatch.setattr(sys, "stdout", file)
    with plain_output():
        print("β-VAE, σ² – “é” ┏━┓ 💡 a\udcffb")
        file.flush()
    assert file.errors == "strict"
    written = file.buffer.getvalue()  # type: ignore[attr-defined]
    if encoding == "utf-8":
        assert written.startswith("β-VAE, σ² – “é”".encode())
    else:
        assert written.startswith(
            {"ascii": b'beta-VAE, sigma2 - "e" +-+ ?', "latin-1": b"beta-VAE, sigma\xb2"}[encoding]
        )
    assert written.endswith(b"a\xffb\n"), "a file's name as it is on the disk"


def test_a_warning_is_one_line_for_the_command_alone() -> None:
    before = warnings.formatwarning, list(warnings.filters)
    with plain_output():
        assert warnings.formatwarning("look\n  here", UserWarning, "source.py", 3) == "warning: look here\n"
        warnings.filterwarnings("ignore", "look")
    assert (warnings.formatwarning, list(warnings.filters)) == before


@pytest.mark.exhaustive
def test_text_is_opened_with_an_encoding() -> None:
    """Elsewhere it would be that of the locale."""
    missing = []
    for path in sorted(Path(vae_zoo.__file__).parent.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            attribute = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            owner = ast.unparse(node.func.value) if isinstance(node.func, ast.Attribute) else ""
            binary = any(isinstance(a, ast.Constant) and "b" in str(a.value) for a in node.args)
            ours = attribute in ("open", "write_text", "read_text") and owner not in ("os", "Image", "archive")
            function = attribute != "open" and not owner  # one of the package, looked at where it is
            if ours and not (binary or function or any(word.arg == "encoding" for word in node.keywords)):
                missing.append(f"{path.name}:{node.lineno}")
    assert not missing


@pytest.mark.exhaustive
@pytest.mark.slow
def test_no_locale_ends_a_run(tmp_path: Path) -> None:
    locale = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": "ascii"}
    (tmp_path / "c.yaml").write_text(
        "# β-VAE – a comment\nmodel: BetaVAE\ndata: Digits\n",
        encoding="utf-8",
    )

    command = [sys.executable, "-m", "vae_zoo", "fit", "--config", "c.yaml", "--trainer.max_epochs=1"]
    command += ["--model.likelihood=Bernoulli"]
    command += ["--collapse.patience=1", "--collapse.min_active=17"]
    done = subprocess.run(command, cwd=tmp_path, env={**os.environ, **locale}, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.decode("ascii").startswith(f"{HELLO}fit BetaVAE on Digits\n")
    (line,) = done.stderr.decode("ascii").splitlines()
    assert line.startswith("warning: posterior collapse: ")


QUICK = [
    "list",
    "list models",
    "list data",
    "list configs",
    "list weights",
    "show BetaVAE",
    "show vae_digits",
    "schema",
    "--help",
]
QUICK += ["completion bash", "completion fish", "fit --help", "show BetaVEA"]


@pytest.mark.parametrize("line", QUICK)
def test_every_quick_verb_in_ascii(line: str, run: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    file = io.TextIOWrapper(io.BytesIO(), encoding="ascii", errors="strict")
    monkeypatch.setattr(sys, "stdout", file)
    monkeypatch.setattr(sys, "stderr", file)
    assert run(*line.split()).code == (2 if "BetaVEA" in line else 0)
    file.flush()
    assert file.buffer.getvalue()  # type: ignore[attr-defined]
