"""Tables with labels: rows drawn under them, and cells filled in given the label of their row."""

from __future__ import annotations

from pathlib import Path

import pytest

import vae_zoo
from vae_zoo.cli import main
from vae_zoo.cli.run.described import labels_of
from vae_zoo.data.files.frames import read_frame

pytest.importorskip("pandas")


def conditional_fit(folder: Path) -> str:
    """A checkpoint of a model of ages under the labels of ``semi.csv``."""
    lines = [f"{'abc'[n % 3]},{30 + 15 * (n % 3) + n % 7 if n % 8 else ''}" for n in range(240)]
    (path := folder / "semi.csv").write_text("\n".join(["kind,age", *lines]) + "\n", encoding="utf-8")
    short = ["--trainer.max_epochs=1", "--trainer.logger=false", "--trainer.enable_progress_bar=false"]
    given = ["--data=Table", f"--data.path={path}", "--data.label_column=kind"]
    main(["fit", "--model=ConditionalVAE", *given, *short])
    return str(next(folder.glob("results/ConditionalVAE_Table/*/checkpoints/last*.ckpt")))


def test_rows_drawn_under_labels_have_their_column(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    checkpoint = conditional_fit(tmp_path)
    main(["sample", f"--ckpt_path={checkpoint}", "--num=60", "--out=c.csv"])
    assert read_frame(tmp_path / "c.csv")["kind"].tolist() == ["a", "b", "c"] * 20
    main(["sample", f"--ckpt_path={checkpoint}", "--num=3", "--class=1", "--out=b.csv"])
    assert read_frame(tmp_path / "b.csv")["kind"].tolist() == ["b"] * 3
    vae_zoo.load(checkpoint).save_pretrained("shared")
    for source in (checkpoint, "shared"):
        main(["sample", f"--ckpt_path={source}", "--num=4", "--class=2", "--where=age=30", "--out=w.csv"])
        drawn = read_frame(tmp_path / "w.csv")
        assert (drawn["kind"].tolist(), drawn["age"].tolist()) == (["c"] * 4, ["30"] * 4)
    with pytest.raises(SystemExit):
        main(["sample", f"--ckpt_path={checkpoint}", "--where=age=30", "--out=w.csv"])
    assert "ConditionalVAE draws under a label: give class, 0 .. 2." in capsys.readouterr().err
    main(["quality", f"--ckpt_path={checkpoint}", "--synthetic=c.csv", "--label_column=kind"])
    assert "AUROC of kind" in capsys.readouterr().out


@pytest.mark.parametrize(("num_classes", "names"), [(1, ["a"]), (2, ["a", "b"]), (4, ["a", "b", "2", "3"])])
def test_classes_that_the_data_did_not_have_are_numbers(num_classes: int, names: list[str]) -> None:
    assert labels_of({"classes": ["a", "b"]}, num_classes)["categories"] == names


def test_cells_are_filled_in_given_the_label_of_the_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    checkpoint = conditional_fit(tmp_path)
    main(["impute", f"--ckpt_path={checkpoint}", "--table=semi.csv", "--out=filled.csv", "--num_samples=9"])
    filled, known = read_frame(tmp_path / "filled.csv"), read_frame(tmp_path / "semi.csv")
    assert filled["kind"].tolist() == known["kind"].tolist()
    assert (filled["age"] != "").all()
    for lines, message in (
        (["age", "31", '""'], "other.csv has no column kind, the labels of the rows, which ConditionalVAE needs"),
        (["kind,age", "a,", "d,3"], "kind in row 1 of other.csv is 'd', and ConditionalVAE knows the labels a, b, c"),
    ):
        (tmp_path / "other.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
        capsys.readouterr()
        with pytest.raises(SystemExit):
            main(["impute", f"--ckpt_path={checkpoint}", "--table=other.csv"])
        assert message in capsys.readouterr().err
        assert not (tmp_path / "other_filled.csv").exists()
