"""What the trust checks judge: tried where it should be, counted right, the same after a kill, and summed over shards."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from holdfast import L0, L1, L2, Classifier, Linf, Result, attacks, evaluate, merge
from holdfast.core.attack import Attack
from holdfast.core.types import Threat
from holdfast.engine import Asker, Choice, Pieces, Samples, Setting, clean_answers
from holdfast.engine import run as engine_run
from holdfast.evaluation import attempts, evidence, trials
from holdfast.evaluation.entry import Entry
from holdfast.evaluation.evidence import NO_SURVIVOR, gather
from holdfast.evaluation.plan import Plan, plan
from holdfast.evaluation.reaction import Reaction
from holdfast.evaluation.search import Search
from holdfast.evaluation.suites import SUITES
from holdfast.models import mlp

HONEST = Reaction()
SETTING = Setting(pieces=Pieces(16))


@pytest.fixture(autouse=True)
def brief(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """All searches cut short, for speed; each `(attack, samples)` that was made."""
    made: list[tuple[str, int]] = []
    monkeypatch.setattr(evidence, "PLANTS", 4)

    def run(attack: Attack, model: Any, samples: Samples, *given: Any, **more: Any) -> Any:
        made.append((str(attack), len(samples)))
        brief = replace(attack, stop=replace(attack.stop, steps=min(attack.stop.steps, 4)))
        return evidence_run(brief, model, samples, *given, **more)

    evidence_run = engine_run
    monkeypatch.setattr(evidence, "run", run)
    monkeypatch.setattr(attempts, "run", run)
    return made


def problem(n: int = 40) -> tuple[Classifier, Tensor, Tensor]:
    """A random net on random points, a tenth of them mislabelled."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = mlp(12, 4, (24,)).double().eval()
    x = torch.rand(n, 3, 2, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    y = net(x).argmax(1)
    y[::10] = (y[::10] + 1) % 4
    return Classifier(net, 4), x, y


def gathered(
    model: Classifier,
    x: Tensor,
    y: Tensor,
    threat: Threat,
    reaction: Reaction = HONEST,
    standing: Tensor | None = None,
    spent: int | None = None,
) -> dict[str, Any]:
    samples = Samples.of(x, y)
    clean = clean_answers(model, samples, Asker(Pieces(16)), 0)
    correct = clean.logits.argmax(dim=1) == y
    todo = Plan(threat, plan(threat, attacks=[attacks.pgd(threat, steps=8)]).entries)
    search = Search(model, Choice(pieces=Pieces(16)), reaction, x[:8])
    return gather(model, search, samples, clean, correct if standing is None else standing, todo, SETTING, spent=spent)


class Cut(nn.Module):
    """A net whose answer has no gradient."""

    def __init__(self, net: Any) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x).detach()  # type: ignore[no-any-return]


EVERY = {"noise", "gradient_free", "minimum_norm", "smoothed", "more_steps", "larger_radius", "unbounded", "binarisation"}


@pytest.mark.parametrize(
    ("threat", "missing"),
    [(Linf(0.05), set()), (L2(0.2), set()), (L1(0.5), set()), (L0(1.0), {"noise"})],
    ids=lambda value: type(value).__name__ if isinstance(value, Threat) else "",
)
def test_each_threat_has_the_ways_that_are_defined_for_it(threat: Threat, missing: set[str]) -> None:
    model, x, y = problem()
    facts = gathered(model, x, y, threat)
    assert set(facts) == EVERY
    if isinstance(threat, L1) and "reason" in facts["gradient_free"]:
        missing = {"gradient_free"}  # where Square is not defined in L1
    assert all("cannot be tried here" in facts[name]["reason"] for name in missing)
    for name in EVERY - missing - {"unbounded", "binarisation"}:
        assert facts[name]["tried"] == 24 >= facts[name]["broken"] >= 0, "of 36 survivors, drawn"
    assert facts["larger_radius"]["broken"] >= facts["more_steps"]["broken"]
    assert facts["unbounded"]["tried"] == 16, "in any norm: the range is a box"
    reason = facts["binarisation"].get("reason", "")
    assert ("L∞, L2 or L1" in reason) == isinstance(threat, L0)


