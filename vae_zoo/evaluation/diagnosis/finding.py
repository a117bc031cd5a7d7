"""What a diagnosis finds."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Literal, NamedTuple, TypeAlias

Severity: TypeAlias = Literal["fault", "warning", "fine"]
"""Whether results are worth nothing, worse than they could be, or as expected."""

ORDER: tuple[Severity, ...] = ("fault", "warning", "fine")


class Finding(NamedTuple):
    """The outcome of one diagnosis.

    Args:
        name: Name of the function that made it.
        severity: "fault", "warning" or "fine".
        measured: What was measured, with its error.
        normal: What is normal.
        remedy: What to do; empty if all is well.
    """

    name: str
    severity: Severity
    measured: str
    normal: str
    remedy: str = ""


Diagnosis: TypeAlias = Callable[[Any], Finding | None]
"""A function that looks at one subject for one thing; None where the question does not arise."""


def judge(name: str, severity: Severity, measured: str, normal: str, remedy: str) -> Finding:
    """A finding, without a remedy if all is well."""
    return Finding(name, severity, measured, normal, "" if severity == "fine" else remedy)


def number_of(num: int, what: str, many: str = "") -> str:
    """A number of things: ``1 column``, ``2 columns``."""
    return f"{num} {what if num == 1 else many or what + 's'}"


def examine(diagnoses: Iterable[Diagnosis], subject: Any) -> list[Finding]:
    """What some diagnoses find, faults first."""
    return by_severity(finding for diagnosis in diagnoses if (finding := diagnosis(subject)) is not None)


def by_severity(findings: Iterable[Finding]) -> list[Finding]:
    """Findings, faults first."""
    return sorted(findings, key=lambda finding: ORDER.index(finding.severity))
