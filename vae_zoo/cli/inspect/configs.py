"""Packaged configurations, by name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import vae_zoo
from vae_zoo.cli.errors import nearest
from vae_zoo.security.limits import check_yaml, read_text, yaml_loader


def packaged_configs(args: Sequence[str]) -> list[str]:
    """Let ``--config NAME`` mean the configuration of that name in the package, where no such file exists.

    Raises:
        FileNotFoundError: If neither exists.
    """
    resolved: list[str] = []
    for arg in args:
        follows = bool(resolved) and resolved[-1] in ("-c", "--config")
        flag, equals, name = ("", "", arg) if follows else arg.partition("=")
        if follows or (flag in ("-c", "--config") and equals):
            resolved.append(f"{flag}{equals}{find_config(name)}")
        else:
            resolved.append(arg)
    return resolved


def find_config(name: str) -> Path:
    """A configuration on disk, or else the packaged one of that name."""
    from difflib import get_close_matches

    known = packaged()
    path = Path(name) if Path(name).is_file() else known.get(name.removesuffix(".yaml"))
    if path is None:
        near = get_close_matches(name, known, 1)
        hint = f"did you mean {near[0]}?" if near else "vae-zoo list configs shows all."
        raise FileNotFoundError(f"no config file {name}, and no packaged config of that name: {hint}")
    return path


def find_sweep(name: str) -> Path:
    """A sweep on disk, or else the packaged one of that name.

    Raises:
        FileNotFoundError: If neither exists.
    """
    known = packaged_sweeps()
    path = Path(name) if Path(name).is_file() else known.get(name.removesuffix(".yaml"))
    if path is None:
        hint = nearest(name, known) or f": there is {', '.join(known)}."
        raise FileNotFoundError(f"no sweep file {name}, and no packaged sweep of that name{hint}")
    return path


def packaged() -> dict[str, Path]:
    """Packaged configurations by name: whole ones and parts, not sweeps."""
    return _named("*.yaml", "parts/*.yaml")


def packaged_sweeps() -> dict[str, Path]:
    """Packaged sweeps by name, which may be that of the configuration they vary."""
    return _named("sweeps/*.yaml")


def read_yaml(path: Path) -> dict[str, Any]:
    """The keys and values of a file.

    Raises:
        ValueError: If it is not YAML, expands to too much, or is not a mapping.
    """
    content = parsed(read_text(path), str(path))
    if not isinstance(content, dict):
        raise ValueError(f"{path} must hold keys and their values, such as model: BetaVAE.")
    return content


def parsed(text: str, where: str) -> Any:
    """The value of a text of YAML.

    Args:
        text: The text.
        where: Its name in errors.

    Raises:
        ValueError: If it is not YAML, expands to too much, or has a key twice.
    """
    import yaml

    check_yaml(text, where)
    try:
        return yaml.load(text, Loader=yaml_loader())
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        said = " ".join(filter(None, (getattr(error, "context", ""), getattr(error, "problem", "")))) or str(error)
        raise ValueError(f"parsing {where}{line}: {said}.") from None


def _named(*patterns: str) -> dict[str, Path]:
    found = [path for folder in config_folders() for pattern in patterns for path in folder.glob(pattern)]
    return {path.stem: path for path in sorted(found)}


def config_folders() -> list[Path]:
    """Folders of packaged configurations: in the wheel, or beside the package in a checkout."""
    package = Path(vae_zoo.__file__).parent
    return [folder for folder in (package / "configs", package.parent / "configs") if folder.is_dir()]
