"""Files of coded examples: a header of plain data, then the stack. They are read as untrusted."""

from __future__ import annotations

import hashlib
import json
import math
import platform
import struct
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

import vae_zoo
from vae_zoo.evaluation.coding.ans import Stack
from vae_zoo.evaluation.coding.bits_back import Codec, Coded
from vae_zoo.system.writing import replacing

MAGIC = b"\x89VAEZOO\n"
VERSION = 1
MOST_HEADER = 2**14
MOST_ENTRIES = 2**30
"""Largest number of values that a file may stand for."""

KINDS = ("bool", "uint8", "uint16", "int32", "int64", "float32", "float64")
_INTEGERS = ("num", "num_values", "batch_size", "num_heads", "num_taken", "num_words")
_TEXTS = ("kind", "model", "weights", "probe", "content", "stack", *("vae_zoo", "torch", "numpy", "scipy", "machine"))


class Header(NamedTuple):
    """Header of a file of coded examples, which comes before its stack.

    Args:
        shape: Shape of one example.
        num: Number of examples.
        num_values: Number of values of an entry.
        batch_size: Number of examples that were coded together.
        num_heads: Number of heads of the stack.
        num_taken: Pseudo-random words that are left when all examples have been decoded.
        num_words: Words below the heads.
        top: Number that the largest value was in the original array.
        kind: Type of the original array.
        model: Name of the model's class.
        weights: Checksum of the model.
        probe: Checksum of what its networks gave on a fixed batch.
        content: Checksum of the examples.
        stack: Checksum of the stack.
        vae_zoo: Version of the package.
        torch: Version of torch.
        numpy: Version of numpy.
        scipy: Version of scipy.
        machine: Processor and the instructions that torch uses of it.
    """

    shape: tuple[int, ...]
    num: int
    num_values: int
    batch_size: int
    num_heads: int
    num_taken: int
    num_words: int
    top: float
    kind: str
    model: str
    weights: str
    probe: str
    content: str
    stack: str
    vae_zoo: str
    torch: str
    numpy: str
    scipy: str
    machine: str


def write_coded(path: Path, codec: Codec, coded: Coded, x: NDArray[np.uint16], *, kind: str, top: float) -> int:
    """Write coded examples to a file.

    Args:
        path: The file.
        codec: What coded them.
        coded: The stack.
        x: Numbers of their values.
        kind: Type of the original array.
        top: Number that the largest value was in it.

    Returns:
        Size of the file in bytes.

    Raises:
        WriteError: If it cannot be written.
    """
    heads, words = coded.stack.heads.astype("<u8"), coded.stack.words.astype("<u2")
    body = heads.tobytes() + words.tobytes()
    header = Header(
        shape=codec.shape,
        num=coded.num,
        num_values=codec.values.num,
        batch_size=codec.batch_size,
        num_heads=len(heads),
        num_taken=coded.stack.num_taken,
        num_words=len(words),
        top=top,
        kind=kind,
        content=_digest(np.ascontiguousarray(x, "<u2").tobytes()),
        stack=_digest(body),
        **_circumstances(codec),
    )
    text = json.dumps(header._asdict(), separators=(",", ":")).encode()
    with replacing(path) as part:
        part.write_bytes(MAGIC + struct.pack("<II", VERSION, len(text)) + text + body)
    return len(MAGIC) + 8 + len(text) + len(body)


def read_coded(path: Path) -> tuple[Header, Stack]:
    """Read a file of coded examples.

    Raises:
        ValueError: If it is another file, of another version, truncated or damaged.
    """
    with path.open("rb") as file:
        start = file.read(len(MAGIC) + 8)
        if start[: len(MAGIC)] != MAGIC:
            raise ValueError(f"{path} is no file of vae-zoo compress.")
        if len(start) < len(MAGIC) + 8:
            raise ValueError(f"{path} is truncated: copy it again.")
        version, length = struct.unpack("<II", start[len(MAGIC) :])
        if version != VERSION:
            raise ValueError(f"{path} is of version {version} of these files, and version {VERSION} is read.")
        if length > MOST_HEADER:
            raise ValueError(f"{path} is damaged: its header has {length} bytes, and at most {MOST_HEADER} are read.")
        header = _checked(file.read(length), length, str(path))
        size = 8 * header.num_heads + 2 * header.num_words
        body = file.read()
    if len(body) < size:
        raise ValueError(f"{path} is truncated: copy it again.")
    if len(body) > size or _digest(body) != header.stack:
        raise ValueError(f"{path} is damaged: its checksum is another.")
    heads = np.frombuffer(body, "<u8", header.num_heads).astype(np.uint64)
    words = np.frombuffer(body, "<u2", offset=8 * header.num_heads).astype(np.uint16)
    try:
        return header, Stack.restored(heads, words)
    except ValueError as error:
        raise ValueError(f"{path} is damaged: {error}.") from None


