"""Cache of decoded images."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from vae_zoo.data.base.paths import cache_root


def cached_images(
    blocks: Iterable[np.ndarray],
    paths: Sequence[str],
    folder: Path,
    *,
    how: str,
    shape: tuple[int, ...],
    skipped: dict[int, str] | None = None,
) -> np.ndarray:
    """The images of some files, from the cache, which is filled if necessary.

    Args:
        blocks: The images, in blocks; iterated only if they are not in the cache.
        paths: The files, in ``folder``.
        folder: The folder, which may be moved.
        how: Settings that the images depend on.
        shape: Shape of all images together, (N, C, H, W).
        skipped: Reasons why some files are no images, by their number, which iterating the blocks fills in. They are
            written behind the images, and read from there if these come from the cache. None if there can be none.

    Returns:
        uint8 images, memory-mapped.

    Raises:
        ValueError: If the cache cannot be written.
    """
    path = cache_root() / "image_folders" / f"{_key(paths, folder, how)}.npy"
    images = _open(path, shape, skipped)
    if images is None:
        _write(path, blocks, shape, skipped)
        images = _open(path, shape, skipped)
    if images is None:
        raise ValueError(f"{path} cannot be read right after it was written: check the disk, or set cache to false.")
    return images


def _key(paths: Sequence[str], folder: Path, how: str) -> str:
    key = hashlib.sha256(how.encode())
    for path in paths:
        try:
            state = os.stat(path)
            changed = f"{state.st_size}\0{state.st_mtime_ns}"
        except OSError:  # a link that leads nowhere, which reading it reports
            changed = ""
        key.update(f"\0{path[len(str(folder)) :]}\0{changed}".encode(errors="surrogateescape"))
    return key.hexdigest()[:32]


def _open(path: Path, shape: tuple[int, ...], skipped: dict[int, str] | None) -> np.ndarray | None:
    """The images, or None if the file does not exist or is damaged."""
    try:
        images = np.load(path, mmap_mode="r", allow_pickle=False)
        if images.dtype != np.uint8 or images.shape != shape:
            return None
        if skipped is not None:
            with path.open("rb") as file:
                file.seek(images.offset + images.nbytes)
                skipped.update({int(number): str(reason) for number, reason in json.load(file).items()})
    except (OSError, ValueError, EOFError, AttributeError):
        return None
    return images


def _write(path: Path, blocks: Iterable[np.ndarray], shape: tuple[int, ...], skipped: dict[int, str] | None) -> None:
    """Write the images to a temporary file and rename it, so that the cache has all of them or none."""
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".", suffix=".tmp", delete=False) as file:
            temporary = file.name
            header = {"descr": "|u1", "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(file, header)
            for block in blocks:
                file.write(block.data)
            if skipped is not None:
                file.write(json.dumps(skipped).encode())
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        temporary = None
    except OSError as error:
        where = "set VAE_ZOO_CACHE to a folder with room, or cache to false"
        raise ValueError(f"Decoded images cannot be written to {path.parent} ({error.strerror}): {where}.") from error
    finally:
        if temporary is not None:
            os.unlink(temporary)
