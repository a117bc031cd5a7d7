from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch

from vae_zoo.data import Arrays

from .array_cases import VECTORS, check_one_line, whole


def test_csv(tmp_path: Path) -> None:
    np.savetxt(tmp_path / "a.csv", VECTORS, delimiter=",")
    assert torch.allclose(whole(Arrays(path=str(tmp_path / "a.csv")))[0], torch.tensor(VECTORS, dtype=torch.float32))


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("names", [["ant", "bee"], ["9", "10"], ["1.0", "2.0"]])
def test_csv_with_header_and_labels(tmp_path: Path, delimiter: str, names: list[str]) -> None:
    rows = [["height", "kind", '"width"'], *([str(n), names[n % 2], str(n / 2)] for n in range(20))]
    text = "\n".join(map(delimiter.join, rows))
    (tmp_path / "a.csv").write_text("\ufeff" + text + "\n\n", encoding="utf-8")
    data = Arrays(path=str(tmp_path / "a.csv"), label_column="kind")
    assert (data.shape, data.num_classes) == ((2,), 2)
    x, y = whole(data)
    assert x[:, 1].tolist() == [n / 2 for n in range(20)]
    assert torch.equal(y, torch.arange(20) % 2)


def test_a_column_found_by_its_name_makes_the_first_line_a_header(tmp_path: Path) -> None:
    """Wavelengths and numbers of genes are names, too."""
    lines = ["400,401,kind", *(f"{n},{n + 1},{'ab'[n % 2]}" for n in range(20))]
    (tmp_path / "a.csv").write_text("\n".join(lines))
    data = Arrays(path=str(tmp_path / "a.csv"), label_column="kind")
    assert data.num_classes == 2
    assert len(whole(data)[0]) == 20


@pytest.mark.parametrize("missing", [False, True])
def test_a_row_with_more_fields_than_the_first_line_is_refused(tmp_path: Path, missing: bool) -> None:
    (tmp_path / "a.csv").write_text("a,b\n1,2\n3,4,\n4,23,5,90\n")
    with pytest.raises(ValueError, match=r"line 4 has 4 columns, the first line has 2\.$"):
        Arrays(path=str(tmp_path / "a.csv"), missing=missing).load("train")


def test_csv_label_by_number(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("\n".join(f"{n},{n % 2}" for n in range(20)))
    assert torch.equal(whole(Arrays(path=str(tmp_path / "a.csv"), label_column="1"))[1], torch.arange(20) % 2)


@pytest.mark.parametrize(
    ("text", "label_column", "message"),
    [
        ("", None, "is empty, or its first line is."),
        ("a,b\n", None, "has no rows of numbers."),
        ("a,b\n1,2\n", "c", "has no column c: its first line is a, b."),
        ("1,2\n3,4\n", "2", "has no column 2: its first line is 1, 2."),
        ("a\nx\n", "a", "has no column besides the labels."),
        ("1,2\n3,x\n", None, "is no table of numbers: line 2, column 2 is 'x'."),
        (
            "a,b\n1,2\n3,\n",
            None,
            "is no table of numbers after the header: line 3, column 2 (b) is ''; if it is a missing "
            "value, set missing to true.",
        ),
        ("1,2\n3\n", None, "is no table of numbers: line 2 has 1 columns, the first line has 2."),
        ("1,2\n3,nan\n5,6\n7,8\n", None, None),
    ],
)
def test_bad_csv(tmp_path: Path, text: str, label_column: str | None, message: str | None) -> None:
    path = tmp_path / "a.csv"
    path.write_text(text)
    pattern = f"{path} {re.escape(message)}" if message else rf"1 values in {path} are not finite, .*"
    check_one_line(ValueError, pattern, path=path, label_column=label_column)


def test_csv_that_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(bytes(range(128, 256)))
    check_one_line(ValueError, r".*a\.csv is no text file\.", path=tmp_path / "a.csv")
