"""Hostile data files: pickled arrays, archives that unpack to far more than their size, images and shards."""

from __future__ import annotations

import io
import json
import os
import pickle
import struct
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io
import torch
from helpers import tiny_data
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from PIL import Image
from short import few

from vae_zoo.data import Arrays, FreyFaces, Stream, write_shards
from vae_zoo.models import VAE
from vae_zoo.security.untrusted import check_callbacks

from .hostile import Call, bomb_mat, bomb_npz, deflated, huge_png, planted

IMAGES = "fit --model VAE --data ImageFolder --data.folder images --data.cache false"
ARRAYS = "fit --model VAE --data Arrays --data.path {}"
SECONDS = 2.0


def objects(marker: Path) -> np.ndarray:
    array = np.empty(3, object)
    array[:] = Call(os.mkdir, str(marker))
    return array


def array_file(kind: str, marker: Path) -> str:
    name = kind.partition(" ")[0]
    path = Path(f"evil.{name}")
    if kind == "npy of objects":
        np.save(path, objects(marker), allow_pickle=True)
    elif kind == "npz of objects":
        np.savez(path, x=objects(marker), allow_pickle=True)
    elif kind in ("npy that is a pickle", "npz that is a pickle", "pt that is a pickle"):
        path.write_bytes(pickle.dumps(Call(os.mkdir, str(marker))))
    elif kind == "pt with code":
        torch.save({"x": torch.zeros(3, 2), "y": Call(os.mkdir, str(marker))}, path)
    elif kind == "pt that is compressed":
        torch.save(torch.zeros(3, 2), "sound.pt")
        deflated(path, Path("sound.pt"), 10_000)
    else:  # a head that promises more than there is
        with path.open("wb") as file:
            np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": (2**40, 4)})
    return str(path)


@pytest.mark.parametrize(
    "kind",
    few(
        [
            "npy of objects",
            "npz of objects",
            "npy that is a pickle",
            "npz that is a pickle",
            "pt that is a pickle",
            "pt with code",
            "pt that is compressed",
            "npy that promises 16 TB",
        ],
        3,
    ),
)
def test_an_array_file(kind: str, marker: Path, refused: Callable) -> None:
    path = array_file(kind, marker)
    start = time.process_time()
    said = refused(*ARRAYS.format(path).split())
    assert path in said
    assert time.process_time() - start < SECONDS


