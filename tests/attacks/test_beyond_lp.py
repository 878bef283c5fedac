"""Flows, colours and covered places from sentence to record: against literal loops, closed forms, and by the command line's words."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from holdfast import Classifier, Linf, attacks, evaluate
from holdfast.attacks.short import parse, parse_threat
from holdfast.core.attack import Attack
from holdfast.core.errors import ConfigError, InputError
from holdfast.engine import Samples, run
from holdfast.engine.perturb import perturbation
from holdfast.evaluation.suites import SUITES
from holdfast.parts.threats import Colour, Composed, Flow, Occlusion
from holdfast.parts.threats.flow import warp
from holdfast.parts.threats.smooth import roughness


def problem(n: int = 6, channels: int = 1) -> tuple[Classifier, Tensor, Tensor]:
    """A smooth net in double precision, and images that it classifies by definition."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        net = nn.Sequential(nn.Conv2d(channels, 6, 3, padding=1), nn.Tanh(), nn.Flatten(), nn.Linear(6 * 36, 4)).double().eval()
        x = torch.rand(n, channels, 6, 6, dtype=torch.float64)
    with torch.no_grad():
        for weight in net.parameters():
            weight.mul_(4)
    return Classifier(net, 4), x, net(x).detach().argmax(dim=1)


def literal_stadv(net: nn.Module, x: Tensor, y: int, steps: int, rate: float, tau: float) -> tuple[Tensor, float]:
    """One image with torch's own Adam on the whole loss: of the flows that fooled, the one of least flow loss."""
    flow = torch.zeros(1, 2, *x.shape[2:], dtype=x.dtype, requires_grad=True)
    adam = torch.optim.Adam([flow], lr=rate)
    best, least = flow.detach().clone(), math.inf
    for step in range(steps):
        for group in adam.param_groups:
            group["lr"] = rate * 0.5 * (1 + math.cos(math.pi * step / steps))
        logits, penalty = net(warp(x, flow))[0], roughness(flow)[0]
        others = torch.cat([logits[:y], logits[y + 1 :]])
        if bool(others.max() > logits[y]) and bool(penalty < least):
            best, least = flow.detach().clone(), float(penalty.detach())
        loss = (logits[y] - others.max()).clamp_min(0) + tau * penalty
        adam.zero_grad()
        loss.backward()
        adam.step()
    return best, least


@pytest.mark.parametrize("tau", [0.0, 0.02])
def test_stadv_is_adam_on_the_penalised_hinge_and_claims_the_smoothest_success(tau):
    model, x, y = problem()
    steps, rate = 40, 0.1
    outcome = run(attacks.stadv(steps=steps, rate=rate, tau=tau), model, Samples.of(x, y))
    fooled = 0
    for i in range(len(x)):
        best, least = literal_stadv(model.net, x[i : i + 1], int(y[i]), steps, rate, tau)
        if math.isfinite(least):
            fooled += 1
            assert bool(outcome.success[i])
            assert torch.allclose(outcome.adversarial[i : i + 1], warp(x[i : i + 1], best), atol=1e-6)
            assert float(outcome.found.size[i]) == pytest.approx(float(best.norm(dim=1).max()), rel=1e-5)
    assert fooled >= 4


def test_a_penalty_makes_smoother_flows_at_the_same_success():
    model, x, y = problem(12)
    found = []
    for tau in (0.0, 0.02):
        attack = attacks.stadv(steps=60, rate=0.1, tau=tau)
        p = perturbation(attack, model, x, y)
        assert bool((model(attack.threat.apply(x, p)).logits.argmax(dim=1) != y).all())
        found.append(roughness(p))
    assert float((found[1] / found[0]).median()) < 0.9


