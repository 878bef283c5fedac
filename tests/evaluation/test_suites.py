"""A suite is a promise: what its name stands for, down to the last constant, is written here once more."""

import json
import math
import os
from pathlib import Path

import pytest
import torch
from torch import nn

from holdfast import evaluate
from holdfast.attacks.short import parse
from holdfast.core.errors import ConfigError
from holdfast.engine import Pieces
from holdfast.evaluation.entry import Entry
from holdfast.evaluation.plan import plan
from holdfast.evaluation.suites import DEFAULT, SUITES, suite_entries, suite_name
from holdfast.models import Classifier
from holdfast.parts.threats import L0, L1, L2, Linf

APGD = (
    "Attack(goal=Untargeted(confidence=0.0), threat={threat}, rule=Apgd(objective={objective}, rho=0.75, momentum=0.75, source={source}), "
    "stop=Stop(steps={steps}, early=True, queries=None), group=Group(restarts={restarts}, rivals={rivals}, radii=(), cancel='later'), "
    "keep='first')"
)
APGD_L1 = (
    "Attack(goal=Untargeted(confidence=0.0), threat={threat}, rule=ApgdL1(objective={objective}, larger_radii={larger}, source={source}), "
    "stop=Stop(steps=100, early=True, queries=None), group=Group(restarts={restarts}, rivals={rivals}, radii=(), cancel='later'), "
    "keep='first')"
)
FAB = (
    "Attack(goal=Untargeted(confidence=0.0), threat={threat}, rule=Fab(rivals={rivals}, most=0.1, eta=1.05, beta=0.9, source=White()), "
    "stop=Stop(steps=100, early=True, queries=None), group=Group(restarts={restarts}, rivals={rivals}, radii=(), cancel='later'), "
    "keep='first')"
)
SQUARE = (
    "Attack(goal=Untargeted(confidence=0.0), threat={threat}, rule=RandomSearch(objective=Margin(targeted=False, strict=False), "
    "proposal={proposal}(share=0.8, horizon=10000), draws=1), stop=Stop(steps=5000, early=True, queries=None), "
    "group=Group(restarts=1, rivals=0, radii=(), cancel='later'), keep='first')"
)


def ce(threat, steps=100, restarts=1, source="White()"):
    objective = "CrossEntropy(targeted=False)"
    return APGD.format(threat=threat, objective=objective, source=source, steps=steps, restarts=restarts, rivals=0)


def dlr(threat, restarts=1, source="White()"):
    return APGD.format(threat=threat, objective="Dlr(targeted=False)", source=source, steps=100, restarts=restarts, rivals=0)


def aimed(threat, steps=100, rivals=9):
    return APGD.format(threat=threat, objective="TargetedDlr(targeted=True)", source="White()", steps=steps, restarts=1, rivals=rivals)


def sparse(objective, restarts=1, rivals=0, larger=False, source="White()"):
    aim = "TargetedDlr(targeted=True)" if rivals else f"{objective}(targeted=False)"
    return APGD_L1.format(threat=L_1[1], objective=aim, source=source, restarts=restarts, rivals=rivals, larger=larger)


def fab(threat, restarts=1, rivals=0):
    return FAB.format(threat=threat, restarts=restarts, rivals=rivals)


def square(threat):
    return SQUARE.format(threat=threat, proposal="Bumps" if "L2" in threat else "BumpsL1" if "L1" in threat else "Squares")


LINF, L_2, L_1 = (Linf(0.3), "Linf(radius=0.3)"), (L2(0.5), "L2(radius=0.5)"), (L1(12.0), "L1(radius=12.0, spread=0.01)")