def test_survivors_are_tried_and_none_where_there_is_none(brief: list[tuple[str, int]]) -> None:
    model, x, y = problem()
    few = torch.zeros(40, dtype=torch.bool)
    few[[3, 7, 29]] = True
    facts = gathered(model, x, y, Linf(0.05), standing=few)
    assert facts["noise"]["tried"] == facts["smoothed"]["tried"] == facts["unbounded"]["tried"] == 3
    brief.clear()
    assert gathered(model, x, y, Linf(0.05), standing=few & False) == {name: {"reason": NO_SURVIVOR} for name in EVERY}
    assert brief == [], "nothing is asked where nothing can change"


def test_random_search_is_made_on_as_many_as_the_attacks_can_pay_for(brief: list[tuple[str, int]]) -> None:
    model, x, y = problem()
    for spent, count in [(None, 24), (10**6, 24), (60_000, 15), (0, 8)]:
        brief.clear()
        gathered(model, x, y, Linf(0.05), spent=spent)
        assert dict(brief)["square(Linf(0.05), steps=2000)"] == count, spent


def test_what_the_attacks_should_have_found_is_counted() -> None:
    """A radius that reaches every boundary, and survivors that are said to stand: all other ways break them."""
    model, x, y = problem()
    facts = gathered(model, x, y, Linf(0.6))
    assert facts["smoothed"]["broken"] == facts["more_steps"]["broken"] == 24 and facts["unbounded"]["broken"] == 16
    tiny = gathered(model, x, y, Linf(1e-6))
    assert all(tiny[name]["broken"] == 0 for name in ("noise", "gradient_free", "minimum_norm", "smoothed", "more_steps", "larger_radius"))


def test_without_a_gradient_only_what_needs_none_is_tried() -> None:
    model, x, y = problem()
    facts = gathered(model, x, y, Linf(0.05), Reaction(gradient="none", doubtful=True))
    assert {name for name in facts if "tried" in facts[name]} == {"noise", "gradient_free"}
    assert all("of no use" in facts[name]["reason"] for name in EVERY - {"noise", "gradient_free"})
    facts = gathered(model.around(Cut(model.net)), x, y, Linf(0.05), Reaction(gradient="smoothed", doubtful=True))
    assert facts["binarisation"]["reason"].startswith("the model's own gradient is of no use")
    assert all("has no gradient in its input" in facts[name]["reason"] for name in ("smoothed", "larger_radius", "unbounded"))
    assert facts["noise"]["tried"] == 24


def test_a_stochastic_model_is_not_planted() -> None:
    model, x, y = problem(8)
    facts = gathered(model.declared(True), x, y, Linf(0.05), Reaction(stochastic=True))
    assert "deterministic" in facts["binarisation"]["reason"] and facts["noise"]["tried"] == int((model(x).logits.argmax(1) == y).sum())


def test_attacks_that_may_go_anywhere_cover_the_range() -> None:
    wide = Classifier(nn.Identity(), 4, bounds=((0.0, -1.0, 0.0), (1.0, 3.0, 1.0)))
    ways = trials.unbounded(wide)
    assert [way.threat for way in ways] == [Linf(4.0)] * 3 and len({way.name for way in ways}) == 3
    assert trials.unbounded(Classifier(nn.Identity(), 4, bounds=(0.0, torch.inf))) == []
    _, x, _ = problem()
    for bounds, words in [((-torch.inf, torch.inf), "no ends"), ((0.0, 1.0), "answers all inputs alike")]:
        constant = Classifier(nn.Sequential(nn.Flatten(), nn.Linear(12, 4)).double().eval(), 4, bounds=bounds)
        with torch.no_grad():
            constant.net[1].weight.zero_()  # type: ignore[index]
        facts = gathered(constant, x, constant(x).logits.argmax(dim=1), Linf(0.05))
        assert words in facts["unbounded"]["reason"]


