"""FGSM, BIM, MI-FGSM, PGD and the cosine ascent visit the same points as loops written straight from their papers."""

import math
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from holdfast.attacks import bim, bim_a, bim_b, cosine, fgsm, least_likely, mi_fgsm, pgd
from holdfast.core.attack import Group, Stop
from holdfast.core.draw import Draw, row_key
from holdfast.core.errors import ConfigError
from holdfast.engine import Samples, Setting, run
from holdfast.models.classifier import Classifier
from holdfast.parts.threats import L2, Linf

torch.set_num_threads(1)
EPSILON = 0.15


class Smooth(nn.Module):
    """A small smooth network in float64 that remembers what it was asked."""

    def __init__(self):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.body = nn.Sequential(nn.Flatten(), nn.Linear(18, 16), nn.Tanh(), nn.Linear(16, 5)).double().eval()
        self.asked = []

    def forward(self, x):
        self.asked.append(x.detach().clone())
        return self.body(x) * 4


def setting(n=12):
    net = Smooth()
    x = torch.rand(n, 2, 3, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    x[0] = 0.0
    return net, x, net(x).argmax(dim=1)


def visited(attack, net, x, y, target=None):
    """The points of every step, in order: all rows enter together and none leaves early."""
    whole = replace(attack, stop=Stop(attack.stop.steps, early=False), keep="last")
    net.asked.clear()
    outcome = run(whole, Classifier(net, 5), Samples.of(x, y, target=target))
    assert not outcome.wrong.any()
    # A piece may be filled up with copies of its last row.
    return [asked[: len(x)] for asked in net.asked[1 : attack.stop.steps + 2]]


def gradient(net, x, y, sign=1):
    x = x.clone().requires_grad_()
    return torch.autograd.grad(sign * cross_entropy(net.body(x) * 4, y, reduction="sum"), x)[0]


def agree(points, expected):
    assert len(points) == len(expected)
    for found, wanted in zip(points, expected, strict=True):
        assert torch.allclose(found, wanted, rtol=0, atol=1e-12)


def into_linf(x, point):
    return torch.clamp(torch.min(torch.max(point, x - EPSILON), x + EPSILON), 0, 1)


@pytest.mark.parametrize("targeted", [False, True])
def test_fgsm(targeted):
    net, x, y = setting()
    goal, sign = ((y + 2) % 5, -1) if targeted else (y, 1)
    expected = [x, (x + EPSILON * gradient(net, x, goal, sign).sign()).clamp(0, 1)]
    agree(visited(fgsm(EPSILON, targeted=targeted), net, x, y, goal if targeted else None), expected)


@pytest.mark.parametrize("targeted", [False, True])
def test_bim(targeted):
    net, x, y = setting()
    goal, sign = ((y + 2) % 5, -1) if targeted else (y, 1)
    expected = [x]
    for _ in range(6):
        expected.append(into_linf(x, expected[-1] + 0.04 * gradient(net, expected[-1], goal, sign).sign()))
    agree(visited(bim(EPSILON, steps=6, step=0.04, targeted=targeted), net, x, y, goal if targeted else None), expected)


def kurakin_literal(net, x, y, epsilon):
    """Kurakin et al. 2017, section 2.2, in the paper's units: inputs 0..255, ε in grey levels, α = 1, min(ε + 4, 1.25 ε) steps."""
    points = [x]
    clean = x * 255
    for _ in range(int(min(epsilon + 4, 1.25 * epsilon))):
        level = points[-1] * 255 + gradient(net, points[-1], y).sign()
        level = torch.clamp(torch.min(torch.max(level, clean - epsilon), clean + epsilon), 0, 255)
        points.append(level / 255)
    return points


@pytest.mark.parametrize(("epsilon", "steps"), [(1, 1), (2, 2), (8, 10), (16, 20), (32, 36)])
@pytest.mark.parametrize("make", [bim, bim_a, bim_b, least_likely])
def test_kurakin_takes_a_step_for_each_grey_level_and_a_quarter_more(make, epsilon, steps):
    assert make(epsilon / 255, steps="kurakin").stop.steps == steps
    assert make(float(epsilon), steps="kurakin", step=1.0).stop.steps == steps


@pytest.mark.parametrize("epsilon", [3, 8, 20])
def test_kurakin_visits_the_points_of_the_paper(epsilon):
    net, x, y = setting()
    agree(visited(bim(epsilon / 255, steps="kurakin"), net, x, y), kurakin_literal(net, x, y, epsilon))


def test_an_unknown_word_for_the_steps_is_refused():
    for wrong in ({"steps": "many"}, {"steps": "kurakin", "step": 0.0}, {"steps": "kurakin", "step": -1.0}):
        with pytest.raises(ConfigError, match="kurakin"):
            bim(0.1, **wrong)


def test_bim_divides_epsilon_by_its_steps():
    net, x, y = setting()
    expected = [x]
    for _ in range(4):
        expected.append(into_linf(x, expected[-1] + EPSILON / 4 * gradient(net, expected[-1], y).sign()))
    agree(visited(bim(EPSILON, steps=4), net, x, y), expected)


def test_mi_fgsm():
    net, x, y = setting()
    expected, velocity = [x], torch.zeros_like(x)
    for _ in range(7):
        g = gradient(net, expected[-1], y)
        velocity = 0.8 * velocity + g / g.abs().sum(dim=(1, 2, 3), keepdim=True)
        expected.append(into_linf(x, expected[-1] + EPSILON / 7 * velocity.sign()))
    agree(visited(mi_fgsm(EPSILON, steps=7, decay=0.8), net, x, y), expected)


def test_mi_fgsm_in_l2():
    net, x, y = setting()
    expected, velocity = [x], torch.zeros_like(x)
    for _ in range(5):
        g = gradient(net, expected[-1], y)
        velocity = velocity + g / g.abs().sum(dim=(1, 2, 3), keepdim=True)
        step = 0.3 / 5 * velocity / velocity.square().sum(dim=(1, 2, 3), keepdim=True).sqrt()
        expected.append(into_l2(x, expected[-1] + step, 0.3))
    agree(visited(mi_fgsm(L2(0.3), steps=5), net, x, y), expected)


def into_l2(x, point, epsilon):
    length = (point - x).square().sum(dim=(1, 2, 3), keepdim=True).sqrt()
    return torch.clamp(x + (point - x) * torch.clamp(epsilon / length, max=1), 0, 1)


def test_pgd_in_linf_from_its_own_start():
    net, x, y = setting()
    points = visited(pgd(Linf(EPSILON), steps=8, step=0.05), net, x, y)
    assert not torch.equal(points[0], x)
    expected = [points[0]]
    for _ in range(8):
        expected.append(into_linf(x, expected[-1] + 0.05 * gradient(net, expected[-1], y).sign()))
    agree(points, expected)


def test_pgd_in_l2_from_its_own_start():
    net, x, y = setting()
    points = visited(pgd(L2(0.5), steps=8), net, x, y)
    expected = [points[0]]
    for _ in range(8):
        g = gradient(net, expected[-1], y)
        step = 2.5 * 0.5 / 8 * g / g.square().sum(dim=(1, 2, 3), keepdim=True).sqrt()
        expected.append(into_l2(x, expected[-1] + step, 0.5))
    agree(points, expected)


def test_pgd_without_a_random_start_begins_at_the_input():
    net, x, y = setting()
    assert torch.equal(visited(pgd(EPSILON, steps=2, random_start=False), net, x, y)[0], x)


def margin_gradient(net, x, y, probability):
    x = x.clone().requires_grad_()
    z = net.body(x) * 4
    q = z.softmax(dim=1) if probability else z
    own = torch.stack([q[i, k] for i, k in enumerate(y.tolist())])
    other = torch.stack([max(q[i, k] for k in range(5) if k != label) for i, label in enumerate(y.tolist())])
    return torch.autograd.grad((other - own).sum(), x)[0]


def cosine_ascent(net, x, y, start, steps, direction, into, epsilon, probability=False, decay=0.75, share=2.0):
    """From `start`, the step of each iteration from `share` ε down to nothing."""
    points, memory = [start], torch.zeros_like(x)
    for t in range(steps):
        g = margin_gradient(net, points[-1], y, probability)
        memory = decay * memory + g / g.abs().sum(dim=(1, 2, 3), keepdim=True)
        length = epsilon * share * (1 + math.cos(math.pi * t / steps)) / 2
        points.append(into(x, points[-1] + length * direction(memory)))
    return points


def unit(memory):
    return memory / memory.square().sum(dim=(1, 2, 3), keepdim=True).sqrt()


def test_cosine_in_linf():
    net, x, y = setting()
    expected = cosine_ascent(net, x, y, x, 9, torch.sign, into_linf, EPSILON)
    agree(visited(cosine(EPSILON, steps=9), net, x, y), expected)


def test_cosine_in_l2_with_its_own_pace():
    net, x, y = setting()
    expected = cosine_ascent(net, x, y, x, 6, unit, lambda x, p: into_l2(x, p, 0.4), 0.4, decay=0.9, share=1.2)
    agree(visited(cosine(L2(0.4), steps=6, decay=0.9, share=1.2), net, x, y), expected)


def test_the_second_restart_of_cosine_climbs_probabilities_from_a_corner():
    """Two siblings of a sample enter one after the other; the second starts at the second start, on the second objective."""
    net, x, y = setting()
    attack = cosine(EPSILON, steps=5, restarts=2, starts=("clean", "corner"))
    attack = replace(attack, stop=Stop(5, early=False), keep="last", group=Group(2, cancel="none"))
    net.asked.clear()
    run(attack, Classifier(net, 5), Samples.of(x, y), Setting(slots=len(x)))
    second = [asked[: len(x)] for asked in net.asked if len(asked) >= len(x)]
    key = row_key(0, torch.arange(len(x)), torch.ones(len(x), dtype=torch.int64))
    signs = Draw(key, torch.zeros_like(key)).sign("corner", tuple(x.shape[1:]), x.dtype)
    start = into_linf(x, x + EPSILON * signs)
    expected = cosine_ascent(net, x, y, start, 5, torch.sign, into_linf, EPSILON, probability=True)
    at = next(i for i, asked in enumerate(second) if torch.allclose(asked, start, rtol=0, atol=1e-12))
    agree(second[at : at + 6], expected)
