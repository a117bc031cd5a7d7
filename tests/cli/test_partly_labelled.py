"""Tables of which some labels are unknown, by the command."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any


def test_by_the_command(run: Callable[..., Any]) -> None:
    rows = "".join(f"{n % 7},{n % 5},{['', 'b', 'a'][n % 3]}\n" for n in range(90))
    Path("t.csv").write_text("u,v,kind\n" + rows)
    data = ["--data", "Table", "--data.path", "t.csv", "--data.label_column", "kind"]
    fit = ["fit", "--model", "M2", *data, "--trainer.max_epochs", "1"]
    refused = run(*fit)
    assert refused.code == 2
    assert "with partly_labelled true they are unknown." in refused.err
    assert run(*fit, "--data.partly_labelled", "true").code == 0
