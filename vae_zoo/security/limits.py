"""Limits on the size of untrusted files, checked before anything is built from them."""

from __future__ import annotations

import gzip
import math
import struct
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

MAX_TEXT = 2**20
"""Bytes of a configuration, characters of a value."""

MAX_SCALAR = 10_000
"""Characters of one scalar of a configuration: parsing a number with millions of digits takes minutes."""

MAX_NODES = 100_000
"""Values in a configuration, counting repetitions by aliases."""

MAX_DEPTH = 100
"""Depth of nested lists and mappings."""

MAX_UNPACKED = 4 * 2**30
"""Size in bytes above which the content of an archive may be at most ``MAX_RATIO`` times its size."""

MAX_RATIO = 200

_COMPRESSED = 15  # as Matlab numbers the kinds of elements


def read_text(path: str | Path) -> str:
    """The text of a configuration.

    Raises:
        ValueError: If it is too long, or not text.
    """
    with Path(path).open("rb") as file:
        content = file.read(MAX_TEXT + 1)
    if len(content) > MAX_TEXT:
        raise ValueError(f"{path} is longer than {MAX_TEXT >> 20} MiB, which no configuration is.")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"parsing {path}: {error}.") from None


def yaml_loader() -> Any:
    """The loader that builds plain data alone: the one in C, which has a limit of its own to what it descends."""
    import yaml

    return getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def check_yaml(text: str, where: str) -> None:
    """Refuse short text that expands to very much, such as aliases of aliases, or that has a key twice.

    Nothing is built from the text before the check.

    Invalid YAML passes: its errors are left to the parser.

    Args:
        text: The text.
        where: Its name in errors.

    Raises:
        ValueError: If it is too long, too deep, expands to too much, or has a key twice in one mapping.
    """
    import yaml

    if len(text) > MAX_TEXT:
        _refuse(where, f"is longer than {MAX_TEXT >> 20} MiB")
    sizes: dict[str | None, float] = {}  # nodes behind an anchor; infinite while it is open: an alias to it never ends
    open_nodes: list[tuple[str | None, float]] = [(None, 0)]  # anchor, and nodes before it

    nodes: float = 0
    try:
        for event in yaml.parse(text, Loader=yaml_loader()):
            if isinstance(event, yaml.AliasEvent):
                nodes += sizes.get(event.anchor, 1)
            elif isinstance(event, yaml.ScalarEvent):
                nodes += 1
                if len(event.value) > MAX_SCALAR:
                    _refuse(where, f"has a value of {len(event.value)} characters")
                if event.anchor:
                    sizes[event.anchor] = 1
            elif isinstance(event, yaml.CollectionStartEvent):
                open_nodes.append((event.anchor, nodes))
                nodes += 1
                if event.anchor:
                    sizes[event.anchor] = math.inf
                if len(open_nodes) > MAX_DEPTH:
                    _refuse(where, f"is nested deeper than {MAX_DEPTH} levels")
            elif isinstance(event, yaml.CollectionEndEvent):
                anchor, before = open_nodes.pop()
                if anchor:
                    sizes[anchor] = nodes - before
            if nodes > MAX_NODES:
                _refuse(where, f"stands for more than {MAX_NODES} values")
        check_keys(yaml.compose(text, Loader=yaml_loader()), where)
    except yaml.YAMLError:
        return


def check_keys(root: Any, where: str) -> None:
    """Refuse duplicate keys in a mapping, of which a parser would silently use the last.

    Args:
        root: Node of YAML; None for an empty text.
        where: Name of the text in errors.

    Raises:
        ValueError: If there is one.
    """
    seen, nodes = set[int](), [root]
    while nodes:
        node = nodes.pop()
        if id(node) in seen or not isinstance(getattr(node, "value", None), list):
            continue
        seen.add(id(node))
        lines: dict[tuple[str, str], int] = {}
        for item in node.value:
            pair = item if isinstance(item, tuple) else (item,)
            nodes += pair
            if len(pair) == 2 and isinstance(pair[0].value, str) and pair[0].value != "<<":
                key, line = (pair[0].tag, pair[0].value), pair[0].start_mark.line + 1
                if key in lines:
                    both = f"line {line}" if line == lines[key] else f"lines {lines[key]} and {line}"
                    raise ValueError(f"{where}: the key {key[1]} is given twice, in {both}: keep one of them.")
                lines[key] = line