@pytest.mark.parametrize(("threat", "said"), [LINF, L_2, L_1], ids=["linf", "l2", "l1"])
def test_what_each_suite_stands_for(threat, said):
    eot, search, aimed_fab = "Eot(draws=20)", square(said), fab(said, rivals=9)
    golden = {
        "quick-1": [ce(said, 50), aimed(said, 20)],
        "autoattack-standard": [ce(said), aimed(said), aimed_fab, search],
        "autoattack-rand": [ce(said, source=eot), dlr(said, source=eot)],
        "autoattack-plus": [ce(said, restarts=5), dlr(said, 5), fab(said, 5), search, aimed(said), aimed_fab],
    }
    if isinstance(threat, L1):
        # The authors' `set_version`: larger radii, five starts and five rivals in `standard`, none of these in the others.
        first, second = sparse("CrossEntropy", restarts=5), sparse("Dlr", restarts=5)
        golden |= {
            "autoattack-standard": [sparse("CrossEntropy", 5, larger=True), sparse("", 1, 5, larger=True), aimed_fab, search],
            "autoattack-rand": [sparse(name, source=eot) for name in ("CrossEntropy", "Dlr")],
            "autoattack-plus": [first, second, fab(said, 5), search, sparse("", rivals=9), aimed_fab],
        }
    assert [DEFAULT, "standard-1", *golden] == list(SUITES)
    for name, expected in golden.items():
        assert suite_entries(name, threat) == [Entry(attack) for attack in attacks_of(name, threat)], "each on what is left"
        assert [repr(attack) for attack in attacks_of(name, threat)] == expected


def attacks_of(name, threat):
    return [entry.attack for entry in suite_entries(name, threat)]


# Of `standard-1`: each attack's short form, the digest of its expanded form, and on whom it is made: near, hope, spot.
# A change here is another suite: it takes another name.
STANDARD = {
    Linf(8 / 255): [
        ("cosine({0})", "44d557cc61bfabf9", None, None, 0.0),
        ("apgd_targeted({0}, steps=12, rivals=5)", "2b7f6851336b8d07", 0.5, None, 0.01),
        ("cosine({0}, steps=25, starts=('corner',), decay=0.5, share=1)", "206377bb914c5f78", 0.5, None, 0.01),
        ("apgd({0}, steps=40)", "627aa0bc39d2b734", 0.3, None, 0.01),
        ("apgd_targeted({0}, steps=25)", "22375fe2dd7fb153", 0.2, 2.0, 0.0),
        (
            "cosine({0}, steps=50, restarts=6, starts=('corner', 'diversified', 'uniform'), decay=0.5, share=1)",
            "4bf162bcde402d2c", 0.2, 2.0, 0.0,
        ),
        (
            "cosine({0}, steps=60, restarts=4, starts=('diversified', 'uniform', 'corner'), decay=0.5, share=1)",
            "618d2dcfe438afb5", 0.1, 2.0, 0.0,
        ),
        ("square({0}, steps=700, horizon=2100)", "4f35745f2eb100a1", 0.15, 1.5, 0.01),
    ],
    L2(0.5): [
        ("cosine({0})", "fe6f8adde818e5a4", None, None, 0.0),
        ("apgd_targeted({0}, steps=12, rivals=5)", "4428709c3ea8744f", 0.65, None, 0.01),
        ("cosine({0}, steps=50, starts=('uniform',), decay=0.5, share=1)", "3145032d038ac6cf", 0.4, None, 0.01),
        ("apgd({0}, steps=40)", "370c81e83dd8df9c", 0.3, None, 0.01),
        ("apgd_targeted({0}, steps=25)", "989809099a585867", 0.2, 2.0, 0.0),
        ("apgd({0}, steps=50, restarts=6)", "6713a30ee4c9d160", 0.2, 2.0, 0.0),
        ("apgd_targeted({0}, steps=40, rivals=3, restarts=2)", "e344cc2a98c653a0", 0.1, 2.0, 0.0),
        ("square({0}, steps=400, horizon=1200)", "c37ee910bdfa3cdc", 0.05, 1.5, 0.01),
    ],
    L1(12.0): [
        ("apgd({0}, steps=60, slide=True)", "aa124dc3ff65671f", None, None, 0.0),
        ("apgd_targeted({0}, steps=40, rivals=5, slide=True)", "ef2be6d90fe56de5", 0.8, None, 0.01),
        ("apgd({0}, restarts=5, slide=True)", "991a043fde71a4f8", 0.4, None, 0.0),
    ],
    L0(10.0): [
        ("pgd({0}, steps=100)", "d85f38dadec5adb9", None, None, 0.0),
        ("pgd({0}, steps=200, restarts=4)", "41008ed5dcb6d662", 0.8, None, 0.01),
    ],
}  # fmt: skip


