"""APGD visits the same points as its paper's algorithm 1, written out one input at a time."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from holdfast.attacks.apgd import apgd, apgd_targeted, checkpoints
from holdfast.engine import Samples, run
from holdfast.models.classifier import Classifier
from holdfast.parts.threats import L2, Linf

torch.set_num_threads(1)


class Smooth(nn.Module):
    def __init__(self):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(3)
            self.body = nn.Sequential(nn.Linear(10, 24), nn.Tanh(), nn.Linear(24, 5)).double().eval()
        self.asked = []

    def forward(self, x):
        self.asked.append(x.detach().clone())
        return self.body(6 * x) * 3


def loss_ce(z, y):
    return z.logsumexp(dim=0) - z[y]


def loss_dlr(z, y):
    top = z.sort(descending=True).values
    return -(z[y] - z[torch.arange(5) != y].max()) / (top[0] - top[2])


def literal(net, loss, x, y, start, epsilon, steps, norm, rho=0.75):
    """Croce & Hein 2020, algorithm 1 with the checkpoints of section 3.1 and the bookkeeping of their public code."""

    def into(point):
        p = point - x
        p = p.clamp(-epsilon, epsilon) if norm == "linf" else p * min(1.0, epsilon / max(float(p.norm()), 1e-300))
        return (x + p).clamp(0, 1)

    def ask(point):
        point = point.clone().requires_grad_()
        value = loss(net.body(6 * point) * 3, y)
        return float(value.detach()), torch.autograd.grad(value, point)[0]

    window, least, shrink = max(int(0.22 * steps), 1), max(int(0.06 * steps), 1), max(int(0.03 * steps), 1)
    now, before, size = start, start, 2 * epsilon
    value, g = ask(now)
    best, best_value, best_g = now, value, g
    mark, halved, since, values, points, halvings = value, True, 0, [value], [now], 0
    for i in range(steps):
        drift, before = now - before, now
        direction = g.sign() if norm == "linf" else g / g.norm()
        z = into(now + size * direction)
        a = 0.75 if i else 1.0
        now = into(now + a * (z - now) + (1 - a) * drift)
        value, g = ask(now)
        values.append(value)
        points.append(now)
        if value > best_value:
            best, best_value, best_g = now, value, g
        since += 1
        if since == window:
            rises = sum(values[j] > values[j - 1] for j in range(len(values) - window, len(values)))
            oscillates = rises <= rho * window
            idle = not halved and mark >= best_value
            halved, mark = oscillates or idle, best_value
            if halved:
                size, now, g, halvings = size / 2, best, best_g, halvings + 1
            window, since = max(window - shrink, least), 0
    return points, halvings


# Small radii for the DLR: where the label has fallen to third place it is constant, and its gradient mere rounding.
@pytest.mark.parametrize(("threat", "norm", "name", "loss"), [
    (Linf(0.3), "linf", "ce", loss_ce), (L2(0.8), "l2", "ce", loss_ce),
    (Linf(0.02), "linf", "dlr", loss_dlr), (L2(0.05), "l2", "dlr", loss_dlr),
])  # fmt: skip
@pytest.mark.parametrize("steps", [7, 40])
def test_the_points_are_those_of_the_algorithm(threat, norm, name, loss, steps):
    net = Smooth()
    x = torch.rand(5, 10, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    y = net(x).argmax(dim=1)
    net.asked.clear()
    # The last point is asked for every row where it is the one to be claimed.
    attack = replace(apgd(threat, steps=steps, objective=name, early=False), keep="last")
    run(attack, Classifier(net, 5), Samples.of(x, y))
    points = torch.stack([asked[: len(x)] for asked in net.asked[1 : steps + 2]])
    halvings = 0
    for row in range(len(x)):
        expected, times = literal(net, loss, x[row], int(y[row]), points[0, row], threat.radius, steps, norm)
        halvings += times
        assert torch.allclose(points[:, row], torch.stack(expected), rtol=0, atol=1e-7)
    # The comparison is worth something only where lengths were halved and rows went back to their best.
    assert halvings >= len(x) if steps > 7 else True


def test_checkpoints_are_the_integer_windows_of_the_paper():
    assert list(checkpoints(100).items()) == [(22, 22), (41, 19), (57, 16), (70, 13), (80, 10), (87, 7), (93, 6), (99, 6)]
    fractions, marks = [0.0, 0.22], [22]
    while True:
        fractions.append(fractions[-1] + max(fractions[-1] - fractions[-2] - 0.03, 0.06))
        if fractions[-1] > 1 + 1e-9:
            break
        marks.append(round(100 * fractions[-1]))
    assert list(checkpoints(100)) == marks


@pytest.mark.parametrize("steps", [1, 2, 5, 20, 1000])
def test_checkpoints_cover_any_number_of_steps(steps):
    found = checkpoints(steps)
    assert all(0 < at <= steps and window > 0 for at, window in found.items())
    assert sum(found.values()) == max(found)
    assert max(found) + min(found.values()) > steps or steps < 5


@pytest.mark.parametrize(("threat", "length"), [(Linf(0.2), lambda p: p.abs().amax(dim=1)), (L2(0.2), lambda p: p.norm(dim=1))])
def test_the_start_is_on_the_sphere_and_the_restart_elsewhere(threat, length):
    net = Smooth()
    x = torch.full((4, 10), 0.5, dtype=torch.float64)
    y = net(x).argmax(dim=1)
    starts = []
    for seed_row in (0, 1):
        net.asked.clear()
        run(apgd(threat, steps=1, early=False), Classifier(net, 5), Samples.of(x, y, ids=torch.arange(4) + 4 * seed_row))
        starts.append(net.asked[1][: len(x)] - x)
        assert torch.allclose(length(starts[-1]), torch.full((4,), 0.2, dtype=torch.float64), rtol=1e-6)
    assert len(torch.cat(starts).unique(dim=0)) == 8


def test_targets_are_the_likeliest_wrong_classes_in_order():
    net = Smooth()
    x = torch.rand(6, 10, generator=torch.Generator().manual_seed(6), dtype=torch.float64)
    z = net(x)
    y, attack = z.argmax(dim=1), apgd_targeted(0.01, rivals=9)
    attack = attack.fitted(5)
    assert attack.group.members == 4
    model, samples = Classifier(net, 5), Samples.of(x, y)
    for member in range(4):
        place = torch.arange(6)
        batch = samples.batch(attack, model, model(x), 0, place, torch.full_like(place, member))
        expected = z.argsort(dim=1, descending=True)[:, member + 1]
        assert torch.equal(batch.target, expected)
