"""Strings of tokens from text files."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from vae_zoo.data import Tokens
from vae_zoo.data.text.sentences import TOPICS, draw_sentences
from vae_zoo.data.text.text_files import read_texts
from vae_zoo.data.text.vocabulary import join, make_vocabulary, split, to_text
from vae_zoo.distributions import AutoregressiveTokens

LINES = [f"line {n % 7} of {'abc'[n % 3]}" for n in range(30)]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "a.txt").write_text("\n".join(LINES) + "\n", encoding="utf-8")
    return tmp_path / "a.txt"


def check_one_line(kind: type[Exception], pattern: str, **kwargs: Any) -> None:
    with pytest.raises(kind, match=f"^{pattern}$") as error:
        Tokens(**{**kwargs, "path": str(kwargs["path"])}).setup("fit")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("level", "text", "tokens"),
    [
        ("char", "a bé", ["a", " ", "b", "é"]),
        ("word", " two  words ", ["two", "words"]),
        ("smiles", "CC(=O)[O-].[Na+]", ["C", "C", "(", "=", "O", ")", "[O-]", ".", "[Na+]"]),
        ("smiles", "ClC%12Br/C@2", ["Cl", "C", "%12", "Br", "/", "C", "@", "2"]),
        ("smiles", "c1ccc([C@@H](N)Cl)cc1", [*"c1ccc(", "[C@@H]", *"(N)", "Cl", *")cc1"]),
    ],
)
def test_levels(level: Any, text: str, tokens: list[str]) -> None:
    assert split(text, level) == tokens
    assert join(tokens, level) == " ".join(text.split()) if level == "word" else text


def test_the_vocabulary_is_that_of_the_training_split(file: Path) -> None:
    data = Tokens(path=str(file), level="word")
    train = [LINES[row] for row in data.load("train").rows.tolist()]
    assert data.vocabulary == make_vocabulary([text.split() for text in train])
    assert data.vocabulary[:3] == ["<end>", "<unknown>", "line"], "the most frequent first"
    rare = Tokens(path=str(file), level="word", min_count=6).vocabulary
    assert set(rare) < set(data.vocabulary)
    assert data.shape == (4,)
    assert data.num_train == 24


@pytest.mark.parametrize("level", ["char", "word"])
def test_texts_come_back(file: Path, level: Any) -> None:
    data = Tokens(path=str(file), level=level, max_length=20)
    for part in ("train", "val", "test"):
        loaded = data.load(part)
        assert loaded.x.shape[1:] == (20,)
        for x, row in zip(loaded.x, loaded.rows.tolist(), strict=True):
            assert to_text(x.long().tolist(), data.vocabulary, level) == LINES[row]
    made = data.likelihood(data.shape)
    assert isinstance(made, AutoregressiveTokens)
    made.check(data.load("train").x)


def test_unknown_tokens_of_held_out_splits_are_read_as_such(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    for name, lines in {"a": LINES, "b": ["line 0 of z"]}.items():
        (tmp_path / f"{name}.txt").write_text("\n".join(lines))
    data = Tokens(path=str(tmp_path / "a.txt"), val_path=str(tmp_path / "b.txt"), level="word")
    data.setup("fit")
    assert data.load("val").x[0].tolist()[-1] == 1
    assert to_text(data.load("val").x[0].long().tolist(), data.vocabulary, "word") == "line 0 of <unknown>"


def adopted(data: Tokens, path: Path, **kwargs: Any) -> Tokens:
    """Data of another file, read as by a model of the first ones."""
    new = Tokens(path=str(path), **kwargs)
    likelihood = {"class_path": "…", "init_args": {"vocabulary": data.vocabulary, "level": data.level}}
    new.adopt({"shape": list(data.shape), "likelihood": likelihood})
    new.new_source, new.predict_split = True, "all"
    return new


def test_new_files_are_read_by_the_vocabulary_of_the_model(file: Path, tmp_path: Path) -> None:
    data = Tokens(path=str(file), level="word")
    (tmp_path / "new.txt").write_text("of line\n\nc of of\n")
    new = adopted(data, tmp_path / "new.txt")
    assert (new.shape, new.level) == (data.shape, "word")
    found = new.whole().x
    assert [to_text(x.long().tolist(), data.vocabulary, "word") for x in found] == ["of line", "c of of"]


def test_unknown_tokens_of_new_files(file: Path, tmp_path: Path) -> None:
    data = Tokens(path=str(file), level="word")
    path = tmp_path / "new.txt"
    path.write_text("of line\n\nc of zebras\n")
    with pytest.raises(
        ValueError,
        match=r"new\.txt, line 3 has the token 'zebras', which is not in the vocabulary of the model: remove it, or "
        r"set unknown to token\.$",
    ) as error:
        adopted(data, path).whole()
    assert "\n" not in str(error.value)
    assert adopted(data, path, unknown="token").whole().x[1].tolist()[2] == 1
    path.write_text("of of of of of\n")
    with pytest.raises(
        ValueError, match=r"line 1 has 5 tokens, and max_length is 4, as in the training: shorten it\.$"
    ):
        adopted(data, path).whole()


def test_tables(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    rows = [f'm{n},{n % 2},"C,{"C" * (n % 5)}"' for n in range(20)]
    path.write_text("name,kind,SMILES\n" + "\n".join(rows))
    data = Tokens(path=str(path), column="SMILES", label_column="kind", id_column="name")
    assert data.num_classes == 2
    assert sorted(data.whole().ids.tolist()) == sorted(f"m{n}" for n in range(20))
    assert data.load("train").y.tolist() == [row % 2 for row in data.load("train").rows.tolist()]
    only = tmp_path / "b.tsv.gz"
    with gzip.open(only, "wt") as packed:
        packed.write("SMILES\n" + "CC\nCCO\n" * 10)
    assert Tokens(path=str(only)).shape == (3,)
    assert read_texts(path, "SMILES").lines.tolist() == list(range(2, 22))


def test_drawn_sentences() -> None:
    data = Tokens()
    assert (data.num_train, data.level, data.num_classes) == (1600, "word", 4)
    assert data.classes == sorted(TOPICS)
    texts, topics = draw_sentences(300, 1)
    assert np.array_equal(draw_sentences(300, 1)[0], texts)
    for text, topic in zip(texts, topics, strict=True):
        words = {word for kinds in TOPICS[topic].values() for word in kinds} | {"the", "and", "."}
        assert set(text.split()) <= words
    x = data.load("train").x
    assert (x != 1).all()
    assert torch.equal(x, Tokens().load("train").x)


@pytest.mark.parametrize(
    ("content", "given", "message"),
    [
        (b"", {}, r".*a\.txt holds no text\."),
        (b"\xff\xfe\x00", {}, r".*a\.txt is no text in UTF-8: invalid start byte at byte 0\."),
        (b"a\nbc\n", {"column": "x"}, r"column: .*a\.txt is no \.csv or \.tsv file, but one of a text a line\."),
        (b"abc\n" * 30, {"max_length": 2}, r".*a\.txt, line \d+ has 3 tokens, and max_length is 2, .* or raise that\."),
        (b"abc\n" * 2, {}, r".*a\.txt has 2 examples, too few for train, val, test splits\."),
    ],
)
def test_bad_files(tmp_path: Path, content: bytes, given: dict[str, Any], message: str) -> None:
    (tmp_path / "a.txt").write_bytes(content)
    check_one_line(ValueError, message, path=tmp_path / "a.txt", **given)


@pytest.mark.parametrize(
    ("content", "given", "message"),
    [
        ("a,b\n1,2\n", {}, r".*a\.csv has the columns a, b: name that of the texts as column\."),
        ("a,b\n1,2\n", {"column": "c"}, r"column: .*a\.csv has no column c, but a, b\."),
        ("a,b\n1,2\n", {"column": "a", "label_column": "y"}, r"label_column: .*a\.csv has no column y, but a, b\."),
        ("a,b\n1,2\n3\n", {"column": "a"}, r".*a\.csv, line 3: 1 fields instead of 2\."),
    ],
)
def test_bad_tables(tmp_path: Path, content: str, given: dict[str, Any], message: str) -> None:
    (tmp_path / "a.csv").write_text(content)
    check_one_line(ValueError, message, path=tmp_path / "a.csv", **given)


def test_other_errors(tmp_path: Path) -> None:
    (tmp_path / "a.txt.gz").write_bytes(gzip.compress(b"abc\n" * 50)[:20])
    check_one_line(ValueError, r".*a\.txt\.gz is truncated or no \.gz file\.", path=tmp_path / "a.txt.gz")
    check_one_line(FileNotFoundError, r"There is no file .*none\.txt\.", path=tmp_path / "none.txt")
    for given, message in (
        ({"level": "bytes", "path": "a"}, "level must be char, word, smiles, got 'bytes'."),
        ({"unknown": "skip"}, "unknown must be refuse or token, got 'skip'."),
        ({"max_length": 0}, "max_length must be at least 1, got 0."),
        ({"column": "a"}, "only a file has column: give path too, or leave that out for drawn sentences."),
    ):
        with pytest.raises(ValueError, match=r"a file|got") as error:
            Tokens(**given)
        assert str(error.value) == message
