"""`npz:FILE`: arrays that numpy saved, by the keys `x_SPLIT` and `y_SPLIT`, else `x` and `y`."""

from __future__ import annotations

import zipfile

import numpy as np
from numpy.typing import NDArray

from holdfast.core.errors import ConfigError, InputError
from holdfast.data.dataset import Dataset, from_tensors
from holdfast.data.source import Source

LAYOUTS = ("nchw", "nhwc", "stored")
CHANNELS = (1, 3, 4)


def load_npz(source: Source) -> Dataset:
    """The split's images and labels; ids are places in the file.

    uint8 `[n, h, w, c]` becomes a `[n, c, h, w]` view; `[n, h, w]`, uint8 or float, gets a channel axis; the rest stays.
    `?layout=nchw`, `nhwc` or `stored` (touch nothing: say so for `[n, c, length]`) overrules that guess.

    Raises InputError for a file that is damaged or lacks the keys, ConfigError for another layout.
    """
    source.allow(["layout"])
    layout = source.options.get("layout")
    if layout is not None and layout not in LAYOUTS:
        raise ConfigError(f"data {source.spec!r}: layout={layout!r}: expected one of {', '.join(LAYOUTS)}")
    x, y = _read(source)
    return from_tensors(_channels_first(x, layout), y, name=source.spec).select(source.limit, source.offset)


def _read(source: Source) -> tuple[NDArray[np.generic], NDArray[np.generic]]:
    path = source.path("FILE")
    try:
        with path.open("rb") as file:  # opened here, because numpy leaves a damaged file open
            archive = np.load(file, allow_pickle=False)
            if not isinstance(archive, np.lib.npyio.NpzFile):
                raise InputError(f"data {source.spec!r}: {path} holds one bare array: save both, numpy.savez(FILE, x=..., y=...)")
            with archive:
                pairs = [(f"x_{source.split}", f"y_{source.split}"), ("x", "y")]
                pair = next((pair for pair in pairs if pair[0] in archive and pair[1] in archive), None)
                if pair is None:
                    there = ", ".join(archive.files) or "none"
                    raise InputError(
                        f"data {source.spec!r}: needs keys x_{source.split} and y_{source.split}, or x and y; "
                        f"there are {there}: choose another --split, or rename them"
                    )
                return archive[pair[0]], archive[pair[1]]
    except InputError:
        raise
    except Exception as error:  # a damaged archive can raise anything on its way through the readers
        if "allow_pickle" in str(error) and zipfile.is_zipfile(path):
            raise InputError(f"data {source.spec!r}: holds Python objects, which are not unpickled: save plain arrays") from error
        raise InputError(f"data {source.spec!r}: {path} is not an npz file, or it is damaged: save or fetch it again") from error


def _channels_first(x: NDArray[np.generic], layout: str | None) -> NDArray[np.generic]:
    if layout == "stored" or x.ndim not in (3, 4):
        return x
    if x.ndim == 3:
        return x[:, None]
    if layout is None:
        # Only bytes are guessed at: stored photographs nearly always end in their channels; floats come from tensors.
        layout = "nhwc" if x.dtype == np.uint8 and x.shape[3] in CHANNELS else "nchw"
    return x.transpose(0, 3, 1, 2) if layout == "nhwc" else x
