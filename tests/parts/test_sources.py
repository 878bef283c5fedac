"""The gradient of a smoothed copy: the mean it says it is, at points it says it asks, each row's own; and what it costs."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from holdfast import attacks
from holdfast.core.draw import row_key
from holdfast.core.types import Batch, Out
from holdfast.engine import Samples, run
from holdfast.engine.pieces import Asker, Pieces
from holdfast.engine.probe import EngineProbe, Ledger
from holdfast.models import Classifier
from holdfast.parts.sources import Smoothed
from holdfast.parts.threats import L2, Linf

N, RADIUS = 12, 0.2
BALL = pytest.mark.parametrize("threat", [Linf(RADIUS), L2(RADIUS)], ids=str)


class Bowl(nn.Module):
    """z = (0, Σ x²): the gradient of z₁ at x + d is 2(x + d), so that it tells where it was asked; `asked` keeps these places."""

    def __init__(self):
        super().__init__()
        self.asked = []

    def forward(self, x):
        self.asked.append(x.detach().clone())
        return torch.stack([torch.zeros(len(x), dtype=x.dtype), x.square().flatten(1).sum(dim=1)], dim=1)


def second(out, batch):
    return out.logits[:, 1]


def attending(threat, rows=slice(None), step=0, seed=0):
    net, ids = Bowl(), torch.arange(N)
    x = 0.3 + 0.4 * torch.rand(N, 2, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    radius = torch.linspace(0.5, 1.0, N, dtype=torch.float64) * RADIUS
    batch = Batch(x, ids * 0, ids * 0 - 1, Out(x.new_zeros(N, 2)), row_key(seed, ids, ids * 0), ids * 0, radius)[rows]
    probe = EngineProbe(Classifier(net, 2), attacks.pgd(threat, early=False), Asker(Pieces(8)), seed)
    probe.attend(batch, torch.full_like(batch.key, step), Ledger.fresh(torch.zeros_like(batch.x)))
    return probe, net


@BALL
def test_it_is_the_mean_over_points_around_the_asked_one(threat):
    probe, net = attending(threat)
    p = torch.full_like(probe.batch.x, 0.01)
    answer, value, g = Smoothed(draws=3, share=0.25)(probe, p, second)
    asked = torch.stack([torch.cat(net.asked)[i * 16 :][:N] for i in range(4)])  # pieces of 8, filled up: 16 rows an ask
    here, near = asked[0], asked[1:]
    assert torch.equal(here, probe.batch.x + p), "the answer is that of the point itself"
    assert torch.equal(answer.margin, here.square().flatten(1).sum(dim=1))
    assert torch.allclose(g, 2 * near.mean(dim=0)) and torch.allclose(value, near.square().flatten(2).sum(dim=2).mean(dim=0))
    away = torch.stack([threat.size(here, point - here) for point in near])
    assert bool((away <= 0.25 * probe.batch.radius * (1 + 1e-9)).all()) and bool((away > 0.01 * probe.batch.radius).all())


@BALL
def test_its_noise_is_the_rows_own_and_never_drawn_twice(threat):
    def slope(**told):
        probe, _ = attending(threat, **told)
        return Smoothed()(probe, torch.zeros_like(probe.batch.x), second)[2]

    whole = slope()
    assert torch.equal(slope(), whole)
    for rows in (slice(5, 6), slice(None, None, 3), torch.arange(N - 1, -1, -1)):
        assert torch.allclose(slope(rows=rows), whole[rows], rtol=0, atol=1e-12)
    for other in (slope(step=1), slope(seed=1)):
        assert bool(((other - whole).flatten(1).abs().amax(dim=1) > 1e-6).all())
    probe, net = attending(threat, rows=slice(0, 1))
    for step in range(3):
        probe.attend(probe.batch, probe.step * 0 + step, probe.ledger)
        Smoothed()(probe, torch.zeros_like(probe.batch.x), second)
    points = torch.stack([t[0].flatten() for t in net.asked]).unique(dim=0)
    assert len(points) == 1 + 3 * 4, "the point itself, and four others a step"


def test_a_point_costs_what_it_says():
    probe, _ = attending(Linf(RADIUS))
    source = Smoothed(draws=3)
    source(probe, torch.zeros_like(probe.batch.x), second)
    assert source.asks() == 4 and probe.ledger.forwards.tolist() == [4] * N and probe.ledger.backwards.tolist() == [3] * N
    attack = attacks.pgd(0.1)
    assert replace(attack, rule=attack.rule.sourced(source)).rule.price() == 4


class Wiggling(nn.Module):
    """z₁ rises with Σ x, under a fast wave whose slope is three times as steep."""

    def forward(self, x):
        z = (x + 0.003 * torch.sin(1000 * x)).flatten(1).sum(dim=1) - 10.2
        return torch.stack([0 * z, z], dim=1)


def test_it_finds_the_way_where_the_gradient_itself_wiggles():
    x = 0.48 + 0.01 * torch.rand(16, 20, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    samples, attack = Samples.of(x, torch.zeros(16, dtype=torch.int64)), attacks.pgd(0.04, steps=5, random_start=False)
    smooth = replace(attack, rule=attack.rule.sourced(Smoothed(draws=8)))
    own, found = (run(made, Classifier(Wiggling(), 2), samples) for made in (attack, smooth))
    assert int(found.success.sum()) == 16 > 2 * int(own.success.sum())
