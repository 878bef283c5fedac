"""What each row of a lesson adds: rows without a label, rows alone, sure answers, nets with a memory of their batches."""

from __future__ import annotations

import pytest
import torch
from small import NEEDS_LABELS, REGULARISED, affine, classifier, lesson, module, searched
from torch import nn

from holdfast.core.errors import ConfigError
from holdfast.models import Classifier
from holdfast.parts.threats import L0, L2, Flow
from holdfast.training import objectives
from holdfast.training.lesson import Lesson
from holdfast.training.objectives.vat import unit

EACH = pytest.mark.parametrize("name", REGULARISED)


@EACH
def test_a_row_adds_the_same_in_any_company(name: str) -> None:
    objective, model, one = REGULARISED[name], classifier(nn.Tanh), lesson(6)
    found = searched(objective, model, one)
    alone = [one[i : i + 1] for i in range(6)]
    for i, row in enumerate(alone):
        assert torch.allclose(searched(objective, model, row), found[i : i + 1], rtol=1e-9)
    total = objective.loss(model, one, found)
    mean = torch.stack([objective.loss(model, row, found[i : i + 1]) for i, row in enumerate(alone)]).mean(dim=0)
    assert torch.isclose(total, mean, rtol=1e-12)
    mixed = one[torch.tensor([4, 0, 3, 5, 1, 2])]
    assert torch.isclose(objective(model, mixed), total, rtol=1e-9)


@pytest.mark.parametrize("name", NEEDS_LABELS)
def test_rows_without_a_label_add_nothing_where_a_label_is_needed(name: str) -> None:
    objective, model, one = REGULARISED[name], classifier(nn.Softplus), lesson(6, unlabelled=2)
    found = searched(objective, model, one)
    assert torch.isclose(objective.loss(model, one, found), objective.loss(model, one[:4], found[:4]), rtol=1e-13)
    none = lesson(3, unlabelled=3)
    loss = objective(model, none)
    assert float(loss.detach()) == 0
    assert all(bool((g == 0).all()) for g in torch.autograd.grad(loss, list(module(model).parameters())))


def test_rows_without_a_label_count_in_virtual_adversarial_training() -> None:
    objective, model, one = objectives.vat(0.4), classifier(nn.Softplus), lesson(6, unlabelled=4)
    found = searched(objective, model, one)
    assert torch.equal(found, searched(objective, model, Lesson(one.x, torch.zeros_like(one.y), one.key, one.step))), (
        "no label is looked at"
    )
    plain = objectives.standard().loss(model, one, one.x)
    kl = [
        objective.loss(model, row, there) - objectives.standard().loss(model, row, row.x)
        for row, there in ((one[:2], found[:2]), (one[2:], found[2:]))
    ]
    assert torch.isclose(objective.loss(model, one, found), plain + (2 * kl[0] + 4 * kl[1]) / 6, rtol=1e-12)
    none = one[2:]
    assert any(bool((g != 0).any()) for g in torch.autograd.grad(objective(model, none), list(module(model).parameters())))


@EACH
@pytest.mark.parametrize(("n", "features", "classes"), [(1, 5, 4), (4, 1, 4), (4, 5, 2), (1, 1, 2)])
def test_small_lessons(name: str, n: int, features: int, classes: int) -> None:
    objective, model = REGULARISED[name], classifier(nn.Tanh, features, classes)
    one = lesson(n, features, classes)
    found = searched(objective, model, one)
    assert found.shape == one.x.shape and found.dtype == one.x.dtype
    loss = objective.loss(model, one, found)
    assert loss.shape == () and bool(loss.isfinite())
    assert all(bool(g.isfinite().all()) for g in torch.autograd.grad(loss, list(module(model).parameters())))


@EACH
def test_an_answer_that_is_quite_sure_breaks_nothing(name: str) -> None:
    """Probabilities of 1 and 0, in float32, right and wrong: finite losses and gradients, and nobody leaves the ball."""
    sure = affine(1e4 * torch.tensor([[1.0, -1.0], [-1.0, 1.0], [0.0, 0.5]]), torch.zeros(3))
    model = Classifier(module(sure).float(), 3)
    one = Lesson.of(torch.tensor([[0.9, 0.1], [0.1, 0.9], [0.9, 0.1]]), torch.tensor([0, 0, -1]))
    found = searched(REGULARISED[name], model, one)
    assert bool(((found - one.x).flatten(1).norm(dim=1) <= 0.4 * 2**0.5).all())
    loss = REGULARISED[name].loss(model, one, found)
    assert bool(loss.isfinite())
    assert all(bool(g.isfinite().all()) for g in torch.autograd.grad(loss, list(module(model).parameters())))


