"""Every start lies in the ball and the valid range, follows from the row's key alone, and asks what it says it asks."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from holdfast.attacks import cosine
from holdfast.core.draw import row_key
from holdfast.core.types import Batch, Out
from holdfast.engine.pieces import Asker, Pieces
from holdfast.engine.probe import EngineProbe, Ledger
from holdfast.models.classifier import Classifier
from holdfast.parts.starts import Clean, Corner, Diversified, Either, Turns, Uniform
from holdfast.parts.threats import L2, Linf

RADII = {Linf: 0.1, L2: 0.4}
STARTS = [
    Clean(),
    Corner(),
    Either(0.3),
    Uniform(),
    Diversified(),
    Diversified(steps=3),
    Turns((Diversified(), Corner(), Uniform(), Clean())),
]
EACH = pytest.mark.parametrize("start", STARTS, ids=repr)
BALL = pytest.mark.parametrize("kind", RADII)
N = 24


def net():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        return nn.Sequential(nn.Flatten(), nn.Linear(12, 16), nn.Tanh(), nn.Linear(16, 5)).double().eval()


def attending(kind, rows=None, group=None, seed=0):
    """A probe that attends to `N` rows of one net, or to some of them."""
    x = torch.rand(N, 3, 2, 2, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    x[0], x[1] = 0.0, 1.0
    ids, group = torch.arange(N), torch.zeros(N, dtype=torch.int64) if group is None else group
    clean = Out(net()(x).detach())
    radius = RADII[kind] * torch.linspace(0.5, 1.5, N, dtype=torch.float64)
    batch = Batch(x, clean.logits.argmax(dim=1), ids * 0 - 1, clean, row_key(seed, ids, group), group, radius)
    batch = batch if rows is None else batch[rows]
    probe = EngineProbe(Classifier(net(), 5), cosine(kind(RADII[kind])), Asker(Pieces(16)), seed)
    probe.attend(batch, torch.zeros_like(batch.key), Ledger.fresh(torch.zeros_like(batch.x)))
    return probe


def everywhere(probe):
    return torch.ones_like(probe.step, dtype=torch.bool)


@EACH
@BALL
def test_it_lies_in_the_ball_and_the_valid_range(start, kind):
    probe = attending(kind)
    p = start(probe, everywhere(probe))
    x, radius = probe.batch.x, probe.batch.radius
    assert p.shape == x.shape and bool((probe.threat.size(x, p) <= radius * (1 + 1e-9)).all())
    assert bool(probe.bounds.contain(x + p).all())


@EACH
@BALL
def test_it_is_the_rows_own(start, kind):
    """The same numbers in other company, in another order and asked again; others for another key."""
    group = torch.arange(N) % 4
    probe = attending(kind, group=group)
    whole = start(probe, everywhere(probe))
    assert torch.equal(whole, start(probe, everywhere(probe)))
    for rows in (torch.tensor([5]), torch.arange(N - 1, -1, -1), torch.arange(1, N, 3)):
        some = attending(kind, rows, group)
        assert torch.allclose(start(some, everywhere(some)), whole[rows], rtol=0, atol=1e-12)
    other = attending(kind, group=group, seed=1)
    moved = (start(other, everywhere(other)) - whole).flatten(1).abs().amax(dim=1) > 1e-6
    still = _clean(start, group)
    assert float(moved[~still].double().sum()) >= 0.8 * int((~still).sum()) and not bool(moved[still].any())


def _clean(start, group):
    """Rows that begin at the clean input."""
    if isinstance(start, Turns):
        return group % len(start.starts) == 3
    return torch.full_like(group, isinstance(start, Clean), dtype=torch.bool)


@BALL
def test_siblings_of_one_sample_are_diversified_each_its_own_way(kind):
    probe = attending(kind, torch.zeros(N, dtype=torch.int64) + 7)
    same = Diversified()(probe, everywhere(probe))
    assert len(same.flatten(1).unique(dim=0)) == 1, "equal keys, equal starts"
    member = torch.arange(N)
    probe.batch = replace(probe.batch, key=row_key(0, member * 0 + 7, member))
    p = Diversified()(probe, everywhere(probe))
    assert len(p.flatten(1).unique(dim=0)) > 0.9 * N
    answers = net()(probe.batch.x + p).detach() - probe.batch.clean.logits
    assert len(answers.argmax(dim=1).unique()) >= 4, "they raise different logits"


def test_a_corner_is_as_far_as_the_ball_goes():
    probe = attending(Linf)
    p = Corner()(probe, everywhere(probe))
    x, radius = probe.batch.x, probe.batch.radius.reshape(-1, 1, 1, 1)
    inner = (x >= radius) & (x <= 1 - radius)
    assert torch.allclose(p.abs()[inner], radius.expand_as(p)[inner], rtol=1e-12) and 0.3 < float((p[inner] > 0).double().mean()) < 0.7
    probe = attending(L2)
    p, x = Corner()(probe, everywhere(probe)), probe.batch.x
    inside = ((x + 1.001 * p > 0) & (x + 1.001 * p < 1)).flatten(1).all(dim=1)
    assert bool(inside.any()) and torch.allclose(p[inside].flatten(1).norm(dim=1), probe.batch.radius[inside], rtol=1e-9)


def test_diversified_climbs_its_own_direction_in_the_logits():
    """Two steps of the whole radius up ⟨w, z⟩ from the random point, written out; w drawn from the key."""
    probe = attending(Linf)
    body, batch = net(), probe.batch
    point = batch.x + Uniform()(probe, everywhere(probe))
    weight = 2 * probe.draw.uniform("direction", (5,), torch.float64) - 1
    for _ in range(2):
        at = point.clone().requires_grad_()
        (g,) = torch.autograd.grad((body(at) * weight).sum(), at)
        radius = batch.radius.reshape(-1, 1, 1, 1)
        point = torch.clamp(torch.min(torch.max(point + radius * g.sign(), batch.x - radius), batch.x + radius), 0, 1)
    assert torch.allclose(batch.x + Diversified()(probe, everywhere(probe)), point, rtol=0, atol=1e-12)


@EACH
def test_what_it_asks_is_counted_for_the_rows_that_asked(start):
    group = torch.arange(N) % 4
    probe = attending(Linf, group=group)
    # So near that none is fooled on the way: what is asked after a success is waste.
    probe.batch = replace(probe.batch, radius=probe.batch.radius * 1e-3)
    where = torch.arange(N) % 3 != 0
    start(probe, where)
    asked = where & (group == 0) if isinstance(start, Turns) else where
    expected = start.asks() * asked.long()
    assert torch.equal(probe.ledger.forwards, expected) and torch.equal(probe.ledger.backwards, expected)


@BALL
def test_where_does_not_change_the_rows_that_it_names(kind):
    start, where = Diversified(), torch.arange(N) % 3 != 0
    whole, some = attending(kind), attending(kind)
    everything, part = start(whole, everywhere(whole)), start(some, where)
    assert torch.allclose(part[where], everything[where], rtol=0, atol=1e-12) and bool(part.isfinite().all())


@BALL
def test_turns_give_each_sibling_its_own(kind):
    members = (Diversified(), Corner(), Uniform(), Clean())
    group = torch.arange(N) % 6
    probe = attending(kind, group=group)
    p = Turns(members)(probe, everywhere(probe))
    for place, member in enumerate(members):
        alone = attending(kind, group=group)
        mine = group % 4 == place
        assert torch.allclose(p[mine], member(alone, everywhere(alone))[mine], rtol=0, atol=1e-12)
    assert Turns(members).asks() == 2 and Turns((Clean(), Corner())).asks() == 0


def test_the_price_of_a_rule_holds_its_start():
    assert cosine(0.1, starts=("clean", "diversified")).rule.price() == 3 and cosine(0.1).rule.price() == 1


def test_some_rows_start_still_and_the_others_as_ever():
    probe = attending(Linf)
    p, free = Either(0.4)(probe, everywhere(probe)), Uniform()(probe, everywhere(probe))
    still = (p == 0).flatten(1).all(dim=1)
    assert 2 <= int(still.sum()) <= 18 and torch.equal(p[~still], free[~still])
    assert torch.equal(Either(0.0)(probe, everywhere(probe)), free) and not Either(1.0)(probe, everywhere(probe)).any()
