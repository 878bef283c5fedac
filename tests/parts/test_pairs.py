"""The best pair is that of a double loop over all pairs, however few the rows and whatever the block."""

import pytest
import torch

from holdfast.parts import pairs

torch.set_num_threads(1)


def by_hand(u, v):
    best, found = 0.0, None
    for i in range(len(u)):
        for j in range(i + 1, len(u)):
            alpha, beta = float(u[i] + u[j]), float(v[i] + v[j])
            if alpha > 0 and beta > 0 and alpha * beta > best:
                best, found = alpha * beta, (i, j)
    return best, found


def drawn(kind, n=12, d=25):
    g = torch.Generator().manual_seed(3)
    u, v = torch.randn(2, n, d, generator=g, dtype=torch.float64)
    if kind == "together":
        v = u + 0.1 * v
    if kind == "opposed":
        v = 0.3 + 0.01 * v - u
    if kind == "barred":
        barred = torch.rand(n, d, generator=g) < 0.8
        u, v = (torch.where(barred, -torch.inf, t) for t in (u, v))
    if kind == "ties":
        u, v = (t.round() for t in (u, v))
    if kind == "hopeless":
        u = -u.abs()
    return u, v


KINDS = ("apart", "together", "opposed", "barred", "ties", "hopeless")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("at_once", [1, 200, 1 << 20])
def test_it_is_the_best_of_all(kind, at_once, monkeypatch):
    monkeypatch.setattr(pairs, "_AT_ONCE", at_once)
    u, v = drawn(kind)
    first, other, score = pairs.best_pair(u, v)
    for row in range(len(u)):
        best, found = by_hand(u[row], v[row])
        assert float(score[row]) == pytest.approx(best, rel=1e-12)
        if found is not None and kind != "ties":
            assert (int(first[row]), int(other[row])) == found
        if found is not None:
            i, j = int(first[row]), int(other[row])
            assert i != j and float((u[row, i] + u[row, j]) * (v[row, i] + v[row, j])) == pytest.approx(best, rel=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_a_row_gives_the_same_pair_in_any_company(kind, monkeypatch):
    u, v = drawn(kind)
    whole = torch.stack([t.double() for t in pairs.best_pair(u, v)])
    monkeypatch.setattr(pairs, "_AT_ONCE", 60)
    alone = [torch.stack([t.double() for t in pairs.best_pair(u[i : i + 1], v[i : i + 1])]) for i in range(len(u))]
    assert torch.equal(whole, torch.cat(alone, dim=1))
