"""Conditions of a measurement, stored in every result file."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from importlib import metadata
from pathlib import Path

RESULTS = Path(__file__).parent / "results"


def hardware() -> str:
    """The processor, its cores and threads."""
    cpuinfo = Path("/proc/cpuinfo")
    names = re.findall(r"model name\s*: (.*)", cpuinfo.read_text()) if cpuinfo.is_file() else []
    cores = os.cpu_count()
    threads = os.environ.get("OMP_NUM_THREADS", cores)
    return f"{names[0] if names else platform.machine()}, {cores} cores, {threads} threads"


def versions(*names: str) -> dict[str, str]:
    """Releases of installed packages; one that is missing is left out."""
    found = {}
    for name in names:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def commit() -> str:
    """The commit of this checkout."""
    shown = subprocess.run(
        ["git", "-C", Path(__file__).parent, "describe", "--always", "--dirty"],
        capture_output=True,
        text=True,
        check=False,
    )
    return shown.stdout.strip()