def test_a_direction_has_length_one_however_short_the_slope() -> None:
    g = torch.tensor([[3.0, 4.0], [3e-25, -4e-25], [3e30, 4e30], [0.0, 0.0]])
    assert torch.allclose(unit(g), torch.tensor([[0.6, 0.8], [0.6, -0.8], [0.6, 0.8], [0.0, 0.0]]), rtol=1e-6)


@EACH
def test_what_is_found_is_in_the_range_and_the_net_is_left_as_it_was(name: str) -> None:
    objective, model = REGULARISED[name], classifier(nn.Tanh)
    corner = Lesson.of(torch.tensor([[0.0] * 5, [1.0] * 5, [0.01, 0.99, 0.5, 0.0, 1.0]], dtype=torch.float64), torch.tensor([0, 1, 2]))
    state = torch.get_rng_state()
    with torch.no_grad():
        found = objective.look(model, corner)
        assert bool(objective.loss(model, corner, found).isfinite())
    if name != "cure":
        assert bool(((found >= 0) & (found <= 1)).all())
    assert torch.equal(torch.get_rng_state(), state)
    assert all(p.grad is None for p in module(model).parameters())


@pytest.mark.parametrize("name", ["llr l2", "vat"])
def test_the_noise_is_the_rows_and_the_steps_own(name: str) -> None:
    objective, model, one = REGULARISED[name], classifier(nn.Tanh), lesson(4)
    found = searched(objective, model, one)
    assert torch.equal(found, searched(objective, model, one))
    later = Lesson(one.x, one.y, one.key, one.step + 1)
    assert not torch.isclose(found, searched(objective, model, later)).all(dim=1).any()


class Remembering(nn.Module):
    """A net with batch norm, dropout and a pooled convolution, as they stand in training."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten())
        self.head = nn.Sequential(nn.Dropout(0.5), nn.Linear(4 * 9, 3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.head(self.body(x))
        return out


@EACH
def test_what_is_regularised_leaves_the_batch_statistics_alone(name: str) -> None:
    """One clean ask in training mode moves them (VAT: its second ask too, as the other methods' do); modes are as they were."""
    net = Remembering().eval()
    model = Classifier(net, 3)
    net.train()
    net.head[0].eval()
    g = torch.Generator().manual_seed(0)
    one = Lesson.of(torch.rand(4, 1, 6, 6, generator=g), torch.tensor([0, 1, 2, -1]))
    loss = REGULARISED[name](model, one)
    norm = net.body[1]
    assert isinstance(norm, nn.BatchNorm2d) and norm.num_batches_tracked is not None
    assert int(norm.num_batches_tracked) == (1 if name in NEEDS_LABELS else 2)
    assert net.training and norm.training and not net.head[0].training
    loss.backward()
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in net.parameters())


def test_what_makes_no_sense_is_refused_in_one_line() -> None:
    nan, inf = float("nan"), float("inf")
    for make in (
        lambda: objectives.double_backprop(-1.0),
        lambda: objectives.double_backprop(nan),
        lambda: objectives.cure(-1.0),
        lambda: objectives.cure(4.0, 0.0),
        lambda: objectives.cure(inf, 1.0),
        lambda: objectives.llr(0.0),
        lambda: objectives.llr(L2()),
        lambda: objectives.llr(L0(3)),
        lambda: objectives.llr(Flow(1.0)),
        lambda: objectives.llr(0.1, steps=0),
        lambda: objectives.llr(0.1, step=nan),
        lambda: objectives.llr(0.1, mu=-1.0),
        lambda: objectives.vat(0.0),
        lambda: objectives.vat(inf),
        lambda: objectives.vat(1.0, xi=0.0),
        lambda: objectives.vat(1.0, steps=0),
        lambda: objectives.vat(1.0, weight=-1.0),
        lambda: objectives.vat(1.0, entmin=nan),
    ):
        with pytest.raises(ConfigError) as caught:
            make()
        assert "\n" not in str(caught.value)