@pytest.mark.parametrize("threat", STANDARD, ids=lambda threat: type(threat).__name__)
def test_standard_1_is_frozen(threat):
    digests = [digest for _, digest, *_ in STANDARD[threat]]
    entries = suite_entries("standard-1", threat)
    radius = "8/255" if threat.radius < 0.1 else f"{threat.radius:g}"
    said = [line.format(f"{type(threat).__name__}({radius})") for line, *_ in STANDARD[threat]]
    assert [str(entry.attack) for entry in entries] == said
    assert [entry.attack.digest for entry in entries] == digests
    assert [(entry.near, entry.hope, entry.spot) for entry in entries] == [tuple(whom) for _, _, *whom in STANDARD[threat]]
    assert all(entry.survivors and not entry.curve for entry in entries)
    assert [parse(text).digest for text in said] == digests, "what is printed can be run"
    assert list(plan(threat, "standard-1").entries) == entries == suite_entries("standard-1", threat, 1.0)


# Of `standard-2`: by level the short form of each attack and the digest of its expanded form; of an attack for near samples, how near.
# A change here is another suite: it takes another name.
FROZEN = Path(__file__).with_name("standard_2.json")


@pytest.mark.parametrize("threat", [Linf(8 / 255), L2(0.5), L1(12.0), L0(10.0)], ids=lambda threat: type(threat).__name__)
def test_standard_2_is_frozen(threat):
    entries = suite_entries("standard-2", threat)
    said = [[entry.level, str(entry.attack), entry.attack.digest, entry.near, entry.gradient] for entry in entries]
    if os.environ.get("HOLDFAST_WRITE_GOLDEN"):
        known = json.loads(FROZEN.read_text()) if FROZEN.exists() else {}
        FROZEN.write_text(json.dumps(known | {type(threat).__name__: said}, indent=1) + "\n")
    assert said == json.loads(FROZEN.read_text())[type(threat).__name__]
    assert [parse(text).digest for _, text, *_ in said] == [digest for _, _, digest, *_ in said], "what is printed can be run"
    assert all(entry.survivors and not entry.curve for entry in entries)
    assert suite_entries("standard", threat) == entries == list(plan(threat).entries)
    assert plan(threat).suite == DEFAULT == "standard-2" and plan(threat).effort == 1 and plan(threat).levels >= 4


@pytest.mark.parametrize("threat", [Linf(0.1), L2(0.5), L1(12.0)], ids=lambda threat: type(threat).__name__)
def test_every_survivor_gets_attacks_of_every_kind(threat):
    """What a sample that survives the first level gets at least: two restarts of APGD, a targeted attack, a search without gradients."""
    first = [entry.attack for entry in suite_entries("standard-2", threat) if entry.level == 1]
    assert {attack.name for attack in first} == {"apgd", "apgd_targeted", "square"}
    assert next(attack for attack in first if attack.name == "apgd").group.restarts == 2


def test_a_doubtful_gradient_brings_autoattacks_random_search_and_every_gradient_there_is():
    entries = suite_entries("standard-2", Linf(0.1), gradients=("straight", "own"))
    first = [entry for entry in entries if entry.level == 1]
    assert any(entry.attack.name == "square" and entry.attack.stop.steps == 5000 for entry in first)
    assert {entry.gradient for entry in first} == {None, "straight", "own"}
    assert [entry.level for entry in entries] == sorted(entry.level for entry in entries)


