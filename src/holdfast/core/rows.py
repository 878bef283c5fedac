"""`Rows`: a frozen record of tensors whose axis 0 is the sample."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self, get_type_hints

import torch
from torch import Tensor


@dataclasses.dataclass(frozen=True)
class Rows:
    """A frozen dataclass whose every leaf is a tensor, or `Rows`, with the sample as axis 0.

    Subclass it with `@dataclass(frozen=True)`. Nothing is changed in place: each method returns a new object.

    >>> @dataclasses.dataclass(frozen=True)
    ... class Pair(Rows):
    ...     a: Tensor
    ...     b: Tensor
    >>> pair = Pair(torch.arange(3), torch.zeros(3, 2))
    >>> len(pair[torch.tensor([2, 0])]), pair[1:].a.tolist()
    (2, [1, 2])
    """

    def leaves(self) -> list[tuple[str, Tensor | Rows]]:
        return [(name, getattr(self, name)) for name in _fields(type(self))]

    def rebuilt(self, leaves: Sequence[Any]) -> Self:
        """The same kind of record over other leaves, in the order of `leaves()`."""
        return type(self)(*leaves)

    def __len__(self) -> int:
        for _, leaf in self.leaves():
            return len(leaf)
        return 0

    def __getitem__(self, index: Tensor | slice) -> Self:
        """The rows at `index`: a slice, a mask `[n]` or positions `[m]`."""
        return self.rebuilt([leaf[index] for _, leaf in self.leaves()])

    def map(self, f: Callable[[Tensor], Tensor]) -> Self:
        """`f` applied to each tensor."""
        return self.rebuilt([leaf.map(f) if isinstance(leaf, Rows) else f(leaf) for _, leaf in self.leaves()])

    def merge(self, others: Sequence[Self], f: Callable[[list[Tensor]], Tensor]) -> Self:
        """`f` applied to each leaf of this record together with the same leaf of the others."""
        merged: list[Tensor | Rows] = []
        for column in zip(*[record.leaves() for record in (self, *others)], strict=True):
            leaves = [leaf for _, leaf in column]
            first, tensors = leaves[0], [leaf for leaf in leaves if isinstance(leaf, Tensor)]
            nested = [leaf for leaf in leaves if isinstance(leaf, Rows)]
            merged.append(first.merge(nested[1:], f) if isinstance(first, Rows) else f(tensors))
        return self.rebuilt(merged)

    def where(self, mask: Tensor, other: Self) -> Self:
        """These rows where `mask` `[n]` holds, the other's elsewhere."""
        return self.merge([other], lambda pair: torch.where(per_row(mask, pair[0]), pair[0], pair[1]))

    def cat(self, *others: Self) -> Self:
        """These rows, then the others'."""
        return self.merge(others, torch.cat) if others else self

    def flatten(self, prefix: str = "") -> dict[str, Tensor]:
        """Every tensor by its dotted name, for storing."""
        flat: dict[str, Tensor] = {}
        for name, leaf in self.leaves():
            flat |= leaf.flatten(f"{prefix}{name}.") if isinstance(leaf, Rows) else {prefix + name: leaf}
        return flat

    @classmethod
    def unflatten(cls, flat: Mapping[str, Tensor], prefix: str = "") -> Self:
        """The inverse of `flatten`; nested records are found by their annotation."""
        leaves: list[Any] = []
        for name, kind in _fields(cls).items():
            nested = isinstance(kind, type) and issubclass(kind, Rows)
            leaves.append(kind.unflatten(flat, f"{prefix}{name}.") if nested else flat[prefix + name])
        return cls(*leaves)


@dataclasses.dataclass(frozen=True)
class Named(Rows):
    """Rows whose leaves have names chosen at run time: the memories of a chain of transforms, a model's extra outputs."""

    tensors: Mapping[str, Tensor]

    def leaves(self) -> list[tuple[str, Tensor | Rows]]:
        return list(self.tensors.items())

    def rebuilt(self, leaves: Sequence[Any]) -> Self:
        return type(self)(dict(zip(self.tensors, leaves, strict=True)))

    @classmethod
    def unflatten(cls, flat: Mapping[str, Tensor], prefix: str = "") -> Self:
        return cls({name.removeprefix(prefix): leaf for name, leaf in flat.items() if name.startswith(prefix)})


_known: dict[type, dict[str, Any]] = {}


def _fields(cls: type[Rows]) -> dict[str, Any]:
    """A record's fields with their annotations, looked up once a class."""
    if cls not in _known:
        hints = get_type_hints(cls)
        _known[cls] = {field.name: hints[field.name] for field in dataclasses.fields(cls)}
    return _known[cls]


def per_row(value: Tensor, like: Tensor) -> Tensor:
    """`value` `[n]` shaped to broadcast over the other axes of `like` `[n, ...]`."""
    return value.reshape(-1, *[1] * (like.ndim - 1))
