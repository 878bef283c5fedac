"""Who may stand in for the model: only what answers as it does, and whose gradients lead where its own do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from holdfast import Classifier
from holdfast.engine import Choice, choose, replica
from holdfast.engine.agree import COSINE, SIGNS, TIE, Reply, agree, ask, close

N, D = 200, 50


def reply(seed: int = 0) -> Reply:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.rand(N, 3, generator=generator)
    return Reply(logits, logits.topk(2, dim=1).indices, torch.randn(N, D, generator=generator), 1.0)


def turned(own: Reply, cosine: float) -> Reply:
    """The same answers, each gradient turned until it has this cosine with its own."""
    assert own.g is not None
    other = torch.randn(N, D, generator=torch.Generator().manual_seed(9))
    way = own.g / own.g.norm(dim=1, keepdim=True)
    across = other - (other * way).sum(dim=1, keepdim=True) * way
    across = across / across.norm(dim=1, keepdim=True)
    return replace(own, g=5 * (cosine * way + (1 - cosine**2) ** 0.5 * across))


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_logits_are_close_to_a_thousandth_or_a_share_of_the_largest(share: float) -> None:
    logits = torch.tensor([[10.0, -1.0, 0.0]])
    assert close(logits + share * torch.tensor([[0.0095, 0.0, 0.0009]]), logits)
    for far in ([0.012, 0.0, 0.0], [0.0, 0.0, 0.0012], [0.0, torch.nan, 0.0], [torch.inf, 0.0, 0.0]):
        assert not close(logits + torch.tensor([far]), logits)
    assert not close(logits * torch.inf, logits * torch.inf), "what is no number agrees with nothing"


def test_gradients_of_the_same_precision_must_lead_the_same_way() -> None:
    own = reply()
    assert agree(own, own, low=False) and agree(own, turned(own, COSINE + 0.001), low=False), "whatever their length"
    assert not agree(own, turned(own, COSINE - 0.001), low=False)


def test_gradients_of_low_precision_must_share_their_signs() -> None:
    own = reply()
    assert own.g is not None
    for kept in (round(SIGNS * D) + 1, round(SIGNS * D) - 1):
        flipped = torch.cat([own.g[:, :kept], -own.g[:, kept:]], dim=1)
        assert agree(own, replace(own, g=flipped), low=True) is (kept > SIGNS * D)


def test_classes_of_low_precision_may_differ_near_a_tie_alone() -> None:
    own = reply()
    two = own.logits.topk(2, dim=1).values
    clear = ((two[:, 0] - two[:, 1]) > 2 * TIE).nonzero().squeeze(1)
    top = own.logits.argmax(dim=1)

    def lowered(rows: Tensor) -> Reply:
        return replace(own, logits=own.logits.index_put((rows, top[rows]), torch.zeros(1)))

    assert agree(own, lowered(clear[:1]), low=True) and not agree(own, lowered(clear[:5]), low=True), "one row in a hundred"
    near = replace(own, logits=own.logits.index_put((torch.arange(N), own.pair[:, 1]), two[:, 0] - TIE / 4))
    assert agree(near, replace(near, logits=near.logits.index_put((torch.arange(N), top), two[:, 0] - TIE)), low=True)


@pytest.mark.parametrize("low", [False, True])
def test_a_gradient_that_only_one_has_or_that_is_no_number_agrees_with_nothing(low: bool) -> None:
    own = reply()
    assert own.g is not None
    none, nan = replace(own, g=None), replace(own, g=own.g * torch.nan)
    assert not agree(own, none, low) and not agree(none, own, low) and agree(none, none, low)
    assert not agree(own, nan, low) and not agree(own, replace(own, g=0 * own.g), low)
    assert agree(replace(own, g=0 * own.g), own, low), "rows that do not move have no way to lead"


class Twin(nn.Module):
    """A net whose copy answers alike, but goes another way where gradients are asked."""

    def __init__(self, way: Callable[[Tensor], Tensor] | None = None) -> None:
        super().__init__()
        self.body, self.way = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Tanh(), nn.Flatten(), nn.Linear(144, 5)), way

    def __deepcopy__(self, memo: object) -> Twin:
        other = Twin(astray)
        other.body.load_state_dict(self.body.state_dict())
        return other.eval()

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x if self.way is None else self.way(x))


def astray(x: Tensor) -> Tensor:
    return 2 * x.detach() - x


def test_a_copy_with_the_same_answers_and_other_gradients_is_refused() -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = Classifier(Twin().eval(), 5)
    x = torch.rand(16, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    copy = replica(model, Choice("frozen"))
    assert torch.allclose(copy(x).logits, model(x).logits)
    own = ask(model, x, True)
    assert not agree(own, ask(copy, x, True, own.pair), low=False)
    found = choose(model, x)
    assert found.form == "own" and "it answers otherwise" in found.why
    assert "otherwise" not in choose(model, x, gradient=False).why, "without gradients it is as good"
