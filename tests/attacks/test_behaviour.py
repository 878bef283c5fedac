"""What each attack promises beside its points: which is claimed, who is aimed at, and what restarts are for."""

import pytest
import torch
from torch import nn

from holdfast.attacks import apgd, apgd_targeted, bim_a, bim_b, carlini_wagner, cosine, deepfool, fgsm, least_likely, mi_fgsm, pgd
from holdfast.engine import Samples, run
from holdfast.models.classifier import Classifier
from holdfast.parts.threats import L0, L1, L2, Linf

torch.set_num_threads(1)


def net(classes=4, scale=2.0):
    with torch.random.fork_rng():
        torch.manual_seed(7)
        body = nn.Sequential(nn.Flatten(), nn.Linear(12, 16), nn.Tanh(), nn.Linear(16, classes)).double().eval()
        body[3].weight.data.mul_(scale)
    return body


def drawn(body, n=24):
    x = torch.rand(n, 3, 2, 2, generator=torch.Generator().manual_seed(8), dtype=torch.float64)
    return x, body(x).argmax(dim=1)


def attacked(attack, classes=4, n=24, target=None):
    body = net(classes)
    x, y = drawn(body, n)
    return body, x, y, run(attack, Classifier(body, classes), Samples.of(x, y, target=target))


EVERY = [
    fgsm(0.3), bim_a(0.3), bim_b(0.3), least_likely(0.5), mi_fgsm(0.3), pgd(0.3, steps=10), pgd(L2(0.8), steps=10), pgd(L1(2.0), steps=10),
    pgd(L0(3.0), steps=10), apgd(0.3, steps=10), apgd(L2(0.8), steps=10, objective="dlr"), apgd(L1(2.0), steps=10),
    apgd_targeted(0.3, steps=10), deepfool(), deepfool(Linf(0.3)), carlini_wagner(steps=30, searches=3, initial=1.0),
    cosine(0.3, steps=10, restarts=3, starts=("diversified", "corner")), cosine(L2(0.8), steps=10), cosine(0.3, steps=5, rivals=3),
]  # fmt: skip


@pytest.mark.parametrize("attack", EVERY, ids=str)
@pytest.mark.parametrize("classes", [2, 3, 4])
def test_every_claim_holds_outside_the_library(attack, classes):
    body, x, y, outcome = attacked(attack, classes)
    found = outcome.adversarial
    assert outcome.success.any() and outcome.complete and outcome.refused == 0
    assert bool((body(found).argmax(dim=1) != y)[outcome.success].all())
    assert float(found.min()) >= 0 and float(found.max()) <= 1
    assert bool((attack.threat.size(x, found - x) <= attack.threat.radius * (1 + 1e-5) + 1e-6).all())
    assert torch.equal(found[~outcome.success], x[~outcome.success])


def test_bim_a_claims_the_first_success_and_bim_b_the_last_point():
    steps = 10
    first, last = (attacked(make(0.3, steps=steps))[3] for make in (bim_a, bim_b))
    both = first.success & last.success
    assert both.sum() > 5
    assert bool((last.found.step[both] == steps).all()) and bool((first.found.step[both] < steps).any())
    assert bool((last.found.margin >= first.found.margin)[both].all())


def test_bim_b_does_not_claim_a_success_that_it_lost_again():
    class Stripe(nn.Module):
        """Another class only in a thin stripe on the way."""

        def forward(self, x):
            score = 0.1 - (x[:, 0] - 0.6).abs() + 1e-3 * x[:, 0]
            return torch.stack([torch.zeros_like(score), score], dim=1)

    class Slope(Stripe):
        """The stripe's answer with a gradient that leads through it."""

        def forward(self, x):
            z = super().forward(x)
            lead = torch.stack([torch.zeros_like(x[:, 0]), x[:, 0]], dim=1)
            return z.detach() + lead - lead.detach()

    x, y = torch.full((3, 1), 0.4), torch.zeros(3, dtype=torch.int64)
    outcomes = [run(make(0.5, steps=10), Classifier(Slope(), 2), Samples.of(x, y)) for make in (bim_a, bim_b)]
    assert outcomes[0].success.all() and not outcomes[1].success.any()


