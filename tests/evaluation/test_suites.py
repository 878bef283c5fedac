"""A suite is a promise: what its name stands for, down to the last constant, is written here once more."""

import pytest
import torch
from torch import nn

from holdfast import evaluate
from holdfast.core.errors import ConfigError
from holdfast.engine import Pieces
from holdfast.evaluation.plan import plan
from holdfast.evaluation.suites import SUITES, suite_attacks, suite_name
from holdfast.models import Classifier
from holdfast.parts.threats import L0, L1, L2, Linf

APGD = (
    "Attack(goal=Untargeted(confidence=0.0), threat={threat}, rule=Apgd(objective={objective}, rho=0.75, momentum=0.75, source={source}), "
    "stop=Stop(steps={steps}, early=True, queries=None), group=Group(restarts={restarts}, rivals={rivals}, radii=(), cancel='later'), "
    "keep='first')"
)
FAB = (
    "Attack(goal=Untargeted(confidence=0.0), threat={threat}, rule=Fab(rivals={rivals}, most=0.1, eta=1.05, beta=0.9, source=White()), "
    "stop=Stop(steps=100, early=True, queries=None), group=Group(restarts={restarts}, rivals={rivals}, radii=(), cancel='later'), "
    "keep='first')"
)
SQUARE = (
    "Attack(goal=Untargeted(confidence=0.0), threat={threat}, rule=RandomSearch(objective=Margin(targeted=False, strict=False), "
    "proposal={proposal}(share=0.8, horizon=10000)), stop=Stop(steps=5000, early=True, queries=None), "
    "group=Group(restarts=1, rivals=0, radii=(), cancel='later'), keep='first')"
)


def ce(threat, steps=100, restarts=1, source="White()"):
    objective = "CrossEntropy(targeted=False)"
    return APGD.format(threat=threat, objective=objective, source=source, steps=steps, restarts=restarts, rivals=0)


def dlr(threat, restarts=1, source="White()"):
    return APGD.format(threat=threat, objective="Dlr(targeted=False)", source=source, steps=100, restarts=restarts, rivals=0)


def aimed(threat, steps=100, rivals=9):
    return APGD.format(threat=threat, objective="TargetedDlr(targeted=True)", source="White()", steps=steps, restarts=1, rivals=rivals)


def fab(threat, restarts=1, rivals=0):
    return FAB.format(threat=threat, restarts=restarts, rivals=rivals)


def square(threat):
    return SQUARE.format(threat=threat, proposal="Bumps" if "L2" in threat else "Squares")


LINF, L_2, L_1 = (Linf(0.3), "Linf(radius=0.3)"), (L2(0.5), "L2(radius=0.5)"), (L1(12.0), "L1(radius=12.0, spread=0.01)")


@pytest.mark.parametrize(("threat", "said"), [LINF, L_2, L_1], ids=["linf", "l2", "l1"])
def test_what_each_suite_stands_for(threat, said):
    sparse = isinstance(threat, L1)
    search = [] if sparse else [square(said)]
    standard = [ce(said, restarts=5 if sparse else 1), aimed(said, rivals=5 if sparse else 9), fab(said, rivals=9), *search]
    golden = {
        "quick-1": [ce(said, 50), aimed(said, 20)],
        "autoattack-standard": standard,
        "autoattack-rand": [ce(said, source="Eot(draws=20)"), dlr(said, source="Eot(draws=20)")],
        "autoattack-plus": [ce(said, restarts=5), dlr(said, 5), fab(said, 5), *search, aimed(said), fab(said, rivals=9)],
    }
    assert list(golden) == list(SUITES)
    for name, expected in golden.items():
        assert [repr(attack) for attack in suite_attacks(name, threat)] == expected


def test_names_and_aliases():
    assert suite_name("autoattack") == "autoattack-standard" == plan("linf:0.3", "autoattack").suite
    assert plan("linf:0.3", "autoattack") == plan("linf:0.3", "autoattack-standard")
    with pytest.raises(ConfigError, match="autoattack-standard"):
        suite_name("autoatack")


@pytest.mark.parametrize("name", SUITES)
def test_a_threat_that_a_suite_does_not_know_is_refused(name):
    with pytest.raises(ConfigError, match="l0"):
        suite_attacks(name, L0(3.0))


@pytest.mark.parametrize("classes", [2, 3, 4])
@pytest.mark.parametrize("name", ["autoattack-standard", "autoattack-plus", "autoattack-rand"])
def test_few_classes_fall_back(name, classes):
    rules = [attack.fitted(classes) for attack in suite_attacks(name, Linf(0.1))]
    assert all(attack.group.rivals <= classes - 1 for attack in rules)
    said = " ".join(map(repr, rules))
    assert ("TargetedDlr" in said) == (classes >= 4 and name != "autoattack-rand") and ("=Dlr" in said) == (
        classes >= 3 and name != "autoattack-standard"
    )


def test_the_cascade_runs_and_is_recorded_under_its_full_name(monkeypatch):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = nn.Sequential(nn.Flatten(), nn.Linear(16, 3)).eval()
    x = torch.rand(6, 1, 4, 4)
    y = net(x).argmax(dim=1)
    shortened = [attack for attack in suite_attacks("autoattack", Linf(0.02)) if attack.name != "square"]
    monkeypatch.setitem(SUITES, "autoattack-standard", lambda threat: shortened)
    result = evaluate(Classifier(net, 3), (x, y), Linf(0.02), suite="autoattack", pieces=Pieces(16), slots=8)
    assert result.manifest["suite"] == "autoattack-standard" and len(result.attacks) == 3
