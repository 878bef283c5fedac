"""The straight-through stand-in: the model's own decisions, a slope where it has none, and the true gradient everywhere else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from holdfast import Classifier, Linf, ModelError, attacks
from holdfast.engine import Samples, run
from holdfast.engine.straight import straight
from holdfast.engine.surrogates import Surrogates
from holdfast.models import preact_resnet18

SIDE = 8


class Before(nn.Module):
    """A linear net behind `front`."""

    def __init__(self, front: Callable[[Tensor], Tensor], features: int = 4) -> None:
        super().__init__()
        self.front, self.head = front, nn.Linear(features, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.front(x).flatten(1))


class After(nn.Module):
    """A linear net with `end` behind it; `factor` makes it sure of itself."""

    def __init__(self, end: Callable[[Tensor], Tensor], factor: float = 1.0) -> None:
        super().__init__()
        self.end, self.factor, self.head = end, factor, nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.end(self.factor * self.head(x.flatten(1)))


def module(act: Callable[[Tensor], Tensor]) -> nn.Module:
    class Custom(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return act(x)

    return Custom()


def made(make: Callable[[], nn.Module]) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return make().eval()


def points(n: int = 5, shape: tuple[int, ...] = (1, 2, 2)) -> Tensor:
    return torch.rand(n, *shape, generator=torch.Generator().manual_seed(2))


def margin_gradient(model: Classifier, x: Tensor) -> Tensor:
    """Of the difference between the first two classes, which says the same of logits that are shifted."""
    x = x.clone().requires_grad_()
    logits = model(x).logits
    return torch.autograd.grad((logits[:, 0] - logits[:, 1]).sum(), x)[0]


def in_place(x: Tensor) -> Tensor:
    x = x * 4
    x.round_()
    return x.div_(4)


def through_numpy(x: Tensor) -> Tensor:
    stored = np.rint(255 * x.detach().cpu().numpy()).astype(np.uint8)
    return torch.from_numpy(stored).float() / 255


def without_gradient(x: Tensor) -> Tensor:
    with torch.no_grad():
        return (x * 8).round() / 8


def assigned(x: Tensor) -> Tensor:
    out = torch.zeros_like(x)
    out[x > 0.5] = 1
    return out


def whole_numbers(x: Tensor) -> Tensor:
    return (x * 255).to(torch.uint8).float() / 255


# What the front does, and its slope once the steps are taken out of it.
FRONTS: dict[str, tuple[Callable[[Tensor], Tensor], float]] = {
    "round": (lambda x: torch.round(x * 4) / 4, 1),
    "round decimals": (lambda x: x.round(decimals=1), 1),
    "floor": (lambda x: (x * 4).floor() / 4, 1),
    "ceil": (torch.ceil, 1),
    "trunc": (torch.Tensor.trunc, 1),
    "sign": (lambda x: torch.sign(x - 0.5), 1),
    "heaviside": (lambda x: torch.heaviside(x - 0.5, x.new_tensor(0.0)), 1),
    "in place": (in_place, 1),
    "floor division": (lambda x: x // 0.25 * 0.25, 1),
    "clamp": (lambda x: torch.clamp(x, 2, 3), 1),
    "clamp in place": (lambda x: (x * 1).clamp_(2, 3), 1),
    "hardtanh": (lambda x: functional.hardtanh(x, 2, 3), 1),
    "compared, float": (lambda x: (x > 0.5).float(), 1),
    "compared, to": (lambda x: (x < 0.5).to(x.dtype), -1),
    "compared, added": (lambda x: (x >= 0.5) * 2.0 - 1, 2),
    "compared, where": (lambda x: torch.where(x.lt(0.5), 3.0, 1.0), -2),
    "assigned": (assigned, 1),
    "filled": (lambda x: torch.zeros_like(x).masked_fill(x > 0.5, 2.0), 2),
    "not": (lambda x: (~(x > 0.5)).double().float(), -1),
    "lamps": (lambda x: (x.unsqueeze(2) > torch.tensor([0.3, 0.6]).reshape(1, 1, 2, 1, 1)).float().mean(dim=2), 1),
    "detach": (lambda x: x.detach() * 2, 2),
    "data": (lambda x: x.data * 2, 2),
    "no_grad": (without_gradient, 1),
    "whole numbers": (whole_numbers, 1),
    "numpy": (through_numpy, 1 / 255),
    "a look at the values": (lambda x: x * (2 if float(x.detach().sum()) > 0 else 1), 2),
    "list": (lambda x: torch.tensor(x.tolist()), 1),
}


@pytest.mark.parametrize(("front", "slope"), FRONTS.values(), ids=FRONTS.keys())
def test_a_front_without_a_slope_gets_one_and_answers_the_same(front: Callable[[Tensor], Tensor], slope: float) -> None:
    net = made(lambda: Before(front))
    model, x = Classifier(net, 3), points()
    stand_in = straight(model, x)
    assert torch.equal(stand_in(x).logits, model(x).logits)
    asked = x.clone().requires_grad_()
    assert torch.allclose(stand_in(asked).logits, model(x).logits)
    weight = net.head.weight[0] - net.head.weight[1]  # type: ignore[index]
    assert torch.allclose(margin_gradient(stand_in, x), (slope * weight).reshape(1, 1, 2, 2).expand(5, 1, 2, 2))


@pytest.mark.parametrize("curve", [torch.tanh, torch.sigmoid, nn.Tanh(), torch.Tensor.tanh_])
def test_a_curve_gets_a_slope_only_where_it_is_flat(curve: Callable[[Tensor], Tensor]) -> None:
    x = torch.tensor([-300.0, -1.0, 0.0, 2.0, 300.0], requires_grad=True)
    (true,) = torch.autograd.grad(curve(x * 1).sum(), x)
    with Surrogates():
        y = curve(x * 1)
    (g,) = torch.autograd.grad(y.sum(), x)
    assert torch.equal(y, curve(x * 1)) and torch.equal(g[1:4], true[1:4])
    assert float(true[0]) == float(true[4]) == 0 and bool((g[[0, 4]] > 1e-6).all())


def fronts_of_modules() -> list[tuple[Callable[[Tensor], Tensor], int]]:
    def lamps(x: Tensor) -> Tensor:
        return torch.from_numpy(np.stack([x.detach().numpy()[:, 0] > level for level in (0.3, 0.6)], axis=1)).float()

    def median(x: Tensor) -> Tensor:
        return torch.from_numpy(np.median(np.stack([np.asarray(x.detach())] * 3), axis=0))

    return [(lamps, 8), (median, 4)]


@pytest.mark.parametrize(("front", "features"), fronts_of_modules(), ids=["thermometer", "median"])
@pytest.mark.parametrize("inside", [False, True])
def test_what_leaves_torch_is_taken_for_the_identity(front: Callable[[Tensor], Tensor], features: int, inside: bool) -> None:
    net = made(lambda: Before(module(front) if inside else front, features))
    stand_in = straight(Classifier(net, 3), points())
    weight = (net.head.weight[0] - net.head.weight[1]).reshape(-1, 1, 2, 2).sum(dim=0)  # type: ignore[index, union-attr]
    assert torch.allclose(margin_gradient(stand_in, points()), weight.expand(5, 1, 2, 2))


def one_hot_votes(z: Tensor) -> Tensor:
    return functional.one_hot(z.argmax(dim=1), 3).float()


def scattered_votes(z: Tensor) -> Tensor:
    return torch.zeros_like(z).scatter_(1, z.argmax(dim=1, keepdim=True), 1.0)


# What the end does, how sure the net is before it, and what it leaves of the scores' slope.
ENDS: dict[str, tuple[Callable[[Tensor], Tensor], float, float]] = {
    "softmax": (lambda z: z.softmax(dim=1), 1000, 1),
    "nn.Softmax": (nn.Softmax(dim=1), 1000, 1),
    "two decimals": (lambda z: z.softmax(dim=1).round(decimals=2), 1000, 1),
    "safe log": (lambda z: (functional.softmax(z / 2, dim=1).clamp(1e-6, 1 - 1e-6) * 3).log(), 1000, 1.5),
    "clipped": (lambda z: (z - z.amax(dim=1, keepdim=True) + 1).clamp_min(0), 1000, 1),
    "one-hot": (one_hot_votes, 1, 1),
    "whole votes": (lambda z: functional.one_hot(z.argmax(dim=1), 3), 1, 1),
    "scattered": (scattered_votes, 1, 1),
    "mean of votes": (lambda z: torch.stack([one_hot_votes(z), one_hot_votes(2 * z)]).mean(dim=0), 1, 1.5),
}


@pytest.mark.parametrize(("end", "factor", "slope"), ENDS.values(), ids=ENDS.keys())
def test_an_answer_past_the_scores_is_taken_back_to_them(end: Callable[[Tensor], Tensor], factor: float, slope: float) -> None:
    net = made(lambda: After(end, factor))
    model, x = Classifier(net, 3), points(64)
    stand_in = straight(model, x)
    for asked in (x, x.clone().requires_grad_()):
        assert torch.equal(stand_in(asked).logits.argmax(dim=1), model(x).logits.argmax(dim=1))
    weight = net.head.weight[0] - net.head.weight[1]  # type: ignore[index]
    assert torch.allclose(margin_gradient(stand_in, x), (factor * slope * weight).reshape(1, 1, 2, 2).expand_as(x))


def test_lamps_of_colours_are_told_from_colours_of_lamps() -> None:
    x = torch.rand(2, 3, 1, 1, generator=torch.Generator().manual_seed(2), requires_grad=True)
    for lamps in (lambda t: t.repeat_interleave(2, dim=1), lambda t: t.repeat(1, 2, 1, 1)):
        weight = torch.arange(6.0).reshape(1, 6, 1, 1)
        joined = Surrogates().rejoined(lamps(x.detach()).round(decimals=1), [x])
        expected = torch.autograd.grad((lamps(x) * weight).sum(), x)[0]
        assert torch.equal(torch.autograd.grad((joined * weight).sum(), x)[0], expected)


def test_each_decision_is_the_votes_own() -> None:
    class Three(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.nets = nn.ModuleList(After(lambda z: z) for _ in range(3))

        def forward(self, x: Tensor) -> Tensor:
            z = torch.stack([net(10 * (x - 0.5)) for net in self.nets])
            return functional.one_hot(z.argmax(dim=2), 3).sum(dim=0).float()

    model, x = Classifier(made(Three), 3), points(200)
    expected = model(x).logits.argmax(dim=1)
    soft = torch.stack([net(10 * (x - 0.5)) for net in model.net.nets]).sum(dim=0)  # type: ignore[attr-defined]
    assert not torch.equal(soft.argmax(dim=1), expected)
    assert torch.equal(straight(model, x)(x.clone().requires_grad_()).logits.argmax(dim=1), expected)


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(3 * SIDE, 16)
        self.layer = nn.TransformerEncoderLayer(16, 2, 32, dropout=0.0, batch_first=True, activation="gelu")
        self.head = nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        h = self.embed(x.transpose(1, 2).flatten(2))
        h = h + (h @ h.transpose(1, 2) / 4).softmax(dim=-1) @ h
        return self.head(self.layer(h).mean(dim=1))


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body, self.cell, self.head = nn.LSTM(3 * SIDE, 16, batch_first=True), nn.LSTMCell(16, 16), nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        h = self.body(x.transpose(1, 2).flatten(2))[0]
        return self.head(torch.tanh(self.cell(h[:, -1])[0]) * torch.sigmoid(h[:, 0]))


def activations() -> nn.Module:
    kinds = [
        nn.GELU(),
        nn.SiLU(inplace=True),
        nn.ReLU6(),
        nn.ReLU(inplace=True),
        nn.ELU(),
        nn.LeakyReLU(0.1),
        module(lambda h: h.clamp(min=0)),
    ]
    layers = [part for kind in kinds for part in (nn.Conv2d(6, 6, 3, padding=1), kind)]
    return nn.Sequential(nn.Conv2d(3, 6, 3), *layers, nn.Flatten(), nn.Linear(6 * 36, 5))


@pytest.mark.parametrize("make", [lambda: preact_resnet18(classes=5, width=8), Attention, Recurrent, activations])
def test_an_honest_net_keeps_its_gradient(make: Callable[[], nn.Module]) -> None:
    net = made(make)
    x = points(6, (3, SIDE, SIDE))
    model = Classifier(net, 5, mean=(0.4, 0.5, 0.6), std=0.3)
    before = [(name, t.clone(), t.requires_grad, id(t)) for name, t in [*net.named_parameters(), *net.named_buffers()]]
    stand_in = straight(model, x)
    assert torch.allclose(stand_in(x).logits, model(x).logits, atol=1e-5)
    assert torch.allclose(margin_gradient(stand_in, x), margin_gradient(model, x), rtol=1e-5, atol=1e-7)
    after = [*net.named_parameters(), *net.named_buffers()]
    for (name, value, wants, place), (other, now) in zip(before, after, strict=True):
        assert name == other and torch.equal(value, now) and wants == now.requires_grad and place == id(now) and now.grad is None
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in net.modules())


def test_an_authors_own_backward_is_left_to_him() -> None:
    class Own(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor) -> Tensor:
            return (x * 4).round() / 4

        @staticmethod
        def backward(ctx: Any, g: Tensor) -> Tensor:  # type: ignore[override]
            return 3 * g

    net = made(lambda: Before(Own.apply))
    stand_in = straight(Classifier(net, 3), points())
    assert torch.allclose(margin_gradient(stand_in, points()), margin_gradient(Classifier(net, 3), points()))


def test_a_callable_is_asked_itself_and_trouble_is_one_model_error() -> None:
    net = made(lambda: Before(torch.round))
    stand_in = straight(Classifier(lambda x: net(x), 3), points())
    assert bool((margin_gradient(stand_in, points()) != 0).all())

    class Refusing(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            if x.requires_grad:
                raise NotImplementedError("not with a gradient")
            return x.flatten(1)

    class Remembering(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.memory = torch.zeros(())

        def forward(self, x: Tensor) -> Tensor:
            with torch.no_grad():
                self.memory = self.memory * 0.9 + x.mean()
            return x.flatten(1) * self.memory

    for refused in (Refusing(), Remembering()):
        with pytest.raises(ModelError, match="search on the model itself"):
            straight(Classifier(refused, 4), points())


def test_search_on_it_breaks_what_search_on_the_model_does_not() -> None:
    net = made(lambda: Before(lambda x: (x * 8).round() / 8))
    with torch.no_grad():
        net.head.bias -= net(points(64)).mean(dim=0)  # type: ignore[union-attr, operator]
    model, x = Classifier(net, 3), points(32)
    samples = Samples.of(x, model(x).logits.argmax(dim=1))
    attack = attacks.cosine(Linf(0.5), steps=8)
    found = run(attack, model, samples, search=straight(model, x))
    own = run(attack, model, samples)
    assert int(found.success.sum()) > 20 > int(own.success.sum())
    with torch.no_grad():
        assert bool((net(found.adversarial[found.success]).argmax(dim=1) != samples.y[found.success]).all())
