"""Square Attack visits the points that its paper's algorithms describe, written out one input at a time."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from holdfast.attacks import square
from holdfast.attacks.square import bump
from holdfast.core.draw import Draw, row_key
from holdfast.engine import Samples, run
from holdfast.models.classifier import Classifier
from holdfast.parts.threats import L1, L2, Linf

torch.set_num_threads(1)
SIDE, N = 12, 5


class Watched(nn.Module):
    """A net that remembers what it was asked."""

    def __init__(self):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(3)
            self.body = nn.Sequential(nn.Flatten(), nn.Linear(2 * SIDE * SIDE, 16), nn.Tanh(), nn.Linear(16, 4)).double().eval()
        self.asked = []

    def forward(self, x):
        self.asked.append(x.detach().clone())
        return self.body(x)


def visited(threat, steps, horizon=None):
    net = Watched()
    x = 0.3 + 0.4 * torch.rand(N, 2, SIDE, SIDE, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    y = net(x).argmax(dim=1)
    net.asked.clear()
    run(square(threat, steps=steps, early=False, horizon=horizon), Classifier(net, 4), Samples.of(x, y))
    return net, x, y, torch.stack([asked[:N] for asked in net.asked[1 : steps + 1]])


def share(iteration, total):
    """The schedule of the authors' code, in whole numbers."""
    at, p = iteration * 10000 // total, 0.8
    for bound in (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000):
        if at > bound:
            p /= 2
    return p


@torch.no_grad()
def margin(net, point, y):
    z = net.body(point.unsqueeze(0))[0]
    return float(z[torch.arange(4) != y].max() - z[y])


@pytest.mark.parametrize("horizon", [None, 10000])
def test_linf_sets_squares_to_one_sign_a_channel(horizon):
    epsilon, steps = 0.05, 300
    net, x, y, points = visited(Linf(epsilon), steps, horizon)
    sizes, corners = set(), set()
    for i in range(N):
        start = points[0, i] - x[i]
        assert torch.allclose(start.abs(), torch.full_like(start, epsilon)) and bool((start.sign() == start.sign()[:, :1]).all())
        best, value = points[0, i], margin(net, points[0, i], int(y[i]))
        for t in range(1, steps):
            length = min(SIDE, max(1, round(math.sqrt(share(t - 1, horizon or steps) * SIDE * SIDE))))
            changed = (points[t, i] - best).abs() > 1e-9
            rows, columns = np.nonzero(changed.any(dim=0).numpy())
            if len(rows):
                assert max(np.ptp(rows), np.ptp(columns)) < length
                corners |= {(int(rows.max()), int(columns.max()))}
                sizes.add(length)
            for channel in range(2):
                signs = (points[t, i] - x[i])[channel][changed[channel]]
                assert torch.allclose(signs.abs(), torch.full_like(signs, epsilon)) and len(signs.sign().unique()) <= 1
            now = margin(net, points[t, i], int(y[i]))
            if now > value or now > 0:
                best, value = points[t, i], max(now, value)
    assert max(row for row, _ in corners) == max(column for _, column in corners) == SIDE - 1
    assert sizes >= ({11, 8, 5, 4} if horizon is None else {11, 8, 5})


def test_l2_moves_norm_from_one_square_to_a_bump_in_another():
    epsilon, steps = 0.5, 120
    net, x, y, points = visited(L2(epsilon), steps)
    keys = row_key(0, torch.arange(N), torch.zeros(N, dtype=torch.int64))
    for i in range(N):
        assert abs(float((points[0, i] - x[i]).norm()) - epsilon) < 1e-9
        best, value = points[0, i], margin(net, points[0, i], int(y[i]))
        for t in range(1, steps):
            draw = Draw(keys[i : i + 1], torch.tensor([t]))
            length = max(3, round(math.sqrt(share(t - 1, steps) * SIDE * SIDE)))
            length = min(SIDE, length + (length % 2 == 0))
            words = draw.bits("square", 7)[0].tolist()
            r1, c1, r2, c2 = (word * (SIDE - length + 1) >> 32 for word in words[:4])
            turned, signs = words[4] % 2, torch.tensor(words[5:], dtype=torch.float64).reshape(2, 1, 1) % 2 * 2 - 1
            delta = best - x[i]
            first, second = torch.zeros(SIDE, SIDE, dtype=torch.bool), torch.zeros(SIDE, SIDE, dtype=torch.bool)
            first[r1 : r1 + length, c1 : c1 + length] = True
            second[r2 : r2 + length, c2 : c2 + length] = True
            spare = max(epsilon**2 - float(delta.square().sum()), 0.0)
            new, cancelled = torch.where(second, 0.0, delta), False
            for channel in range(2):
                pattern = bump(length, length)
                pattern = (pattern.T if turned else pattern) * signs[channel, 0, 0]
                window = delta[channel, r1 : r1 + length, c1 : c1 + length]
                mixed = pattern + window / max(float(window.norm()), 1e-12)
                cancelled |= float(mixed.norm()) < 1e-9
                budget = math.sqrt(spare / 2 + float(delta[channel][first | second].square().sum()))
                new[channel, r1 : r1 + length, c1 : c1 + length] = mixed / mixed.norm() * budget
            expected = x[i] + new / new.norm() * epsilon
            # Where a bump meets its own negative only rounding is left of both, and two ways to add need not leave the same.
            assert cancelled or torch.allclose(points[t, i], expected.clamp(0, 1), rtol=0, atol=1e-7)
            now = margin(net, points[t, i], int(y[i]))
            if now > value or now > 0:
                best, value = points[t, i], max(now, value)