def test_least_likely_ends_at_the_least_likely_class():
    body, x, _, outcome = attacked(least_likely(0.5, steps=20))
    assert outcome.success.any()
    least = body(x).argmin(dim=1)
    assert torch.equal(outcome.found.target[outcome.success], least[outcome.success])
    assert torch.equal(body(outcome.adversarial).argmax(dim=1)[outcome.success], least[outcome.success])


def test_targeted_attacks_end_at_the_callers_target():
    body = net()
    _, y = drawn(body)
    target = (y + 1) % 4
    makes = [(fgsm, {}), (pgd, {}), (apgd, {"steps": 20})]
    attacks = [make(0.5, targeted=True, **more) for make, more in makes]
    for attack in (*attacks, carlini_wagner(steps=50, searches=5, initial=0.1, targeted=True)):
        body, _, _, outcome = attacked(attack, target=target)
        assert outcome.success.any(), attack
        assert torch.equal(body(outcome.adversarial).argmax(dim=1)[outcome.success], target[outcome.success])


def test_a_larger_radius_breaks_no_fewer():
    small, large = (attacked(pgd(Linf(radius), steps=20))[3].success for radius in (0.18, 0.3))
    assert bool((large | ~small).all()) and small.any() and int(large.sum()) > int(small.sum())


def test_restarts_draw_other_starts_and_break_no_fewer():
    class Island(nn.Module):
        """Wrong only on a small flat island, which no gradient leads to: a matter of where one starts."""

        def forward(self, x):
            inside = ((x - 0.6).abs().amax(dim=1) < 0.06).to(x.dtype) + 0 * x.sum(dim=1)
            return torch.stack([torch.full_like(inside, 0.5), inside], dim=1)

    x, y = torch.full((64, 2), 0.5), torch.zeros(64, dtype=torch.int64)
    model = Classifier(Island(), 2)
    one, many = (run(pgd(0.2, steps=1, restarts=restarts), model, Samples.of(x, y)) for restarts in (1, 20))
    assert 0 < int(one.success.sum()) < 32
    assert bool((many.success | ~one.success).all()) and int(many.success.sum()) > 2 * int(one.success.sum())
    assert len(many.found.member[many.success].unique()) > 3
    assert torch.equal(many.adversarial[one.success], one.adversarial[one.success])


def test_a_wrong_clean_answer_counts_without_an_attack():
    body = net()
    x, y = drawn(body)
    outcome = run(pgd(0.01, steps=3), Classifier(body, 4), Samples.of(x, (y + 1) % 4))
    assert outcome.wrong.all() and outcome.success.all() and torch.equal(outcome.adversarial, x)
    assert not outcome.backwards.any()


def test_confidence_is_kept_by_every_claim_of_carlini_wagner():
    body, _, y, outcome = attacked(carlini_wagner(steps=60, searches=3, initial=1.0, confidence=0.3))
    z = body(outcome.adversarial)
    lead = z.scatter(1, y.unsqueeze(1), -torch.inf).amax(dim=1) - z.gather(1, y.unsqueeze(1)).squeeze(1)
    assert outcome.success.any() and bool((lead[outcome.success] >= 0.3 - 1e-9).all())
    plain = attacked(carlini_wagner(steps=60, searches=3, initial=1.0))[3]
    both = plain.success & outcome.success
    assert bool((plain.found.size <= outcome.found.size)[both].all())


@pytest.mark.parametrize("threat", [L2(float("inf")), Linf(float("inf")), L1(float("inf"))])
def test_deepfool_leaves_a_tie(threat):
    """Two logits that are equal at the input are no boundary crossed: a step of nothing would stay there for ever."""
    body = nn.Sequential(nn.Flatten(), nn.Linear(12, 2, bias=False)).double().eval().requires_grad_(False)
    body[1].weight.copy_(torch.ones(2, 12).double() * torch.tensor([[1.0], [-1.0]]))
    x = torch.tensor([1.0, -1.0] * 6, dtype=torch.float64).reshape(1, 3, 2, 2)
    found = run(deepfool(threat), Classifier(body, 2, bounds=(-2, 2)), Samples.of(x, torch.tensor([0])))
    assert bool((body(x) == 0).all()) and bool(found.success.all())
