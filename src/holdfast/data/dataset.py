"""`Dataset`: stored inputs, labels and stable sample ids; how it is cut, checked and named by its content."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from holdfast.core.errors import ConfigError, InputError
from holdfast.core.expect import expect_fields
from holdfast.core.types import Bounds

PIECE = 512
"""Samples looked at together: checks and fingerprints copy one piece at a time, never the whole."""

UNLABELLED = -1
"""The label of an input that has none, where there may be such."""

Values = Tensor | NDArray[np.generic]


@dataclass(frozen=True, eq=False)
class Dataset:
    """Samples as they are stored: nothing is cast to float or copied here.

    `x`: `[n, features]`, `[n, c, length]` or `[n, c, h, w]`; uint8 0..255, or float in the model's own range;
    `y`: int64 `[n]`, or `[n, h, w]` for a task that labels pixels;
    `ids`: int64 `[n]`, the same for a sample in every subset; `classes`: their names in label order, where the source knows.

    Raises InputError when the three differ in length, or have a shape or type that is not one of these.
    """

    x: Tensor
    y: Tensor
    ids: Tensor
    name: str
    classes: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        expect_fields(self)
        x, y, ids = self.x, self.y, self.ids
        if not 2 <= x.ndim <= 4:
            raise InputError(f"{self.name}: inputs have shape {list(x.shape)}: expected [n, features] to [n, c, h, w]")
        if x.dtype != torch.uint8 and not x.is_floating_point():
            raise InputError(f"{self.name}: inputs are {_kind(x)}: expected uint8 0..255, or floats in the model's range")
        if y.dtype != torch.int64 or ids.dtype != torch.int64:
            raise InputError(f"{self.name}: labels are {_kind(y)} and ids {_kind(ids)}: expected int64, as from_tensors makes them")
        if y.ndim == 0 or y.ndim == 2:
            raise InputError(f"{self.name}: labels have shape {list(y.shape)}: expected [n]; for one-hot labels pass y.argmax(1)")
        if len(y) != len(x) or ids.shape != x.shape[:1]:
            raise InputError(f"{self.name}: {len(x)} inputs, {len(y)} labels, {len(ids)} ids: give one of each for every input")

    def __len__(self) -> int:
        return len(self.x)

    def shard(self, index: int, count: int) -> Self:
        """Every `count`-th sample from `index` on, which is an even mix of data sorted by class: a view, empty if there are fewer.

        Raises ConfigError unless 0 ≤ index < count.
        """
        if not 0 <= index < count:
            raise ConfigError(f"shard {index} of {count}: expected 0 <= index < count, with shards counted from 0")
        return self._cut(slice(index, None, count))

    def select(self, limit: int | None = None, offset: int = 0) -> Self:
        """At most `limit` samples, after leaving out the first `offset`: a view.

        Raises ConfigError for a limit below one or an offset below zero, InputError when nothing is left.
        """
        places = window(len(self), limit, offset, self.name)
        return self._cut(slice(places.start, places.stop))

    def _cut(self, part: slice) -> Self:
        return replace(self, x=self.x[part], y=self.y[part], ids=self.ids[part])

    def fingerprint(self) -> str:
        """sha256 of the values, types and shapes of x, y and ids, however they lie in memory and on whatever device."""
        return content(self.x, self.y, self.ids)

    def validate(self, classes: int | None = None, bounds: Bounds | None = None, unlabelled: bool = False) -> None:
        """Look at every value once.

        `classes`: how many, by default as many as have names; `bounds`: of float inputs, by default all that is finite; `unlabelled`: a
        label may be −1, for none.

        Raises InputError for no samples, a label below 0 or beyond the classes (only labels `[n]`: pixels may be marked void),
        an id that two samples share, a value that is NaN, infinite or outside `bounds`.
        """
        if self.x.numel() == 0:
            raise InputError(f"{self.name}: no samples: check --split, --limit, --offset and the shard")
        classes = classes if classes is not None or self.classes is None else len(self.classes)
        if self.y.ndim == 1:
            off = (self.y < 0) | (self.y >= classes) if classes is not None else self.y < 0
            off &= (self.y != UNLABELLED) | (not unlabelled)
            if off.any():
                place = int(off.nonzero()[0])
                span = f"0..{classes - 1}" if classes is not None else "0, 1, 2, ..."
                raise InputError(
                    f"{self.name}: label {int(self.y[place])} of sample {int(self.ids[place])} is outside {span}: "
                    f"check the labels, or the number of classes"
                )
        ordered = self.ids.sort().values
        twice = ordered[1:][ordered[1:] == ordered[:-1]]
        if len(twice):
            raise InputError(f"{self.name}: id {int(twice[0])} names two samples: give every sample an id of its own")
        if self.x.is_floating_point():
            self._validate_floats(bounds)

    def _validate_floats(self, bounds: Bounds | None) -> None:
        for start in range(0, len(self), PIECE):
            x = self.x[start : start + PIECE]
            good = x.isfinite().flatten(1).all(dim=1) if bounds is None else bounds.contain(x)
            if good.all():
                continue
            place = int((~good).nonzero()[0])
            low, high, sample = float(x[place].min()), float(x[place].max()), int(self.ids[start + place])
            if not x[place].isfinite().all():
                raise InputError(f"{self.name}: sample {sample} holds NaN or infinite values: leave it out or mend it")
            span = f"{bounds.low} to {bounds.high}" if bounds is not None else ""
            raise InputError(
                f"{self.name}: sample {sample} holds values from {low:g} to {high:g}, outside {span}: "
                f"rescale it, pass uint8, or give Classifier(bounds=...) the range it has before normalisation"
            )


def window(n: int, limit: int | None, offset: int, name: str) -> range:
    """The places that `limit` and `offset` leave of `n` samples.

    Raises ConfigError for a limit below one or an offset below zero, InputError when nothing is left.
    """
    if offset < 0 or (limit is not None and limit < 1):
        raise ConfigError(f"limit={limit}, offset={offset}: expected a limit of 1 or more and an offset of 0 or more")
    if offset >= n:
        raise InputError(f"{name}: no samples left: {n} in all and offset={offset}: check the split and the offset")
    return range(offset, n if limit is None else min(n, offset + limit))


def content(*tensors: Tensor) -> str:
    """sha256 of the values, types and shapes of tensors `[n, ...]`, however they lie in memory and on whatever device."""
    digest = hashlib.sha256()
    for tensor in tensors:
        digest.update(f"{_kind(tensor)} {list(tensor.shape)};".encode())
        for start in range(0, len(tensor), PIECE):
            piece = tensor[start : start + PIECE]
            digest.update(piece.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def from_tensors(x: Values, y: Values, ids: Values | None = None, name: str = "tensors", classes: tuple[str, ...] | None = None) -> Dataset:
    """A dataset over tensors or arrays in memory, which it shares; without `ids` samples are numbered 0, 1, ...

    `x`: `[n, ...]` uint8 or float, channels in axis 1; `y`: whole numbers of any type. `validate` looks at their values.

    Raises InputError for labels or ids that are not whole numbers, and for shapes and types that `Dataset` refuses.

    >>> data = from_tensors(torch.rand(6, 1, 8, 8), torch.arange(6) % 2)
    >>> data.shard(1, 2).ids
    tensor([1, 3, 5])
    """
    inputs, labels = _tensor(x, "inputs", name), _whole(_tensor(y, "labels", name), "labels", name)
    numbers = torch.arange(labels.shape[0] if labels.ndim else 0) if ids is None else _tensor(ids, "ids", name)
    return Dataset(inputs, labels, _whole(numbers, "ids", name), name, classes)


def _tensor(values: Values, what: str, name: str) -> Tensor:
    if isinstance(values, Tensor):
        return values.detach()
    array = np.asarray(values)
    if array.dtype.kind not in "biuf":
        raise InputError(f"{name}: {what} are {array.dtype}: expected numbers")
    if not array.dtype.isnative or not array.flags.writeable or any(step < 0 for step in array.strides):
        array = array.astype(array.dtype.newbyteorder("="), order="C")
    return torch.from_numpy(array)


def _whole(values: Tensor, what: str, name: str) -> Tensor:
    """`values` as int64, where they are whole numbers."""
    if values.is_floating_point():
        off = (values != values.round()) | ~values.isfinite()
        if off.any():
            place = int(off.flatten(1).any(dim=1).nonzero()[0]) if off.ndim > 1 else int(off.nonzero()[0])
            value = float(values[off].flatten()[0])
            raise InputError(f"{name}: {what} are not whole numbers: {value:g} at sample {place}: give class numbers 0, 1, 2, ...")
    if values.is_complex():
        raise InputError(f"{name}: {what} are {_kind(values)}: expected whole numbers")
    return values.to(torch.int64)


def _kind(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")