def into_l1(p, x, radius):
    """The nearest point of the L1 ball within 0 ≤ x + p ≤ 1, its threshold by bisection."""

    def shrunk(amount):
        return torch.maximum(torch.minimum(p.sign() * (p.abs() - amount).clamp_min(0), 1 - x), -x)

    least, most = 0.0, float(p.abs().max())
    if float(shrunk(0.0).abs().sum()) <= radius:
        return shrunk(0.0)
    for _ in range(60):
        middle = (least + most) / 2
        least, most = (middle, most) if float(shrunk(middle).abs().sum()) > radius else (least, middle)
    return shrunk(most)


def rectangles(rows, columns, power):
    """The authors' sum of nested rectangles, of norm 1: the k-th weighs (k + 1)^−2 in L2 and (k + 1)^−4 in L1."""
    hill = np.zeros((rows, columns))
    for k in range(max(rows // 2, columns // 2) + 1):
        top, left = max(rows // 2 - k, 0), max(columns // 2 - k, 0)
        hill[top : min(rows // 2 + k + 1, rows), left : min(columns // 2 + k + 1, columns)] += 1 / (k + 1) ** (4 / power)
    return hill / np.linalg.norm(hill.flatten(), power)


def literal_bump(height, width, power):
    halves = [sign * rectangles(rows, width, power) for sign, rows in ((1, height // 2), (-1, height - height // 2)) if rows]
    both = np.concatenate(halves)
    return both / np.linalg.norm(both.flatten(), power)


@pytest.mark.parametrize("epsilon", [6.0, 40.0])
def test_l1_moves_norm_from_one_square_to_a_steeper_bump_in_another(epsilon):
    steps = 40
    net, x, y, points = visited(L1(epsilon), steps)
    keys = row_key(0, torch.arange(N), torch.zeros(N, dtype=torch.int64))
    tile = SIDE // 5
    for i in range(N):
        draw = Draw(keys[i : i + 1], torch.tensor([0]))
        turns, signs = draw.integer("turned", (SIDE // tile,) * 2, 2)[0], draw.sign("tiles", (2, *(SIDE // tile,) * 2), torch.float64)[0]
        start = torch.zeros(2, SIDE, SIDE, dtype=torch.float64)
        for channel, row, column in np.ndindex(2, SIDE // tile, SIDE // tile):
            pattern = torch.from_numpy(literal_bump(tile, tile, 1))
            pattern = pattern.T if turns[row, column] else pattern
            start[channel, row * tile :, column * tile :][:tile, :tile] = pattern * signs[channel, row, column]
        assert torch.allclose(points[0, i], x[i] + into_l1(start, x[i], epsilon), rtol=0, atol=1e-9)
        best, value = points[0, i], margin(net, points[0, i], int(y[i]))
        for t in range(1, steps):
            draw = Draw(keys[i : i + 1], torch.tensor([t]))
            length = max(3, round(math.sqrt(share(t - 1, steps) * SIDE * SIDE)))
            length = min(SIDE, length + (length % 2 == 0))
            words = draw.bits("square", 7)[0].tolist()
            r1, c1, r2, c2 = (word * (SIDE - length + 1) >> 32 for word in words[:4])
            delta = best - x[i]
            first, second = torch.zeros(SIDE, SIDE, dtype=torch.bool), torch.zeros(SIDE, SIDE, dtype=torch.bool)
            first[r1 : r1 + length, c1 : c1 + length] = True
            second[r2 : r2 + length, c2 : c2 + length] = True
            spare = max(epsilon - float(delta.abs().sum()), 0.0)
            new, cancelled = torch.where(second, 0.0, delta), False
            for channel in range(2):
                pattern = torch.from_numpy(literal_bump(length, length, 1))
                pattern = (pattern.T if words[4] % 2 else pattern) * (words[5 + channel] % 2 * 2 - 1)
                window = delta[channel, r1 : r1 + length, c1 : c1 + length]
                mixed = pattern + window / max(float(window.abs().sum()), 1e-12)
                cancelled |= float(mixed.abs().sum()) < 1e-9 or 0 < float(window.abs().sum()) < 1e-9
                budget = (spare / 2 + float(delta[channel][first | second].abs().sum())) * 2
                new[channel, r1 : r1 + length, c1 : c1 + length] = mixed / mixed.abs().sum() * budget
            # Where a bump meets its own negative, or an emptied square, only rounding is left, and two ways to add need not leave the same.
            assert cancelled or torch.allclose(points[t, i], x[i] + into_l1(new, x[i], epsilon), rtol=0, atol=1e-7)
            assert float((points[t, i] - x[i]).abs().sum()) <= epsilon * (1 + 1e-9) and bool(
                ((points[t, i] >= 0) & (points[t, i] <= 1)).all()
            )
            now = margin(net, points[t, i], int(y[i]))
            if now > value or now > 0:
                best, value = points[t, i], max(now, value)


@pytest.mark.parametrize("power", [1, 2])
@pytest.mark.parametrize(("height", "width"), [(1, 1), (3, 3), (5, 5), (11, 11), (4, 7)])
def test_the_bump_is_the_authors_sum_of_nested_rectangles(height, width, power):
    assert np.allclose(bump(height, width, power).numpy(), literal_bump(height, width, power))


@pytest.mark.parametrize("shape", [(7,), (2, 9), (1, 3, 8), (3, 2, 2)])
@pytest.mark.parametrize("threat", [Linf(0.1), L2(0.4), L1(0.8)])
def test_any_shape_will_do(shape, threat):
    net = nn.Sequential(nn.Flatten(), nn.Linear(math.prod(shape), 3)).double().eval()
    x = torch.rand(4, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    outcome = run(square(threat, steps=40), Classifier(net, 3), Samples.of(x, net(x).argmax(dim=1)))
    assert outcome.complete and bool((threat.size(x, outcome.adversarial - x) <= threat.radius * (1 + 1e-5) + 1e-6).all())
