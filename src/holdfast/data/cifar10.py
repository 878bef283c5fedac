"""`cifar10:DIR`: the original CIFAR-10 batches; the python ones are pickles, and are read without running what these ask for."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from holdfast.core.errors import ConfigError, InputError
from holdfast.data.dataset import Dataset, from_tensors
from holdfast.data.source import Source

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
FILES = {"train": tuple(f"data_batch_{number}" for number in range(1, 6)), "test": ("test_batch",)}
FOLDERS = (".", "cifar-10-batches-py", "cifar-10-batches-bin")
PIXELS = 3 * 32 * 32
Arrays = tuple[NDArray[np.generic], NDArray[np.generic]]


def load_cifar10(source: Source) -> Dataset:
    """Images uint8 `[n, 3, 32, 32]` and labels; ids are places in the split, its batches one after the other.

    DIR holds the batches, python or binary, or the folder that the archive unpacks to. Splits: train and test.

    Raises ConfigError for another split, InputError for a batch that is missing, damaged or asks for code to be run.
    """
    source.allow()
    if source.split not in FILES:
        raise ConfigError(f"data {source.spec!r}: split {source.split!r} is unknown: choose one of {', '.join(FILES)}")
    parts = [_read(path) for path in _find(source.path("DIR"), FILES[source.split])]
    x, y = (np.concatenate(arrays) if len(parts) > 1 else arrays[0] for arrays in zip(*parts, strict=True))
    data = from_tensors(x.reshape(-1, 3, 32, 32), y, name=source.spec, classes=CLASSES)
    return data.select(source.limit, source.offset)


def _find(folder: Path, names: tuple[str, ...]) -> list[Path]:
    for place in FOLDERS:
        for suffix in ("", ".bin"):
            paths = [folder / place / f"{name}{suffix}" for name in names]
            missing = [path for path in paths if not path.is_file()]
            if not missing:
                return paths
            if len(missing) < len(paths):
                raise InputError(f"{missing[0]} is missing beside its {len(paths) - len(missing)} siblings: fetch the archive again")
    raise InputError(f"no {names[0]} or {names[0]}.bin in {folder}: point cifar10: at the folder that the archive unpacks to")


def _read(path: Path) -> Arrays:
    if path.suffix == ".bin":
        raw = path.read_bytes()
        if not raw or len(raw) % (1 + PIXELS):
            raise InputError(f"{path}: {len(raw)} bytes are not a number of records of {1 + PIXELS}: fetch it again")
        records = np.frombuffer(bytearray(raw), np.uint8).reshape(-1, 1 + PIXELS)
        return records[:, 1:], records[:, 0]
    try:
        with path.open("rb") as file:
            held = _Arrays(file, encoding="bytes").load()
        # Bytes from the original, written by Python 2; strings from one written anew.
        x, y = (held.get(key.encode(), held.get(key)) for key in ("data", "labels"))
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    except Exception as error:  # a damaged pickle can raise anything
        reason = type(error).__name__
        raise InputError(f"{path}: not a CIFAR-10 batch, or damaged ({reason}): fetch it again") from error
    images = isinstance(x, np.ndarray) and x.dtype == np.uint8 and x.ndim == 2 and x.shape[1] == PIXELS
    if not images or not isinstance(y, list | np.ndarray):
        raise InputError(f"{path}: expected 'data' uint8 [n, {PIXELS}] and 'labels': fetch the archive again")
    return x, np.asarray(y)


def _latin(text: str, encoding: str) -> bytes:
    """What protocol 2 makes of bytes: a string, and the encoding that leads back."""
    if encoding != "latin1":
        raise InputError(f"asks for the codec {encoding!r}, which plain arrays do not need: fetch the archive again")
    return text.encode("latin1")


class _Arrays(pickle.Unpickler):
    """Builds dictionaries, lists, bytes and numpy arrays; whatever else a pickle names is refused, never imported."""

    # How numpy rebuilds an array, asked of an array because the functions' own addresses differ between numpy 1 and 2.
    allowed: ClassVar[dict[tuple[str, str], Any]] = {
        ("multiarray", "_reconstruct"): np.empty(0).__reduce__()[0],
        ("numeric", "_frombuffer"): np.empty(0).__reduce_ex__(5)[0],
        ("numpy", "ndarray"): np.ndarray,
        ("numpy", "dtype"): np.dtype,
        ("_codecs", "encode"): _latin,
    }

    def find_class(self, module: str, name: str) -> Any:
        """The few things that an array is made of.

        Raises InputError for everything else.
        """
        known = self.allowed.get((module.rpartition(".")[2], name))  # by the last word: the first words differ too
        if known is None:
            raise InputError(f"asks for {module}.{name}, which plain arrays do not need: not unpickled; fetch the archive again")
        return known
