"""Arithmetic of norms that more than one threat needs; rows never meet."""

from __future__ import annotations

import torch
from torch import Tensor

from holdfast.core.draw import Draw
from holdfast.core.rows import per_row


def take_largest(score: Tensor, value: Tensor, count: Tensor) -> Tensor:
    """`value` `[n, ...]` where `score`, of a shape that broadcasts, is among its row's `count` `[n]` largest, 0 elsewhere.

    Ties go to the earlier place; a fraction of `count` buys none.
    """
    flat, room = score.flatten(1), count.floor().clamp(0, score[0].numel()).unsqueeze(1)
    ordered = flat.topk(max(1, int(room.amax(dim=0))), dim=1).values
    edge = ordered.gather(1, (room.long() - 1).clamp_min(0))
    above, level = flat > edge, flat == edge
    chosen = above | (level & (level.cumsum(dim=1) <= room - above.sum(dim=1, keepdim=True)))
    return value * chosen.reshape(score.shape)


def steepest_l1(g: Tensor, count: Tensor) -> Tensor:
    """The signs of the `count` `[n]` largest values of each row of `g`, 0 elsewhere, over the number of them that are not 0."""
    signs = take_largest(g.abs(), g, count).sign()
    return signs / per_row(signs.abs().flatten(1).sum(dim=1).clamp_min(1), g)


def project_l1_box(p: Tensor, low: Tensor, high: Tensor, radius: Tensor) -> Tensor:
    """The nearest q to `p` with low ≤ q ≤ high and Σ|q_i| ≤ radius; `low` ≤ 0 ≤ `high`, `radius` `[n, 1, ...]`.

    The solution is clip(soft(p, λ)) with the smallest λ ≥ 0 that fits. The sum falls with λ along straight pieces: Newton's steps, kept
    between a λ that is too small and one that is not, end on the exact one, and cost less than sorting the kinks.
    """
    shape = p.shape
    flat = p.flatten(1).double()
    room = torch.where(flat > 0, high.expand_as(p).flatten(1).double(), -low.expand_as(p).flatten(1).double())
    magnitude, r = flat.abs(), radius.flatten(1).double()
    small, large = torch.zeros_like(r), magnitude.amax(dim=1, keepdim=True)
    zero, near = torch.zeros_like(room), 1e-15 * torch.minimum(magnitude, room).sum(dim=1, keepdim=True)
    threshold = torch.where(r > 0, small, large)
    for _ in range(200):
        left = magnitude - threshold
        over = torch.clamp(left, zero, room).sum(dim=1, keepdim=True) - r
        small, large = torch.where(over > 0, threshold, small), torch.where(over > 0, large, threshold)
        guess = threshold + over / ((left > 0) & (left <= room)).sum(dim=1, keepdim=True)
        guess = torch.where((guess > small) & (guess < large), guess, (small + large) / 2)
        # A row that is there stays, whatever the others still do.
        there = ~(over.abs() > near) | ((over <= 0) & (threshold == 0)) | (guess == small) | (guess == large)
        if bool(there.all(dim=0)):
            break
        threshold = torch.where(there, threshold, guess)
    kept = torch.minimum((magnitude - threshold).clamp_min(0), room)
    return (flat.sign() * kept).to(p.dtype).reshape(shape)


def random_ball_l1(draw: Draw, x: Tensor, radius: Tensor) -> Tensor:
    """A point on the L1 sphere of `radius` `[n, 1, ...]`: exponential magnitudes with random signs, normalised."""
    shape = tuple(x.shape[1:])
    magnitude = -draw.uniform("start", shape, x.dtype).log()
    total = magnitude.flatten(1).sum(dim=1).reshape(radius.shape)
    return draw.sign("sign", shape, x.dtype) * magnitude / total * radius


def saturating(amount: Tensor, kink: Tensor, slope: Tensor) -> Tensor:
    """The smallest λ ≥ 0 with Σ slope_i min(λ, kink_i) = `amount`, each `[n]`; the largest kink where the sum never gets there.

    `kink`, `slope` ≥ 0: `[n, d]`.
    """
    # Newton's steps from 0 on a concave sum of straight pieces: each lands on the next piece it points to, none beyond the answer, and a
    # row that is there stays, whatever the others still do. A few steps do where sorting the kinks would cost as much as a small net.
    length, full = torch.zeros_like(amount), slope * kink
    for _ in range(kink.shape[1] + 1):
        free = kink > length.unsqueeze(1)
        pull = torch.where(free, slope, 0.0).sum(dim=1)
        rest = amount - torch.where(free, 0.0, full).sum(dim=1)
        longer = torch.where(pull > 0, torch.maximum(rest / pull, length), length)
        if torch.equal(longer, length):
            break
        length = longer
    return torch.minimum(length, kink.amax(dim=1))


def reach(power: float, gap: Tensor, w: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """The d of smallest ‖d‖_p (`power` 1, 2 or ∞) with ⟨w, d⟩ = `gap` `[n]` and low ≤ d ≤ high, or the corner that comes nearest to it.

    `w` `[n, ...]`, low ≤ 0 ≤ high of its shape. Each value moves the way that helps, as far as λ allows: λ itself for ∞, λ|w| for
    2, all the room in the order of |w| for 1; the λ that closes the gap is exact.
    """
    shape, dtype = w.shape, w.dtype
    toward = (w * per_row(gap.sign(), w)).flatten(1).double()
    room = torch.where(toward > 0, high.flatten(1).double(), -low.flatten(1).double())
    room = torch.where(toward == 0, 0.0, room)
    steep, amount = toward.abs(), gap.abs().double()
    if power == 1:
        steep, order = steep.sort(dim=1, descending=True, stable=True)
        filled = (steep * room.gather(1, order)).cumsum(dim=1)
        before = torch.cat([torch.zeros_like(filled[:, :1]), filled[:, :-1]], dim=1)
        part = (amount.unsqueeze(1) - before).clamp_min(0) / steep.clamp_min(torch.finfo(steep.dtype).tiny)
        length = torch.empty_like(room).scatter(1, order, torch.minimum(part, room.gather(1, order)))
    elif power == 2:
        kink = room / steep.clamp_min(torch.finfo(steep.dtype).tiny)
        length = torch.minimum(saturating(amount, kink, steep.square()).unsqueeze(1) * steep, room)
    else:
        length = torch.minimum(saturating(amount, room, steep).unsqueeze(1), room)
    return (toward.sign() * length).to(dtype).reshape(shape)
