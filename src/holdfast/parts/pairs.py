"""The pair of features that raises two sums best, found exactly without looking at all pairs."""

from __future__ import annotations

import torch
from torch import Tensor

# How many pairs are scored at once: some megabytes, whatever the rows and features.
_AT_ONCE = 1 << 20


def best_pair(u: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The i ≠ j with the largest (u_i + u_j)(v_i + v_j) among those where both sums are positive: i, j and that score, each `[n]`.

    `u`, `v` `[n, d]`; a feature that must not be chosen has −∞ in both; where no pair will do the score is 0. Of equal scores one wins
    that depends on the row alone.

    If two features k ≠ i, j are at least as large as i in u and in v, then one of them in the place of i is no worse: so the
    best pair is found among the features to which at most one other is superior. They are few where u and v go together.

    >>> u, v = torch.tensor([[3.0, -1.0, 2.0]]), torch.tensor([[-1.0, 5.0, 2.0]])
    >>> [int(part) for part in best_pair(u, v)]
    [0, 1, 8]
    """
    order = u.argsort(dim=1, descending=True, stable=True)
    u, v = u.gather(1, order), v.gather(1, order)
    second = torch.minimum(v, _before(v.cummax(dim=1).values)).cummax(dim=1).values
    kept = (v > _before(second)) & (u > -torch.inf)
    count = max(2, int(kept.sum(dim=1).amax(dim=0)))
    place = torch.where(kept, kept.cumsum(dim=1) - 1, count)
    source = torch.arange(u.shape[1], device=u.device).expand_as(order)
    # Features that are not kept all go to one more column, which is cut off; places that nobody takes stay at 0 and are blanked.
    index = torch.zeros(len(u), count + 1, dtype=torch.int64, device=u.device).scatter(1, place, source)[:, :count]
    blank = torch.arange(count, device=u.device) >= kept.sum(dim=1, keepdim=True)
    u, v = (torch.where(blank, -torch.inf, t.gather(1, index)) for t in (u, v))
    first, other, score = _among(u, v)
    original = order.gather(1, index)
    pair = torch.stack([first, other], dim=1)
    found = original.gather(1, pair).sort(dim=1).values
    return found[:, 0], found[:, 1], score


def _before(t: Tensor) -> Tensor:
    """`t` one place later, −∞ in the first."""
    return torch.cat([torch.full_like(t[:, :1], -torch.inf), t[:, :-1]], dim=1)


def _among(u: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """`best_pair` of a few features by trying all pairs, a block of them at a time."""
    n, count = u.shape
    block = max(1, _AT_ONCE // (n * count))
    best = torch.zeros_like(u[:, 0])
    first = torch.zeros_like(best, dtype=torch.int64)
    other = first
    for start in range(0, count - 1, block):
        here, rest = slice(start, min(start + block, count - 1)), slice(start + 1, count)
        alpha, beta = (t[:, here].unsqueeze(2) + t[:, rest].unsqueeze(1) for t in (u, v))
        later = torch.ones(alpha.shape[1:], dtype=torch.bool, device=u.device).triu()
        product = torch.where((alpha > 0) & (beta > 0) & later, alpha * beta, 0.0).flatten(1)
        score, at = product.max(dim=1)
        better, width = score > best, count - start - 1
        best = torch.where(better, score, best)
        first = torch.where(better, start + at // width, first)
        other = torch.where(better, start + 1 + at % width, other)
    return first, other, best
