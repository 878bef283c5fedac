"""DDN, FMN, EAD and σ-zero visit the same points as their papers' algorithms, written out for one input."""

import math

import pytest
import torch
from torch import nn

from holdfast.attacks import ddn, ead, fmn, sigma_zero
from holdfast.engine import Samples, run
from holdfast.models.classifier import Classifier
from holdfast.parts.threats import L0, L1, L2, Linf

torch.set_num_threads(1)
D, CLASSES = 8, 4
RANGES = [(0.0, 1.0), (-1.0, 2.0)]


class Smooth(nn.Module):
    """A smooth net over inputs of a range, which keeps every point it was asked about."""

    def __init__(self, low, high):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(4)
            self.body = nn.Sequential(nn.Linear(D, 20), nn.Tanh(), nn.Linear(20, CLASSES)).double().eval()
        self.low, self.high, self.asked = low, high, []

    def logits(self, x):
        return 6 * self.body(4 * (x - self.low) / (self.high - self.low))

    def forward(self, x):
        self.asked.append(x[0].detach().clone())
        return self.logits(x)


def case(seed, low=0.0, high=1.0):
    net = Smooth(low, high)
    x = low + (high - low) * torch.rand(1, D, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    y = net.logits(x).argmax(dim=1)
    return net, x, y


def asked(net, attack, x, y, target):
    """The points that a run asks about after the clean one, and its outcome."""
    net.asked.clear()
    model = Classifier(net, CLASSES, bounds=(net.low, net.high))
    outcome = run(attack, model, Samples.of(x, y, target=target))
    return torch.stack(net.asked[1:]), outcome


def agrees(outcome, best):
    """Whether a run found what the literal algorithm did, be it nothing."""
    size = float(outcome.found.size[0]) if outcome.success.all() else math.inf
    return size == pytest.approx(best, rel=1e-6)


def margin(z, label, targeted):
    other = max(float(z[k].detach()) for k in range(CLASSES) if k != label)
    rival = next(k for k in range(CLASSES) if k != label and float(z[k].detach()) == other)
    return z[label] - z[rival] if targeted else z[rival] - z[label]


def slope(net, point, loss):
    """The loss of the logits at `point`, its gradient, and the class answered."""
    at = point.clone().requires_grad_()
    z = net.logits(at)
    value = loss(z)
    (g,) = torch.autograd.grad(value, at)
    return float(value.detach()), g, int(z.argmax())


def usable(g, share):
    """A gradient without the values that it would push beyond the range, in which the point stands at `share`."""
    return torch.where(((share >= 1) & (g > 0)) | ((share <= 0) & (g < 0)), 0.0, g)


def cosine(i, steps):
    return (1 + math.cos(math.pi * i / steps)) / 2


def ddn_literal(net, x, label, targeted, steps, gamma, first, levels):
    """Rony et al. 2019, algorithm 1."""
    low, width = net.low, net.high - net.low
    sign = 1 if targeted else -1
    unit = lambda v: (v - low) / width  # noqa: E731
    clean = unit(x)
    delta, epsilon, points, best = torch.zeros_like(x), first, [], math.inf
    worst = float(torch.maximum(clean, 1 - clean).norm())
    for i in range(steps):
        point = low + width * (clean + delta)
        points.append(point)
        _, g, answer = slope(net, point, lambda z: sign * z.log_softmax(dim=0)[label])
        fooled = (answer == label) == targeted
        if fooled:
            best = min(best, float((point - x).norm()))
        delta = delta + (0.01 + 0.99 * cosine(i, steps)) * g / g.norm()
        epsilon = min(epsilon * (1 - gamma if fooled else 1 + gamma), worst)
        moved = (clean + epsilon * delta / delta.norm()).clamp(0, 1)
        delta = (moved if levels is None else (moved * (levels - 1)).round() / (levels - 1)) - clean
    return torch.stack(points), best


@pytest.mark.parametrize("targeted", [False, True])
@pytest.mark.parametrize("levels", [None, 32])
@pytest.mark.parametrize(("seed", "bounds"), [(0, RANGES[0]), (1, RANGES[1]), (2, RANGES[0])])
def test_ddn(seed, bounds, levels, targeted):
    net, x, y = case(seed, *bounds)
    label = (y + 1) % CLASSES if targeted else y
    attack = ddn(steps=40, gamma=0.07, length=0.4, levels=levels, targeted=targeted)
    found, outcome = asked(net, attack, x, y, label if targeted else None)
    points, best = ddn_literal(net, x[0], int(label), targeted, 40, 0.07, 0.4, levels)
    assert torch.allclose(found[:40], points, rtol=0, atol=1e-8)
    assert agrees(outcome, best)


def onto_ball(delta, epsilon, norm, clean):
    """Π of algorithm 1, inside the range; for L1 the bisection of λ in clip(soft(δ, λ)), for L0 the values that can still move most."""
    if norm:
        delta = delta * max(1.0, epsilon / float(torch.linalg.vector_norm(delta, norm)))
    if norm == math.inf:
        delta = delta.clamp(-epsilon, epsilon)
    if norm == 2 and float(delta.norm()) > epsilon:
        delta = delta * epsilon / float(delta.norm())
    boxed = lambda d: (clean + d).clamp(0, 1) - clean  # noqa: E731
    if norm == 1 and float(boxed(delta).abs().sum()) > epsilon:
        low, high = 0.0, float(delta.abs().max())
        for _ in range(100):
            middle = (low + high) / 2
            much = float(boxed(delta.sign() * (delta.abs() - middle).clamp_min(0)).abs().sum()) > epsilon
            low, high = (middle, high) if much else (low, middle)
        delta = delta.sign() * (delta.abs() - high).clamp_min(0)
    if norm == 0:
        gain = delta.square() - (delta - boxed(delta)).square()
        keep = sorted(range(D), key=lambda i: -float(gain[i]))[: int(epsilon)]
        delta = torch.stack([delta[i] if i in keep else torch.zeros_like(delta[i]) for i in range(D)])
    return boxed(delta)


def fmn_literal(net, x, label, targeted, norm, steps, rate, gamma):
    """Pintor et al. 2021, algorithm 1, in units of the range."""
    low, width = net.low, net.high - net.low
    clean = (x - low) / width
    length = lambda d: float(torch.linalg.vector_norm(d, norm)) if norm else float((d != 0).sum())  # noqa: E731
    dual = {math.inf: 1, 2: 2, 1: math.inf}.get(norm)
    worst = length(torch.maximum(clean, 1 - clean))
    delta, epsilon, points, best = torch.zeros_like(x), math.inf if norm else 1.0, [], math.inf
    for i in range(steps):
        points.append(low + width * (clean + delta))
        value, g, answer = slope(net, points[-1], lambda z: margin(z, label, targeted))
        g = usable(g * width, clean + delta)
        if (answer == label) == targeted:
            best = min(best, length(delta))
            fooled = True
        else:
            fooled = False
        step = 0.001 + (gamma - 0.001) * cosine(i, steps)
        if norm == 0:
            down, up = min(epsilon - 1, math.floor(epsilon * (1 - step))), max(epsilon + 1, math.floor(epsilon * (1 + step)))
        else:
            down = epsilon * (1 - step)
            up = (
                epsilon * (1 + step)
                if best < math.inf
                else length(delta) * (1 + 1e-4) + abs(value) / float(torch.linalg.vector_norm(g, dual))
            )
        epsilon = min(max(min(down, best) if fooled else up, 0.0), worst)
        moved = delta + rate * (0.01 + 0.99 * cosine(i, steps)) * g / g.norm()
        delta = onto_ball(moved, epsilon, norm, clean)
    return torch.stack(points), best * (width if norm else 1)


@pytest.mark.parametrize("targeted", [False, True])
@pytest.mark.parametrize(("threat", "norm"), [(Linf(math.inf), math.inf), (L2(math.inf), 2), (L1(math.inf), 1), (L0(math.inf), 0)])
@pytest.mark.parametrize(("seed", "bounds"), [(0, RANGES[0]), (1, RANGES[1]), (2, RANGES[0])])
def test_fmn(seed, bounds, threat, norm, targeted):
    net, x, y = case(seed, *bounds)
    label = (y + 1) % CLASSES if targeted else y
    found, outcome = asked(net, fmn(threat, steps=40, rate=0.5, gamma=0.1, targeted=targeted), x, y, label if targeted else None)
    points, best = fmn_literal(net, x[0], int(label), targeted, norm, 40, 0.5, 0.1)
    assert torch.allclose(found[:40], points, rtol=0, atol=1e-8)
    assert agrees(outcome, best)


def ead_literal(net, x, label, targeted, kappa, steps, searches, rate, initial, beta):
    """Chen et al. 2018, equations 4 to 7 (FISTA), the bisection and early abort of their code, but none after success; inputs in 0..1."""
    c, lower, upper, points, least = initial, 0.0, math.inf, [], {"l1": math.inf, "en": math.inf}

    def judged(point):
        z = net.logits(point)
        points.append(point)
        fooled = (int(z.argmax()) == label) is targeted and float(margin(z, label, targeted).detach()) >= kappa
        if fooled:
            l1 = float((point - x).abs().sum())
            least["l1"] = min(least["l1"], l1)
            least["en"] = min(least["en"], beta * l1 + float((point - x).square().sum()))
        return fooled

    for search in range(searches):
        if search == searches - 1 and searches >= 10:
            c = min(upper, 1e10)
        image, slack, fooled, before = x, x, False, math.inf
        for i in range(steps):
            judged(slack)
            hinge, g, _ = slope(net, slack, lambda z: torch.clamp(kappa - margin(z, label, targeted), min=0))
            d = slack - x
            loss = c * hinge + beta * float(d.abs().sum()) + float(d.square().sum())
            moved = slack - rate * math.sqrt(1 - i / steps) * (c * g + 2 * d)
            shrunk = [
                min(float(m) - beta, 1.0) if m - o > beta else max(float(m) + beta, 0.0) if m - o < -beta else float(o)
                for m, o in zip(moved, x, strict=True)
            ]
            last, image = image, torch.tensor(shrunk, dtype=torch.float64)
            slack = (image + i / (i + 3) * (image - last)).clamp(0, 1)
            fooled = judged(image) or fooled
            if i % math.ceil(steps / 10) == 0:
                if loss > 0.9999 * before and not fooled:
                    break
                before = loss
        lower, upper = (lower, min(upper, c)) if fooled else (max(lower, c), upper)
        c = (lower + upper) / 2 if upper < math.inf else 10 * c
    return torch.stack(points), least


@pytest.mark.parametrize("decision", ["l1", "en"])
@pytest.mark.parametrize(("targeted", "kappa"), [(False, 0.0), (True, 0.0), (False, 1.0), (True, 0.5)])
@pytest.mark.parametrize(("seed", "initial", "searches"), [(0, 0.1, 4), (1, 10.0, 4), (2, 1e-9, 10)])
def test_ead(seed, initial, searches, targeted, kappa, decision):
    net, x, y = case(seed)
    label = (y + 1) % CLASSES if targeted else y
    attack = ead(steps=30, searches=searches, rate=0.02, initial=initial, beta=0.02, confidence=kappa, decision=decision, targeted=targeted)
    found, outcome = asked(net, attack, x, y, label if targeted else None)
    points, least = ead_literal(net, x[0], int(label), targeted, kappa, 30, searches, 0.02, initial, 0.02)
    assert torch.allclose(found[: len(points)], points, rtol=0, atol=1e-7)
    assert outcome.success.all() and float(outcome.found.size[0]) == pytest.approx(least[decision], rel=1e-5)
    assert float(outcome.found.margin[0]) >= kappa


def test_ead_in_another_range_takes_the_same_steps():
    (net, x, y), (wide, _, _) = case(0), case(0, -1.0, 2.0)
    found, _ = asked(net, ead(steps=20, searches=3, initial=0.1), x, y, None)
    other, _ = asked(wide, ead(steps=20, searches=3, initial=0.1), x * 3 - 1, y, None)
    assert torch.allclose(other[:60], found[:60] * 3 - 1, rtol=0, atol=1e-8)


def sigma_zero_literal(net, x, label, targeted, steps, rate, sigma, threshold):
    """Cinà et al. 2024, algorithm 1, with torch's own Adam; in units of the range."""
    low, width = net.low, net.high - net.low
    clean = (x - low) / width
    delta, points, best = torch.zeros_like(x).requires_grad_(), [], math.inf
    adam = torch.optim.Adam([delta], lr=rate)
    for i in range(steps):
        eta = rate * (0.1 + 0.9 * cosine(i, steps))
        adam.param_groups[0]["lr"] = eta
        z = net.logits(low + width * (clean + delta))
        points.append((low + width * (clean + delta)).detach())
        fooled = (int(z.argmax()) == label) is targeted
        if fooled:
            best = min(best, int((delta != 0).sum()))
        loss = torch.clamp(-margin(z, label, targeted), min=0) + (delta.square() / (delta.square() + sigma)).sum() / D
        (g,) = torch.autograd.grad(loss, delta)
        delta.grad = g / g.abs().max().clamp_min(1e-12)
        adam.step()
        threshold = min(max(threshold + 0.01 * eta * (1 if fooled else -1), 0.0), 1.0)
        with torch.no_grad():
            delta.copy_((clean + delta).clamp(0, 1) - clean)
            delta[delta.abs() < threshold] = 0
    return torch.stack(points), best


@pytest.mark.parametrize("targeted", [False, True])
@pytest.mark.parametrize(("seed", "bounds"), [(0, RANGES[0]), (1, RANGES[1]), (2, RANGES[0])])
def test_sigma_zero(seed, bounds, targeted):
    net, x, y = case(seed, *bounds)
    label = (y + 1) % CLASSES if targeted else y
    attack = sigma_zero(steps=60, rate=0.5, sigma=2e-3, threshold=0.2, targeted=targeted)
    found, outcome = asked(net, attack, x, y, label if targeted else None)
    points, best = sigma_zero_literal(net, x[0], int(label), targeted, 60, 0.5, 2e-3, 0.2)
    assert torch.allclose(found[:60], points, rtol=0, atol=1e-7)
    assert agrees(outcome, best)
