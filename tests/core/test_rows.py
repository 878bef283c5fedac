"""`Rows` selects, mixes, joins and stores its tensors row by row, and never in place."""

from dataclasses import dataclass

import torch
from torch import Tensor

from holdfast.core.rows import Named, Rows, per_row


@dataclass(frozen=True)
class Inner(Rows):
    a: Tensor


@dataclass(frozen=True)
class Outer(Rows):
    b: Tensor
    inner: Inner
    extra: Named


def record(shift=0.0):
    a, b = torch.arange(4.0) + shift, torch.arange(12.0).reshape(4, 3) + shift
    return Outer(b, Inner(a), Named({"u": a * 2, "v": b.unsqueeze(2)}))


def same(one, other):
    one, other = one.flatten(), other.flatten()
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_indexing_takes_the_same_rows_of_every_leaf():
    taken = record()[torch.tensor([2, 0])]
    assert len(taken) == 2
    assert taken.inner.a.tolist() == [2.0, 0.0] and taken.extra.tensors["v"][:, 0, 0].tolist() == [6.0, 0.0]
    assert same(record()[torch.tensor([True, False, True, False])], record()[0:3:2])


def test_where_mixes_row_by_row():
    mask = torch.tensor([True, False, False, True])
    mixed = record().where(mask, record(100.0))
    assert mixed.inner.a.tolist() == [0.0, 101.0, 102.0, 3.0]
    assert torch.equal(mixed.b[1], record(100.0).b[1]) and torch.equal(mixed.b[3], record().b[3])


def test_cat_is_inverse_to_indexing():
    whole = record()
    assert same(whole[0:1].cat(whole[1:2], whole[2:]), whole)


def test_flatten_and_unflatten_are_inverse():
    flat = record().flatten("slots.")
    assert set(flat) == {"slots.b", "slots.inner.a", "slots.extra.u", "slots.extra.v"}
    assert same(Outer.unflatten(flat, "slots."), record())


def test_map_reaches_every_tensor():
    assert same(record().map(lambda t: t + 1), record(1.0)) is False
    assert record().map(lambda t: t + 1).extra.tensors["u"].tolist() == [1.0, 3.0, 5.0, 7.0]


def test_per_row_broadcasts_over_the_other_axes():
    assert per_row(torch.ones(4), torch.zeros(4, 3, 2)).shape == (4, 1, 1)