def check_plain(value: Any, where: str) -> None:
    """Refuse plain data that are too deep or too large, counting repetitions.

    Args:
        value: The data.
        where: Their name in errors.

    Raises:
        ValueError: If they are too large, too deep, contain themselves, or are not plain.
    """
    sizes: dict[int, float] = {}

    def size(value: Any, depth: int) -> float:
        if depth > MAX_DEPTH:
            _refuse(where, f"is nested deeper than {MAX_DEPTH} levels")
        if isinstance(value, str) and len(value) > MAX_SCALAR:
            _refuse(where, f"has a value of {len(value)} characters")
        if value is None or isinstance(value, (str, bool, int, float)):
            return 1
        if not isinstance(value, (Mapping, Sequence)):
            _refuse(where, f"holds a {type(value).__name__}, where plain data are expected")
        if id(value) not in sizes:
            sizes[id(value)] = math.inf
            items = [*value.keys(), *value.values()] if isinstance(value, Mapping) else value
            total: float = 1
            for item in items:
                total += size(item, depth + 1)
                if total > MAX_NODES:
                    _refuse(where, f"stands for more than {MAX_NODES} values")
            sizes[id(value)] = total
        return sizes[id(value)]

    size(value, 0)


def check_archive(path: Path, *, stored: bool = False) -> None:
    """Refuse a zip file that unpacks to far more than its size; other files pass.

    Args:
        path: The file.
        stored: Whether its members must not be compressed, as in files of torch.save.

    Raises:
        ValueError: If it is a decompression bomb.
    """
    if not zipfile.is_zipfile(path):
        return
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
    size, unpacked = path.stat().st_size, sum(member.file_size for member in members)
    if stored and (unpacked > size or any(member.compress_type != zipfile.ZIP_STORED for member in members)):
        _refuse(str(path), "is compressed, as no file of torch.save is")
    if unpacked > max(MAX_UNPACKED, MAX_RATIO * size):
        _refuse(str(path), f"unpacks from {size} to {unpacked} bytes")


def check_mat(path: Path, most: int) -> None:
    """Refuse a Matlab file whose uncompressed content is larger than a number of bytes.

    Args:
        path: The file.
        most: The number.

    Raises:
        ValueError: If it is larger.
    """
    if path.stat().st_size > most:
        _refuse(str(path), f"is of {path.stat().st_size} bytes, where at most {most} are expected")
    content, at, left = path.read_bytes(), 128, most
    order = "<" if content[126:128] == b"IM" else ">"
    while at + 8 <= len(content):
        kind, size = struct.unpack_from(f"{order}II", content, at)
        if kind == _COMPRESSED:
            with suppress(zlib.error):  # damaged, which the reader says
                left -= len(zlib.decompressobj().decompress(content[at + 8 : at + 8 + size], left + 1))
            if left < 0:
                _refuse(str(path), f"unpacks to more than {most} bytes")
        at += 8 + size


def _refuse(where: str, why: str) -> NoReturn:
    raise ValueError(f"{where} {why}: refused.")


def check_gzip(path: Path) -> None:
    """Refuse a file that unpacks to far more than its size.

    Raises:
        ValueError: If it is a decompression bomb.
    """
    most, size = max(MAX_UNPACKED, MAX_RATIO * path.stat().st_size), 0
    with gzip.open(path, "rb") as file:
        while part := file.read(2**24):
            size += len(part)
            if size > most:
                raise ValueError(f"{path} unpacks from {path.stat().st_size} to more than {most} bytes: refused.")
