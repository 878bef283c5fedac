"""`folder:DIR`: pictures in one folder for each class, `DIR/class/*.png`, or the same below `DIR/SPLIT`."""

from __future__ import annotations

import hashlib
import math
import shutil
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import numpy as np
import torch
from numpy.lib.format import open_memmap
from PIL import Image
from torch import Tensor

from holdfast.core.errors import InputError
from holdfast.data.dataset import Dataset, window
from holdfast.data.images import OPTIONS, Frame, Pixels, stack
from holdfast.data.source import Source

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".webp"})


def load_folder(source: Source) -> Dataset:
    """Pictures as uint8 RGB `[n, 3, h, w]`; labels count the class folders by name; only what is asked for is decoded.

    An id is 63 bits of the sha256 of the path below DIR, so it stays when other files come or go. Samples stand in the order
    of their ids, so that `--limit 1000` is a draw from all classes and not the first class.
    Options: `?size=224` (shorter side to 224, centre kept), `?resize=256&size=224`, `?channels=1`; `?cache=DIR`: the decoded pictures
    stay in a file there, and are read from it piece by piece, also by other processes: for more than memory holds.

    Raises InputError where class folders or their pictures are missing, one cannot be decoded, or sizes differ without `size`.
    """
    source.allow((*OPTIONS, "cache"))
    frame = Frame.of(source)
    root = source.path("DIR")
    base = root / source.split if any(_folders(root / source.split)) else root
    names = [folder.name for folder in _folders(base)]
    files = [
        (_identity(path.relative_to(root)), path, label) for label, name in enumerate(names) for path in _pictures(base / name, source)
    ]
    if not files:
        raise InputError(f"data {source.spec!r}: no class folders in {base}: expected {base}/CLASS/*.png, jpg, jpeg, bmp or webp")
    files.sort()
    places = window(len(files), source.limit, source.offset, source.spec)
    chosen = files[places.start : places.stop]
    paths = [path for _, path, _ in chosen]
    x = _cached(paths, frame, source) if "cache" in source.options else stack(_opened(paths, source), len(paths), frame, source)
    y, ids = (torch.tensor([entry[part] for entry in chosen], dtype=torch.int64) for part in (2, 0))
    return Dataset(x, y, ids, source.spec, tuple(names))


def _cached(paths: list[Path], frame: Frame, source: Source) -> Tensor:
    """The pictures out of a file that is named by what they are made of, and made where there is none."""
    stats = [(str(path), *(path.stat().st_size, path.stat().st_mtime_ns)) for path in paths]
    name = hashlib.sha256(repr((stats, frame)).encode()).hexdigest()[:24]
    file = Path(source.options["cache"]).expanduser() / f"{name}.npy"
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        begun = file.with_suffix(f".{uuid4().hex}")

        def room(shape: tuple[int, ...]) -> Pixels:
            free = shutil.disk_usage(begun.parent).free
            if math.prod(shape) > free:
                raise InputError(
                    f"data {source.spec!r}: {begun.parent} has {free:,} bytes left, {math.prod(shape):,} are needed: make room"
                )
            return open_memmap(begun, "w+", np.uint8, shape)

        try:
            stack(_opened(paths, source), len(paths), frame, source, room)
            begun.replace(file)
        finally:
            begun.unlink(missing_ok=True)
    # Copy on write: torch wants arrays that may be written to.
    return torch.from_numpy(np.load(file, mmap_mode="c")).permute(0, 3, 1, 2)


def _folders(place: Path) -> list[Path]:
    if not place.is_dir():
        return []
    return sorted(
        (entry for entry in place.iterdir() if entry.is_dir() and not entry.name.startswith((".", "__"))),
        key=lambda e: e.name,
    )


def _pictures(folder: Path, source: Source) -> list[Path]:
    found = [path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES and not path.name.startswith(".")]
    if not found:
        # Counted as a class it would shift the labels after it, left out it would shift them too: the user must say.
        splits = [entry.name for entry in _folders(folder.parent) if _folders(entry)]
        remedy = f"choose --split {' or '.join(splits)}" if splits else "add pictures, or take the folder out"
        raise InputError(f"data {source.spec!r}: class folder {folder} holds no pictures: {remedy}")
    return found


def _identity(path: Path) -> int:
    return int.from_bytes(hashlib.sha256(path.as_posix().encode()).digest()[:8], "big") >> 1


def _opened(paths: list[Path], source: Source) -> Iterator[tuple[str, Image.Image]]:
    for path in paths:
        try:
            with Image.open(path) as picture:
                yield str(path), picture
        except (OSError, Image.DecompressionBombError) as error:
            raise InputError(f"data {source.spec!r}: {path} cannot be decoded ({error}): mend it or take it out") from error
