from __future__ import annotations

from pathlib import Path

import pytest

from vae_zoo.cli.verbs import check_writable


def test_where_a_file_can_be_written(tmp_path: Path) -> None:
    check_writable(tmp_path / "new.csv")
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(ValueError, match=r"folder\.csv is a folder: give the name of a file to write\."):
        check_writable(tmp_path / "folder.csv")
    with pytest.raises(FileNotFoundError, match=r"there is no folder .*no to write new\.csv to"):
        check_writable(tmp_path / "no" / "new.csv")
