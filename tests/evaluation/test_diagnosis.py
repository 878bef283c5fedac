"""What a look at a model sees before anything is measured, and what it decides."""

import json
from dataclasses import asdict, replace

import pytest
import torch
from torch import nn

from holdfast import L0, L1, L2, Linf, ModelError
from holdfast.core.types import Access
from holdfast.engine import Samples
from holdfast.evaluation.diagnosis import CALM, ROWS, Diagnosis, calibration, diagnose, short
from holdfast.evaluation.reaction import Reaction
from holdfast.models import Classifier

THREAT = Linf(0.3)


class Net(nn.Module):
    """A linear net between something `before` it and something `after` it."""

    def __init__(self, before=None, after=None, scale=1.0):
        super().__init__()
        self.before, self.after, self.body = before, after, nn.Linear(8, 3)
        with torch.no_grad():
            self.body.weight.copy_(2 * scale * torch.randn(3, 8, generator=torch.Generator().manual_seed(3)))
            self.body.bias.copy_(-self.body.weight.sum(dim=1) / 2)

    def forward(self, x):
        x = x.flatten(1) if self.before is None else self.before(x.flatten(1))
        return self.body(x) if self.after is None else self.after(self.body(x))


def look(before=None, after=None, scale=1.0, n=40, **more):
    x = torch.rand(n, 1, 2, 4, generator=torch.Generator().manual_seed(1))
    with torch.random.fork_rng(devices=[]):
        net = Net(before, after, scale).eval()
        y = net(x).argmax(dim=1)
    given = {name: more.pop(name) for name in ("stochastic", "access") if name in more}
    return diagnose(Classifier(net, 3, **given), Samples.of(x, y), **({"threat": THREAT} | more))


def test_an_honest_net_is_asked_as_it_is():
    seen = look()
    assert seen.reaction == Reaction() and seen.apart == seen.dead == 0 and not seen.probabilities and seen.trials == {}
    assert seen.rows == ROWS and 0 < seen.spread < 30
    assert look(n=5).rows == 5


def test_randomness_is_seen_or_taken_at_its_word():
    state = torch.get_rng_state()
    seen = look(before=lambda x: x + 0.1 * torch.randn_like(x))
    assert seen.reaction == Reaction(stochastic=True) and 0 < seen.apart < 1
    assert torch.equal(torch.get_rng_state(), state), "the caller's generators are as they were"
    # Whoever declares it is believed, whatever was seen.
    assert look(stochastic=True).reaction.stochastic and not look(before=lambda x: x + 1e-9).reaction.stochastic


def test_probabilities_and_saturation_are_seen_and_undone():
    soft = look(after=lambda z: z.softmax(dim=1))
    assert soft.probabilities and soft.reaction == Reaction(logarithm=True)
    assert soft.spread == pytest.approx(look().spread, rel=1e-3), "of the logarithms"
    sharp = look(scale=100.0)
    assert sharp.reaction.scale == pytest.approx(sharp.spread / CALM) and sharp.reaction.scale > 10 and not sharp.reaction.doubtful


@pytest.mark.parametrize("react", [True, False])
def test_a_dead_gradient_is_tried_around_only_where_that_helps(react):
    seen = look(before=lambda x: (8 * x).round() / 8, react=react)
    assert seen.dead == 1.0
    if not react:
        assert seen.reaction == Reaction() and seen.trials == {}
        return
    assert seen.reaction == Reaction(gradient="straight", doubtful=True, usable=("straight",))
    assert set(seen.trials) == {"straight", "none"} and seen.trials["straight"] < 0.5


def test_of_gradients_that_are_half_dead_the_one_that_leads_furthest_is_taken():
    """Half of the range is flat: the own gradient leads nowhere from there, that of a smoothed copy leads out."""
    seen = look(before=lambda x: torch.where(x.amax(dim=1, keepdim=True) > 0.9, x.detach(), x))
    assert 0.02 < seen.dead < 1 and set(seen.trials) == {"own", "straight", "smoothed", "none"}
    assert seen.reaction.doubtful and seen.trials[seen.reaction.gradient] == min(seen.trials.values())
    assert seen.trials["own"] > seen.trials["straight"]


@pytest.mark.parametrize("threat", [L1(1.0), L0(2.0)], ids=str)
def test_where_there_is_no_random_search_it_is_no_candidate(threat):
    assert "none" not in look(before=lambda x: (8 * x).round() / 8, threat=threat).trials


def test_without_access_to_gradients_none_is_asked():
    seen = look(access=Access.SCORE)
    assert seen.reaction == Reaction(gradient="none", doubtful=True) and seen.dead == 0 and seen.trials == {}


def test_an_answer_that_depends_on_its_company_is_refused():
    with pytest.raises(ModelError, match="depends on the others"):
        look(after=lambda z: z - z.mean(dim=0))
    assert look(after=lambda z: z - z.mean(dim=1, keepdim=True)).reaction == Reaction()


def test_answers_that_are_no_numbers_are_left_to_those_who_count():
    assert look(after=lambda z: z * torch.nan) == Diagnosis()


def test_it_is_stored_as_it_is():
    seen = replace(look(scale=100.0), trials={"straight": 0.25})
    assert Diagnosis.read(json.loads(json.dumps(asdict(seen)))) == seen


def test_the_calibration_set_is_drawn_by_key():
    ids = torch.arange(200) * 3 + 1
    chosen = ids[calibration(ids, 0)]
    assert len(chosen.unique()) == ROWS and not torch.equal(chosen.sort().values, ids[:ROWS]), "not merely the first"
    order = torch.randperm(200, generator=torch.Generator().manual_seed(0))
    assert torch.equal(ids[order][calibration(ids[order], 0)], chosen), "whatever the order of the samples"
    assert not torch.equal(ids[calibration(ids, 1)], chosen)
    assert torch.equal(ids[calibration(ids, 0, 8)], chosen[:8]) and len(calibration(ids[:3], 0)) == 3


@pytest.mark.parametrize(("threat", "name"), [(Linf(0.1), "cosine"), (L2(0.1), "cosine"), (L1(1.0), "apgd"), (L0(2.0), "pgd")])
def test_the_trial_suits_the_norm(threat, name):
    assert short(threat).name == name and short(threat).threat == threat and short(threat).stop.steps == 20
