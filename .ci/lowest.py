"""Print the oldest releases that pyproject.toml allows, as constraints of pip."""

import re
from pathlib import Path

TEXT = (Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8")
DEPENDENCY = re.compile(r'"([A-Za-z][\w.-]*)(?:\[[\w,]+\])?>=([\d.]+)')


def lowest() -> dict[str, str]:
    """Lower bound of every dependency that has one; of what is named twice, the higher."""
    found: dict[str, str] = {}
    for name, version in DEPENDENCY.findall(TEXT):
        found[name] = max(found.get(name, version), version, key=lambda text: [int(n) for n in text.split(".")])
    return found


if __name__ == "__main__":
    print("\n".join(f"{name}=={version}" for name, version in lowest().items()))
