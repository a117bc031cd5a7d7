"""Every fit of the digits that the documentation shows is trained for real, and must give something worth looking at.

Left out are packaged configurations, which are measured elsewhere, blocks that are marked as not run, fits that go
on with another one, and fits of a few epochs, on pages that say so.
"""

from __future__ import annotations

import importlib.util
import re
import shlex
import sys
from collections.abc import Iterator
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import torch
from short import few
from test_docs import BLOCK, PAGES, ROOT, STOPS, commands

import vae_zoo
from vae_zoo import models
from vae_zoo.cli import main, packaged
from vae_zoo.cli.commands.list import chosen
from vae_zoo.cli.commands.show import show
from vae_zoo.cli.inspect.options import choices
from vae_zoo.cli.verbs import HELP
from vae_zoo.data import Digits

FLOORS = {
    "vae-zoo fit --model BetaVAE --data Digits --model.beta 2 --trainer.max_epochs 20": (4.0, 0.45),  # 6.5 and .29
    "vae-zoo fit --model VAE --data Digits --trainer.max_epochs 20": (8.0, 0.35),  # 13.6 and .20
    "vae-zoo fit --config beta_vae_digits --model.beta 4 --trainer.max_epochs 20": (1.5, 0.65),  # 2.5 and .48
    "vae-zoo fit --model my_vae.MyVAE --data Digits --model.free 3 --trainer.max_epochs 20": (
        8.0,
        0.35,
    ),  # 14.1 and .20
    "vae-zoo fit --model MLPVAE --data Digits --data.binarization threshold --model.latent_dim 8 "
    "--trainer.max_epochs 20": (2.0, 0.55),  # 3.3 and .40 of grey digits, which it has not seen
}
"""Least rate in nats, and greatest squared error of reconstructions over that of the mean image, on the test split."""
AS_ITS_CONFIGURATION = {
    "vae-zoo fit --config ae_digits --trainer.max_epochs 100": "its last epochs",
    "vae-zoo fit --config vae_digits --config early_stopping --config annealing": "a warm-up of 10 of 100 epochs",
    "vae-zoo fit --config vae_digits --trainer.callbacks+=LinearAnnealing --trainer.callbacks.num_epochs=20": "of 20",
    "vae-zoo fit --config vae_digits --trainer.callbacks+=EarlyStopping --trainer.callbacks.monitor=val/elbo "
    "--trainer.callbacks.mode=max": "it stops where nothing is gained",
    "vae-zoo fit --config vae_digits --config debug": "ten batches, as the page says of debug",
    "vae-zoo fit --model M2 --data Digits --data.num_labels 100 --model.likelihood SharedNormal": "m2_digits, beside σ",
    "vae-zoo fit --config mine.yaml --trust my_vae": "the file is on the page, with its two epochs",
}
"""Fits whose options hardly change what a packaged configuration gives, and why."""
ASIDE = ("samples.", "traversals.", "wandb", "last.", "nan.", "trainer.accelerator", "trainer.devices")
"""Options that change nothing of what is learned."""


def texts() -> Iterator[tuple[str, str]]:
    """What is read, by its name: pages as they are, pages of models, and what the command prints."""
    for path in PAGES:
        yield path.name, path.read_text(encoding="utf-8")
    spec = importlib.util.spec_from_file_location("model_pages", ROOT / "docs" / "_ext" / "model_pages.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for name in models.__all__:
        own = [path for path in packaged().values() if chosen(path, "model") == name]
        yield f"the page of {name}", module.page(name, own)
    for name in (*choices("model"), *choices("data")):
        with redirect_stdout(StringIO()) as out:
            show([name])
        yield f"show {name}", as_block(re.findall(r"run it +(vae-zoo.*)", out.getvalue()))
    yield "--help", as_block(re.findall(r"^  (vae-zoo.*)", HELP, re.MULTILINE))


def as_block(lines: list[str]) -> str:
    return "\n".join(["```bash", *lines, "```"])


def shown(text: str) -> list[str]:
    """Fits of a text: lines of blocks that are run, and pieces of code within sentences that are whole commands."""
    found = [
        command
        for marker, _, language, block in BLOCK.findall(text)
        if language == "bash" and marker != "not run"
        for command in commands(block)
    ]
    found += [shlex.split(inline)[1:] for inline in re.findall(r"`(vae-zoo fit --[^`\n…]*)`", BLOCK.sub("", text))]
    return [f"vae-zoo {shlex.join(args)}" for args in found if args[0] == "fit" and not {*args} & {*STOPS}]


def epochs(command: str) -> int:
    return int((re.findall(r"max_epochs[ =](\d+)", command) or ["100"])[-1])


def of_the_digits(command: str) -> bool:
    return "--ckpt_path" not in command and ("--data Digits" in command or "--config" in command)


def is_packaged(command: str) -> bool:
    """Whether a fit is a packaged configuration, with options that change nothing of what is learned."""
    start, *options = command.removeprefix("vae-zoo fit --").split(" --")
    return start.partition(" ")[2] in packaged() and all(option.startswith(ASIDE) for option in options)


def wanted() -> set[str]:
    """Fits of the digits that are neither cut short nor packaged."""
    pytest.importorskip("sphinx", reason="the pages of models are made by an extension of it")
    found = set()
    for name, text in texts():
        for command in filter(of_the_digits, shown(text)):
            if epochs(command) > 5:
                found.add(command)
            else:
                assert "cut short" in text, f"{name} does not say that {command} is cut short"
    return {command for command in found if not is_packaged(command)}


def test_every_fit_is_run_or_left_out_for_a_reason() -> None:
    assert wanted() == {*FLOORS, *AS_ITS_CONFIGURATION}


def test_a_new_fit_does_not_escape() -> None:
    block = "```bash\nvae-zoo fit --model AE --data Digits  # a look\nvae-zoo fit --config vae_digits --model.lr 1\n```"
    assert shown(f"<!-- not run: why -->\n{block}") == []
    found = shown(f"{block} or `vae-zoo fit --config vae_digits --wandb`.")
    assert [(of_the_digits(command), is_packaged(command)) for command in found] == [
        (True, False),
        (True, False),
        (True, True),
    ]


@pytest.mark.slow
@pytest.mark.parametrize("command", few(FLOORS, 0))
def test_a_shown_fit_gives_digits(command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PL_GLOBAL_SEED", "0")  # set by the run, and put back by monkeypatch
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    for marker, name, _, text in BLOCK.findall((ROOT / "README.md").read_text(encoding="utf-8")):
        if marker == "file":
            (tmp_path / name).write_text(text)
    try:
        main([*shlex.split(command)[1:], "--trainer.enable_progress_bar=false"])
        (path,) = tmp_path.glob("results/*/fit_0/checkpoints/last.ckpt")
        rate, error = measured(vae_zoo.load(path, trust=["my_vae"]).eval())
    finally:
        sys.modules.pop("my_vae", None)
    print(f"rate {rate:.2f}, error {error:.3f}")
    least, greatest = FLOORS[command]
    assert rate >= least
    assert error <= greatest


@torch.no_grad()
def measured(model: Any) -> tuple[float, float]:
    """Rate, and squared error of reconstructions over that of the mean image."""
    digits = Digits()
    x, mean = digits.examples("test"), digits.examples("train").mean(0)
    rate = float(model.elbo(x).kl.mean())
    return rate, float((model.reconstruct(x) - x).square().sum() / (mean - x).square().sum())
