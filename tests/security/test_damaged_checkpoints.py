"""Checkpoints with wrong contents under the keys of a fit: one line, whichever code reads them."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import quiet_trainer, tiny, tiny_data
from short import few

import vae_zoo
from vae_zoo import hub
from vae_zoo.callbacks import StartFrom
from vae_zoo.models import VAE

from .hostile import planted

WRONG: dict[str, Any] = {
    "a number": 3, "text": "x", "nothing": None, "a list": [], "a list of a number": [3], "a list of text": ["x"],
    "a dictionary": {}, "of a number": {"a": 3}, "by a number": {3: {}}, "a tensor": torch.zeros(2), "true": True,
    "-1": -1,
}  # fmt: skip
KEYS = [
    "state_dict", "epoch", "global_step", "pytorch-lightning_version", "hyper_parameters", "hparams_name", "loops",
    "callbacks", "optimizer_states", "lr_schedulers", "vae_zoo", "curves",
]  # fmt: skip
FINE = {  # what is of the right kind, or is not looked at where nothing is resumed
    *((key, "a dictionary") for key in ("loops", "callbacks", "curves")),
    *((key, "of a number") for key in ("callbacks", "curves")),
    *((key, "a list") for key in ("optimizer_states", "lr_schedulers")),
    ("hparams_name", "nothing"),
    *(("epoch", "a number"), ("global_step", "a number"), ("hparams_name", "text"), ("curves", "by a number")),
}


def write(content: Any) -> str:
    torch.save(content, "evil.ckpt")
    return "evil.ckpt"


@pytest.mark.parametrize("key", few(KEYS, 4))
def test_another_kind_of_thing(key: str, content: dict[str, Any], marker: Path) -> None:
    for name, value in WRONG.items():
        path = write({**content, key: value})
        if (key, name) in FINE:
            hub.read(path)
            continue
        with pytest.raises(
            ValueError, match=r"^evil\.ckpt (is damaged|names no model|holds)[^\n]*$|^the weights in evil"
        ):
            vae_zoo.load(path)


@pytest.mark.parametrize("key", ["state_dict", "epoch", "global_step", "pytorch-lightning_version", "hyper_parameters"])
def test_a_key_that_is_missing(key: str, content: dict[str, Any], marker: Path) -> None:
    del content[key]
    with pytest.raises(ValueError, match=f"evil.ckpt is damaged: it has no {key}"):
        vae_zoo.load(write(content))


def inner() -> Iterator[tuple[str, tuple[Any, ...], Any]]:
    progress = ("loops", "fit_loop", "epoch_progress")
    yield "a count is text", (*progress, "current", "completed"), "x"
    yield "a count is negative", (*progress, "total", "ready"), -1
    yield "steps are text", ("loops", "fit_loop", "epoch_loop.state_dict", "_batches_that_stepped"), "x"
    yield "no state of an optimizer", ("optimizer_states", 0, "state"), 3
    yield "no groups", ("optimizer_states", 0, "param_groups"), [3]
    yield "groups of text", ("optimizer_states", 0, "param_groups", 0, "params"), "abc"
    yield "a weight is text", ("state_dict", "encoder.layers.1.weight"), "x"
    yield "a weight has no name", ("state_dict", 3), torch.zeros(2)


@pytest.mark.parametrize(("keys", "value"), [pytest.param(k, v, id=n) for n, k, v in inner()])
def test_another_thing_within(keys: tuple[Any, ...], value: Any, content: dict[str, Any], marker: Path) -> None:
    with pytest.raises(ValueError, match=rf"^evil\.ckpt is damaged: its {keys[0]} is not what a fit writes\.$"):
        vae_zoo.load(write(planted(content, *keys, value=value)))


@pytest.mark.parametrize(("value", "place"), few([("nan", 0), ("inf", 0), ("nan", 1)], 1))
def test_weights_that_are_not_finite(value: str, place: int, content: dict[str, Any], marker: Path) -> None:
    name = "encoder.layers.1.weight"
    content["state_dict"][name][0, place] = float(value)
    path = write(content)
    for read in (vae_zoo.load, VAE.load_from_checkpoint):
        with pytest.raises(ValueError, match=rf"^{name} in the checkpoint is not finite: [^\n]*$"):
            read(path)
    with pytest.raises(ValueError, match=rf"{name} in the checkpoint is not finite"):
        quiet_trainer(Path.cwd()).test(tiny(VAE), tiny_data(), ckpt_path=path)
    with pytest.raises(ValueError, match=rf"{name} in the checkpoint is not finite"):
        quiet_trainer(Path.cwd(), callbacks=[StartFrom(path=path)]).fit(tiny(VAE), tiny_data())


def test_shared_weights_that_are_not_finite(marker: Path) -> None:
    save = pytest.importorskip("safetensors.torch").save_file
    vae_zoo.save_pretrained(tiny(VAE), "model")
    weights = {name: value.clone() for name, value in tiny(VAE).state_dict().items()}
    weights["encoder.layers.1.bias"][0] = float("nan")
    save(weights, "model/model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"encoder\.layers\.1\.bias in the checkpoint is not finite"):
        vae_zoo.from_pretrained("model")


def test_weights_of_other_shapes(content: dict[str, Any], marker: Path) -> None:
    content["state_dict"]["encoder.layers.1.weight"] = torch.zeros(3, 3)
    with pytest.raises(ValueError, match=r"^the weights in evil\.ckpt do not fit its model: size mismatch[^\n]*$"):
        vae_zoo.load(write(content))
    del content["state_dict"]["encoder.layers.1.weight"]
    with pytest.raises(ValueError, match=r"^the weights in evil\.ckpt do not fit its model: Missing key[^\n]*$"):
        vae_zoo.load(write(content))


RESUMED = {
    "loops": (("loops",), None, "without loops"),
    "empty loops": (("loops",), {}, "without loops"),
    "no state of an optimizer": (("optimizer_states",), [], "without optimizer_states"),
    "callbacks": (("callbacks",), None, "without callbacks"),
    "a state of a callback": (("callbacks",), {"LastCheckpoint": 3}, "its callbacks is not what a fit writes"),
    "progress without a part": (("loops", "fit_loop", "epoch_progress"), {"total": {}}, "cannot be restored, KeyError"),
    "moments of another shape": (("optimizer_states", 0, "state", 0, "exp_avg"), torch.zeros(2), "is of other weights"),
    "moments that are not finite": (
        ("optimizer_states", 0, "state", 1, "exp_avg"),
        float("nan"),
        "exp_avg in the checkpoint",
    ),
    "too few groups": (("optimizer_states", 0, "param_groups"), [], "is of 0 parameters, the model has"),
    "a loop without its progress": (("loops", "fit_loop"), {}, "its loops lack epoch_progress"),
    "an unknown curve": (("curves",), {"loss": 3}, "its curves are not"),
}


@pytest.mark.parametrize("name", few(RESUMED, 1))
def test_a_fit_that_cannot_go_on(name: str, content: dict[str, Any], refused: Callable) -> None:
    keys, value, words = RESUMED[name]
    if isinstance(value, float):
        value = torch.full_like(content["optimizer_states"][0]["state"][1]["exp_avg"], value)
    planted(content, *keys, value=value)
    if value is None:
        del content[keys[0]]
    path = write(content)
    assert words in refused("fit", "--ckpt_path", path, "--trainer.max_epochs", "3", "--trainer.accelerator", "cpu")


@pytest.mark.parametrize(
    "verb", few(["fit", "validate", "test", "predict", "sample --out a.png", "export --out a --format safetensors"], 1)
)
def test_by_every_verb(verb: str, content: dict[str, Any], refused: Callable) -> None:
    verb, *more = verb.split()
    renamed = copy.deepcopy(content)
    for keys in (("hyper_parameters", "_class_path"), ("vae_zoo", "model", "class_path")):
        planted(renamed, *keys, value="vae_zoo.models.RenamedVAE")
    path = write(renamed)
    assert "there is no class vae_zoo.models.RenamedVAE in this version" in refused(verb, "--ckpt_path", path, *more)
    path = write({**content, "callbacks": 3, "epoch": 1})
    assert "its callbacks is not what a fit writes" in refused(verb, "--ckpt_path", path, *more)
    content["state_dict"]["encoder.layers.1.weight"][0, 0] = float("nan")
    assert "encoder.layers.1.weight in the checkpoint is not finite" in refused(
        verb, "--ckpt_path", write(content), *more
    )