def test_an_archive_that_unpacks_to_far_more(refused: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    bomb_npz(Path("bomb.npz"), 2**32 - 2)
    monkeypatch.setattr("vae_zoo.security.limits.MAX_UNPACKED", 2**30)  # a file of 32-bit sizes says no more than 4 GiB
    assert "bomb.npz unpacks from" in refused(*ARRAYS.format("bomb.npz").split())


def test_members_that_lead_upwards_are_read_and_not_extracted(marker: Path) -> None:
    header = io.BytesIO()
    np.save(header, np.ones((20, 3), np.float32))
    with zipfile.ZipFile("evil.npz", "w") as archive:
        for name in ("../executed.npy", str(marker), "x.npy"):
            archive.writestr(name, header.getvalue())
    assert Arrays(path="evil.npz").load("train").x.shape[1:] == (3,)
    assert sorted(path.name for path in Path.cwd().iterdir()) == ["evil.npz", "evil_mod.py"]
    assert [path.name for path in marker.parent.iterdir()] == ["work"]


@pytest.mark.parametrize("kind", ["bomb", "long", "objects", "pickle"])
def test_a_matlab_file(kind: str, marker: Path) -> None:
    path = Path("FreyFace/frey_rawface.mat")
    path.parent.mkdir()
    if kind == "bomb":
        bomb_mat(path, 2**26)
    elif kind == "long":
        path.write_bytes(bytes(2**24 + 1))
    elif kind == "objects":
        scipy.io.savemat(path, {"ff": np.array([["a", "b"]], object)})
    else:
        path.write_bytes(pickle.dumps(Call(os.mkdir, str(marker))))
    start = time.process_time()
    with pytest.raises(ValueError, match=r"frey_rawface\.mat"):
        FreyFaces(root=".").dataset("train")
    assert time.process_time() - start < SECONDS


EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n"


@pytest.mark.parametrize("kind", few(["huge", "large", "PostScript", "pipe", "device", "pickle", "icon"], 3))
def test_an_image(kind: str, marker: Path, refused: Callable) -> None:
    folder = Path("images")
    folder.mkdir()
    for n in range(9):
        Image.new("L", (9, 9)).save(folder / f"{n}.png")
    path = folder / "evil.png"
    if kind in ("huge", "large"):
        huge_png(path, {"huge": 50_000, "large": 9_480}[kind])
    elif kind == "PostScript":
        path.write_bytes(EPS + f"({marker}) (w) file closefile\n".encode())
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "icon":
        Image.new("L", (16, 16)).save(path, "ICO")
    else:
        path.write_bytes(pickle.dumps(Call(os.mkdir, str(marker))))
    start = time.process_time()
    said = refused(*IMAGES.split())
    assert "images/evil.png" in said
    assert time.process_time() - start < SECONDS


def test_links_that_go_round_end(tmp_path: Path) -> None:
    from vae_zoo.data.files.image_files import list_images

    for folder in ("images", "elsewhere"):
        (tmp_path / folder).mkdir()
        Image.new("L", (9, 9)).save(tmp_path / folder / "a.png")
    (tmp_path / "images" / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "images" / "loop").symlink_to(tmp_path / "images")
    (tmp_path / "elsewhere" / "back").symlink_to(tmp_path / "images")
    assert list_images(tmp_path / "images") == [str(tmp_path / "images" / name) for name in ("a.png", "link/a.png")]


@pytest.fixture
def shards(marker: Path) -> Path:
    pytest.importorskip("litdata")
    write_shards(tiny_data(), "shards", splits=("train",))
    return Path("shards/train/index.json")


CONTEXT = json.dumps([{"__enum__": True, "fqn": "evil_mod:EvilVAE", "name": "a"}, "y"])
DEFAULT = json.dumps(
    {"default_factory_module": "evil_mod", "default_factory_name": "evil", "dict_context": '["x", "y"]'}
)


def change_shards(index: Path, change: dict[str, Any]) -> None:
    """Have an index, or the first shard, say something else: keys of the sample's description, of a shard or of all."""
    content = json.loads(index.read_text())
    spec = json.loads(content["config"]["data_spec"])
    shard = index.with_name(content["chunks"][0]["filename"])
    data = bytearray(shard.read_bytes())
    for key, value in change.items():
        if key in ("type", "context", "children_spec"):
            spec[1][key] = value
            content["config"]["data_spec"] = json.dumps(spec)
        elif key in ("filename", "chunk_size", "chunk_bytes"):
            content["chunks"][0][key] = value
        elif key in ("chunks", "config"):
            content[key] = value
        elif key == "words":  # numbers in the shard, by their place
            for place, word in value.items():
                data[4 * place : 4 * place + 4] = struct.pack("<I", word)
        elif key == "size":
            data = data[:value] + bytes(max(0, value - len(data)))
        elif key == "twice":
            content["chunks"] *= 2
        elif key == "gone":
            data = bytearray()
        else:
            content["config"][key] = value
    shard.write_bytes(data)
    index.write_text(json.dumps(content))
    if "gone" in change:
        shard.unlink()


HEAD = 50  # words before the first sample: its two sizes follow, then the type, rank and shape of its array
LYING: list[dict[str, Any]] = [
    {"data_format": ["pickle", "int"]},
    {"data_format": ["graph:pickle", "int"]},
    {"type": "collections.defaultdict", "context": DEFAULT},
    {"context": CONTEXT},
    {"filename": "../../../evil.bin"},
    {"filename": "/etc/hostname"},
    {"filename": "chunk-9-9.bin"},
    {"filename": 3},
    {"data_spec": "[1, {}]"},
    {"data_spec": None},
    {"data_spec": "[" * 5000},
    {"data_format": ["numpy"]},
    {"data_format": ["numpy", "int", "int"]},
    {"data_format": 3},
    {"data_format": ["int", "numpy"]},
    {"data_format": ["numpy", "float"]},
    {"data_format": ["jpeg", "int"]},
    {"data_format": ["no_header_numpy:9", "int"]},
    {"data_format": ["tensor", "int"]},
    {"children_spec": []},
    {"chunk_size": 10**12},
    {"chunk_size": 47},
    {"chunk_size": -1},
    {"chunk_size": "48"},
    {"chunk_bytes": 10**12},
    {"chunk_bytes": None},
    {"item_loader": "TokensLoader"},
    {"encryption": {"algorithm": "none", "level": "sample"}},
    {"compression": "evil"},
    {"compression": "zstd"},
    {"chunks": []},
    {"chunks": 3},
    {"chunks": [3]},
    {"config": None},
    {"twice": True},
    {"gone": True},
    {"size": 3},
    {"size": 4000},
    {"size": 9000},
    {"words": {0: 2**32 - 1}},
    {"words": {1: 2**32 - 1}},
    {"words": {5: 9}},
    {"words": {HEAD: 2**31}},
    {"words": {HEAD: 0}},
    {"words": {HEAD + 2: 2**32 - 1}},
    {"words": {HEAD + 3: 2**32 - 1}},
    {"words": {HEAD + 3: 0}},
    {"words": {HEAD + 4: 2**32 - 1}},
    {"words": {HEAD + 5: 0}},
]


@pytest.mark.filterwarnings("ignore:The given buffer is not writable", "ignore:The image decoding")  # torchvision's
@pytest.mark.parametrize("change", few(LYING, 12), ids=lambda change: str(change)[:60])
def test_shards(change: dict[str, Any], shards: Path) -> None:
    change_shards(shards, change)
    start = time.process_time()
    with pytest.raises(ValueError, match=r"^[^\n]*$"):
        Stream(path="shards", num_classes=3).load("train")
    assert time.process_time() - start < SECONDS


def test_shards_by_the_command(shards: Path, refused: Callable) -> None:
    write_shards(tiny_data(), "shards", splits=("val", "test"))
    change_shards(shards, {"words": {HEAD + 2: 2**32 - 1}})
    said = refused("fit", "--model", "VAE", "--data", "Stream", "--data.path", "shards")
    assert "Sample 0 in shards/train is damaged" in said


# States of callbacks, by which Lightning deletes what it takes for checkpoints that are outdated.


def last() -> ModelCheckpoint:
    return ModelCheckpoint("run", filename="last", enable_version_counter=False, save_on_train_epoch_end=True)


def resume(model: Any, path: str) -> None:
    trainer = Trainer(
        max_epochs=3, callbacks=[last()], accelerator="cpu", logger=False, enable_progress_bar=False,
        enable_model_summary=False, limit_train_batches=1, limit_val_batches=0,
    )  # fmt: skip
    trainer.fit(model, tiny_data(), ckpt_path=path)


@pytest.fixture
def victim(tmp_path: Path, content: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's own folder, beside the one they work in, where a checkpoint is that aims at it."""
    victim = tmp_path / "thesis"
    victim.mkdir()
    (victim / "chapter.tex").write_text("years")
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    state = {"best_model_path": "run/../../thesis", "best_model_score": None, "dirpath": str(tmp_path / "work" / "run")}
    torch.save(planted(content, "callbacks", value={last().state_key: state}), "evil.ckpt")
    return victim


@pytest.mark.filterwarnings("ignore:Be aware that when using", "ignore:.*ckpt_path")
def test_a_checkpoint_does_not_have_files_deleted(victim: Path) -> None:
    from helpers import tiny

    torch.manual_seed(3)
    with pytest.raises(ValueError, match=r"with the path run/\.\./\.\./thesis, which is outside of the run"):
        resume(tiny(VAE), "evil.ckpt")
    assert (victim / "chapter.tex").read_text() == "years"


@pytest.mark.filterwarnings("ignore:Be aware that when using", "ignore:.*ckpt_path")
def test_lightning_deletes_them(victim: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What shows that the probe would be seen."""
    from helpers import tiny

    monkeypatch.setattr("vae_zoo.training.saved.check_callbacks", lambda *args: None)
    resume(tiny(VAE), "evil.ckpt")
    assert not victim.exists()


def test_addresses_in_states_of_callbacks() -> None:
    states = {"ModelCheckpoint{'monitor': None}": {"best_k_models": {"s3://bucket/a.ckpt": 1.0}}}
    check_callbacks(states, ["s3://bucket"])
    with pytest.raises(
        ValueError, match=r"a state of ModelCheckpoint with the path s3://bucket/a\.ckpt, which is outside"
    ):
        check_callbacks(states, ["/runs/fit_0/checkpoints"])
