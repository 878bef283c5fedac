"""Stability training, noise and distillation against their formulas, written out."""

from __future__ import annotations

import math
from typing import cast

import pytest
import torch
from tiny_lessons import asked, gradients, lesson, tiny
from torch import nn

from holdfast import Classifier, views
from holdfast.core.draw import row_key
from holdfast.core.errors import ConfigError, ModelError
from holdfast.training.objectives import distillation, logit_squeezing, noise, stability, stability_ranking, standard


def entropy(model: Classifier, one: object) -> float:
    return standard()(model, one).item()  # type: ignore[arg-type]


@pytest.mark.parametrize(("n", "classes"), [(5, 3), (1, 2)])
@pytest.mark.parametrize("distance", ["kl", "entropy", "l2"])
def test_stability_adds_how_far_the_answer_moves(distance: str, n: int, classes: int) -> None:
    model, one = tiny(classes), lesson(n, classes)
    near = (one.x + 0.3 * one.draw.normal("noise", (1, 2, 3), torch.float64)).clamp(0, 1)
    total = 0.0
    for row, (p, q) in enumerate(zip(asked(model, one.x), asked(model, near), strict=True)):
        if distance == "l2":
            a, b = model(one.x[row : row + 1]).logits[0], model(near[row : row + 1]).logits[0]
            total += sum((x - y) ** 2 for x, y in zip(a.tolist(), b.tolist(), strict=True))
        else:
            total += sum(x * ((math.log(x) if distance == "kl" else 0) - math.log(y)) for x, y in zip(p, q, strict=True))
    objective = stability(0.7, sigma=0.3, distance=distance)  # type: ignore[arg-type]
    assert objective(model, one).item() == pytest.approx(entropy(model, one) + 0.7 * total / n, rel=1e-12)


def test_the_disturbance_may_be_a_view() -> None:
    model, one = tiny(), lesson()
    cropped = stability(views=views.Cropped((0.5, 0.9))).look(model, one)
    assert torch.equal(cropped, views.Cropped((0.5, 0.9))(one.x, one.draw, model.bounds)) and not torch.equal(cropped, one.x)
    assert torch.equal(stability(views="cropped((0.5, 0.9))").look(model, one), cropped)


@pytest.mark.parametrize("unit", [False, True])
@pytest.mark.parametrize("layer", ["", "2"])
def test_ranking_is_a_triplet_hinge_and_a_distance(layer: str, unit: bool) -> None:
    model, one = tiny(), lesson(7)
    objective = stability_ranking(0.5, margin=0.3, layer=layer, sigma=0.2, unit=unit)
    near, net = objective.look(model, one), cast(nn.Sequential, model.net)
    f, moved = ((net if not layer else net[:3])(x).detach() for x in (one.x, near))
    if unit:
        f, moved = (each / each.norm(dim=1, keepdim=True) for each in (f, moved))
    similar, other = (one.draw.uniform(name, (7,)) for name in ("near", "far"))
    hinges, labels = [], one.y.tolist()
    for q in range(7):
        alike = [row for row in range(7) if labels[row] == labels[q] and row != q]
        apart = [row for row in range(7) if labels[row] != labels[q]]
        p, n = max(alike, key=lambda row: similar[q, row]), max(apart, key=lambda row: other[q, row])
        hinges.append(max(0.0, 0.3 + math.dist(f[q].tolist(), f[p].tolist()) - math.dist(f[q].tolist(), f[n].tolist())))
    apart_by = [math.dist(a, b) for a, b in zip(f.tolist(), moved.tolist(), strict=True)]
    assert sum(hinge > 0 for hinge in hinges) > 0
    assert objective(model, one).item() == pytest.approx(sum(hinges) / 7 + 0.5 * sum(apart_by) / 7, rel=1e-12)
    assert all(g.isfinite().all() for g in torch.autograd.grad(objective(model, one), list(net[1].parameters())))
    assert not any(module._forward_hooks for module in net.modules())


@pytest.mark.parametrize("y", [[0], [0, 0, 0], [0, 1, 2]])
def test_without_a_triplet_only_the_second_term_counts(y: list[int]) -> None:
    model, one = tiny(), lesson(len(y))
    one = type(one)(one.x, torch.tensor(y), one.key, one.step)
    objective = stability_ranking(2.0, margin=9.0, sigma=0.2, unit=False)
    moved = model(one.x).logits - model(objective.look(model, one)).logits
    assert objective(model, one).item() == pytest.approx(2 * moved.norm(dim=1).mean().item(), rel=1e-12)


