"""Attacks on the package: each leaves a mark if its code is executed."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

MODULE = """
from pathlib import Path

Path({marker!r}).touch()

import torch
from lightning.pytorch import Callback
from lightning.pytorch.loggers import CSVLogger

from vae_zoo.data import Digits
from vae_zoo.distributions import Bernoulli
from vae_zoo.models import VAE
from vae_zoo.nn import Dense


class EvilVAE(VAE): ...
class EvilNet(Dense): ...
class EvilData(Digits): ...
class EvilFamily(Bernoulli): ...
class EvilCallback(Callback): ...
class EvilLogger(CSVLogger): ...
class EvilOptimizer(torch.optim.SGD): ...


def evil(*args, **kwargs) -> Dense: ...
"""

BOMB = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{b}: &{b} [{', '.join([f'*{a}'] * 10)}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
)
"""A hundred million values in 400 characters."""


class Call:
    """A pickle that calls a function as it is read."""

    def __init__(self, function: Any, *args: Any) -> None:
        self.call = (function, args)

    def __reduce__(self) -> Any:
        return self.call


def planted(content: dict[str, Any], *keys: Any, value: Any) -> dict[str, Any]:
    """A checkpoint with something else at one place; dictionaries on the way there are made."""
    inner = content
    for key in keys[:-1]:
        inner = inner[key] if isinstance(inner, list) else inner.setdefault(key, {})
    inner[keys[-1]] = value
    return content


def deflated(path: Path, source: Path, extra: int = 0) -> None:
    """The members of a zip file, compressed, and as many zeros more."""
    with zipfile.ZipFile(source) as archive, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        for name in archive.namelist():
            packed.writestr(name, archive.read(name) + bytes(extra))


def bomb_npz(path: Path, size: int) -> None:
    """An archive of one array of zeros that says it is of a size, without anyone having packed so much."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": (size,)})
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.npy", header.getvalue() + bytes(1000))
    content = bytearray(path.read_bytes())
    at = content.rindex(b"PK\x01\x02")  # the directory, where readers look
    real = struct.pack("<I", len(header.getvalue()) + 1000)
    place = content.index(real, at)
    content[place : place + 4] = struct.pack("<I", size)
    path.write_bytes(content)


def bomb_mat(path: Path, size: int) -> None:
    """A Matlab file whose one element is compressed zeros."""
    packed = zlib.compress(struct.pack("<II", 14, size) + bytes(size))
    path.write_bytes(b"MATLAB 5.0".ljust(124) + b"\x00\x01IM" + struct.pack("<II", 15, len(packed)) + packed)


def huge_png(path: Path, side: int) -> None:
    """The head of an image of many pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(9))))
