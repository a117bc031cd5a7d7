"""Strings of tokens from the user's text files, or drawn."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from lightning.pytorch.utilities.rank_zero import rank_zero_info

from vae_zoo.checkpoints.hyperparameters import class_of
from vae_zoo.data.base.checks import check_fractions, check_positive
from vae_zoo.data.base.datamodule import DataModule
from vae_zoo.data.base.file_splits import FileSplits
from vae_zoo.data.base.splits import SplitName
from vae_zoo.data.text.sentences import draw_sentences
from vae_zoo.data.text.text_files import Texts, read_texts
from vae_zoo.data.text.vocabulary import Level, check_level, make_vocabulary, split
from vae_zoo.distributions import AutoregressiveTokens, Family
from vae_zoo.typing import Shape

NUM_SENTENCES = 2000


class Tokens(FileSplits, DataModule):  # type: ignore[misc]  # as DataModule itself
    """Strings of tokens: a text file with an example a line, or a column of a ``.csv`` or ``.tsv`` file.

    The vocabulary consists of the tokens of the training split and of two more, the end and the unknown token. An
    example is a vector of the numbers of its tokens, filled up with 0, the end, as the likelihood
    :class:`~vae_zoo.distributions.AutoregressiveTokens` takes it; a model keeps vocabulary and length, by which new
    files are read. Without a path, these are 2000 drawn sentences of four topics, the topic as label.

    Args:
        path: The file, possibly ending in ``.gz``; it holds the training examples, and those of the splits that have no
            file of their own.
        val_path: File of the validation split; None to take it from ``path`` at random.
        test_path: File of the test split; None to take it from ``path`` at random.
        level: What a token is: ``char``, a character; ``word``, what stands between spaces; ``smiles``, an atom, bond,
            ring or branch of a molecule. None for characters of a file, and words of the drawn sentences.
        column: Column of the texts of a table; None for the only one besides labels and ids.
        label_column: Column of the labels of a table.
        id_column: Column of the ids of a table.
        max_length: Largest number of tokens of an example; None for that of the longest in ``path``. Longer ones are
            refused.
        min_count: Occurrences in the training split below which a token is unknown.
        unknown: What happens to tokens of new files that are not in the vocabulary of a trained model: ``refuse``, or
            ``token`` to read them as unknown, as is done in the held-out splits of the training.
        val_fraction: Fraction of examples for validation, without ``val_path``.
        test_fraction: Fraction of examples for testing, without ``test_path``.
        split_seed: Seed of the random splits, and of the drawn sentences.
        kwargs: Arguments of :class:`DataModule`.

    Raises:
        ValueError: If an argument is out of range; when the data are read, if a file has other content.
        FileNotFoundError: When the data are read, if a file does not exist.
    """

    def __init__(
        self,
        *,
        path: str | None = None,
        val_path: str | None = None,
        test_path: str | None = None,
        level: Level | None = None,
        column: str | None = None,
        label_column: str | None = None,
        id_column: str | None = None,
        max_length: int | None = None,
        min_count: int = 1,
        unknown: Literal["refuse", "token"] = "refuse",
        val_fraction: float = 0.1,
        test_fraction: float = 0.1,
        split_seed: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        check_fractions(val_fraction, test_fraction)
        if unknown not in ("refuse", "token"):
            raise ValueError(f"unknown must be refuse or token, got {unknown!r}.")
        columns = {"column": column, "label_column": label_column, "id_column": id_column}
        others = {"val_path": val_path, "test_path": test_path, **columns, "level": level}
        if path is None and (given := [name for name, value in others.items() if value is not None]):
            raise ValueError(
                f"only a file has {', '.join(given)}: give path too, or leave that out for drawn sentences."
            )
        self.level: Level = level or ("char" if path is not None else "word")
        check_level(self.level)
        self._max_length = None if max_length is None else check_positive("max_length", max_length)
        self.min_count, self.unknown = check_positive("min_count", min_count), unknown
        paths: dict[SplitName, str | None] = {"train": path, "val": val_path, "test": test_path}
        self.paths = {part: Path(given).expanduser() for part, given in paths.items() if given is not None}
        self.fractions: dict[SplitName, float] = {"val": val_fraction, "test": test_fraction}
        self.split_seed, self._columns = split_seed, columns
        self._adopted = False

    @property
    def shape(self) -> Shape:
        return (self.max_length,)

    @cached_property
    def max_length(self) -> int:
        """Number of tokens of the longest example."""
        return self._max_length or max(map(len, self._tokens["train"]))

    @cached_property
    def vocabulary(self) -> list[str]:
        """The tokens by their numbers."""
        tokens, rows = self._tokens["train"], self._index["train"].tolist()
        return make_vocabulary((tokens[row] for row in rows), self.min_count)

    @property
    def likelihood(self) -> Callable[[Shape], Family]:
        """Tokens that depend on those before them."""
        return partial(AutoregressiveTokens, vocabulary=self.vocabulary, level=self.level)

    def complete(self, likelihood: Callable[[Shape], Family]) -> Callable[[Shape], Family]:
        given = likelihood.keywords if isinstance(likelihood, partial) else {}
        if class_of(likelihood) is not AutoregressiveTokens or given.get("vocabulary"):
            return likelihood
        return partial(likelihood, vocabulary=self.vocabulary, level=self.level)  # type: ignore[call-arg]

    def adopt(self, model: Mapping[str, Any]) -> None:
        """Read texts by the vocabulary and the length of a trained model."""
        likelihood = model.get("likelihood")
        given = likelihood.get("init_args") or {} if isinstance(likelihood, Mapping) else {}
        if given.get("vocabulary"):
            self._adopted = True
            self.level = given.get("level") or self.level
            self.__dict__["vocabulary"], self.__dict__["max_length"] = list(given["vocabulary"]), model["shape"][0]

    def named(self, split: SplitName) -> str:
        return str(self.paths.get(split, "the drawn sentences"))

    def examples_of(self, table: Texts, index: np.ndarray | None) -> torch.Tensor:
        part = next(part for part, other in self._tables.items() if other is table)
        rows = range(len(table.x)) if index is None else index.tolist()
        return self._encoded(part, rows)

    def setup(self, stage: str | None = None) -> None:
        super().setup(stage)
        if stage == "fit":
            unknown = [int((self.examples(part) == 1).sum()) for part in ("train", "val")]
            said = f"{len(self.vocabulary)} tokens, examples of up to {self.max_length}"
            if any(unknown):
                said += f"; unknown are {unknown[0]} of the training split and {unknown[1]} of the validation split"
            rank_zero_info(f"vocabulary: {said}.")

    def _encoded(self, part: SplitName, rows: Sequence[int]) -> torch.Tensor:
        """Numbers of the tokens of some rows of a file, (N, T)."""
        numbers = {token: number for number, token in enumerate(self.vocabulary)}
        x = torch.zeros(len(rows), self.max_length)
        refuse = self.new_source and self.unknown == "refuse"
        for place, row in enumerate(rows):
            tokens = self._tokens[part][row]
            if len(tokens) > self.max_length:
                advice = "as in the training: shorten it" if self._adopted else "too few: shorten it, or raise that"
                raise ValueError(
                    f"{self._where(part, row)} has {len(tokens)} tokens, and max_length is {self.max_length}, {advice}."
                )
            new = next((token for token in tokens if token not in numbers), None) if refuse else None
            if new is not None:
                raise ValueError(
                    f"{self._where(part, row)} has the token {new!r}, which is not in the vocabulary of the model: "
                    "remove it, or set unknown to token."
                )
            found = [numbers.get(token, 1) for token in tokens]
            x[place, : len(found)] = torch.tensor(found, dtype=x.dtype)
        return x

    def _where(self, part: SplitName, row: int) -> str:
        table = self._tables[part]
        known = "" if table.ids is None else f" (id {table.ids[row]})"
        return f"{self.named(part)}, line {table.lines[row]}{known}"

    @cached_property
    def _tables(self) -> dict[SplitName, Texts]:
        if not self.paths:
            x, y = draw_sentences(NUM_SENTENCES, self.split_seed)
            return {"train": Texts(x, y, None, np.arange(1, NUM_SENTENCES + 1))}
        return {part: read_texts(path, **self._columns) for part, path in self.paths.items()}

    @cached_property
    def _tokens(self) -> dict[SplitName, list[list[str]]]:
        return {part: [split(text, self.level) for text in table.x] for part, table in self._tables.items()}