def decoded(path: Path, model: Any) -> tuple[Header, NDArray[np.uint16]]:
    """The examples of a file, as numbers of their values.

    Raises:
        ValueError: If the file is damaged or was made by another model, on another machine or with other versions.
    """
    header, stack = read_coded(path)
    if header.model != type(model).__name__ or header.weights != checksum(model):
        raise ValueError(f"{path} was made by another model, a {header.model} with other weights: give its checkpoint.")
    if tuple(model.shape) != header.shape:
        raise ValueError(f"{path} is damaged: its examples are of shape {header.shape}, the model's {model.shape}.")
    _check_alike(header, path)
    made = Codec(model, num_values=header.num_values, batch_size=header.batch_size, num_heads=header.num_heads)
    if made.values.num != header.num_values:
        raise ValueError(f"{path} is damaged: it has {header.num_values} values, the model {made.values.num}.")
    if _digest(made.probe()) != header.probe:
        raise ValueError(f"{path} was made on another machine: the networks give other numbers here, by rounding.")
    x = made.decode(stack, header.num)
    if not stack.is_initial(header.num_taken) or _digest(np.ascontiguousarray(x, "<u2").tobytes()) != header.content:
        raise ValueError(f"{path} does not decode to what was coded: it is damaged, or the machine another.")
    return header, x


def original(x: NDArray[np.uint16], kind: str, top: float, num_values: int) -> NDArray[Any]:
    """The array that was coded, from numbers of values."""
    scaled = x.astype(np.float64) * top / (num_values - 1)
    if kind.startswith("float"):
        return scaled.astype(kind)
    return np.rint(scaled).astype(kind)


def checksum(model: Any) -> str:
    """Checksum of the weights of a model, and of its arguments."""
    from vae_zoo.checkpoints.hyperparameters import plain

    found = hashlib.sha256()
    found.update(json.dumps(plain(model.recorded()), sort_keys=True, default=str).encode())
    for name, value in sorted(model.state_dict().items()):
        found.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        if isinstance(value, torch.Tensor):
            found.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return found.hexdigest()[:16]


def _circumstances(codec: Codec) -> dict[str, str]:
    """Of which model, by which versions and on which machine."""
    probe = {"model": type(codec.model).__name__, "weights": checksum(codec.model), "probe": _digest(codec.probe())}
    return probe | _versions()


def _versions() -> dict[str, str]:
    import scipy

    versions = {"vae_zoo": vae_zoo.__version__, "torch": torch.__version__, "numpy": np.__version__}
    machine = f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}"
    return versions | {"scipy": scipy.__version__, "machine": machine}


def _check_alike(header: Header, path: Path) -> None:
    for name, here in _versions().items():
        if (there := getattr(header, name)) != here:
            what = "on the processor" if name == "machine" else f"with {name}"
            raise ValueError(f"{path} was made {what} {there}, and here is {here}: rounding differs, decode it there.")


def _checked(text: bytes, length: int, where: str) -> Header:
    """The header of a file, if it is one."""
    if len(text) < length:
        raise ValueError(f"{where} is truncated: copy it again.")
    try:
        given = json.loads(text)
        header = Header(**{**given, "shape": tuple(given["shape"])})
    except (ValueError, TypeError, KeyError, RecursionError):
        raise ValueError(f"{where} is damaged: its header cannot be read.") from None
    whole = [*header.shape, *(getattr(header, name) for name in _INTEGERS)]
    sound = all(isinstance(number, int) and 0 <= number < 2**40 for number in whole)
    sound = sound and all(
        isinstance(getattr(header, name), str) and len(getattr(header, name)) < 200 for name in _TEXTS
    )
    sound = sound and isinstance(header.top, (int, float)) and header.kind in KINDS and math.isfinite(header.top)
    if not sound or not header.shape or min(whole[: len(header.shape) + 4]) < 1:
        raise ValueError(f"{where} is damaged: its header is not one of vae-zoo compress.")
    if (size := header.num * math.prod(header.shape)) > MOST_ENTRIES:
        raise ValueError(f"{where} stands for {size} values, and at most {MOST_ENTRIES} are decoded: refused.")
    return header


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]
