"""Emoji of people, with known factors."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias

import torch
from torch import Tensor

from vae_zoo.data.base.checks import check_fractions, check_positive
from vae_zoo.data.base.paths import data_root
from vae_zoo.data.base.splits import Split, SplitName, num_left, random_split
from vae_zoo.data.datasets.images import FactorImages
from vae_zoo.data.files.image_files import check_colour, read_images
from vae_zoo.typing import Shape

_Files: TypeAlias = dict[tuple[int, int], str]
"""File names by gender and skin tone."""

TONES = ("1F3FB", "1F3FC", "1F3FD", "1F3FE", "1F3FF")
_ANYONE = "1F9D1"
_PEOPLE = {_ANYONE: 0, "1F468": 1, "1F469": 2}
_SIGNS = {"2642": 1, "2640": 2}
_JOINER, _AS_PICTURE = "200D", "FE0F"
_PICTURES = Path("img", "google", "64")
_MAX_BYTES = 2**24  # ten times as long as the table of version 16


class EmojiPeople(FactorImages):
    """Emoji of people in colour, with three factors: activity, gender and skin tone.

    The 74 activities of version 16, from running to judging, are those with a picture of a person, a man and a woman
    in each of six skin tones, yellow and five others: 1,332 pictures, no two alike. They are drawn by hand, so a
    factor changes more than one thing: hair and clothes go with gender. The pictures have 64x64 pixels; larger ones are
    interpolated. Emoji with the gender in the middle of their sequence, the runner, walker and kneeler to the right,
    are left out.

    References:
        | Noto Emoji (Google, Apache License 2.0), as packaged in emoji-datasource-google (Henderson, MIT License)
        | https://github.com/iamcal/emoji-data

    Args:
        root: Folder with ``Emoji/package``, the unpacked package; None for ``$VAE_ZOO_DATA``, else a folder in the
            user's cache.
        image_size: Height and width.
        background: Colour behind transparent pixels, a name such as ``white``, or ``ff8000``.
        val_fraction: Fraction of pictures for validation.
        test_fraction: Fraction of pictures for testing.
        split_seed: Seed of the random splits.
        kwargs: Arguments of :class:`FactorImages`, of which ``all_factors`` gives the numbers of all three factors.

    Raises:
        ValueError: If the background is no colour; when the data are read, if the package is damaged.
        FileNotFoundError: When the data are read, if there is no package.
    """

    grey = True

    def __init__(
        self,
        *,
        root: str | None = None,
        image_size: int = 64,
        background: str = "white",
        val_fraction: float = 0.1,
        test_fraction: float = 0.1,
        split_seed: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        check_fractions(val_fraction, test_fraction)
        check_colour(background)
        self.image_size = check_positive("image_size", image_size)
        self.fractions: dict[SplitName, float] = {"val": val_fraction, "test": test_fraction}
        self.background, self.split_seed = background, split_seed
        self.folder = data_root(root) / "Emoji" / "package"

    @property
    def shape(self) -> Shape:
        return (3, self.image_size, self.image_size)

    @property
    def num_train(self) -> int:
        return num_left(self.num_rows, self.fractions)

    @property
    def num_rows(self) -> int:
        return len(self._paths)

    @property
    def factor_sizes(self) -> tuple[int, ...]:
        """Number of values of each factor: activity, gender (any, man, woman) and skin tone (yellow, light to dark)."""
        return (len(self.activities), 1 + len(_SIGNS), 1 + len(TONES))

    @property
    def activities(self) -> list[str]:
        """Names of the activities, in the order of their numbers."""
        return [name for name, _ in self._activities]

    def dataset(self, split: SplitName) -> Split:
        rows = random_split(self.num_rows, self.fractions, self.split_seed, f"{self.folder}")[split]
        return self.draw(torch.stack(torch.unravel_index(rows, self.factor_sizes), dim=1))._replace(rows=rows)

    def draw(self, factors: Tensor) -> Split:
        _, genders, tones = self.factor_sizes
        rows = (factors[:, 0] * genders + factors[:, 1]) * tones + factors[:, 2]
        return Split(self._images[rows], self.labels(factors), factors)

    @cached_property
    def _images(self) -> Tensor:
        """All pictures, in the order of their factors."""
        blocks = read_images(
            self._paths,
            size=(self.image_size, self.image_size),
            channels=3,
            crop=True,
            background=self.background,
        )
        return torch.cat([torch.from_numpy(block) for block in blocks])

    @cached_property
    def _paths(self) -> list[Path]:
        folder = self.folder / _PICTURES
        return [folder / files[number] for _, files in self._activities for number in sorted(files)]

    @cached_property
    def _activities(self) -> list[tuple[str, _Files]]:
        """Name and pictures of each activity that has all of them, in the order of the emoji's sequences."""
        names, found = dict[tuple[str, ...], str](), defaultdict[tuple[str, ...], _Files](dict)
        text = self._text
        wrong = f"{self._table} is not the table of emoji-datasource-google: unpack the package again."
        try:
            for emoji in json.loads(text):
                if set(emoji.get("skin_variations", ())) != set(TONES):
                    continue
                activity, gender = _parsed(emoji["unified"])
                images = [emoji["image"], *(emoji["skin_variations"][tone]["image"] for tone in TONES)]
                if not all(re.fullmatch(r"[0-9a-f-]+\.png", image) for image in images):  # a path leads elsewhere
                    raise ValueError(images)
                found[activity] |= {(gender, tone): image for tone, image in enumerate(images)}
                if gender == 0:
                    names[activity] = str(emoji["short_name"])
        except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError) as error:
            raise ValueError(wrong) from error
        whole = (1 + len(_SIGNS)) * (1 + len(TONES))
        activities = [(names[key], files) for key, files in sorted(found.items()) if len(files) == whole]
        if not activities:
            raise ValueError(wrong)
        return activities

    @property
    def _table(self) -> Path:
        return self.folder / "emoji.json"

    @property
    def _text(self) -> bytes:
        if not self._table.is_file():
            raise FileNotFoundError(
                f"There is no {self._table}: run 'npm pack emoji-datasource-google' and unpack the archive in "
                f"{self.folder.parent}, or set VAE_ZOO_DATA to a folder that has Emoji/package."
            )
        with self._table.open("rb") as file:
            text = file.read(_MAX_BYTES + 1)
        if len(text) > _MAX_BYTES:
            raise ValueError(f"{self._table} is longer than {_MAX_BYTES >> 20} MiB, which no table of emoji is.")
        return text


def _parsed(sequence: str) -> tuple[tuple[str, ...], int]:
    """Activity and gender of the sequence of an emoji: the gender is its first sign, or its last, or there is none."""
    signs = [sign for sign in sequence.split("-") if sign != _AS_PICTURE]
    if signs[0] in _PEOPLE and len(signs) > 1:
        return (_ANYONE, *signs[1:]), _PEOPLE[signs[0]]
    if signs[-1] in _SIGNS and signs[-2] == _JOINER:
        return tuple(signs[:-2]), _SIGNS[signs[-1]]
    return tuple(signs), 0
