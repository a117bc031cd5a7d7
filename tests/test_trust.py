"""What may be imported, and that a guard leaves other parsers of the program unchanged."""

from __future__ import annotations

import threading
from typing import Any

import jsonargparse
import pytest
import torch
from jsonargparse._common import parsing_settings

from vae_zoo import nn
from vae_zoo.cli.named_packages import command_line
from vae_zoo.security import trust


@pytest.mark.parametrize(
    ("path", "trusted"),
    [
        ("vae_zoo.models.BetaVAE", True),
        ("vae_zoo.nn.dense.Dense", True),
        ("vae_zoo.cli.main", False),
        ("torch.nn.SiLU", True),
        ("torch.optim.lr_scheduler.CosineAnnealingLR", True),
        ("torch.nnX", False),
        ("torch.hub.load", False),
        ("lightning.pytorch.callbacks.EarlyStopping", True),
        ("lightning.pytorch.Trainer", False),
        ("os.system", False),
        ("my_vae.MyVAE", False),
    ],
)
def test_what_is_open(path: str, trusted: bool) -> None:
    assert trust.is_trusted(path) == trusted


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ("fit --model my_vae.MyVAE --data Digits", ["my_vae"]),
        ("fit --model=my_vae.my_vae", ["my_vae"]),
        ("fit --trainer.callbacks+=my_callbacks.Mine", ["my_callbacks"]),
        ("fit --model.encoder my_nets.encoders.Mine", ["my_nets"]),
        ("fit --trainer.callbacks [{class_path:my_callbacks.Mine}]", ["my_callbacks"]),
        ("check my_vae.vae", ["my_vae"]),
        ("test --ckpt_path a.B --trust my_vae --trust=my_nets.sub", ["my_nets.sub", "my_vae"]),
        ("fit --config Mine.Yaml --model BetaVAE --data.path images.npz", []),
        ("sample --out f.png --seed 1.5", []),
        ("fit --trainer.default_root_dir ../my.Runs --data.folder a/my.Images", []),
        ("fit --model.optimizer torch.optim.AdamW --model os.system", []),
    ],
)
def test_what_a_command_line_names(line: str, named: list[str]) -> None:
    with command_line(line.split()) as rest:
        assert list(trust._named) == named
        assert not [word for word in rest if "trust" in word]
    assert trust._named == ()


@pytest.mark.parametrize(
    "line", ["fit --trust", "fit --trust os", "fit --trust=a-b", "fit --trust jsonargparse.typing"]
)
def test_what_no_command_line_can_trust(line: str) -> None:
    with pytest.raises(ValueError, match="--trust"), command_line(line.split()):
        pass


def test_a_guard_leaves_the_parser_as_it_was() -> None:
    before, loader = dict(parsing_settings), jsonargparse.get_loader("yaml")
    with trust.guard("my_vae"):
        with pytest.raises(ZeroDivisionError), trust.guard("my_nets"):
            raise ZeroDivisionError
        assert parsing_settings["import_path_verdicts"]["*"] is False
        assert trust.is_trusted("my_vae.MyVAE")
        assert not trust.is_trusted("my_nets.Mine")
    assert parsing_settings == before
    assert jsonargparse.get_loader("yaml") is loader
    assert not trust.is_trusted("my_vae.MyVAE")


def test_a_guard_that_cannot_be_set_up_leaves_nothing_behind() -> None:
    before = dict(parsing_settings)
    with pytest.raises(ValueError, match="not a path"), trust.guard("not a path"):
        pass
    assert parsing_settings == before


def test_a_guard_holds_while_another_thread_ends_its_own() -> None:
    inside, done = threading.Event(), threading.Event()
    seen: list[Any] = []

    def other() -> None:
        with trust.guard():
            inside.set()
            done.wait(10)
            seen.append(parsing_settings["import_path_verdicts"].get("*"))

    with trust.guard():
        thread = threading.Thread(target=other)
        thread.start()
        assert inside.wait(10)
    done.set()
    thread.join()
    assert seen == [False]
    assert "*" not in parsing_settings["import_path_verdicts"]


class Mine(nn.Dense):
    """A network of a program that has imported it."""


def test_imported_classes_of_a_program_are_trusted_and_nothing_else() -> None:
    paths = [f"{__name__}.Mine", "subprocess.Popen", "torch.nn.Linear", "threading.Thread", "nowhere.Mine", 3]
    assert trust.imported([{"class_path": path} for path in paths]) == [f"{__name__}.Mine"] * 2
    assert issubclass(trust.import_class("torch.nn.Linear"), torch.nn.Module)