@pytest.mark.parametrize("attack", [
    attacks.recolor(Colour(0.3, resolution=(4, 4, 4)), steps=30),
    attacks.recolor(Composed((Colour(0.2, resolution=(4, 4, 4)), Flow(0.8))), steps=30),
    attacks.recolor(Composed((Colour(0.1, resolution=(4, 4, 4)), Flow(0.5), Linf(0.05))), steps=30),
], ids=str)  # fmt: skip
def test_recolouring_alone_and_composed_keeps_every_bound(attack: Attack):
    model, x, y = problem(8, channels=3)
    p = perturbation(attack, model, x, y)
    after, size = attack.threat.apply(x, p), attack.threat.size(x, p)
    assert bool((size <= attack.threat.radius * (1 + 1e-9)).all()) and bool(((after >= 0) & (after <= 1)).all())
    assert int((model(after).logits.argmax(dim=1) != y).sum()) >= 3


class Watches(nn.Module):
    """Class 1 where the pixel at (row, column) is darker than a half, class 0 elsewhere."""

    def __init__(self, row: int, column: int) -> None:
        super().__init__()
        self.row, self.column = row, column
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        seen = x[:, 0, self.row, self.column] - 0.5
        return self.scale * torch.stack([seen, -seen], dim=1)


@pytest.mark.parametrize(
    ("row", "column", "stride", "step"), [(0, 0, 1, 0), (5, 7, 1, 4 * 7 + 6), (3, 2, 2, 5), (5, 7, 2, 11), (5, 7, 9, 3)]
)
def test_the_grid_is_searched_in_order_and_reaches_the_far_edges(row, column, stride, step):
    """A square of 2 in a 6 × 8 image: the first place of the grid that covers the one pixel that counts."""
    x = torch.full((1, 1, 6, 8), 0.9)
    attack = attacks.occlusion(Occlusion(2), steps=60, stride=stride, fill="black")
    outcome = run(attack, Classifier(Watches(row, column), 2), Samples.of(x, torch.tensor([0])))
    assert bool(outcome.success[0]) and int(outcome.found.step[0]) == step and float(outcome.found.size[0]) == 2
    changed = (outcome.adversarial[0, 0] != x[0, 0]).nonzero()
    assert len(changed) == 4 and [row, column] in changed.tolist()


def test_what_covers_is_what_was_asked_for():
    x = torch.rand(3, 1, 6, 6, generator=torch.Generator().manual_seed(0)) * 0.2 + 0.6
    for fill, value in (("black", 0.0), ("mean", None), ("grey", 0.5)):
        outcome = run(
            attacks.occlusion(Occlusion(2), fill=fill, stride=1), Classifier(Watches(2, 2), 2), Samples.of(x, torch.zeros(3).long())
        )
        assert bool(outcome.success.all()) == (fill == "black")
        if value is not None and fill == "black":
            assert float(outcome.adversarial[:, 0, 2, 2].max()) == value


def test_adversarial_content_finds_what_no_colour_hides():
    """The pixel is fooled only by values below a half, which grey is not: content must climb there."""
    x = torch.full((4, 1, 5, 5), 0.9)
    samples, model = Samples.of(x, torch.zeros(4).long()), Classifier(Watches(2, 2), 2)
    assert not run(attacks.occlusion(Occlusion(4), steps=30, fill="grey"), model, samples).success.any()
    assert run(attacks.occlusion(Occlusion(4), steps=30, fill="adversarial", restarts=3), model, samples).success.all()


@pytest.mark.parametrize("attack", [
    attacks.stadv(), attacks.stadv(Flow(0.5), tau=0.01, targeted=True), attacks.recolor(), attacks.recolor(Colour(0.1, space="rgb")),
    attacks.recolor(Colour(0.1, resolution=(8, 8, 8)), confidence=2.0), attacks.pgd(Flow(1.0)), attacks.pgd(Colour(0.06), steps=7),
    attacks.recolor(Composed((Colour(0.06), Flow(1.0), Linf(8 / 255)))), attacks.occlusion(Occlusion(5), fill="noise"),
], ids=str)  # fmt: skip
def test_what_prints_reads_back_as_the_same_attack(attack: Attack):
    again = parse(str(attack))
    assert again == attack and again.digest == attack.digest