def test_features_that_do_not_move_have_a_finite_slope() -> None:
    model, one = tiny(), lesson(4, 2)
    still = stability_ranking().loss(model, one, one.x)
    assert all(g.isfinite().all() for g in gradients(model, still))


def test_noise_is_added_and_clipped() -> None:
    model, one = tiny(), lesson()
    near = noise(0.5).look(model, one)
    assert torch.equal(near, (one.x + 0.5 * one.draw.normal("noise", (1, 2, 3), torch.float64)).clamp(0, 1))
    assert noise(0.5)(model, one).item() == pytest.approx(standard().loss(model, one, near).item(), rel=1e-14)


@pytest.mark.parametrize("temperature", [1.0, 20.0])
def test_distillation_is_an_entropy_at_a_temperature(temperature: float) -> None:
    student, teacher, one = tiny(), tiny(seed=1), lesson()
    total = 0.0
    for row in range(len(one)):
        powers = [[math.exp(z / temperature) for z in model(one.x[row : row + 1]).logits[0].tolist()] for model in (teacher, student)]
        p, q = ([power / sum(each) for power in each] for each in powers)
        total -= sum(a * math.log(b) for a, b in zip(p, q, strict=True))
    objective = distillation(temperature, teacher)
    loss = objective(student, one)
    assert loss.item() == pytest.approx(total / len(one), rel=1e-12)
    assert any(g.abs().sum() > 0 for g in gradients(student, loss))
    assert all(p.grad is None and p.requires_grad for p in cast(nn.Module, teacher.net).parameters())
    assert all(g.abs().max() < 1e-15 for g in gradients(teacher, objective(teacher, one))), "least where the answers are the teacher's"


def test_the_teacher_is_trained_at_the_same_temperature() -> None:
    model, one = tiny(), lesson()
    cooled = nn.functional.cross_entropy(model(one.x).logits / 7, one.y)
    assert distillation(7.0)(model, one).item() == pytest.approx(cooled.item(), rel=1e-14)


def test_objectives_that_hold_a_model_print_alike_in_every_process() -> None:
    assert repr(distillation(5.0, tiny())) == repr(distillation(5.0, tiny())) != repr(distillation(5.0, tiny(seed=1)))
    assert "0x" not in repr(distillation(5.0, tiny()))


def test_mistakes_are_told_in_one_line() -> None:
    with pytest.raises(ConfigError, match="teacher answers 2 classes, the net 3"):
        distillation(5.0, tiny(2))(tiny(3), lesson())
    teacher = Classifier(nn.Sequential(nn.Flatten(), nn.Linear(6, 3), nn.Dropout()).eval(), 3)
    cast(nn.Module, teacher.net).train()
    with pytest.raises(ModelError, match="training mode"):
        distillation(5.0, teacher)
    for make in (lambda: distillation(0.0), lambda: noise(0.0), lambda: stability(-1), lambda: stability_ranking(margin=-1)):
        with pytest.raises(ConfigError, match="expected"):
            make()
    with pytest.raises(ConfigError, match="kl, entropy, l2"):
        stability(distance="l1")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"no layer 'fc1'"):
        stability_ranking(layer="fc1")(tiny(), lesson())


def test_squeezing_and_pairing_are_their_sums() -> None:
    model, one = tiny(), lesson(5)
    squeezed, paired = logit_squeezing(0.7, 0.2), logit_squeezing(0.7, 0.2, by="pairing")
    logits = model(squeezed.look(model, one)).logits
    plain = noise(0.2)(model, one).item()
    assert squeezed(model, one).item() == pytest.approx(plain + 0.7 * logits.square().mean().item(), rel=1e-12)
    # Two pairs of five rows: which, the noise of the lesson says, and each row is in one at most.
    order = row_key(0, one.key, one.step).argsort().tolist()
    apart = [(logits[order[place]] - logits[order[place + 2]]).square().sum().item() for place in range(2)]
    assert paired(model, one).item() == pytest.approx(plain + 0.7 * sum(apart) / 6, rel=1e-12)
    assert paired(model, one[2:3]).item() == pytest.approx(noise(0.2)(model, one[2:3]).item(), rel=1e-12)


def test_squeezing_refuses() -> None:
    for words in ({"weight": -1.0}, {"sigma": 0.0}, {"by": "force"}, {"smoothing": 1.0}):
        with pytest.raises(ConfigError, match=rf"^logit_squeezing\(.*{next(iter(words))}="):
            logit_squeezing(**words)  # type: ignore[arg-type]
