"""Results of the conformance suite."""

from __future__ import annotations

from typing import Any, NamedTuple


class Outcome(NamedTuple):
    """One line of the table.

    Args:
        check: Name of the check.
        verdict: "pass", "FAIL" or "skip".
        measured: The measured value, the reason for skipping the check, or the error.
        bound: The allowed value.
        what: Description of the check.
    """

    check: str
    verdict: str
    measured: str
    bound: str
    what: str


class Report(list[Outcome]):
    """The outcomes of all checks of one model.

    Args:
        name: Name of the model.
        outcomes: One for each check.
    """

    def __init__(self, name: str, outcomes: list[Outcome]) -> None:
        super().__init__(outcomes)
        self.name = name

    @property
    def failures(self) -> list[Outcome]:
        """The checks that the model does not pass."""
        return [outcome for outcome in self if outcome.verdict == "FAIL"]

    @property
    def passed(self) -> bool:
        """Whether no check failed."""
        return not self.failures

    def summary(self) -> str:
        """One line with the number of passed checks and the names of failed ones."""
        count = {verdict: sum(o.verdict == verdict for o in self) for verdict in ("pass", "FAIL", "skip")}
        text = f"{self.name}: {count['pass']} passed, {count['FAIL']} failed, {count['skip']} do not apply"
        return text + (f": {', '.join(o.check for o in self.failures)}" if self.failures else "")

    def show(self, file: Any = None) -> None:
        """Print the table."""
        from rich.console import Console
        from rich.table import Table

        table = Table(title=f"Conformance of {self.name}")
        for column in ("check", "", "measured", "allowed", "what it says"):
            table.add_column(column, overflow="fold")
        style = {"pass": "green", "FAIL": "bold red", "skip": "dim"}
        for o in self:
            row = (o.check, o.verdict, o.measured, o.bound, o.what)
            table.add_row(*(cell.replace("[", r"\[") for cell in row), style=style[o.verdict])
        console = Console(file=file)
        if not console.is_terminal:
            console = Console(file=file, width=160)
        console.print(table)
        console.print(self.summary(), markup=False, highlight=False)