def test_threats_by_their_short_forms():
    assert (
        parse_threat("flow:1") == Flow(1.0) and parse_threat("occlusion:5") == Occlusion(5.0) and parse_threat("flow:inf") == Flow(math.inf)
    )
    assert parse_threat("colour:0.06 + linf:8/255") == Composed((Colour(0.06), Linf(8 / 255)))
    assert parse("stadv()", parse_threat("flow:1")) == attacks.stadv(Flow(1.0))


@pytest.mark.parametrize(("text", "says"), [
    ("stadv(-1)", "Flow(-1.0)"), ("stadv(Linf(0.1))", "not defined for linf: choose one of flow, composed"),
    ("pgd(Occlusion(3))", "not defined for occlusion"),
    ("carlini_wagner(Colour(0.1) + Flow(1))", "not defined for composed"), ("recolor(Colour(0.1, hue=3))", "hue"),
    ("recolor(Colour(0.1, space='hsv'))", "'luv' or 'rgb'"), ("occlusion(fill='pink')", "fill='pink'"), ("stadv(tau=-1)", "tau=-1"),
    ("stadv(rate=0)", "rate=0"), ("recolor(Flow(inf) + Linf(0.1))", "two threats or more"), ("occlusion(stride=0)", "stride=0"),
    ("recolor(Linf(0.1) + 3)", "is not a number"),
])  # fmt: skip
def test_what_cannot_be_meant_is_refused_in_one_line(text, says):
    with pytest.raises(ConfigError) as raised:
        parse(text)
    assert says in str(raised.value) and "\n" not in str(raised.value)


@pytest.mark.parametrize("threat", [Flow(1.0), Composed((Colour(0.06), Flow(1.0)))], ids=lambda threat: threat.kind)
@pytest.mark.parametrize("suite", SUITES)
def test_suites_say_which_threats_they_know(suite, threat):
    model, x, y = problem()
    for more in ({"suite": suite}, {"attacks": [attacks.recolor(threat)] if threat.kind != "Flow" else ["stadv()"], "radii": [0.5]}):
        with pytest.raises(ConfigError, match="knows additive changes") as raised:
            evaluate(model, (x, y), threat, **more)
        assert "\n" not in str(raised.value)


def test_flat_inputs_are_refused_before_anything_is_asked():
    model = Classifier(nn.Linear(4, 3).eval(), 3)
    with pytest.raises(InputError, match="does not fit inputs of shape"):
        evaluate(model, (torch.rand(3, 4), torch.zeros(3).long()), Flow(1.0), attacks=["stadv()"])


@pytest.mark.parametrize(("threat", "sentences"), [
    (Flow(1.0), ["stadv(steps=20, rate=0.1)", "pgd(steps=10)"]),
    (Composed((Colour(0.2, resolution=(4, 4, 4)), Flow(0.5))), ["recolor(steps=20)"]),
    (Occlusion(3), ["occlusion(steps=30, stride=1)", "occlusion(steps=10, fill='adversarial')"]),
], ids=["flow", "composed", "occlusion"])  # fmt: skip
def test_an_evaluation_stores_and_reports_sizes(tmp_path, threat, sentences):
    model, x, y = problem(8, channels=3)
    result = evaluate(model, (x, y), threat, attacks=sentences, out=tmp_path / "run")
    broken = result.records.filter("broken")
    assert len(broken) and float(broken["size"].max()) <= threat.radius * (1 + 1e-5) + 1e-6
    assert result.manifest["threat"]["norm"] == threat.kind
    result.report(tmp_path / "report.html")
    assert threat.kind in (tmp_path / "report.html").read_text()


def test_attacks_of_another_kind_of_threat_do_not_join_a_plan():
    model, x, y = problem()
    with pytest.raises(ConfigError, match="a plan has one threat"):
        evaluate(model, (x, y), Composed((Colour(0.1), Flow(1.0))), attacks=[attacks.recolor(Composed((Colour(0.2), Flow(1.0))))])
