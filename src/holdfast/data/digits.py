"""`digits`: the 1797 handwritten digits that come with scikit-learn; real data with nothing to fetch."""

from __future__ import annotations

import hashlib
from importlib import import_module

import numpy as np
import torch

from holdfast.core.errors import ConfigError
from holdfast.data.dataset import Dataset, from_tensors
from holdfast.data.source import Source

SIZE, TEST = 1797, 360


def load_digits(source: Source) -> Dataset:
    """Images float32 `[n, 1, 8, 8]`, each value k / 16 exactly, and labels 0..9; ids are places in scikit-learn's order.

    scikit-learn has no split of its own. Here the 360 places whose sha256("holdfast digits PLACE") is smallest are `test`,
    the other 1437 are `train`, for good; `all` is both.

    Raises ConfigError for another split, or when a place is given.
    """
    source.allow()
    if source.place:
        raise ConfigError(f"data {source.spec!r}: digits come with scikit-learn and need no place: write digits")
    order = sorted(range(SIZE), key=lambda place: hashlib.sha256(f"holdfast digits {place}".encode()).digest())
    splits = {"test": sorted(order[:TEST]), "train": sorted(order[TEST:]), "all": list(range(SIZE))}
    if source.split not in splits:
        raise ConfigError(f"data {source.spec!r}: split {source.split!r} is unknown: choose one of {', '.join(splits)}")
    ids = splits[source.split]
    # Imported here because it takes a second, which nobody with other data should wait for.
    bunch = import_module("sklearn.datasets").load_digits()
    x = (bunch.images[ids] / 16).astype(np.float32)[:, None]
    data = from_tensors(x, bunch.target[ids], torch.tensor(ids), source.spec, tuple("0123456789"))
    return data.select(source.limit, source.offset)
