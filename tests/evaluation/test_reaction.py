"""How search meets a model that misleads it: what it sees, by which gradient, in which entries."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from holdfast import Linf, attacks
from holdfast.engine import Samples, run
from holdfast.evaluation.entry import Entry
from holdfast.evaluation.plan import Plan
from holdfast.evaluation.reaction import DRAWS, Reaction, Seen, probabilities
from holdfast.models import Classifier
from holdfast.parts.sources import Eot, Smoothed, White

THREAT = Linf(0.1)
ENTRIES = (
    Entry(attacks.pgd(THREAT)),
    Entry(attacks.apgd(THREAT), near=0.5, hope=3.0, spot=0.02),
    Entry(attacks.square(THREAT, steps=9), near=0.1, hope=2.0),
)
OURS = Plan(THREAT, ENTRIES, "standard-1")


def linear(scale=1.0):
    net = nn.Linear(6, 3).double()
    with torch.no_grad():
        net.weight.copy_(scale * torch.randn(3, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64))
        net.bias.zero_()
    return net.eval()


def points(n=32):
    return torch.rand(n, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def test_a_suite_that_does_not_react_is_what_its_name_says():
    for suite in ("quick-1", "autoattack-standard", None):
        plan = replace(OURS, suite=suite)
        assert not plan.reacts and Reaction(True, True, 9.0, "none", True).plan(plan) == plan
    assert OURS.reacts and Reaction().plan(OURS) == OURS, "and nothing is done where nothing is wrong"


def test_doubtful_margins_spare_nobody_and_no_gradient_leaves_what_needs_none():
    doubtful = Reaction(gradient="straight", doubtful=True).plan(OURS).entries
    assert [(entry.near, entry.hope) for entry in doubtful] == [(None, None)] * 3
    assert [entry.attack for entry in doubtful] == [entry.attack for entry in ENTRIES]
    blind = Reaction(gradient="none", doubtful=True).plan(OURS).entries
    assert [entry.attack.name for entry in blind] == ["square"] and blind[0].near is None
    needy = replace(OURS, entries=ENTRIES[:2])
    assert len(Reaction(gradient="none", doubtful=True).plan(needy).entries) == 2, "rather those than none"


@pytest.mark.parametrize(
    ("reaction", "source", "draws"),
    [
        (Reaction(), White(), 1),
        (Reaction(stochastic=True), Eot(DRAWS), DRAWS),
        (Reaction(gradient="smoothed"), Smoothed(), 5),
        (Reaction(stochastic=True, gradient="smoothed"), Eot(DRAWS), DRAWS),
        (Reaction(gradient="straight"), White(), 1),
    ],
)
def test_each_attack_has_the_source_that_the_model_asks_for(reaction, source, draws):
    first, second, third = (entry.attack for entry in reaction.plan(OURS).entries)
    assert first.rule.source == second.rule.source == source and third.rule.price() == draws
    assert (first == ENTRIES[0].attack) == (source == White()), "and another digest with it"
    assert (first.digest == ENTRIES[0].attack.digest) == (source == White())


def test_scale_and_logarithm_keep_the_order_and_undo_a_softmax():
    net, x = linear(), points()
    model = Classifier(net, 3)
    assert Reaction().model(model, x) is model
    scaled = Reaction(scale=4.0).model(model, x)
    assert torch.allclose(scaled(x).logits, net(x) / 4) and scaled.classes == 3
    soft = Classifier(nn.Sequential(net, nn.Softmax(dim=1)), 3)
    seen = Reaction(logarithm=True, scale=2.0).model(soft, x)
    assert isinstance(seen, Seen) and torch.allclose(seen(x).logits, net(x).log_softmax(dim=1) / 2)
    zero = Seen(Classifier(lambda v: torch.eye(3, dtype=v.dtype)[:, :3].expand(3, 3)[: len(v)], 3), True, 1.0)
    assert bool(zero(points(3)).logits.isfinite().all()), "the logarithm of nothing is a number"


def test_search_goes_on_where_a_softmax_saturates():
    """Logits hundreds apart: in float32 their cross-entropy has no gradient; in what search sees it has."""
    sharp, x = Classifier(linear(400.0).float(), 3), points().float()
    samples = Samples.of(x, sharp(x).logits.argmax(dim=1))
    attack = attacks.pgd(0.3, steps=8, random_start=False, objective="ce")
    own, seen = (run(attack, sharp, samples, search=Reaction(scale=scale).model(sharp, x)) for scale in (1.0, 60.0))
    assert int(seen.success.sum()) > int(own.success.sum()) + 8


@pytest.mark.parametrize(
    ("logits", "are"),
    [
        ([[0.2, 0.8], [1.0, 0.0]], True),
        ([[0.2, 0.8], [0.5, 0.6]], False),
        ([[1.2, -0.2], [0.5, 0.5]], False),
        ([[2.0, 8.0], [1.0, 0.0]], False),
    ],
)
def test_probabilities_are_not_negative_and_sum_to_one(logits, are):
    assert probabilities(torch.tensor(logits)) is are