def test_deeper_levels_begin_elsewhere():
    entries = suite_entries("standard-2", Linf(0.1))
    seeds = [entry.seed(7, place) for place, entry in enumerate(entries)]
    assert all(seed == 7 for seed, entry in zip(seeds, entries, strict=True) if not entry.level)
    deeper = [seed for seed, entry in zip(seeds, entries, strict=True) if entry.level]
    assert len(set(deeper)) == len(deeper) and all(-(2**63) <= seed < 2**63 for seed in deeper)


PLAIN = Linf(8 / 255)


def amounts(effort, threat=PLAIN):
    found = [entry.attack for entry in suite_entries("standard-1", threat, effort)]
    return [(attack.group.restarts, attack.group.rivals, attack.stop.steps) for attack in found]


def test_effort_multiplies_restarts_rivals_and_queries():
    assert amounts(1.0) == [(1, 0, 20), (1, 5, 12), (1, 0, 25), (1, 0, 40), (1, 9, 25), (6, 0, 50), (4, 0, 60), (1, 0, 700)]
    assert amounts(3) == [(1, 0, 20), (1, 15, 12), (3, 0, 25), (1, 0, 40), (1, 27, 25), (18, 0, 50), (12, 0, 60), (1, 0, 2100)]
    assert amounts(0.01) == [(1, 0, 20), (1, 1, 12), (1, 0, 25), (1, 0, 40), (1, 1, 25), (1, 0, 50), (1, 0, 60), (1, 0, 7)], "never none"
    assert [restarts for restarts, _, _ in amounts(2, L1(12.0))] == [1, 1, 10] and amounts(2, L0(9.0))[1][0] == 8
    near = [(entry.near, entry.spot) for entry in suite_entries("standard-1", Linf(0.1), 3)]
    assert near == [(entry.near, entry.spot) for entry in suite_entries("standard-1", Linf(0.1))], "effort is spent where it was"
    assert plan("linf:0.1", effort=2).effort == 2 and plan("linf:0.1", effort=2) != plan("linf:0.1")


@pytest.mark.parametrize("effort", [0, -1, math.nan, math.inf])
def test_an_effort_must_be_positive_and_finite(effort):
    with pytest.raises(ConfigError, match=r"effort=.*positive"):
        suite_entries("standard-1", Linf(0.1), effort)


def test_only_our_own_suites_have_an_effort():
    for name in ("quick-1", "autoattack"):
        with pytest.raises(ConfigError, match="only standard-1 and standard-2"):
            plan("linf:0.1", name, effort=2)
        assert plan("linf:0.1", name, effort=1.0) == plan("linf:0.1", name)
    with pytest.raises(ConfigError, match="attacks of your own"):
        plan("linf:0.1", attacks=["fgsm"], effort=2)


def test_names_and_aliases():
    assert suite_name("autoattack") == "autoattack-standard" == plan("linf:0.3", "autoattack").suite
    assert plan("linf:0.3", "autoattack") == plan("linf:0.3", "autoattack-standard")
    with pytest.raises(ConfigError, match="autoattack-standard"):
        suite_name("autoatack")


@pytest.mark.parametrize("name", [name for name in SUITES if not name.startswith("standard")])
def test_a_threat_that_a_suite_does_not_know_is_refused(name):
    with pytest.raises(ConfigError, match="l0"):
        suite_entries(name, L0(3.0))


@pytest.mark.parametrize("classes", [2, 3, 4])
@pytest.mark.parametrize("name", ["autoattack-standard", "autoattack-plus", "autoattack-rand"])
def test_few_classes_fall_back(name, classes):
    rules = [attack.fitted(classes) for attack in attacks_of(name, Linf(0.1))]
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
    shortened = [entry for entry in suite_entries("autoattack", Linf(0.02)) if entry.attack.name != "square"]
    monkeypatch.setitem(SUITES, "autoattack-standard", lambda threat: shortened)
    result = evaluate(Classifier(net, 3), (x, y), Linf(0.02), suite="autoattack", pieces=Pieces(16), slots=8, trust=False)
    assert result.manifest["suite"] == "autoattack-standard" and len(result.attacks) == 3
