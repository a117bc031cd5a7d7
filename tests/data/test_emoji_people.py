"""Emoji of people, from a package that is drawn here with the names and the table of the real one."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import quiet_trainer, tiny
from PIL import Image

from vae_zoo.callbacks import Disentanglement
from vae_zoo.data import EmojiPeople, Pairs
from vae_zoo.data.base.paths import data_root
from vae_zoo.data.datasets.emoji_people import TONES
from vae_zoo.models import VAE

RUNNER, SURFER, COOK = ("1F3C3",), ("1F3C4",), ("200D", "1F373")


def sequences(activity: tuple[str, ...]) -> list[str]:
    """Of anyone, a man and a woman."""
    if activity == COOK:
        return ["-".join((who, *activity)) for who in ("1F9D1", "1F468", "1F469")]
    return [*activity, *(f"{activity[0]}-200D-{sign}-FE0F" for sign in ("2642", "2640"))]


def entry(sequence: str, name: str) -> dict[str, Any]:
    first, *rest = sequence.split("-")
    tones = {tone: {"image": "-".join((first, tone, *rest)).lower() + ".png"} for tone in TONES}
    return {"unified": sequence, "image": f"{sequence.lower()}.png", "short_name": name, "skin_variations": tones}


def package(root: Path, table: Iterable[dict[str, Any]]) -> str:
    """A package; each picture is of one colour: red for the emoji of the table, green for the skin tone."""
    table, folder = list(table), root / "Emoji" / "package" / "img" / "google" / "64"
    folder.mkdir(parents=True, exist_ok=True)
    for red, emoji in enumerate(table):
        for green, image in enumerate((emoji, *emoji.get("skin_variations", {}).values())):
            picture = Image.new("RGBA", (64, 64), (20 * red, 40 * green, 0, 255))
            picture.putpixel((0, 0), (0, 0, 0, 0))
            picture.save(folder / image["image"])
    (folder.parents[2] / "emoji.json").write_text(json.dumps(table))
    return str(root)


def whole() -> list[dict[str, Any]]:
    """Three activities, and what is left out: a heart, a dancer without a man, a runner to the right."""
    cook, runner, surfer = ([entry(s, f"{s} name") for s in sequences(activity)] for activity in (COOK, RUNNER, SURFER))
    heart = {"unified": "2764-FE0F", "image": "2764-fe0f.png", "short_name": "heart"}
    right = [entry(f"1F3C3-200D-{sign}-FE0F-200D-27A1-FE0F", "right") for sign in ("2640", "2642")]
    return [*surfer, *cook, heart, *runner, entry("1F483", "dancer"), *right]


def test_factors_and_splits(tmp_path: Path) -> None:
    data = EmojiPeople(root=package(tmp_path, whole()), image_size=16, background="blue")
    assert data.activities == ["1F3C3 name", "1F3C4 name", "1F9D1-200D-1F373 name"]
    assert (data.shape, data.factor_sizes, data.num_classes) == ((3, 16, 16), (3, 3, 6), 3)
    splits = [data.load(split) for split in ("train", "val", "test")]
    assert [len(split.x) for split in splits] == [data.num_train, 5, 5] == [44, 5, 5]
    x, factors = (torch.cat([split[part] for split in splits]) for part in (0, 2))
    assert len(factors.unique(dim=0)) == data.num_rows == 54
    assert torch.equal(torch.cat([split.y for split in splits]), factors[:, 0])
    start = torch.tensor([7, 0, 3])[factors[:, 0]]  # where an activity begins in the table
    assert torch.equal(x[:, 0, 8, 8], (20 * (start + factors[:, 1])).to(torch.uint8))
    assert torch.equal(x[:, 1, 8, 8], (40 * factors[:, 2]).to(torch.uint8))
    assert (x[:, 2, 0, 0] > x[:, 2, 8, 8]).all()  # the background
    assert torch.equal(torch.cat([split.rows for split in splits]), factors @ torch.tensor([18, 6, 1]))


def test_all_factors_are_classes(tmp_path: Path) -> None:
    data = EmojiPeople(root=package(tmp_path, whole()), image_size=8, all_factors=True)
    assert (data.num_classes, data.condition_sizes) == (None, (3, 3, 6))
    loaded = data.load("train")
    assert torch.equal(loaded.y, loaded.factors.float())


def test_metrics_and_pairs_know_the_factors(tmp_path: Path) -> None:
    data = EmojiPeople(root=package(tmp_path, whole()), image_size=8)
    (found,) = quiet_trainer(tmp_path, callbacks=[Disentanglement(num_votes=20)]).test(
        tiny(VAE, shape=data.shape), data, verbose=False
    )
    assert 0 <= found["test/mig"] <= 1
    pairs = Pairs(data=data, factors=1, batch_size=8)
    pairs.setup("fit")
    x = next(iter(pairs.train_dataloader())).x
    assert x.shape == (16, 3, 8, 8)
    assert (x[::2] != x[1::2]).flatten(1).any(1).all()


def test_missing_package(tmp_path: Path) -> None:
    wanted = r"^There is no \S+emoji\.json: run 'npm pack emoji-datasource-google' [^\n]*VAE_ZOO_DATA[^\n]*$"
    with pytest.raises(FileNotFoundError, match=wanted):
        EmojiPeople(root=str(tmp_path)).setup("fit")


def elsewhere() -> list[dict[str, Any]]:
    table = whole()
    table[0]["skin_variations"][TONES[2]]["image"] = "../../emoji.png"
    return table


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        "[1]",
        "[" * 100_000,
        json.dumps([{"unified": "1F483", "short_name": "dancer", "image": "1f483.png"}]),
        json.dumps([{"unified": 3, "skin_variations": {tone: {} for tone in TONES}}]),
        json.dumps([entry("2640", "sign") | {"skin_variations": dict.fromkeys(TONES)}]),
        json.dumps(elsewhere()),
    ],
)
def test_other_tables(tmp_path: Path, text: str) -> None:
    (tmp_path / "Emoji" / "package").mkdir(parents=True)
    (tmp_path / "Emoji" / "package" / "emoji.json").write_text(text)
    with pytest.raises(ValueError, match=r"^\S+emoji\.json is not the table of emoji-datasource-google: unpack"):
        EmojiPeople(root=str(tmp_path)).setup("fit")


def test_a_table_that_is_too_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vae_zoo.data.datasets.emoji_people._MAX_BYTES", 2**20)
    root = package(tmp_path, whole())
    (tmp_path / "Emoji" / "package" / "emoji.json").write_bytes(b" " * (2**20 + 1))
    with pytest.raises(ValueError, match=r"emoji\.json is longer than 1 MiB, which no table of emoji is\.$"):
        EmojiPeople(root=root).setup("fit")


def test_a_picture_that_is_missing(tmp_path: Path) -> None:
    root = package(tmp_path, whole())
    (tmp_path / "Emoji" / "package" / "img" / "google" / "64" / "1f3c3.png").unlink()
    with pytest.raises(ValueError, match=r"^1 of 54 images cannot be read: \S+1f3c3\.png"):
        EmojiPeople(root=root).setup("fit")


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"image_size": 0}, r"^image_size must be at least 1, got 0\.$"),
        ({"background": "nothing"}, r"^background must be a colour"),
        ({"val_fraction": 1.0}, "fraction"),
    ],
)
def test_bad_arguments(kwargs: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        EmojiPeople(**kwargs)


@pytest.mark.skipif("VAE_ZOO_DATA" not in os.environ, reason="VAE_ZOO_DATA says where the real package is")
def test_real_package() -> None:
    if not (data_root() / "Emoji" / "package").is_dir():
        pytest.skip("VAE_ZOO_DATA has no emoji")
    data = EmojiPeople()
    assert (data.factor_sizes, data.num_rows, data.num_train) == ((74, 3, 6), 1332, 1066)
    x = data.load("train").x
    assert len(x.flatten(1).unique(dim=0)) == len(x)
    skin = data.draw(torch.tensor([[5, 0, tone] for tone in (1, 5)])).x.float().mean((1, 2, 3))
    assert skin[0] > skin[1]  # light against dark