@pytest.mark.parametrize("seed", range(3))
def test_an_affine_model_in_l1_falls_to_what_may_go_anywhere(seed: int) -> None:
    """A step of the L1 ball moves few values: in the box of the whole range all move."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net, x = nn.Sequential(nn.Flatten(), nn.Linear(20, 8)).eval(), 0.3 + 0.4 * torch.rand(60, 20)
        net[1].bias.data -= net(x).mean(dim=0)  # type: ignore[operator]
    facts = gathered(Classifier(net, 8), x, net(x).argmax(dim=1), L1(0.25))
    assert facts["unbounded"] == {"tried": 16, "broken": 16}


def test_the_smallest_change_is_sought_by_a_method_that_the_plan_lacks() -> None:
    for threat, names in [
        (Linf(0.1), ["fab_targeted", "fmn"]), (L2(0.1), ["ddn", "fab_targeted", "fmn"]), (L1(1.0), ["fab_targeted", "fmn"]),
        (L0(2.0), ["sigma_zero", "fmn"]),
    ]:  # fmt: skip
        for place, name in enumerate(names):
            assert trials.minimum_norm(threat, names[:place]).name == name
        assert trials.minimum_norm(threat, names).name == names[-1]


@pytest.mark.parametrize("threat", [Linf(0.1), L2(0.1), L1(1.0), L0(2.0)], ids=str)
def test_more_steps_are_thrice_as_many_under_the_same_threat(threat: Threat) -> None:
    assert trials.longer(threat).stop.steps == 60 and trials.longer(threat).threat == threat


def count_calls(limit: int) -> Callable[[], bool]:
    calls = iter(range(10**9))
    return lambda: next(calls) >= limit


def short_suite(monkeypatch: pytest.MonkeyPatch) -> None:
    """A suite of two short attacks."""
    monkeypatch.setitem(SUITES, "quick-1", lambda threat: [Entry(attacks.pgd(threat, steps=4)), Entry(attacks.apgd(threat, steps=6))])


def measure(out: Path, **more: Any) -> Result:
    model, x, y = problem(24)
    return evaluate(model, (x, y), Linf(0.05), suite="quick-1", out=out, pieces=Pieces(16), slots=8, harvest=2, **more)


def test_the_evidence_is_the_same_after_a_halt_and_a_kill_and_gathered_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, brief: list[tuple[str, int]]
) -> None:
    short_suite(monkeypatch)
    whole = measure(tmp_path / "whole")
    assert set(whole.trust) == EVERY and whole.trust_seconds > 0
    halts = 0
    while not (result := measure(tmp_path / "cut", halt=count_calls(4))).complete:
        assert result.trust == {}, "nothing is gathered of an unfinished run"
        halts += 1
    assert halts > 1 and result.trust == {}

    def killed(*given: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(sys.modules["holdfast.evaluation.evaluate"], "gather", killed)
        with pytest.raises(KeyboardInterrupt):
            measure(tmp_path / "cut")
    left = Result(tmp_path / "cut")
    assert left.complete and {check.status for check in left.checks if check.name in EVERY} == {"not run"}
    result = measure(tmp_path / "cut")
    assert result.trust == whole.trust and [check.as_dict() for check in result.checks] == [check.as_dict() for check in whole.checks]
    brief.clear()
    assert measure(tmp_path / "cut").trust_seconds == result.trust_seconds and brief == [], "a finished run asks nothing"


def test_evidence_is_summed_over_shards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    short_suite(monkeypatch)
    parts = [measure(tmp_path / f"part{i}", shard=(i, 2)) for i in range(2)]
    merge(tmp_path / "joined", tmp_path / "part0", tmp_path / "part1")
    joined = Result(tmp_path / "joined")
    for name in EVERY:
        for key, value in joined.trust[name].items():
            each = [part.trust[name][key] for part in parts if key in part.trust[name]]
            assert value == (sum(each) if isinstance(value, int) else each[-1]), (name, key)
    assert joined.trust["noise"]["tried"] > max(part.trust["noise"]["tried"] for part in parts) > 0
    stored = [json.loads((tmp_path / "joined" / f"shard-{i}-of-2" / "trust.json").read_text())["seconds"] for i in range(2)]
    looked = joined.manifest["once"]["diagnosis_seconds"]
    assert joined.trust_seconds == pytest.approx(sum(stored) + looked)


def test_without_trust_and_of_attacks_of_ones_own_nothing_is_gathered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, brief: list[tuple[str, int]]
) -> None:
    short_suite(monkeypatch)
    model, x, y = problem(8)
    for kind in ({"suite": "quick-1", "trust": False}, {"attacks": ["fgsm"]}):
        result = evaluate(model, (x, y), Linf(0.05), pieces=Pieces(16), **kind)  # type: ignore[arg-type]
        assert result.trust == {} and brief == [] and not (result.parts[0].path / "trust.json").exists()
