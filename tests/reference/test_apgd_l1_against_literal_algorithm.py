"""APGD-L1 visits the same points as the published algorithm, written out one input at a time; no point beyond the radius is a claim."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from holdfast.attacks.apgd import apgd, apgd_targeted
from holdfast.attacks.apgd_l1 import phases, schedule
from holdfast.core.errors import ConfigError
from holdfast.engine import Samples, Setting, run
from holdfast.models import Classifier, load_net
from holdfast.parts.threats import L1, L2

torch.set_num_threads(1)
FEATURES, CLASSES = 30, 5


class Watched(nn.Module):
    """A net that remembers what it was asked."""

    def __init__(self):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(3)
            self.body = nn.Sequential(nn.Linear(FEATURES, 24), nn.Tanh(), nn.Linear(24, CLASSES)).double().eval()
        self.asked = []

    def forward(self, x):
        self.asked.append(x.detach().clone())
        return self.body(6 * x) * 3


def loss_ce(z, y, target):
    return z.logsumexp(dim=0) - z[y]


def loss_dlr(z, y, target):
    top = z.sort(descending=True).values
    return -(z[y] - z[torch.arange(CLASSES) != y].max()) / (top[0] - top[2] + 1e-12)


def loss_targeted_dlr(z, y, target):
    top = z.sort(descending=True).values
    return -(z[y] - z[target]) / (top[0] - (top[2] + top[3]) / 2 + 1e-12)


def projected(p, x, radius):
    """The nearest point of the ball within 0 ≤ x + p ≤ 1: each value shrunk by one amount and clipped, the amount by bisection."""

    def shrunk(amount):
        return torch.maximum(torch.minimum(p.sign() * (p.abs() - amount).clamp_min(0), 1 - x), -x)

    if float(shrunk(0.0).abs().sum()) <= radius:
        return shrunk(0.0)
    least, most = 0.0, float(p.abs().max())
    for _ in range(200):
        middle = (least + most) / 2
        least, most = (middle, most) if float(shrunk(middle).abs().sum()) > radius else (least, middle)
    return shrunk(most)


def literal(net, loss, x, y, target, start, radius, steps, larger):
    """Croce & Hein 2021, algorithm 1, with the constants of the public code: the points that are queried, and how often one went back."""

    def query(p):
        point = (x + p).requires_grad_()
        value = loss(net.body(6 * point) * 3, y, target)
        return float(value.detach()), torch.autograd.grad(value, point)[0]

    plan = [(3, steps * 3 // 10), (2, steps * 3 // 10), (1, steps - 2 * (steps * 3 // 10))] if larger else [(1, steps)]
    plan = [(multiple, count) for multiple, count in plan if count]
    points, back, best = [], 0, start
    for place, (multiple, count) in enumerate(plan):
        epsilon = multiple * radius
        p = projected(best, x, epsilon)
        size = epsilon
        support = int((p.abs() > 1e-13).sum()) if larger else FEATURES
        share = support / FEATURES / 1.5 if larger else 0.2
        window = max(int(0.04 * count + 1e-9), 1)
        best, best_value, best_g = p, -np.inf, torch.zeros_like(p)
        for i in range(count):
            value, g = query(p)
            points.append(p)
            if value > best_value:
                best, best_value, best_g = p, value, g
            if i == count - 1 and place < len(plan) - 1:
                break
            if i and i % window == 0:
                now = int((best.abs() > 1e-13).sum())
                if now / support < 0.95:
                    p, g, size, back = best, best_g, epsilon, back + 1
                else:
                    size = max(size / 1.5, epsilon / 10)
                support, share = now, now / FEATURES / 1.5
            index = min(max(int(np.floor((1 - share) * FEATURES + 1e-9)), 0), FEATURES - 1)
            signs = torch.where(g.abs() >= g.abs().sort().values[index], g.sign(), 0.0)
            p = projected(p + size * signs / signs.abs().sum(), x, epsilon)
    return [*points, p], back


def problem():
    net = Watched()
    x = torch.rand(6, FEATURES, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    x[:, ::5] = 0.0
    y = net(x).argmax(dim=1)
    return net, x, y


@pytest.mark.parametrize("larger", [False, True])
@pytest.mark.parametrize(("name", "loss", "radius"), [
    ("ce", loss_ce, 1.5), ("dlr", loss_dlr, 0.1), ("targeted_dlr", loss_targeted_dlr, 0.1),
])  # fmt: skip
@pytest.mark.parametrize("steps", [1, 2, 7, 100])
def test_the_points_are_those_of_the_algorithm(name, loss, radius, larger, steps):
    net, x, y = problem()
    target = net(x).argsort(dim=1, descending=True)[:, 1]
    net.asked.clear()
    attack = apgd(L1(radius), steps=steps, objective=name, targeted=name == "targeted_dlr", early=False, larger_radii=larger)
    # The last point is asked for every row where it is the one to be claimed.
    run(replace(attack, keep="last"), Classifier(net, CLASSES), Samples.of(x, y, target=target if name == "targeted_dlr" else None))
    points = torch.stack([asked[: len(x)] for asked in net.asked[1 : steps + 2]])
    back = 0
    for row in range(len(x)):
        start = points[0, row] - x[row]
        expected, times = literal(net, loss, x[row], int(y[row]), int(target[row]), start, radius, steps, larger)
        back += times
        assert torch.allclose(points[:, row], x[row] + torch.stack(expected), rtol=0, atol=1e-9)
    assert back >= len(x) or steps < 100, "the comparison is worth something only where rows went back to their best"


def test_larger_radii_take_three_tenths_of_the_steps_each():
    assert phases(100, True) == ((3, 30), (2, 30), (1, 40)) and phases(100, False) == ((1, 100),)
    assert phases(3, True) == ((1, 3),) and phases(4, True) == ((3, 1), (2, 1), (1, 2))
    for steps in range(1, 60):
        assert sum(count for _, count in phases(steps, True)) == steps and phases(steps, True)[-1][0] == 1
        assert len(schedule(steps, True, torch.device("cpu"))) == steps + 1
    assert [int(due.sum()) for due in (schedule(100, larger, torch.device("cpu"))[:100, 1] for larger in (False, True))] == [
        24,
        29 + 29 + 39,
    ]


@pytest.mark.parametrize("larger", [False, True])
def test_points_stay_within_the_phase_and_the_range(larger):
    net, x, y = problem()
    net.asked.clear()
    attack = replace(apgd(L1(0.7), steps=50, early=False, larger_radii=larger), keep="last")
    run(attack, Classifier(net, CLASSES), Samples.of(x, y))
    points = torch.stack([asked[: len(x)] for asked in net.asked[1:52]])
    limits = [0.7 * multiple for multiple, count in phases(50, larger) for _ in range(count)]
    sizes = (points - x).abs().sum(dim=2)
    assert bool((sizes <= torch.tensor([*limits, 0.7], dtype=torch.float64).unsqueeze(1) * (1 + 1e-9)).all())
    assert bool((points >= 0).all() and (points <= 1).all())
    assert not larger or bool((sizes[:15] > 1.5 * 0.7).any())


def test_a_point_beyond_the_radius_is_no_claim():
    net, x, y = problem()
    threat = L1(0.12)
    attack = apgd(threat, steps=40, restarts=2)
    net.asked.clear()
    outcome = run(attack, Classifier(net, CLASSES), Samples.of(x, y))
    beyond = torch.cat([asked[: len(x)][(asked[: len(x)] - x).abs().sum(dim=1) > 0.13] for asked in net.asked if len(asked) >= len(x)])
    assert len(beyond), "larger radii were visited"
    size = (outcome.adversarial - x).abs().sum(dim=1)
    assert bool((size <= 0.12 * (1 + 1e-5) + 1e-6).all())
    assert torch.equal(net(outcome.adversarial).argmax(dim=1) != y, outcome.success) and not bool(outcome.success.all())


@pytest.mark.parametrize("make", [apgd, apgd_targeted])
def test_what_only_l1_knows_is_refused_elsewhere(make):
    for given in ({"slide": True}, {"larger_radii": True}, {"larger_radii": False}):
        with pytest.raises(ConfigError, match="for L1, not L2"):
            make(L2(0.5), **given)
    with pytest.raises(ConfigError, match="stays within the radius"):
        make(L1(1.0), slide=True, larger_radii=True)
    assert make(L1(1.0), slide=True, larger_radii=False) == make(L1(1.0), slide=True)
    assert make(L1(1.0)) == make(L1(1.0), larger_radii=True) != make(L1(1.0), larger_radii=False)


# The authors' code, 100 steps of the cross-entropy, one start, on the first 50 test images: mean of three seeds.
AUTHORS = {False: 0.58, True: 0.267}


@pytest.mark.parametrize("larger", [False, True])
def test_no_image_more_withstands_than_under_the_authors_code(data_dir, larger):
    net = load_net("lenet5", data_dir / "models" / "mnist_lenet5_adv.safetensors")
    with np.load(data_dir / "mnist" / "mnist.npz") as file:
        x = torch.from_numpy(file["x_test"][:50]).float().div(255).unsqueeze(1)
        y = torch.from_numpy(file["y_test"][:50]).long()
    outcomes = [run(apgd(L1(10.0), larger_radii=larger), Classifier(net, 10), Samples.of(x, y), Setting(seed)) for seed in range(3)]
    left = sum(float((~outcome.success).double().mean()) for outcome in outcomes) / 3
    assert left <= AUTHORS[larger]
