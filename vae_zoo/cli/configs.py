"""Packaged configurations, by name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import vae_zoo


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
    """A configuration on disk, else the packaged one of that name."""
    from difflib import get_close_matches

    known = packaged()
    path = Path(name) if Path(name).is_file() else known.get(name.removesuffix(".yaml"))
    if path is None:
        near = get_close_matches(name, known, 1)
        hint = f"did you mean {near[0]}?" if near else "vae-zoo list configs shows those there are."
        raise FileNotFoundError(f"no config file {name}, and no packaged config of that name: {hint}")
    return path


def packaged() -> dict[str, Path]:
    """Packaged configurations by name."""
    return {path.stem: path for folder in config_folders() for path in sorted(folder.rglob("*.yaml"))}


def config_folders() -> list[Path]:
    """Folders of packaged configurations: in the wheel, or beside the package in a checkout."""
    package = Path(vae_zoo.__file__).parent
    return [folder for folder in (package / "configs", package.parent / "configs") if folder.is_dir()]
