"""`idx:DIR`: the MNIST family (MNIST, Fashion-MNIST, KMNIST) in its original idx files, packed by gzip or not."""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from holdfast.core.errors import ConfigError, InputError
from holdfast.data.dataset import Dataset, from_tensors
from holdfast.data.source import Source

FILES = {"train": "train", "test": "t10k"}
TYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


def load_idx(source: Source) -> Dataset:
    """The split's images `[n, 1, h, w]` and labels; ids are places in the file. Splits: train and test (named t10k).

    Raises ConfigError for another split, InputError for a file that is missing or damaged.
    """
    source.allow()
    if source.split not in FILES:
        raise ConfigError(f"data {source.spec!r}: split {source.split!r} is unknown: choose one of {', '.join(FILES)}")
    folder, stem = source.path("DIR"), FILES[source.split]
    x = read_idx(_find(folder, f"{stem}-images", 3))
    y = read_idx(_find(folder, f"{stem}-labels", 1))
    return from_tensors(x[:, None] if x.ndim == 3 else x, y, name=source.spec).select(source.limit, source.offset)


def _find(folder: Path, stem: str, axes: int) -> Path:
    names = [f"{stem}{mark}idx{axes}-ubyte{packed}" for packed in ("", ".gz") for mark in "-."]
    for name in names:
        if (folder / name).is_file():
            return folder / name
    raise InputError(f"no {names[0]} or {names[2]} in {folder}: fetch it, or point idx: at the folder that holds it")


def read_idx(path: Path) -> NDArray[np.generic]:
    """The array in one idx file: two zero bytes, a type, the number of axes, their lengths (big-endian), the values.

    Raises InputError when the file is not of that form or does not hold as many values as it promises.
    """
    try:
        raw = bytearray(gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes())
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path}: cannot be read, or its gzip packing is damaged ({error}): fetch it again") from error
    if len(raw) < 4 or raw[0] or raw[1] or raw[2] not in TYPES or len(raw) < 4 + 4 * raw[3]:
        raise InputError(f"{path}: begins with {bytes(raw[:4]).hex(' ') or 'nothing'}, which is not an idx header: fetch it again")
    kind, start = np.dtype(TYPES[raw[2]]), 4 + 4 * raw[3]
    shape = struct.unpack(f">{raw[3]}I", raw[4:start])
    promised = math.prod(shape) * kind.itemsize
    if len(raw) - start != promised:
        raise InputError(f"{path}: holds {len(raw) - start} bytes of values, its header promises {promised}: fetch it again")
    # A bytearray is writable, so that torch can share it as it is.
    return np.frombuffer(raw, kind, offset=start).reshape(shape)
